"""VMs' own disks as volumes of libvirt's storage pools: looked up, made, copied, grown.

Decides which libvirt calls do that, which disks go along in a migration, and what of a pool is in the way. Nothing here
deletes, overwrites or shrinks a volume. Must not know whether a disk may be made: the claims do (`peer.disks`).
"""

from __future__ import annotations

from functools import partial

import libvirt
from lxml import etree

from xsm.edge import libvirt_volumes
from xsm.edge.hypervisor import HypervisorError
from xsm.edge.libvirt_errors import looked_up, unless_absent
from xsm.plan.observed import FoundDisk
from xsm.site import secure_xml
from xsm.site.disk import Volume, size_text
from xsm.site.model import HypervisorKind

MIB = 1024 * 1024
BLOCK_POOLS = frozenset({"logical", "disk", "iscsi", "iscsi-direct", "scsi", "mpath", "zfs", "rbd"})
"""Types of pools whose volumes have no file format of their own."""


def find(
    conn: libvirt.virConnect, kind: HypervisorKind, wanted: tuple[Volume, ...]
) -> tuple[FoundDisk, ...]:
    """What there is of these. Raises `libvirtError` when libvirt can't be asked."""
    host = str(conn.getHostname())
    return tuple(_find(conn, kind, host, volume) for volume in wanted)


def _find(conn: libvirt.virConnect, kind: HypervisorKind, host: str, volume: Volume) -> FoundDisk:
    if kind is HypervisorKind.XEN:
        why = "libvirt's Xen driver knows no volumes of pools: name its disks in the config"
        return FoundDisk(volume.disk, trouble=f"{host} can't give it disk {volume.disk}: {why}")
    pool = looked_up(partial(conn.storagePoolLookupByName, volume.pool))
    if pool is None:
        why = f"{host} has no storage pool {volume.pool}"
        return FoundDisk(volume.disk, trouble=f"disk {volume.disk}: {why}")
    if not pool.isActive():
        why = f"storage pool {volume.pool} is off on {host} (`virsh pool-start {volume.pool}`)"
        return FoundDisk(volume.disk, trouble=f"disk {volume.disk}: {why}")
    there = _volume(pool, volume.name)
    kind_of_pool = _type(pool)
    return FoundDisk(
        volume.disk,
        int(there.info()[1]) // MIB if there is not None else None,
        free_mib=int(pool.info()[3]) // MIB,
        shared=kind_of_pool in libvirt_volumes.NETWORK_POOLS,
        renames=kind_of_pool in libvirt_volumes.FILE_POOLS,
    )


def _type(pool: libvirt.virStoragePool) -> str:
    return str(secure_xml.parse(pool.XMLDesc(0).encode()).get("type", ""))


def _volume(pool: libvirt.virStoragePool, name: str) -> libvirt.virStorageVol | None:
    """A volume that another host of a shared pool made shows only after libvirt has looked again."""
    there = looked_up(partial(pool.storageVolLookupByName, name))
    if there is None:
        pool.refresh(0)
        there = looked_up(partial(pool.storageVolLookupByName, name))
    return there


def make(conn: libvirt.virConnect, volume: Volume) -> None:
    pool = conn.storagePoolLookupByName(volume.pool)
    kind = _type(pool)
    if kind in BLOCK_POOLS and volume.format != "raw":
        raise HypervisorError(
            f"storage pool {volume.pool} is of type {kind}, whose volumes are raw: format=raw"
        )
    if _volume(pool, volume.name) is not None:
        raise HypervisorError(f"volume {volume.name} is there already")
    if not volume.origin:
        pool.createXML(_xml(volume, volume.size_mib * MIB), 0)
        return
    origin = _volume(pool, volume.origin)
    if origin is None:
        raise HypervisorError(f"from={volume.origin}: no such volume in pool {volume.pool}")
    least = int(origin.info()[1])
    if least > volume.size_mib * MIB:
        raise HypervisorError(
            f"from={volume.origin} is {size_text(-(-least // MIB))}, more than {size_text(volume.size_mib)}"
        )
    made = pool.createXMLFrom(_xml(volume, volume.size_mib * MIB), origin, 0)
    if int(made.info()[1]) < volume.size_mib * MIB:
        made.resize(volume.size_mib * MIB, 0)


def grow(conn: libvirt.virConnect, uuid: str, volume: Volume) -> None:
    pool = conn.storagePoolLookupByName(volume.pool)
    there = pool.storageVolLookupByName(volume.name)
    if int(there.info()[1]) > volume.size_mib * MIB:
        raise HypervisorError(f"volume {volume.name} is bigger already")
    domain = unless_absent(partial(conn.lookupByUUIDString, uuid))
    if domain is None or not domain.isActive():
        there.resize(volume.size_mib * MIB, 0)
        return
    target = _target(domain, volume, str(there.path()))
    domain.blockResize(target, volume.size_mib * MIB, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)


def set_aside(conn: libvirt.virConnect, volume: Volume, name: str) -> str:
    """Call the volume otherwise; gives the name that it has then."""
    pool = conn.storagePoolLookupByName(volume.pool)
    there = _volume(pool, volume.name)
    if there is None:
        raise HypervisorError(f"no volume {volume.name} in pool {volume.pool}")
    if _type(pool) not in libvirt_volumes.FILE_POOLS:
        raise HypervisorError(f"libvirt can't rename volumes of pool {volume.pool}")
    return libvirt_volumes.set_aside(pool, there, name)


def volumes_of(conn: libvirt.virConnect, uuid: str) -> frozenset[tuple[str, str]]:
    """The volumes (pool, name) that the domain has now; none where there is no such domain."""
    xml = unless_absent(lambda: conn.lookupByUUIDString(uuid).XMLDesc(0))
    if xml is None:
        return frozenset()
    found = secure_xml.parse(xml.encode()).iterfind("devices/disk/source[@volume]")
    return frozenset((source.get("pool", ""), source.get("volume", "")) for source in found)


def targets(domain: libvirt.virDomain, along: tuple[Volume, ...]) -> list[str]:
    """What the disks that go along in a live migration are called in the running domain.

    Refused when it has another disk of its own by the site file's naming: the target would take what it has of that.
    """
    conn = domain.connect()
    own = f"{domain.name()}-"
    names = {(v.pool, v.name) for v in along}
    for source in secure_xml.parse(domain.XMLDesc(0).encode()).iterfind("devices/disk/source"):
        pool, name = source.get("pool", ""), source.get("volume", "")
        if not name.startswith(own) or (pool, name) in names:
            continue
        if _type(conn.storagePoolLookupByName(pool)) not in libvirt_volumes.NETWORK_POOLS:
            raise HypervisorError(
                f"the domain that runs has a disk {name} that the site file doesn't name; restart it first"
            )
    found = []
    for volume in along:
        pool = conn.storagePoolLookupByName(volume.pool)
        found.append(_target(domain, volume, str(pool.storageVolLookupByName(volume.name).path())))
    return found


def _target(domain: libvirt.virDomain, volume: Volume, path: str) -> str:
    """What the disk is called in the running domain."""
    for disk in secure_xml.parse(domain.XMLDesc(0).encode()).iterfind("devices/disk"):
        source, target = disk.find("source"), disk.find("target")
        if source is None or target is None:
            continue
        by_name = (source.get("pool"), source.get("volume")) == (volume.pool, volume.name)
        if by_name or path in (source.get("file"), source.get("dev")):
            return str(target.get("dev"))
    raise HypervisorError(
        f"the domain that runs has no disk {volume.disk}; it has from its next boot"
    )


def _xml(volume: Volume, capacity_bytes: int) -> str:
    root = etree.Element("volume")
    etree.SubElement(root, "name").text = volume.name
    etree.SubElement(root, "capacity", {"unit": "bytes"}).text = str(capacity_bytes)
    etree.SubElement(root, "allocation", {"unit": "bytes"}).text = "0"
    target = etree.SubElement(root, "target")
    etree.SubElement(target, "format", {"type": volume.format})
    return etree.tostring(root, encoding="unicode")
