"""What single values of the site file may be: names, numbers, addresses and the like, each with its inverse.

Decides whether a text is such a value, and what would be right. Must not know which field it is for.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from xsm.site import disk, fence
from xsm.site.file_limits import MAX_MEMORY_MIB, MAX_VCPUS

NAME_PATTERN = "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
"""Names of VMs, sets, hosts, configs and tags: safe as a file name, a shell word and a domain name."""


class Wrong(ValueError):
    """A value that its field can't have: what is wrong, and what would be right."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Kind:
    """What a value may be. `parse` takes the stripped text and raises `Wrong`; `format` is its inverse. `pattern` is a
    regular expression that XML Schema, ECMA 262 and Python read alike; it may allow more than `parse` does, never less.
    """

    about: str
    parse: Callable[[str], Any]
    pattern: str = ""
    format: Callable[[Any], str] = str
    minimum: int | None = None  # set on whole numbers only
    maximum: int | None = None
    choices: tuple[str, ...] = ()

    @property
    def is_number(self) -> bool:
        return self.minimum is not None


def _shown(text: str) -> str:
    """`text` quoted for a message; never longer than a line."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def name_of(what: str) -> Kind:
    compiled = re.compile(NAME_PATTERN)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise Wrong(
                f"{_shown(text)} is not a name for a {what}",
                "letters, digits and . _ - with a letter or digit first, at most 63 characters",
            )
        return text

    return Kind(f"name of a {what}", parse, NAME_PATTERN)


def number(minimum: int, maximum: int, unit: str = "") -> Kind:
    about = f"whole number from {minimum} to {maximum}" + (f", in {unit}" if unit else "")
    compiled = re.compile("-?[0-9]{1,18}")
    with_unit = re.compile(r"([0-9]{1,9})\s*([KMGT])(i?B)?", re.IGNORECASE)

    def parse(text: str) -> int:
        if not compiled.fullmatch(text):
            found = with_unit.fullmatch(text) if unit == "MiB" else None
            factor = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024 * 1024}
            hint = about
            if found:
                hint = f"in MiB without a unit: {int(int(found[1]) * factor[found[2].upper()])}"
            raise Wrong(f"{_shown(text)} is not a whole number", hint)
        if len(text) > 1 and text.startswith("0"):
            raise Wrong(f"{_shown(text)} starts with a zero", f"write {int(text)}")
        value = int(text)
        if value < minimum:
            raise Wrong(f"{value} is too small", about)
        if value > maximum:
            raise Wrong(f"{value} is too large", about)
        return value

    return Kind(about, parse, "[1-9][0-9]*", minimum=minimum, maximum=maximum)


def choice(values: type[StrEnum]) -> Kind:
    names = tuple(value.value for value in values)
    one_of = ", ".join(names[:-1]) + " or " + names[-1]

    def parse(text: str) -> StrEnum:
        if text not in names:
            raise Wrong(f"{_shown(text)} is not known", one_of)
        return values(text)

    return Kind(one_of, parse, "|".join(names), choices=names)


_MAC = re.compile("[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}")


def _parse_mac(text: str) -> str:
    if not _MAC.fullmatch(text):
        raise Wrong(
            f"{_shown(text)} is not a MAC address", "six pairs of hex digits: 00:16:3e:12:34:56"
        )
    mac = text.lower().replace("-", ":")
    if int(mac[:2], 16) & 1:
        raise Wrong(
            f"{_shown(text)} is a multicast MAC address",
            f"its first pair must be even, for example {int(mac[:2], 16) - 1:02x}{mac[2:]}",
        )
    if mac == "00:00:00:00:00:00":
        raise Wrong("a MAC address can't be all zeros", "leave it out to have one made")
    return mac


_UUID = re.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def _parse_uuid(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise Wrong(
            f"{_shown(text)} is not a UUID",
            "hex digits as 8-4-4-4-12; leave it out to have one made",
        )
    if not text.strip("0-"):
        raise Wrong("a UUID can't be all zeros", "leave it out to have one made")
    return text.lower()


_IP_HINT = "DHCP, or an address such as 192.168.5.11 or 192.168.5.11/24"


def _parse_ip(text: str) -> str:
    if text.lower() == "dhcp":
        return "dhcp"
    try:
        if "%" in text:
            raise ValueError("scoped")
        interface = ipaddress.ip_interface(text)
    except ValueError:
        raise Wrong(f"{_shown(text)} is not an IP address", _IP_HINT) from None
    address = interface.ip
    if (
        address.is_multicast
        or address.is_unspecified
        or address.is_loopback
        or str(address) == "255.255.255.255"
    ):
        raise Wrong(f"no VM can have the address {address}", _IP_HINT)
    if "/" not in text:
        return str(address)
    network = interface.network
    wide = network.prefixlen < network.max_prefixlen - 1
    if wide and address == network.network_address:
        raise Wrong(f"{address} is the address of the network {network} itself", _IP_HINT)
    if wide and address.version == 4 and address == network.broadcast_address:
        raise Wrong(f"{address} is the broadcast address of {network}", _IP_HINT)
    return str(interface)


_HOST_WORD = re.compile(NAME_PATTERN)


def _parse_host(text: str) -> str:
    """A host's name or address. Kept as written, because it is compared with what members call themselves."""
    hint = "a host's name or its IP address"
    if ":" in text or not text.strip("0123456789."):
        try:
            ipaddress.ip_address(text)
        except ValueError:
            raise Wrong(f"{_shown(text)} is not an IP address", hint) from None
        return text
    if not _HOST_WORD.fullmatch(text):
        raise Wrong(f"{_shown(text)} is neither a host's name nor an address", hint)
    return text


_URI = re.compile("[A-Za-z][A-Za-z0-9+.-]{0,31}:[!-~]{1,500}")


def _parse_uri(text: str) -> str:
    if not _URI.fullmatch(text):
        raise Wrong(
            f"{_shown(text)} is not a libvirt URI", "for example qemu:///system or xen:///system"
        )
    return text


def _parse_owner(text: str) -> str:
    if len(text) > 256 or not text.isprintable():
        raise Wrong(
            "an owner is one line of at most 256 printable characters",
            "for example root@domain.com",
        )
    return text


def _parse_fence(text: str) -> str:
    try:
        fence.parse(text)
    except ValueError as error:
        raise Wrong(str(error), fence.HINT) from None
    return text


def _parse_disk(text: str) -> disk.Disk:
    try:
        return disk.parse(text)
    except ValueError as error:
        raise Wrong(str(error), disk.HINT) from None


HOST_PATTERN = "[A-Za-z0-9:][A-Za-z0-9._:-]{0,62}"
MAC = Kind("MAC address of a single card", _parse_mac, _MAC.pattern)
MEMORY = number(1, MAX_MEMORY_MIB, "MiB")
VCPUS = number(1, MAX_VCPUS)


HOST_WORD = Kind("name or address of a host", _parse_host, HOST_PATTERN)
ADDRESS = Kind("IP address or DNS name", _parse_host, HOST_PATTERN)
IP = Kind(
    "DHCP, or an IP address with optional prefix length",
    _parse_ip,
    "[Dd][Hh][Cc][Pp]|[0-9A-Fa-f:.]+(/[0-9.]+)?",
    format=lambda ip: "DHCP" if ip == "dhcp" else ip,
)
UUID = Kind("UUID", _parse_uuid, _UUID.pattern)
LIBVIRT_URI = Kind("libvirt URI", _parse_uri, _URI.pattern)
OWNER = Kind("one line of text", _parse_owner, "")
DISK = Kind("a disk and its size, " + disk.HINT, _parse_disk, disk.PATTERN)
FENCE = Kind(fence.HINT, _parse_fence, fence.PATTERN)
