"""What a rendering has to achieve: the VM's parameters and the host's properties. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from xsm.site.model import VM, HypervisorKind


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
