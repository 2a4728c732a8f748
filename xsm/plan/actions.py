"""The plan: actions with their owner, consequence and reason. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from xsm.site.disk import Volume


class Consequence(StrEnum):
    """What an action means for the people who use the VM; `xsm plan` groups by it, in this order."""

    DISK = "make"  # a disk is made or grown, before the VM starts
    CREATE = "create"
    START = "start"
    LIVE = "live"  # changed while it runs, without a restart
    MIGRATE_LIVE = "migrate live"
    MIGRATE_COLD = "migrate cold"  # stopped here, started there
    RESTART = "restart"  # asked for
    RECREATE = "recreate"  # undefined and defined anew, disks stay
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    REMOVE = "remove"
    NEXT_BOOT = (
        "restart needed"  # takes effect when the VM is restarted; XSM doesn't do that unasked
    )
    HELD = "held"


class Step(StrEnum):
    """One libvirt call (or an atomic pair of them) that moves a VM nearer to what is wanted.

    Actions are level-triggered: a step is done, the host is observed again, and the next step follows from that.
    """

    NONE = "none"  # nothing to do now: held, waiting, or only told
    CREATE = "create"  # define, then start; needs the claim
    START = (
        "start"  # define anew (so that pending changes take effect), then start; needs the claim
    )
    CONTINUE = "continue"  # a guest that a migration cut off left paused goes on; needs the claim
    CLEAR = "clear"  # power off what a migration that was cut off left; its guest runs elsewhere
    DEFINE = "define"  # define without starting
    SHUTDOWN = "shutdown"  # ask the guest
    DESTROY = "destroy"  # power off: the guest didn't heed the request in time, or runs paused
    UNDEFINE = "undefine"  # disks stay
    SUSPEND = "suspend"
    RESUME = "resume"
    SET_MEMORY = "set-memory"
    SET_VCPUS = "set-vcpus"
    SET_WEIGHT = "set-weight"
    SET_LIMITS = "set-limits"  # of disks and network cards
    MIGRATE = "migrate"  # live, peer to peer
    MAKE_DISK = "make-disk"  # a volume that is not there; needs the claim
    RESIZE_DISK = "resize-disk"  # grow a volume of a domain that is off; needs the claim
    GROW_DISK = "grow-disk"  # while its domain runs
    SET_ASIDE = "set-aside"  # a volume that is old or incomplete gets another name: a copy will come in its place
    RECEIVE = "receive"  # claim it, so that its source migrates it here with its disks; does nothing by itself


STARTS = frozenset({Step.CREATE, Step.START, Step.CONTINUE})
"""Steps that make a guest run where it did not: only with a claim agreed by a majority (docs/design.md)."""

CLAIMED = STARTS | {Step.MAKE_DISK, Step.RESIZE_DISK}
"""What needs a claim: these, and what is done to its disks right before."""

CLAIMING = CLAIMED | {Step.RECEIVE}
"""For what a claim is made."""


@dataclass(frozen=True)
class Action:
    """One difference of one VM, and what `host`, its owner, does about it next.

    `old` and `new` are the values of `what` for people ("96 MiB"); `value` is `new` as the step needs it.
    `held`: why nothing is done for now, "" when the step may go.
    """

    vm: str
    host: str
    consequence: Consequence
    step: Step
    what: str  # "memory", "vcpus", "weight", "limits", "host", "power", "definition", ...
    old: str
    new: str
    reason: str  # "the site file says so", "drift: destroyed by hand", ...
    uuid: str = ""
    value: int = 0
    target: str = ""  # the other host of a migration or a hand-over
    held: str = ""
    volume: Volume | None = None  # of the steps that make, grow or rename a disk
    copies: tuple[str, ...] = ()  # disks that go along in a live migration

    @property
    def change(self) -> str:
        """What changes: "memory 96 MiB => 128 MiB", "host dmz01 => dmz02", "definition: disks"."""
        if self.what == "definition" and not self.old:
            return f"definition: {self.new}"
        if self.what == "domain" and self.old == "absent":
            return self.new
        if self.volume is not None and self.old == "absent":
            return f"{self.what} {self.new}"  # "disk root 10 GiB in pool default"
        return f"{self.what} {self.old} => {self.new}"

    def __str__(self) -> str:
        where = f"{self.vm} on {self.host}" if self.host else self.vm
        if self.held:
            return f"{where}: {self.change}: held: {self.held}"
        return f"{where}: {self.consequence}: {self.change} ({self.reason})"


def hold(action: Action, why: str) -> Action:
    """The same difference, but nothing is done about it until somebody mends `why`.

    It names no domain: the UUID may be that of a foreign one, which is the very reason.
    """
    held = Consequence.HELD
    return replace(action, consequence=held, step=Step.NONE, value=0, uuid="", held=why, copies=())


@dataclass(frozen=True)
class Notice:
    """Something to tell that asks for no action: a foreign domain, a reported drift, an old report."""

    host: str
    vm: str
    message: str
    foreign: bool = (
        False  # about a domain that isn't the site's: there may be many, and none is news
    )


@dataclass(frozen=True)
class Plan:
    """Invariant: sorted by (consequence order, vm, host, what); equal inputs give equal plans on every host."""

    actions: tuple[Action, ...] = ()
    notices: tuple[Notice, ...] = field(default=())

    def owned_by(self, host: str) -> tuple[Action, ...]:
        return tuple(a for a in self.actions if a.host == host)

    @property
    def empty(self) -> bool:
        """True when every VM is as the site wants it (restart-needed and held differences count)."""
        return not self.actions
