"""One host of a simulated site: its hypervisor, disk and repository, and its daemon while that runs.

Carries out what the real `peer.machine.Peer` says, in the order and with the waits of `xsm/daemon.py`: an event at a
time, votes on disk before anything else goes on, revisions in a queue of their own.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import TYPE_CHECKING

from tests.sim.archive import HostHistory
from tests.sim.disk import Disk, JournalDamaged, Torn
from tests.sim.fencing import Fencing
from tests.sim.flight import Flight
from tests.sim.hypervisor import LOOKING, SimHypervisor
from tests.sim.jobs import Job, Look
from xsm.edge.act import perform
from xsm.edge.hypervisor import HypervisorError
from xsm.edge.preflight import found_disks
from xsm.peer import edit as edits
from xsm.peer.contacts import Hint
from xsm.peer.derive import commit_date
from xsm.peer.events import (
    Abort,
    Deliver,
    Effect,
    Event,
    Fetch,
    Finished,
    Head,
    HeadChanged,
    Log,
    Observe,
    Observed,
    Perform,
    Persist,
    Send,
    Tick,
)
from xsm.peer.machine import TICK_S, Peer
from xsm.peer.posts import messages_for
from xsm.plan.actions import Action, Step
from xsm.plan.observed import HostReport
from xsm.site.document import Document, Files
from xsm.site.model import HypervisorKind
from xsm.site.needs import Needs
from xsm.site.problems import Invalid

if TYPE_CHECKING:
    from tests.sim.world import World

EPOCH = 1_700_000_000
"""The wall clock when a simulation starts."""
AUTHOR = "root <root@domain.com>"
OBSERVE_S = 0.01
LOOK_LIMIT_S = 30.0
"""`edge.observer.LOOK_LIMIT_S`: a hypervisor that takes longer to list its domains counts as not answering."""
ACTION_S = 0.2
ABORT_S = 0.05
EVENTS_LIMIT = 10_000
"""`daemon.EVENTS_LIMIT`: with more events waiting the daemon ends."""
CALLS: Mapping[Step, tuple[str, ...]] = {
    **{step: (step.replace("-", "_"),) for step in Step},
    Step.CREATE: ("define", "start"),
    Step.START: ("define", "start"),
}
"""The hypervisor's calls that a step makes; the slowest of them decides how long it takes."""


class Violation(AssertionError):
    """The site broke a promise."""


class SimHost:
    """A machine with its xsmd. `peer` is None while no daemon runs."""

    def __init__(self, world: World, name: str, address: str) -> None:
        self.world = world
        self.name = name
        self.address = address
        self.history = HostHistory(world.archive)
        self.disk = Disk(Random(f"disk of {name} {world.seed}"), world.disk_changes)
        self.hypervisor = SimHypervisor(name, switch=world.switch, on_change=self._changed)
        self.peer: Peer | None = None
        self.head: Head | None = None  # what its repository shows; the peer hears of it soon
        self.life = 0  # counts the daemon's starts: what one began doesn't reach the next
        self.boot = 0  # counts power failures: what was under way ends with them
        self.is_changing_members = False
        self.has_joined = False  # has a certificate that it got by joining
        self.clock_skew_s = 0.0
        self.on_death: dict[int, Callable[[], None]] = {}  # what breaks off when the daemon dies
        self._inbox: deque[tuple[Event, Callable[[], None] | None]] = deque()
        self._stepping = False
        self._jobs: deque[Job] = deque()
        self._observing = False
        self._observe_again = False
        self._look: Look | None = None
        self._needs: Mapping[str, Needs] = {}

    @property
    def is_witness(self) -> bool:
        return self.hypervisor.kind is HypervisorKind.NONE

    # -- life -----------------------------------------------------

    def start_daemon(self) -> None:
        """xsmd starts. It finds what is on its disk."""
        try:
            votes = self.disk.open_votes()
        except JournalDamaged as damaged:
            raise Violation(f"{self.name} can't read its votes: {damaged}") from damaged
        self.life += 1
        self.head = None
        self._forget_all()
        self.peer = Peer(self.name, votes, self.world.now)
        self._fencing = Fencing(self)
        if self.disk.heads:
            self._take((), local=False, parent=None)
        self._tick(self.life)
        self.world.hint(self, Hint.JOINED)

    def kill_daemon(self, torn: Torn | None = None) -> None:
        """kill -9 of xsmd: its domains run on. `torn`: what it leaves of a write that is under way; by chance."""
        if self.peer is not None:
            self.disk.stop_write(torn)
            self._break_off(torn)
            self.world.hint(self, Hint.FAILED)
        self.peer = self.head = None
        self.life += 1
        self._forget_all()
        self.hypervisor.give_up_hanging()

    def crash(self, torn: Torn | None = None) -> None:
        """Power off: the guests are gone, the disk stays. `torn`: what of a write is on it; by chance."""
        self.kill_daemon(torn)
        self.disk.lose_power(torn)
        self.boot += 1
        self.hypervisor.crash()

    def reboot(self, torn: Torn | None = None, daemon: bool = True) -> None:
        """Power off and on. `daemon`: whether xsmd starts with it."""
        self.crash(torn)
        if daemon:
            self.start_daemon()

    def _forget_all(self) -> None:
        """A daemon's memory."""
        self._inbox.clear()
        self._jobs.clear()
        self._stepping = self._observing = self._observe_again = False
        self.is_changing_members = False
        self._look = None
        self._needs = {}
        broken, self.on_death = self.on_death, {}
        for tell in broken.values():
            tell()

    def _tick(self, life: int) -> None:
        if life == self.life and self.peer is not None:
            self.feed(Tick())
            if self.peer.has_unended_change and not self.is_changing_members:
                self.world.end_change(self)
            self._fencing.tick()
            self.world.after(TICK_S, lambda: self._tick(life))

    def _changed(self, uuid: str) -> None:
        if self.peer is not None:
            self.world.after(0.0, self.observe)

    # -- the machine's inputs and outputs -----------------------------------------------------

    def feed(self, event: Event, done: Callable[[], None] | None = None) -> None:
        """Give the machine an event; it takes them in order. `done` is called when its effects are carried out."""
        if self.peer is None:
            return
        self._inbox.append((event, done))
        if len(self._inbox) > EVENTS_LIMIT:
            self.world.tell(self.name, "daemon", "", "ends: too many events wait for it")
            self.kill_daemon()
        elif not self._stepping:
            self._step_on()

    def _step_on(self) -> None:
        self._stepping = True
        while self._inbox and self.peer is not None:
            event, done = self._inbox.popleft()
            effects = self.peer.step(event, self.world.now)
            self.world.heads_heard += isinstance(event, HeadChanged)
            if effects and isinstance(effects[0], Persist) and self.disk.fsync_s:
                self._persist(effects[0], effects[1:], done)
                return
            self._carry_out(effects, done)
        self._stepping = False

    def _persist(
        self, votes: Persist, others: list[Effect], done: Callable[[], None] | None
    ) -> None:
        """Nothing goes on before the votes are on disk."""
        life = self.life
        self.disk.begin_write(votes.registers)

        def written() -> None:
            if life != self.life:
                return
            self.disk.end_write(votes.registers)
            self._carry_out(others, done)
            self._step_on()

        self.world.after(self.disk.fsync_s, written)

    def _carry_out(self, effects: list[Effect], done: Callable[[], None] | None) -> None:
        for effect in effects:
            match effect:
                case Persist(registers):
                    self.disk.begin_write(registers)
                    self.disk.end_write(registers)
                case Deliver(members):
                    for member in members:
                        self.world.deliver(self, member)
                    self.world.hint(self, Hint.NEWS)
                case Fetch(member, heads):
                    self.world.fetch(self, member, heads)
                case Observe(needs):
                    self._needs = self._needs if needs is None else needs
                    self.observe()
                case Perform():
                    self._perform(effect)
                case Abort(action):
                    self._abort(action)
                case Log(kind, vm, message, fields):
                    reason = fields.get("reason", "")
                    text = f"{message} ({reason})" if reason else message
                    self.world.tell(self.name, kind, vm, text)
                case Send():
                    continue  # gathered below
        for member, messages in sorted(messages_for(effects).items()):
            self.world.post(self, member, messages)
        if done is not None:
            done()

    # -- looking -----------------------------------------------------

    def observe(self) -> None:
        """Ask the hypervisor; a request while one is under way makes another one follow."""
        if self.peer is None:
            return
        if self._observing:
            self._observe_again = True
            return
        self._observing = True
        look = self._look
        if look is None:
            look = self._look = Look(self.world.now, self._report())
            look.hangs = self.hypervisor.hangs(
                LOOKING, lambda ended: self._answered(look) if ended else None
            )
            if not look.hangs:
                life = self.life
                self.world.after(
                    OBSERVE_S, lambda: self._answered(look) if life == self.life else None
                )
                return
        self._give_up_later(look)

    def _answered(self, look: Look) -> None:
        """The hypervisor has told what it saw when it was asked."""
        if look is not self._look:
            return
        self._look = None
        look.hangs = False
        self._looked(look.report, look.began_at)

    def _ended(self, event: Finished) -> None:
        """A call is over. A look that began in this very moment began before: it may not show what the call did."""
        if self._look is not None:
            self._look.began_at = min(self._look.began_at, self.world.now - 1e-9)
        self.feed(event)

    def _give_up_later(self, look: Look) -> None:
        """A look that hangs is waited for no longer than that; the next one waits for the same answer."""
        look.waits += 1
        this, life, asked_at = look.waits, self.life, self.world.now

        def late() -> None:
            if life == self.life and look is self._look and look.waits == this:
                why = f"no answer within {LOOK_LIMIT_S:.0f} s"
                self._looked(HostReport(self.name, self.wall(), "", error=why), asked_at)

        self.world.after(LOOK_LIMIT_S, late)

    def _looked(self, report: HostReport, began_at: float) -> None:
        self._observing = False
        self.feed(Observed(report, began_at))
        if self._observe_again:
            self._observe_again = False
            self.observe()

    def _report(self) -> HostReport:
        at = self.wall()
        try:
            facts, domains = self.hypervisor.facts(), self.hypervisor.domains()
            needs = self._needs.items()
            lacks = {vm: self.hypervisor.lacking(each) for vm, each in needs}
            disks = {vm: found_disks(self.hypervisor, each) for vm, each in needs if each.own}
            return HostReport(self.name, at, "", facts, domains, lacks=lacks, disks=disks)
        except HypervisorError as error:
            return HostReport(self.name, at, "", error=error.reason)

    def wall(self) -> float:
        """What this host's clock shows; it may jump at any time."""
        return EPOCH + self.world.now + self.clock_skew_s

    # -- acting -----------------------------------------------------

    def _perform(self, effect: Perform) -> None:
        """The call reaches the hypervisor even when the daemon that made it is gone by then; not when the host is, nor
        when it hung meanwhile. One whose daemon is gone doesn't hang any more: that what was asked of libvirt shows
        soon after is assumed (docs/safety.md)."""
        life, boot = self.life, self.boot
        step = effect.action.step
        calls = CALLS.get(step, ())
        delay_s = max([ACTION_S, *(self.hypervisor.slow_s.get(call, 0.0) for call in calls)])
        # No two end at one instant: an observation in between would be older than the second, and not know.
        delay_s += 1e-4 * (len(self.world.performed) % 97)
        self.world.performed.append((self.world.now, self.name, effect.action))
        self.world.check()  # against the revision that its peer goes by now: the next event may bring another
        flight: Flight | None = None

        def aborted() -> None:
            self.world.check()
            if life == self.life:
                self._ended(Finished(effect.action, "ended on the way, it runs on here"))

        def end(is_done: bool = True) -> None:
            if flight is not None and flight.is_aborted:
                return
            lost = flight is not None and not flight.land()
            if boot != self.boot or not is_done:
                return
            outcome, error = (
                self._call(effect) if not lost else ("", "the target closed the connection")
            )
            self.world.check()
            if life == self.life:
                self._ended(Finished(effect.action, outcome, error))

        def arrive() -> None:
            if boot != self.boot or life != self.life or not self.hypervisor.hangs(calls, end):
                end()

        if step is Step.MIGRATE:
            flight = Flight(self, effect, aborted)
            self.world.after(min(self.world.announce_s, delay_s / 2), flight.announce)
        self.world.after(delay_s, arrive)

    def _abort(self, action: Action) -> None:
        """As `_perform`: it reaches the hypervisor after its daemon's death, too."""
        boot = self.boot

        def arrive() -> None:
            if boot == self.boot:
                # One that comes too late finds nothing to end.
                with contextlib.suppress(HypervisorError):
                    self.hypervisor.abort(action.uuid)

        self.world.after(self.hypervisor.slow_s.get("abort", ABORT_S), arrive)

    def _call(self, effect: Perform) -> tuple[str, str]:
        """The outcome, and why there is none."""
        try:
            outcome = perform(
                self.hypervisor,
                effect.action,
                xml=effect.xml,
                way=effect.way,
                tag=effect.tag,
            )
        except HypervisorError as failure:
            return "", failure.reason
        return outcome, ""

    # -- revisions -----------------------------------------------------

    def take_heads(
        self, new: Iterable[str], local: bool, done: Callable[[], None] | None = None
    ) -> None:
        """Add heads to this host's repository, and derive what main shows: one after the other, as the disk goes."""
        self._queue(Job(tuple(new), local, None, done))

    def commit(self, files: Files, message: str) -> str:
        """Commit an edit that was made from the head. Nobody hears of it before it is on disk."""
        assert self.head is not None
        parent = self.head.revision
        commit_id = self.new_commit(files, message, parent)
        self.take_edit(commit_id, parent)
        return commit_id

    def new_commit(self, files: Files, message: str, parent: str) -> str:
        date = commit_date(int(self.wall()), (self.history.commit(parent),))
        return self.world.archive.put(files, (parent,), AUTHOR, date, message)

    def take_edit(
        self, commit_id: str, parent: str, done: Callable[[], None] | None = None
    ) -> None:
        """Make an edit the head, if that is still what it was made from. `done` is called whether or not."""
        self._queue(Job((commit_id,), True, parent, done))

    def store(self, heads: tuple[str, ...]) -> None:
        """Take up revisions while no daemon runs."""
        self.history.have |= self.world.archive.past(heads, self.history.have)
        self.disk.set_heads(self.world.archive.maximal({*self.disk.heads, *heads}))

    def _queue(self, job: Job) -> None:
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._begin_job()

    def _begin_job(self) -> None:
        life = self.life

        def written() -> None:
            if life != self.life:
                return
            job = self._jobs[0]
            self._take(job.heads, job.local, job.parent)
            if job.done is not None:
                job.done()
            if life == self.life:
                self._jobs.popleft()
                if self._jobs:
                    self._begin_job()

        if self.disk.commit_s:
            self.world.after(self.disk.commit_s, written)
        else:
            written()

    def _break_off(self, torn: Torn | None) -> None:
        """The daemon dies while the repository is written: commits may be there, and the heads moved, or not yet."""
        if not self._jobs or not self.disk.commit_s:
            return
        job = self._jobs[0]
        if job.parent is not None and (self.head is None or self.head.revision != job.parent):
            return
        left = self.disk.pick(torn)
        if left != "nothing":
            self.history.have |= self.world.archive.past(job.heads, self.history.have)
        if left == "all":
            self.disk.set_heads(self.world.archive.maximal({*self.disk.heads, *job.heads}))

    def _take(self, new: tuple[str, ...], local: bool, parent: str | None) -> None:
        if parent is not None and (self.head is None or self.head.revision != parent):
            self.world.tell(self.name, "edit", "", "refused: the site has moved on meanwhile")
            return
        archive = self.world.archive
        self.history.have |= archive.past(new, self.history.have)
        heads = archive.maximal({*self.disk.heads, *new})
        changed = heads != self.disk.heads or self.head is None
        if not changed:
            return
        revision = archive.shown(heads)
        self.history.have.add(revision)
        self.disk.set_heads(heads)
        self.head = self._as_head(revision, heads)
        if parent is not None:
            self.world.committed[new[0]] = self.name
        self.feed(HeadChanged(self.head, local))

    def _as_head(self, revision: str, heads: tuple[str, ...]) -> Head:
        try:
            return Head(revision, heads, self.world.archive.document(revision))
        except Invalid as invalid:
            return Head(revision, heads, None, str(invalid))

    @property
    def document(self) -> Document:
        assert self.head is not None
        assert self.head.document is not None, self.head.problem
        return self.head.document

    @property
    def head_files(self) -> Files:
        assert self.head is not None
        return self.history.files(self.head.revision)

    def surroundings(self, moving: Mapping[str, str] | None = None) -> edits.Surroundings:
        """What it knows of all hosts when it is asked to plan."""
        reports: dict[str, HostReport] = {}
        unreachable: dict[str, str] = {}
        for host in self.world.hosts.values():
            if host.name not in self.document.state.members:
                continue
            report = host.peer.own_report() if host.peer else None
            if report is not None and (host is self or self.world.linked(self.name, host.name)):
                reports[host.name] = report
            else:
                unreachable[host.name] = "connection refused"
        return edits.Surroundings(reports, unreachable, self.wall(), moving or {})
