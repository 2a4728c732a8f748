"""A VM's own disks in its domain's XML: volumes of storage pools, after the disks that its config has.

Decides what they are called in the guest. Must not know whether the volumes are there.
"""

from __future__ import annotations

import string
from collections.abc import Iterable

from lxml import etree

from xsm.site.disk import Disk, Volume, volumes
from xsm.site.model import HypervisorKind

_BUS = {HypervisorKind.XEN: ("xen", "xvd")}
_OTHER_BUS = ("virtio", "vd")


def append(root: etree._Element, vm: str, disks: Iterable[Disk], kind: HypervisorKind) -> None:
    """Append them to <devices>, in their order, under the first names that are free."""
    own = volumes(vm, disks)
    if not own:
        return
    devices = root.find("devices")
    devices = etree.SubElement(root, "devices") if devices is None else devices
    bus, prefix = _BUS.get(kind, _OTHER_BUS)
    taken = {target.get("dev", "") for target in devices.iterfind("disk/target")}
    free = (name for letter in string.ascii_lowercase if (name := prefix + letter) not in taken)
    there = devices.findall("disk")
    at = devices.index(there[-1]) + 1 if there else len(devices)
    for volume, name in zip(
        own, free, strict=False
    ):  # a config with more than ten disks: no more names
        devices.insert(at, _element(volume, name, bus))
        at += 1


def _element(volume: Volume, name: str, bus: str) -> etree._Element:
    disk = etree.Element("disk", {"type": "volume", "device": "disk"})
    # Without the host's page cache, for only then two hosts may pass the disk on in a live migration.
    driver = {"name": "qemu", "type": volume.format, "cache": "none", "discard": "unmap"}
    etree.SubElement(disk, "driver", driver)
    etree.SubElement(disk, "source", {"pool": volume.pool, "volume": volume.name})
    etree.SubElement(disk, "target", {"dev": name, "bus": bus})
    return disk
