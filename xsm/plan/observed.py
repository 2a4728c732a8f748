"""What is really there: hosts' reports of their hypervisors' domains. Values only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from xsm.site.model import HypervisorKind
from xsm.site.tag import Tag


class DomainState(StrEnum):
    """libvirt's virDomainState, as far as XSM tells them apart (no-state and blocked count as running)."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"  # being shut down
    SHUTOFF = "shutoff"
    CRASHED = "crashed"
    SUSPENDED = "suspended"  # by the guest's own power management


ACTIVE = frozenset(
    {DomainState.RUNNING, DomainState.PAUSED, DomainState.SHUTDOWN, DomainState.SUSPENDED}
)
"""States in which the guest holds memory and may write to its disks."""


XEN_DOM0_UUID = "00000000-0000-0000-0000-000000000000"
"""libvirt lists Xen's own Domain-0 among the domains; it is nobody's VM."""


@dataclass(frozen=True)
class Domain:
    """One libvirt domain of one host."""

    name: str
    uuid: str
    state: DomainState
    memory_mib: int  # current (balloon) size
    max_memory_mib: int
    vcpus: int  # online, or what the next boot would have when inactive
    max_vcpus: int
    cpu_weight: int | None = None  # None: the hypervisor doesn't say
    started_weight: int | None = None  # what the definition of this run says, None: nothing
    persistent: bool = True
    autostart: bool = False
    mac: str | None = None  # of the first interface
    tag: Tag | None = None  # None: foreign
    incoming: bool = False  # being received by a live migration: it does not run here yet, and nobody may touch it;
    # nor what a guest that runs on its target already still fetches its memory from (post-copy)
    cut_off: bool = (
        False  # paused at the very end of a live migration away: its guest may run elsewhere by now
    )
    stopped: str = ""  # paused: how, when neither a person nor XSM did it
    unshown: bool = (
        False  # Xen: made by `xl`, so that libvirt doesn't show it and XSM can't act on it
    )

    @property
    def is_guest(self) -> bool:
        """It is active, and not merely one end of a live migration whose guest is at the other one, or may be."""
        return self.state in ACTIVE and not (self.incoming or self.cut_off)


@dataclass(frozen=True)
class HypervisorFacts:
    """What a host can do. `cold_only`: why its hypervisor can't migrate live at all, "" when it can. `no_abort`: why
    it can't end a live migration that has begun, "" when it can."""

    kind: HypervisorKind
    version: str
    arch: str
    cpus: int
    memory_mib: int
    free_memory_mib: int
    cpu_model: str = ""
    cold_only: str = ""
    migrate_uri: str = ""  # libvirt URI by which other hosts reach it, "" when none is configured
    migrate_tls: bool = False  # memory goes over TLS between hosts that both say so
    locks: str = ""  # libvirt's lock manager of disks ("lockd"), "" for none
    seeds_dir: str = ""  # where the host keeps the images for cloud-init; "": where all do
    no_abort: str = ""


def cannot_receive(facts: HypervisorFacts) -> str:
    """Why no VM can be migrated live to the host, "" when one can."""
    if facts.cold_only or facts.migrate_uri:
        return facts.cold_only
    return "its xsmd.toml sets no migrate_uri"


@dataclass(frozen=True)
class Job:
    """How far a live migration is, in the words of its source's hypervisor. Sizes are of the guest's memory, and of
    disks that are copied along."""

    elapsed_s: float = 0.0
    total_mib: int = 0  # 0: the hypervisor has not told yet
    sent_mib: int = 0  # over the network, what had to be sent again included
    remaining_mib: int = 0
    rate_mib_s: int = 0
    dirty_mib_s: int = 0  # what the guest changes meanwhile, and has to be sent again
    iteration: int = 0  # passes over the memory begun
    downtime_ms: int = 0  # that is to be expected
    post_copy: bool = False  # the guest runs on the target already, and fetches what it lacks
    disk_total_mib: int = 0  # of these, what is on disks that are copied along
    disk_remaining_mib: int = 0


@dataclass(frozen=True)
class Transfer:
    """A VM's live migration in flight. In the report of its source."""

    vm: str
    source: str
    target: str
    job: Job = Job()
    note: str = ""  # what was decided about it: called back, switched to post-copy

    def __str__(self) -> str:
        job = self.job
        text = f"{self.vm}: migrating to {self.target}"
        if job.total_mib:
            done_mib = max(0, job.total_mib - job.remaining_mib)
            text += f": {done_mib} of {job.total_mib} MiB, {job.rate_mib_s} MiB/s"
        if job.disk_total_mib:
            copied_mib = max(0, job.disk_total_mib - job.disk_remaining_mib)
            text += f" (of its disks {copied_mib} of {job.disk_total_mib} MiB)"
        if job.iteration > 1:
            text += f", pass {job.iteration} (the guest changes {job.dirty_mib_s} MiB/s)"
        return f"{text}; {self.note}" if self.note else text


@dataclass(frozen=True)
class Moved:
    """What a live migration took, once it is done."""

    total_ms: int
    downtime_ms: int
    sent_mib: int

    def __str__(self) -> str:
        took = f"{self.total_ms / 1000:.1f} s, of which the guest stood still for {self.downtime_ms} ms"
        return f"{took}; {self.sent_mib} MiB sent"

    @property
    def rate_mib_s(self) -> float:
        return self.sent_mib * 1000 / max(1, self.total_ms)

    @staticmethod
    def told_in(text: str) -> Moved | None:
        """The one that a line of the events ends with, None where there is none."""
        found = _TOLD.search(text)
        if found is None:
            return None
        return Moved(round(float(found[1]) * 1000), int(found[2]), int(found[3]))


_TOLD = re.compile(r"(\d+\.\d) s, of which the guest stood still for (\d+) ms; (\d+) MiB sent")


@dataclass(frozen=True)
class FoundDisk:
    """A disk that the site file names for a VM, as its host found it in its storage pool."""

    disk: str
    size_mib: int | None = None  # rounded down; None: it is not there
    trouble: str = ""  # why the pool can't be asked, or the volume not be used
    refused: str = (
        ""  # why this host must not make it where it is not there (`peer.disks`), "" when it may
    )
    stale: str = ""  # why what is there starts no VM: it may be old or incomplete (`peer.disks`)
    aside: str = ""  # what a stale one is to be called before a copy takes its place
    free_mib: int | None = None  # of its pool; None: unknown
    shared: bool = False  # its pool is one of a kind that is on the network
    renames: bool = False  # a volume of its pool can be called otherwise
    current: bool = False  # its VM's guest runs on it here, and is not on its way elsewhere


@dataclass(frozen=True)
class HostReport:
    """One host's word on itself at one moment.

    `facts` is None when the hypervisor can't be asked; then `error` says why and `domains` means nothing.
    """

    host: str
    at: float  # wall clock, seconds since the epoch
    revision: str  # the revision that the host acts on
    facts: HypervisorFacts | None = None
    domains: tuple[Domain, ...] = ()
    error: str = ""
    pending: tuple[str, ...] = field(default=())  # what it still has to do, one readable line each
    held: tuple[str, ...] = field(default=())  # what it can't do now, with the reason
    notes: tuple[str, ...] = field(
        default=()
    )  # what only a person should act on: restart needed, reported drift, foreign domains
    frozen: str = ""  # why it acts on nothing at all, "" normally
    transfers: tuple[Transfer, ...] = ()  # live migrations in flight from here
    lacks: Mapping[str, str] = field(
        default_factory=dict
    )  # VM that is to start here -> what it needs and the host lacks, "" nothing
    disks: Mapping[str, tuple[FoundDisk, ...]] = field(
        default_factory=dict
    )  # VM that is to be on here -> its disks by the site file, as they are

    def running(self, site_id: str) -> list[str]:
        """The site's own domains there that are not off, also of VMs that its file has no more."""
        ours = (d for d in self.domains if d.tag and d.tag.site_id == site_id)
        return [d.name for d in ours if d.state in ACTIVE]

    @property
    def says_witness(self) -> bool:
        """Its own word; what counts is `plan.witness`'s."""
        return self.facts is not None and self.facts.kind is HypervisorKind.NONE
