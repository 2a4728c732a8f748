"""Taking in a domain that runs already: from its libvirt XML to a config and a VM entry that mean the same.

Decides what becomes part of the VM's entry and what stays in the config. After adoption the plan must be empty:
nothing here may ask for a change of the domain.
"""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from xsm.site import secure_xml
from xsm.site.kinds import Wrong, name_of
from xsm.site.model import VM, Power
from xsm.site.tag import NAMESPACE

OWN_ELEMENTS = ("uuid", "memory", "currentMemory", "vcpu", "name")
"""What the VM's entry says itself; the config leaves it out, so that the two can't disagree."""

VM_NAME = name_of("VM")

MIB_OF_UNIT = {
    "b": 2**-20,
    "bytes": 2**-20,
    "kib": 2**-10,
    "k": 2**-10,
    "mib": 1.0,
    "m": 1.0,
    "gib": 2.0**10,
    "g": 2.0**10,
}


class CannotAdopt(Exception):
    """The domain can't be described by a site file. The message says why, `hint` what would help."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


@dataclass(frozen=True)
class Adopted:
    vm: VM
    config_path: str
    config: bytes


def adopt(
    inactive_xml: str, *, host: str, set_name: str, power: Power, memory_mib: int, vcpus: int
) -> Adopted:
    """Describe one domain. `inactive_xml`: its persistent definition (what the next boot would have); `memory_mib` and
    `vcpus`: what it has now. Raises `CannotAdopt`."""
    try:
        root = secure_xml.parse(inactive_xml.encode())
    except secure_xml.Malformed as error:
        raise CannotAdopt(f"libvirt's XML of it can't be read: {error}") from error
    name, uuid = root.findtext("name") or "", root.findtext("uuid")
    _check_name(name)
    interface = root.find("devices/interface/mac")
    vm = VM(
        name=name,
        config=name,
        set_name=set_name,
        vcpus=vcpus,
        memory_mib=memory_mib,
        host=host,
        mac=interface.get("address").lower()
        if interface is not None and interface.get("address")
        else None,
        uuid=uuid,
        max_memory_mib=max(_mib(root.find("memory"), memory_mib), memory_mib),
        max_vcpus=max(int(root.findtext("vcpu") or vcpus), vcpus),
        power=power,
    )
    _strip(root)
    text = etree.tostring(root, encoding="unicode", pretty_print=True)
    return Adopted(vm, f"configs/{name}.xml", text.encode())


def _check_name(name: str) -> None:
    """Raises `CannotAdopt`."""
    try:
        VM_NAME.parse(name)
    except Wrong as wrong:
        hint = f"a VM's name has {wrong.hint}: `virsh domrename` while it is off"
        raise CannotAdopt(wrong.message, hint) from wrong


def _mib(element: etree._Element | None, otherwise: int) -> int:
    if element is None or not (element.text or "").strip().isdigit():
        return otherwise
    factor = MIB_OF_UNIT.get((element.get("unit") or "KiB").lower(), 2**-10)
    return int(int(element.text) * factor)


def _strip(root: etree._Element) -> None:
    """Take out what the entry says, and what only this one domain could have."""
    for tag in OWN_ELEMENTS:
        for element in root.findall(tag):
            root.remove(element)
    root.attrib.pop("id", None)
    first_mac = root.find("devices/interface/mac")
    if first_mac is not None:
        first_mac.getparent().remove(first_mac)
    for metadata in root.findall("metadata"):
        for own in metadata.findall(f"{{{NAMESPACE}}}vm"):
            metadata.remove(own)
        if len(metadata) == 0:
            root.remove(metadata)
