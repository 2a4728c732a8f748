"""The one table of the site file's fields: XML tag, YAML key, model attribute, value, documentation.

Readers, writers, editors, schemas and messages all go by it, so that a new field is one new row.
Decides what a single value may be. Must not know files, layouts or other entries.

The tags of the first rows are those of Figure 3 of the XSM paper (section 2.2); the rest are XSM's own.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from xsm.site import fence
from xsm.site.file_limits import (
    MAX_CPU_WEIGHT,
    MAX_FENCE_AFTER_S,
    MAX_MEMORY_MIB,
    MAX_VCPUS,
    MIN_FENCE_AFTER_S,
)
from xsm.site.model import Drift, Migration, PostCopy, Power

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


def _name(what: str) -> Kind:
    compiled = re.compile(NAME_PATTERN)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise Wrong(
                f"{_shown(text)} is not a name for a {what}",
                "letters, digits and . _ - with a letter or digit first, at most 63 characters",
            )
        return text

    return Kind(f"name of a {what}", parse, NAME_PATTERN)


def _number(minimum: int, maximum: int, unit: str = "") -> Kind:
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


def _choice(values: type[StrEnum]) -> Kind:
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


HOST_PATTERN = "[A-Za-z0-9:][A-Za-z0-9._:-]{0,62}"
MAC = Kind("MAC address of a single card", _parse_mac, _MAC.pattern)
MEMORY = _number(1, MAX_MEMORY_MIB, "MiB")
VCPUS = _number(1, MAX_VCPUS)


@dataclass(frozen=True)
class Field:
    """One row: `tag` in XML, its lower case in YAML, `attribute` in the model."""

    tag: str
    attribute: str
    kind: Kind
    doc: str
    required: bool = False
    in_tag: bool = False  # an XML attribute rather than a child element
    repeatable: bool = False  # several elements in XML, a list in YAML, a sorted tuple in the model
    default: Any = None  # what an absent field means

    @cached_property
    def key(self) -> str:
        return self.tag.lower()

    def label(self, xml: bool) -> str:
        """The field as the file's format writes it, for messages."""
        if not xml:
            return f"{self.key}:"
        return f"{self.tag}=" if self.in_tag else f"<{self.tag}>"

    def texts(self, value: Any) -> tuple[str, ...]:
        """What to write for `value`: nothing for the default, one text, or one for each of several."""
        if value is None or value == self.default:
            return ()
        return (
            tuple(map(self.kind.format, value)) if self.repeatable else (self.kind.format(value),)
        )


@dataclass(frozen=True)
class Entry:
    """A kind of entry of the site file and its fields, in the order in which they are written."""

    tag: str
    key: str  # of the YAML list that holds such entries
    what: str  # for people
    fields: tuple[Field, ...]

    @cached_property
    def by_tag(self) -> Mapping[str, Field]:
        return {f.tag: f for f in self.fields if not f.in_tag}

    @cached_property
    def by_xml_attribute(self) -> Mapping[str, Field]:
        return {f.tag: f for f in self.fields if f.in_tag}

    @cached_property
    def by_key(self) -> Mapping[str, Field]:
        return {f.key: f for f in self.fields}

    @cached_property
    def by_attribute(self) -> Mapping[str, Field]:
        return {f.attribute: f for f in self.fields}

    @cached_property
    def order(self) -> Mapping[str, int]:
        """Place of each model attribute in the table."""
        return {f.attribute: i for i, f in enumerate(self.fields)}


VM_ENTRY = Entry(
    "VM",
    "vms",
    "VM",
    (
        Field(
            "name",
            "name",
            _name("VM"),
            "Name of the VM, unique in the site.",
            required=True,
            in_tag=True,
        ),
        Field(
            "config",
            "config",
            _name("config"),
            "Config beside the site file: configs/NAME.cfg (xl.cfg) or configs/NAME.xml (libvirt domain XML).",
            required=True,
            in_tag=True,
        ),
        Field(
            "DOM0",
            "host",
            Kind("name or address of a host", _parse_host, HOST_PATTERN),
            "Host that runs the VM, by name or address. Absent: the VM floats and the site places it.",
        ),
        Field("VCPUS", "vcpus", VCPUS, "Number of virtual CPUs.", required=True),
        Field(
            "HWADDR",
            "mac",
            MAC,
            "MAC address of the VM's first network card. Absent: derived from its UUID.",
        ),
        Field(
            "IP",
            "ip",
            Kind(
                "DHCP, or an IP address with optional prefix length",
                _parse_ip,
                "[Dd][Hh][Cc][Pp]|[0-9A-Fa-f:.]+(/[0-9.]+)?",
                format=lambda ip: "DHCP" if ip == "dhcp" else ip,
            ),
            "How the VM gets its network configuration: DHCP, or its static IP address.",
        ),
        Field("MEM", "memory_mib", MEMORY, "Memory in MiB.", required=True),
        Field(
            "MAXMEM",
            "max_memory_mib",
            MEMORY,
            "Memory in MiB up to which the VM can grow while it runs.",
        ),
        Field(
            "MAXVCPUS",
            "max_vcpus",
            VCPUS,
            "Virtual CPUs up to which the VM can grow while it runs.",
        ),
        Field(
            "WEIGHT",
            "cpu_weight",
            _number(1, MAX_CPU_WEIGHT),
            "Share of CPU time against other VMs (Xen credit weight, libvirt cpu shares).",
        ),
        Field(
            "UUID",
            "uuid",
            Kind("UUID", _parse_uuid, _UUID.pattern),
            "UUID of the VM. Absent: derived from its name.",
        ),
        Field(
            "STATE", "power", _choice(Power), "What the VM should be doing.", default=Power.RUNNING
        ),
        Field(
            "MIGRATION",
            "migration",
            _choice(Migration),
            "How the VM may change hosts: live only, cold too (stopped and started there), or never while it runs.",
            default=Migration.LIVE,
        ),
        Field(
            "POSTCOPY",
            "post_copy",
            _choice(PostCopy),
            "Whether a migration that would never end may run it on the target too early; a failure then kills it.",
            default=PostCopy.NEVER,
        ),
        Field(
            "DRIFT",
            "drift",
            _choice(Drift),
            "What to do when the VM was changed behind XSM's back: put it right, or only report it.",
            default=Drift.REPAIR,
        ),
        Field(
            "APART",
            "apart",
            _name("tag"),
            "Anti-affinity tag: VMs that share one go to different hosts.",
            repeatable=True,
            default=(),
        ),
    ),
)

HOST_ENTRY = Entry(
    "Host",
    "hosts",
    "host",
    (
        Field(
            "name",
            "name",
            _name("host"),
            "Name of the host, unique in the site.",
            required=True,
            in_tag=True,
        ),
        Field(
            "ADDRESS",
            "address",
            Kind("IP address or DNS name", _parse_host, HOST_PATTERN),
            "Address of the host; a DOM0 may say it instead of the name.",
        ),
        Field("HWADDR", "mac", MAC, "MAC address of the card that the host boots from."),
        Field(
            "URI",
            "uri",
            Kind("libvirt URI", _parse_uri, _URI.pattern),
            "libvirt URI as seen on the host itself, for example xen:///system.",
        ),
        Field(
            "MEM",
            "memory_mib",
            MEMORY,
            "Memory in MiB that VMs may use in all. Absent: what the hypervisor reports.",
        ),
        Field(
            "FENCE",
            "fence",
            Kind(fence.HINT, _parse_fence, fence.PATTERN),
            "The fence agent that switches the host off from outside, and its options; secrets are kept apart, in "
            "/var/lib/xsm/fence/NAME of the other hosts. `xsm host fence` uses it.",
        ),
        Field(
            "FENCE_AFTER",
            "fence_after_s",
            _number(MIN_FENCE_AFTER_S, MAX_FENCE_AFTER_S, "seconds"),
            "Seconds of silence after which a majority of the others has the host fenced, and its floating VMs start "
            "elsewhere. Absent: only people fence it.",
        ),
    ),
)

SET_ENTRY = Entry(
    "Set",
    "sets",
    "set",
    (
        Field(
            "name",
            "name",
            _name("set"),
            "Name of the set, unique in the site.",
            required=True,
            in_tag=True,
        ),
        Field(
            "Owner",
            "owner",
            Kind("one line of text", _parse_owner, ""),
            "Who is responsible for the set's VMs, usually a mail address.",
            default="",
        ),
    ),
)


def vm_label(attribute: str) -> str:
    """What people call an attribute of a VM: its element in the site file ("MEM"), else the attribute itself."""
    row = VM_ENTRY.by_attribute.get(attribute)
    return row.tag if row else attribute


ENTRIES = (HOST_ENTRY, SET_ENTRY, VM_ENTRY)
ROOT_TAG = "XSMConfig"


def contradictions(values: Mapping[str, Any]) -> list[tuple[str, Wrong]]:
    """What is wrong between the values of one VM: (attribute, why). Takes the values by model attribute."""
    wrong = []
    for low, high, unit in (("vcpus", "max_vcpus", ""), ("memory_mib", "max_memory_mib", " MiB")):
        least, most = values.get(low), values.get(high)
        if least is not None and most is not None and least > most:
            names = VM_ENTRY.by_attribute[low].tag, VM_ENTRY.by_attribute[high].tag
            wrong.append(
                (
                    high,
                    Wrong(
                        f"{names[1]} {most}{unit} is less than {names[0]} {least}{unit}",
                        f"at least {least}, or leave it out",
                    ),
                )
            )
    return wrong
