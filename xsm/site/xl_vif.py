"""Network, framebuffer, channel, USB and PCI specifications of xl.cfg files, and lists of CPUs.

Decides what one specification says (xl-network-configuration(5), xl-pci-configuration(5),
xl.cfg(5)). Must not know which hypervisor will get the device.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from xsm.site.xl_disk import WrongSpec

MAX_CPU = 4095
"""Highest CPU number of a host; libvirt's own limit is 16384, Xen's 4095."""

DEFAULT_BRIDGE = "xenbr0"
"""The bridge of a vif that names none (xl-network-configuration(5))."""

_MAC = re.compile(r"[0-9a-fA-F]{1,2}(?::[0-9a-fA-F]{1,2}){5}")
_RATE = re.compile(r"([0-9]{1,15})([GMK]?)([Bb])/s(?:@([0-9]{1,9})(ms|us|s)?)?")
_PCI = re.compile(
    r"(?:([0-9a-fA-F]{1,4}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})\.([0-7])(?:@[0-9a-fA-F]{1,2})?"
)


@dataclass(frozen=True)
class Vif:
    mac: str  # canonical, "" when not given
    bridge: str
    script: str
    vif_type: str  # "", ioemu or vif
    model: str
    vifname: str
    ip: tuple[str, ...]  # addresses with optional /prefix
    rate_bytes_s: int | None
    backend: str
    mtu: int | None
    lost: tuple[str, ...]  # parameters that no hypervisor gets from us, as written


@dataclass(frozen=True)
class Pci:
    domain: int
    bus: int
    slot: int
    function: int
    permissive: bool | None
    seize: bool | None
    lost: tuple[str, ...]


def pairs(spec: str) -> dict[str, str]:
    """A comma-separated list of key=value settings; a bare word is a flag with the value "1"."""
    found: dict[str, str] = {}
    for part in spec.split(","):
        key, equals, value = part.strip().partition("=")
        if not key:
            if equals:
                raise WrongSpec(f"{part.strip()[:40]!r} has no key")
            continue
        key = key.strip()
        if key in found:
            raise WrongSpec(f"{key[:40]} is given twice")
        found[key] = value.strip() if equals else "1"
    return found


def vif(spec: str) -> Vif:
    """Read one vif specification; raises `WrongSpec`."""
    said = pairs(spec)
    mac = said.pop("mac", "")
    if mac and not _MAC.fullmatch(mac):
        raise WrongSpec(f"{mac[:40]!r} is no MAC address", "mac=00:16:3e:xx:xx:xx")
    mac = ":".join(f"{int(group, 16):02x}" for group in mac.split(":")) if mac else ""
    if mac and int(mac[:2], 16) & 1:
        raise WrongSpec(f"{mac} is a multicast address", "the first byte must be even")
    vif_type = said.pop("type", "")
    if vif_type not in ("", "ioemu", "vif", "paravirtualised", "netfront"):
        raise WrongSpec(f"unknown type {vif_type[:40]!r}", "ioemu or vif")
    said.pop("trusted", None)  # the default
    mtu = said.pop("mtu", "")
    if mtu and not (mtu.isascii() and mtu.isdigit() and 68 <= int(mtu[:9]) <= 65535):
        raise WrongSpec(f"{mtu[:40]!r} is no MTU", "68 to 65535")
    rate = said.pop("rate", "")
    return Vif(
        mac=mac,
        bridge=said.pop("bridge", ""),
        script=said.pop("script", ""),
        vif_type="vif" if vif_type in ("paravirtualised", "netfront") else vif_type,
        model=said.pop("model", ""),
        vifname=said.pop("vifname", ""),
        ip=_addresses(said.pop("ip", "")),
        rate_bytes_s=_rate(rate) if rate else None,
        backend=said.pop("backend", ""),
        mtu=int(mtu) if mtu else None,
        lost=tuple(f"{key}={value}" for key, value in said.items()),
    )


def _addresses(text: str) -> tuple[str, ...]:
    found = []
    for word in text.split():
        try:
            found.append(str(ipaddress.ip_interface(word)) if "/" in word else word)
            ipaddress.ip_interface(word)
        except ValueError as error:
            raise WrongSpec(f"{word[:40]!r} is no IP address", "ip=192.0.2.10") from error
    return tuple(found)


def _rate(text: str) -> int:
    """Bytes a second. The interval only says how smoothly, and libvirt has its own."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise WrongSpec(f"{text[:40]!r} is no rate", "10Mb/s, 250KB/s, 1MB/s@20ms")
    scale = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}[match.group(2)]
    value = int(match.group(1)) * scale
    value = value // 8 if match.group(3) == "b" else value
    if not 0 < value < 1 << 40:
        raise WrongSpec(f"the rate {text[:40]} is out of range", "10Mb/s, 250KB/s")
    return value


def pci(spec: str) -> Pci:
    """Read one pci specification; raises `WrongSpec`."""
    address, _, rest = spec.strip().partition(",")
    match = _PCI.fullmatch(address.strip())
    if match is None:
        raise WrongSpec(f"{address[:40]!r} is no PCI address", "0000:01:00.0,permissive=1")
    domain, bus, slot, function = (int(group or "0", 16) for group in match.groups())
    if slot > 0x1F:
        raise WrongSpec(f"{address[:40]!r}: the slot is out of range", "00 to 1f")
    said = pairs(rest)
    permissive, seize = said.pop("permissive", None), said.pop("seize", None)
    lost = tuple(f"{key}={value}" for key, value in said.items())
    if "@" in address:
        lost = (*lost, "@vslot")
    return Pci(domain, bus, slot, function, _flag(permissive), _flag(seize), lost)


def _flag(text: str | None) -> bool | None:
    return None if text is None else text != "0"


def cpu_set(text: str) -> frozenset[int] | None:
    """The host CPUs of a list like "0-3,5,^1"; None means all.

    Raises `WrongSpec`, also for what depends on the host ("all,^7", "nodes:0-1"): `hint` says so.
    """
    cpus: set[int] = set()
    if text.strip() in ("all", ""):
        return None
    for word in text.split(","):
        part = word.strip()
        out = part.startswith("^")
        part = part.removeprefix("^").strip()
        if part == "all" or part.startswith(("node:", "nodes:")):
            raise HostCpus(f"{text[:40]!r} depends on the host", "write the CPUs' numbers")
        match = re.fullmatch(r"([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?", part)
        if match is None:
            raise WrongSpec(f"{word.strip()[:40]!r} is no list of CPUs", '"0-3,5,^1" or "all"')
        low, high = int(match.group(1)), int(match.group(2) or match.group(1))
        if not low <= high <= MAX_CPU:
            raise WrongSpec(f"{part} is no range of CPUs", f"low-high, up to {MAX_CPU}")
        numbers = range(low, high + 1)
        if out:
            cpus.difference_update(numbers)
        else:
            cpus.update(numbers)
    if not cpus:
        raise WrongSpec(f"{text[:40]!r} leaves no CPU", '"0-3,5,^1" or "all"')
    return frozenset(cpus)


class HostCpus(WrongSpec):
    """A right list of CPUs that can't be resolved without knowing the host."""


def ranges(cpus: frozenset[int]) -> str:
    """0-3,5: the way libvirt writes a set of CPUs."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and parts[-1][1] == cpu - 1:
            parts[-1][1] = cpu
        else:
            parts.append([cpu, cpu])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)
