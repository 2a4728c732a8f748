"""The site as its file describes it: sets, VMs, hosts. Values only; no reading, no defaults from outside.

The names of the file's elements (DOM0, VCPUS, HWADDR, ...) come from Figure 3 of the XSM paper; the
table that ties them to these attributes is in `fields.py`. Memory is in MiB everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from xsm.site.disk import Disk


class Power(StrEnum):
    """What the user wants a VM to be doing."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class HypervisorKind(StrEnum):
    """What runs a host's VMs; a VM's domain XML differs by it."""

    XEN = "xen"
    KVM = "kvm"
    QEMU = "qemu"  # software emulation
    TEST = "test"  # libvirt's test driver
    NONE = "none"  # a witness: it has a vote and runs no VMs


class Migration(StrEnum):
    """How a VM may change hosts while it runs: `live` only, `cold` too (stop, then start there), or `never`."""

    LIVE = "live"
    COLD = "cold"
    NEVER = "never"


class PostCopy(StrEnum):
    """Whether a live migration that doesn't come to an end may let the guest run on the target before all of its memory
    is there. When the link or a host fails then, the guest is lost."""

    NEVER = "never"
    ALLOWED = "allowed"


class CopyDisks(StrEnum):
    """Whether a live move to a host that hasn't got the VM's own disks copies them to it."""

    NO = "no"
    YES = "yes"


class Drift(StrEnum):
    """What to do when somebody changed the domain behind XSM's back."""

    REPAIR = "repair"
    REPORT = "report"


@dataclass(frozen=True)
class VM:
    """One virtual machine as the site file wants it.

    Invariant: a `VM` that a reader returned has passed every check that needs only itself (names,
    numbers, addresses); checks across VMs and files are `checks.py`'s.
    """

    name: str
    config: str
    set_name: str
    vcpus: int
    memory_mib: int
    host: str | None = None  # DOM0 as written: a host's name or address; None: floating
    mac: str | None = None  # canonical aa:bb:cc:dd:ee:ff; None: derived from the VM's UUID
    ip: str | None = None  # "dhcp", or a static IPv4/IPv6 address with optional /prefix
    uuid: str | None = None  # None: derived from the site's id and the VM's name
    max_memory_mib: int | None = None  # None: the config's, or memory_mib
    max_vcpus: int | None = None  # None: the config's, or vcpus
    cpu_weight: int | None = (
        None  # 1..65535, Xen credit weight / libvirt cpu shares; None: the config's
    )
    power: Power = Power.RUNNING
    migration: Migration = Migration.LIVE
    post_copy: PostCopy = PostCopy.NEVER
    drift: Drift = Drift.REPAIR
    apart: tuple[
        str, ...
    ] = ()  # anti-affinity tags, sorted: VMs that share one go to different hosts
    user_data: str | None = None  # name of a file for cloud-init (seed.py); None: it gets none
    disks: tuple[Disk, ...] = ()  # volumes of storage pools, beside the disks of its config
    copy_disks: CopyDisks = CopyDisks.NO
    line: int = field(default=0, compare=False)  # where its entry starts in the site file

    @property
    def copies_disks(self) -> bool:
        """Its disks are its host's own, and go along in a live move."""
        return self.copy_disks is CopyDisks.YES and bool(self.disks)


@dataclass(frozen=True)
class VMSet:
    """A named group of VMs with an owner (the paper's Set and Owner)."""

    name: str
    owner: str = ""
    vms: tuple[VM, ...] = ()
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Host:
    """A host that the file lists. Hosts that only a DOM0 names are implied and have no entry."""

    name: str
    address: str | None = None  # what DOM0 may say instead of the name
    mac: str | None = None  # for deployment
    uri: str | None = None  # libvirt URI as seen on the host itself; None: what its xsmd was told
    memory_mib: int | None = None  # what VMs may use in all; None: what the hypervisor reports
    fence: str | None = None  # what switches it off from outside (fence.py); None: nothing does
    fence_after_s: int | None = None  # of silence, until it is fenced unasked; None: never
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Site:
    """A whole site file. Equal sites mean the same, whatever their layout or format."""

    sets: tuple[VMSet, ...] = ()
    hosts: tuple[Host, ...] = ()

    def vms(self) -> Iterator[VM]:
        """All VMs, in file order."""
        for vm_set in self.sets:
            yield from vm_set.vms

    def vm(self, name: str) -> VM | None:
        return next((vm for vm in self.vms() if vm.name == name), None)
