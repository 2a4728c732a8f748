"""Whether a host has what a domain needs to start there: files, bridges, libvirt's networks and volumes, the CPU.

Decides what is proof that something is lacking. Where there is none (a path that xsmd may not look at, a CPU under
emulation) nothing is said, and libvirt has the last word when the domain starts. Must not know which VM it is for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import libvirt

from xsm.edge.libvirt_errors import looked_up, said
from xsm.site.model import HypervisorKind
from xsm.site.needs import Needs

INTERFACES = Path("/sys/class/net")
LOCAL = frozenset({HypervisorKind.XEN, HypervisorKind.KVM, HypervisorKind.QEMU})
"""The test driver's domains have no real disks and bridges."""


def lacking(conn: libvirt.virConnect, kind: HypervisorKind, needs: Needs) -> str:
    """The first few things that are lacking. Raises `libvirtError` when libvirt can't be asked."""
    if kind not in LOCAL:
        return ""
    host = str(conn.getHostname())
    found = [*_files(host, needs), *_networks(conn, host, needs), *_cpu(conn, kind, host, needs)]
    more = f" (and {len(found) - 2} more)" if len(found) > 2 else ""
    return ", ".join(found[:2]) + more


def _files(host: str, needs: Needs) -> Iterator[str]:
    for path in needs.paths:
        try:
            os.stat(path)
        except PermissionError:
            continue  # libvirt may be allowed to what xsmd isn't
        except (FileNotFoundError, NotADirectoryError):
            yield f"{path} is not on {host}"
        except OSError as error:
            yield f"{path} can't be read on {host}: {error.strerror}"
    for bridge in needs.bridges:
        if not (INTERFACES / bridge).exists():
            yield f"{host} has no bridge {bridge}"


def _networks(conn: libvirt.virConnect, host: str, needs: Needs) -> Iterator[str]:
    for name in needs.networks:
        network = looked_up(partial(conn.networkLookupByName, name))
        if network is None:
            yield f"{host} has no libvirt network {name}"
        elif not network.isActive():
            yield f"libvirt's network {name} is off on {host} (`virsh net-start {name}`)"
    for pool_name, volume in needs.volumes:
        pool = looked_up(partial(conn.storagePoolLookupByName, pool_name))
        if pool is None:
            yield f"{host} has no storage pool {pool_name}"
        elif not pool.isActive():
            yield f"storage pool {pool_name} is off on {host} (`virsh pool-start {pool_name}`)"
        elif looked_up(partial(pool.storageVolLookupByName, volume)) is None:
            yield f"volume {volume} is not in storage pool {pool_name} on {host}"


def _cpu(conn: libvirt.virConnect, kind: HypervisorKind, host: str, needs: Needs) -> Iterator[str]:
    """A model that is named. Under emulation every model is able; Xen's driver can't compare."""
    if not needs.cpu or kind is not HypervisorKind.KVM:
        return
    asked = (None, None, None, "kvm", needs.cpu, 0)
    result = said(lambda: conn.compareHypervisorCPU(*asked))
    if result == libvirt.VIR_CPU_COMPARE_INCOMPATIBLE:
        yield f"the CPU of {host} is not able to be what the config asks for"
