"""How a live migration is asked of libvirt: its flags and parameters, and which of the domain's disks go along.

Decides that memory and disks never go but by the way that both hosts agreed on. Must not know why a domain moves.
"""

from __future__ import annotations

import libvirt

from xsm.edge import libvirt_disks
from xsm.edge.libvirt_facts import EMULATED
from xsm.edge.migrating import Announces
from xsm.peer.events import Way
from xsm.site.model import HypervisorKind

FLAGS = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
)
Parameters = dict[str, int | list[str]]


def migrate(dom: libvirt.virDomain, kind: HypervisorKind, announces: Announces, way: Way) -> None:
    """Returns when the guest runs on the target. The target's libvirt makes the volumes that are copied, as big as
    those here and in the same format."""
    flags, parameters = FLAGS, Parameters()
    if kind in EMULATED:  # Xen's driver refuses what it doesn't know
        if announces.bandwidth_mib_s:
            parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = announces.bandwidth_mib_s
        flags |= libvirt.VIR_MIGRATE_AUTO_CONVERGE
        flags |= libvirt.VIR_MIGRATE_TLS if way.tls else 0
        flags |= libvirt.VIR_MIGRATE_POSTCOPY if way.post_copy else 0
    if way.disks:
        flags |= libvirt.VIR_MIGRATE_NON_SHARED_DISK
        parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = libvirt_disks.targets(dom, way.disks)
    dom.migrateToURI3(way.uri, parameters, flags)
