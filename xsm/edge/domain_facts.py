"""What a libvirt domain XML says about the domain: size, first MAC, weight, XSM's mark.

Decides how the elements are read; a text that can't be read raises. Must not know where the
text is from.
"""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from xsm.site import secure_xml, tag_xml
from xsm.site.tag import Tag

KIB = 1024
UNITS = {
    "b": 1,
    "bytes": 1,
    "KB": 1000,
    "k": KIB,
    "KiB": KIB,
    "MB": 1000**2,
    "M": KIB**2,
    "MiB": KIB**2,
    "GB": 1000**3,
    "G": KIB**3,
    "GiB": KIB**3,
    "TB": 1000**4,
    "T": KIB**4,
    "TiB": KIB**4,
}
"""libvirt's units of memory, in bytes (formatdomain, "Memory Allocation")."""


@dataclass(frozen=True)
class DomainFacts:
    name: str
    uuid: str  # "" when the text leaves it to libvirt
    memory_mib: int  # current, rounded down
    max_memory_mib: int
    vcpus: int
    max_vcpus: int
    shares: int | None
    mac: str | None  # of the first interface
    tag: Tag | None


def read(xml: str) -> DomainFacts:
    """Raises ValueError that says what is wrong with the text."""
    try:
        root = secure_xml.parse(xml.encode())
    except secure_xml.Malformed as error:
        raise ValueError(f"line {error.line}: {error.message}") from error
    if root.tag != "domain":
        raise ValueError(f"<domain> expected, not <{root.tag}>")
    name = (root.findtext("name") or "").strip()
    if not name:
        raise ValueError("the domain has no <name>")
    maximum = _memory_bytes(root, "memory")
    if maximum is None:
        raise ValueError("the domain has no <memory>")
    current = _memory_bytes(root, "currentMemory") or maximum
    max_vcpus = _number(root.findtext("vcpu") or "1", "vcpu")
    vcpu = root.find("vcpu")
    online = vcpu.get("current") if vcpu is not None else None
    mac = root.find("devices/interface/mac")
    shares = root.findtext("cputune/shares")
    return DomainFacts(
        name=name,
        uuid=(root.findtext("uuid") or "").strip().lower(),
        memory_mib=current // KIB**2,
        max_memory_mib=maximum // KIB**2,
        vcpus=_number(online, "vcpu/@current") if online else max_vcpus,
        max_vcpus=max_vcpus,
        shares=_number(shares, "shares") if shares else None,
        mac=(mac.get("address") or "").lower() or None if mac is not None else None,
        tag=tag_xml.from_domain_xml(xml),
    )


def _memory_bytes(root: etree._Element, what: str) -> int | None:
    element = root.find(what)
    if element is None or not element.text:
        return None
    unit = element.get("unit", "KiB")
    if unit not in UNITS:
        raise ValueError(f"<{what}> has the unknown unit {unit!r}")
    return _number(element.text, what) * UNITS[unit]


def _number(text: str, what: str) -> int:
    try:
        return int(text.strip())
    except ValueError as error:
        raise ValueError(f"{what}: a number expected, not {text.strip()!r}") from error
