"""What a rendering has to achieve: the VM's parameters and the host's properties. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from xsm.site.model import VM, HypervisorKind

SEEDS_DIR = "/var/lib/libvirt/xsm-seeds"
"""Where a host keeps the images of seeds (seed.py), unless it says otherwise. QEMU's own user has to reach them, so
they are not among xsmd's data. The same on all hosts: a guest that moves keeps its CD-ROM."""


@dataclass(frozen=True)
class Limits:
    """How far a VM can grow while it runs; fixed when it boots. Invariant: not less than it has."""

    max_memory_mib: int
    max_vcpus: int


@dataclass(frozen=True)
class Wanted:
    """A VM's parameters, completed; they win over its config."""

    vm: VM
    uuid: str
    mac: str  # of the first interface
    kind: HypervisorKind
    arch: str  # the host's, as libvirt names it
    limits: Limits
    cpu_weight: int | None
