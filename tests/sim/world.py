"""A whole site in one process: the real peer code against a simulated network, disk, hypervisor and clock.

Everything that happens comes from one queue ordered by simulated time, and chance only from one seeded generator, so
that a run is the same for the same seed. The checkers look from outside, at the hypervisors.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from tests.sim.hypervisor import SimHypervisor, SimSwitch, uri
from xsm.edge.act import perform
from xsm.edge.hypervisor import HypervisorError
from xsm.peer import edit as edits
from xsm.peer.derive import commit_date, derive
from xsm.peer.events import (
    Contact,
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
    Received,
    Send,
    Tick,
)
from xsm.peer.history import Commit, maximal
from xsm.peer.machine import TICK_S, Peer, messages_for
from xsm.peer.messages import Hello, decode, encode
from xsm.peer.register import Register, from_entry, to_entry
from xsm.plan.actions import Action, Step
from xsm.plan.observed import ACTIVE, HostReport
from xsm.site import state_file
from xsm.site.document import Document, Files, load
from xsm.site.problems import Invalid, Problem
from xsm.site.state import Member, State

SITE_ID = "5f0c1a52-0000-4000-8000-00000000beef"
EPOCH = 1_700_000_000
"""The wall clock when a simulation starts."""
LATENCY_S = 0.005
OBSERVE_S = 0.01
ACTION_S = 0.2
CALLS: Mapping[Step, tuple[str, ...]] = {
    **{step: (step.replace("-", "_"),) for step in Step},
    Step.CREATE: ("define", "start"),
    Step.START: ("define", "start"),
}
"""The hypervisor's calls that a step makes; the slowest of them decides how long it takes."""


class Archive:
    """All commits that anybody made, by content; a host only looks at those that it has."""

    def __init__(self) -> None:
        self.commits: dict[str, tuple[Commit, Files]] = {}

    def put(
        self,
        files: Files,
        parents: tuple[str, ...],
        author: str,
        date: int,
        message: str,
        merge: bool = False,
    ) -> str:
        tree = {path: hashlib.sha1(content).hexdigest() for path, content in sorted(files.items())}
        text = json.dumps([tree, parents, author, date, message])
        commit_id = hashlib.sha1(text.encode()).hexdigest()
        self.commits[commit_id] = (
            Commit(commit_id, parents, date, author, message, merge),
            dict(files),
        )
        return commit_id

    def past(self, heads: Iterable[str]) -> set[str]:
        """The commits that these heads contain, themselves included."""
        seen: set[str] = set()
        todo = list(heads)
        while todo:
            commit_id = todo.pop()
            if commit_id not in seen:
                seen.add(commit_id)
                todo += self.commits[commit_id][0].parents
        return seen


class HostHistory:
    """`peer.history.History` as one host sees it."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.have: set[str] = set()

    def __contains__(self, commit_id: object) -> bool:
        return commit_id in self.have

    def commit(self, commit_id: str) -> Commit:
        if commit_id not in self.have:
            raise KeyError(commit_id)
        return self.archive.commits[commit_id][0]

    def files(self, commit_id: str) -> Files:
        if commit_id not in self.have:
            raise KeyError(commit_id)
        return self.archive.commits[commit_id][1]


@dataclass
class Disk:
    """What survives a crash of a host."""

    votes: dict[str, str] = field(default_factory=dict)
    heads: tuple[str, ...] = ()


class SimHost:
    """One host: its hypervisor, disk and repository, and its daemon while that runs."""

    def __init__(self, world: World, name: str, address: str) -> None:
        self.world = world
        self.name = name
        self.address = address
        self.history = HostHistory(world.archive)
        self.disk = Disk()
        self.hypervisor = SimHypervisor(name, switch=world.switch, on_change=self._changed)
        self.peer: Peer | None = None
        self.life = 0  # counts the daemon's starts: what one began doesn't reach the next
        self.boot = 0  # counts power failures: what was under way ends with them
        self.clock_skew_s = 0.0
        self._observing = False
        self._observe_again = False

    # -- life -----------------------------------------------------

    def start_daemon(self) -> None:
        votes = {vm: from_entry(json.loads(text)) for vm, text in self.disk.votes.items()}
        self.life += 1
        self._observing = self._observe_again = False
        self.peer = Peer(self.name, votes, self.world.now)
        if self.disk.heads:
            self.take_heads((), local=False)
        self._tick(self.life)

    def kill_daemon(self) -> None:
        """kill -9 of xsmd: its domains run on."""
        self.peer = None
        self.life += 1

    def crash(self) -> None:
        """Power off: the guests are gone, the disk stays."""
        self.kill_daemon()
        self.boot += 1
        self.hypervisor.crash()

    def _tick(self, life: int) -> None:
        if life == self.life and self.peer is not None:
            self.feed(Tick())
            self.world.after(TICK_S, lambda: self._tick(life))

    def _changed(self, uuid: str) -> None:
        if self.peer is not None:
            self.world.after(0.0, self.observe)

    # -- the machine's inputs and outputs -----------------------------------------------------

    def feed(self, event: Event) -> None:
        if self.peer is None:
            return
        effects = self.peer.step(event, self.world.now)
        self.carry_out(effects)

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Persist(registers):
                    self.disk.votes.update(
                        {vm: json.dumps(to_entry(r)) for vm, r in registers.items()}
                    )
                case Deliver(members):
                    for member in members:
                        self.world.deliver(self, member)
                case Fetch(member, _):
                    self.world.fetch(self, member)
                case Observe():
                    self.observe()
                case Perform():
                    self._perform(effect)
                case Log(kind, vm, message, fields):
                    reason = fields.get("reason", "")
                    text = f"{message} ({reason})" if reason else message
                    self.world.tell(self.name, kind, vm, text)
                case Send():
                    continue  # gathered below
        for member, messages in sorted(messages_for(effects).items()):
            self.world.post(self, member, encode(messages))

    def observe(self) -> None:
        """Ask the hypervisor; a request while one is under way makes another one follow."""
        if self._observing:
            self._observe_again = True
            return
        self._observing = True
        started_at, life = self.world.now, self.life
        report = self._report()

        def done() -> None:
            if life != self.life:
                return
            self._observing = False
            self.feed(Observed(report, started_at))
            if self._observe_again:
                self._observe_again = False
                self.observe()

        self.world.after(OBSERVE_S, done)

    def _report(self) -> HostReport:
        at = self.wall()
        try:
            return HostReport(self.name, at, "", self.hypervisor.facts(), self.hypervisor.domains())
        except HypervisorError as error:
            return HostReport(self.name, at, "", error=error.reason)

    def _perform(self, effect: Perform) -> None:
        """The call reaches the hypervisor even when the daemon that made it is gone by then; not when the host is."""
        life, boot = self.life, self.boot
        step, uuid = effect.action.step, effect.action.uuid
        delay_s = max(
            [ACTION_S, *(self.hypervisor.slow_s.get(call, 0.0) for call in CALLS.get(step, ()))]
        )
        # No two end at one instant: an observation in between would be older than the second, and not know.
        delay_s += 1e-4 * (len(self.world.performed) % 97)
        self.world.performed.append((self.world.now, self.name, effect.action))
        told: list[SimHost] = []  # the target of a migration, once it has been announced there

        def announce() -> None:
            target = self._announce(uuid, effect.target_uri) if boot == self.boot else None
            told.extend([target] if target else [])

        def done() -> None:
            lost = any(not target.hypervisor.drop_incoming(uuid) for target in told)
            if boot != self.boot:
                return
            outcome, error = (
                self._call(effect) if not lost else ("", "the target closed the connection")
            )
            self.world.check()
            if life == self.life:
                self.feed(Finished(effect.action, outcome, error))

        if step is Step.MIGRATE:
            self.world.after(min(self.world.announce_s, delay_s / 2), announce)
        self.world.after(delay_s, done)

    def _announce(self, uuid: str, target_uri: str) -> SimHost | None:
        """A live migration begins: its target has the domain as "incoming" from now on."""
        target = next((h for h in self.world.hosts.values() if uri(h.name) == target_uri), None)
        if target is None or target is self or not self.world.linked(self.name, target.name):
            return None
        there = next((d for d in self.hypervisor.domains_unchecked() if d.uuid == uuid), None)
        if there is None or there.state not in ACTIVE or target.hypervisor.lost:
            return None
        return target if target.hypervisor.take_incoming(self.hypervisor, uuid) else None

    def _call(self, effect: Perform) -> tuple[str, str]:
        """The outcome, and why there is none."""
        try:
            outcome = perform(
                self.hypervisor,
                effect.action,
                xml=effect.xml,
                target_uri=effect.target_uri,
                tag=effect.tag,
            )
        except HypervisorError as failure:
            return "", failure.reason
        return outcome, ""

    def wall(self) -> float:
        return EPOCH + self.world.now + self.clock_skew_s

    # -- revisions -----------------------------------------------------

    def take_heads(self, new: Iterable[str], local: bool) -> None:
        """Add heads to this host's repository and derive what main shows."""
        self.history.have |= self.world.archive.past(new)
        heads = maximal({*self.disk.heads, *new}, self.history)
        derived = derive(heads, self.history)
        revision = heads[0]
        if len(heads) > 1:
            revision = self.world.archive.put(
                derived.files,
                derived.parents,
                derived.author,
                derived.date,
                derived.message,
                merge=True,
            )
            self.history.have.add(revision)
        changed = heads != self.disk.heads or self.peer is None or self.peer.head is None
        self.disk.heads = heads
        if changed:
            self.feed(HeadChanged(self._head(revision, heads), local))

    def _head(self, revision: str, heads: tuple[str, ...]) -> Head:
        try:
            return Head(revision, heads, load(self.history.files(revision)))
        except Invalid as invalid:
            return Head(revision, heads, None, str(invalid))

    @property
    def document(self) -> Document:
        assert self.peer is not None and self.peer.head is not None
        assert self.peer.head.document is not None, self.peer.head.problem
        return self.peer.head.document

    @property
    def head_files(self) -> Files:
        assert self.peer is not None and self.peer.head is not None
        return self.history.files(self.peer.head.revision)

    def commit(self, files: Files, message: str, author: str = "root <root@domain.com>") -> str:
        assert self.peer is not None and self.peer.head is not None
        parent = self.peer.head.revision
        date = commit_date(int(self.wall()), (self.history.commit(parent),))
        commit_id = self.world.archive.put(files, (parent,), author, date, message)
        self.take_heads((commit_id,), local=True)
        return commit_id

    def surroundings(self, moving: Mapping[str, str] | None = None) -> edits.Surroundings:
        reports: dict[str, HostReport] = {}
        unreachable: dict[str, str] = {}
        for host in self.world.hosts.values():
            report = host.peer.own_report() if host.peer else None
            if report is not None and (host is self or self.world.linked(self.name, host.name)):
                reports[host.name] = report
            else:
                unreachable[host.name] = "connection refused"
        return edits.Surroundings(reports, unreachable, self.wall(), moving or {})


class World:
    """The site, its network and its clock."""

    def __init__(
        self, names: Iterable[str], site: Files, seed: int = 0, live: bool = False
    ) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.archive = Archive()
        self.switch = SimSwitch(live=live)
        self.loss = 0.0
        self.doubled = 0.0  # share of requests that arrive twice
        self.latency_s = LATENCY_S
        self.announce_s = 0.0  # until the target of a live migration has the VM as "incoming"
        self.cut: set[frozenset[str]] = set()
        self.story: list[tuple[float, str, str, str, str]] = []
        self.warnings: tuple[Problem, ...] = ()  # of the last edit
        self.performed: list[tuple[float, str, Action]] = []
        self.checkers: list[Callable[[World], None]] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._seq = 0
        self.hosts = {
            name: SimHost(self, name, f"192.168.5.{101 + i}") for i, name in enumerate(names)
        }
        members = {
            h.name: Member(h.name, h.address, f"https://{h.address}:8701")
            for h in self.hosts.values()
        }
        state = State(site_id=SITE_ID, members=members)
        files = {**site, **state_file.write(state)}
        root = self.archive.put(files, (), "root <root@domain.com>", EPOCH - 60, "Start the site")
        for host in self.hosts.values():
            host.disk.heads = (root,)
            host.history.have.add(root)
        for host in self.hosts.values():
            host.start_daemon()

    # -- time -----------------------------------------------------

    def after(self, delay_s: float, what: Callable[[], None]) -> None:
        self._seq += 1
        heapq.heappush(self._queue, (self.now + delay_s, self._seq, what))

    def run(self, seconds: float) -> None:
        """Let simulated time go by."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.now, _, what = heapq.heappop(self._queue)
            what()
            self.check()
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit_s: float = 120.0) -> bool:
        """Let time go by until `condition` holds; False when it doesn't within the limit."""
        end = self.now + limit_s
        while not condition():
            if self.now >= end:
                return False
            self.run(TICK_S)
        return True

    def check(self) -> None:
        for checker in self.checkers:
            checker(self)

    def tell(self, host: str, kind: str, vm: str, message: str) -> None:
        self.story.append((self.now, host, kind, vm, message))

    # -- network -----------------------------------------------------

    def linked(self, one: str, other: str) -> bool:
        return frozenset({one, other}) not in self.cut

    def cut_off(self, *groups: Iterable[str]) -> None:
        """Only hosts of one group reach each other."""
        where = {name: i for i, group in enumerate(groups) for name in group}
        names = list(self.hosts)
        self.cut = {
            frozenset({a, b})
            for a in names
            for b in names
            if a != b and where.get(a, -1) != where.get(b, -2)
        }
        self.switch.cut = self.cut

    def heal(self) -> None:
        self.cut = set()
        self.switch.cut = set()

    def _reaches(self, sender: SimHost, to: str) -> SimHost | None:
        """The receiver of a request, or None when it gets lost or nobody listens."""
        receiver = self.hosts.get(to)
        if receiver is None or receiver.peer is None or not self.linked(sender.name, to):
            return None
        if receiver.peer.members and sender.name not in receiver.peer.members:
            return None  # the API refuses whom the site forgot (`daemon._admits`)
        return None if self.random.random() < self.loss else receiver

    def _request(self, sender: SimHost, to: str, arrive: Callable[[SimHost], None]) -> None:
        """One request: arrives after the latency, and the sender learns whether it did."""
        life = sender.life

        def arrival() -> None:
            receiver = self._reaches(sender, to)
            if receiver is not None:
                arrive(receiver)
            answer = Contact(to) if receiver is not None else Contact(to, "no answer")
            self.after(
                self._latency_s(), lambda: sender.feed(answer) if sender.life == life else None
            )

        for _ in range(1 + (self.random.random() < self.doubled)):
            self.after(self._latency_s(), arrival)

    def _latency_s(self) -> float:
        return self.latency_s * (1 + self.random.random())

    def post(self, sender: SimHost, to: str, body: bytes) -> None:
        def arrive(receiver: SimHost) -> None:
            messages = decode(body)
            heads = {h for m in messages if isinstance(m, Hello) for h in m.heads}
            missing = tuple(sorted(h for h in heads if h not in receiver.history))
            receiver.feed(Received(sender.name, messages, missing))

        self._request(sender, to, arrive)

    def deliver(self, sender: SimHost, to: str) -> None:
        heads = sender.disk.heads
        self._request(sender, to, lambda receiver: receiver.take_heads(heads, local=False))

    def fetch(self, asker: SimHost, member: str) -> None:
        life = asker.life

        def arrive(owner: SimHost) -> None:
            heads = owner.disk.heads
            self.after(
                self._latency_s(),
                lambda: asker.take_heads(heads, local=False) if asker.life == life else None,
            )

        self._request(asker, member, arrive)

    # -- the site -----------------------------------------------------

    def propose(
        self,
        on: str,
        files: Files,
        message: str,
        base: Files | None = None,
        remove: tuple[str, ...] = (),
    ) -> str:
        """`xsm apply` on one host: raises `Invalid` or `Overtaken` as it would refuse."""
        host = self.hosts[on]
        head = host.head_files
        tree = edits.overlay(base if base is not None else head, files, remove)
        edited = edits.edit(
            head,
            "head",
            base if base is not None else head,
            "base" if base is not None else "head",
            tree,
            host.surroundings(),
        )
        self.warnings = edited.warnings
        if not edited.changes:
            return ""
        return host.commit(edited.files, message)

    def intend(self, on: str, intent: object) -> str:
        """A command (`peer.commands.Intent`) given on one host."""
        host = self.hosts[on]
        edited = edits.edit(
            host.head_files,
            "head",
            host.head_files,
            "head",
            intent.files,
            host.surroundings(intent.moving),
            intent.state,
        )
        self.warnings = edited.warnings
        if not edited.changes:
            return ""
        return host.commit(edited.files, intent.message)

    def alive(self) -> list[SimHost]:
        return [h for h in self.hosts.values() if h.peer is not None]

    def settled(self) -> bool:
        """All daemons that run show one revision, act on it, and have nothing left that could go."""
        hosts = self.alive()
        revisions = {h.peer.head.revision for h in hosts if h.peer.head}
        reports = [h.peer.own_report() for h in hosts]
        return len(revisions) == 1 and all(
            r is not None
            and not r.pending
            and r.revision in revisions
            and r.at >= EPOCH + self.now - 5 + h.clock_skew_s
            for r, h in zip(reports, hosts, strict=True)
        )

    def running(self, uuid_or_name: str) -> list[str]:
        """Hosts on which a domain of that name is active."""
        return [
            h.name
            for h in self.hosts.values()
            for d in h.hypervisor.domains_unchecked()
            if d.name == uuid_or_name and d.state in ACTIVE
        ]


class Violation(AssertionError):
    """The site broke a promise."""


def never_twice(world: World) -> None:
    """No VM is active on two hosts at any instant."""
    where: dict[str, str] = {}
    for host in world.hosts.values():
        for vm in host.hypervisor.running():
            if vm in where:
                raise Violation(f"{vm} runs on {where[vm]} and on {host.name} at {world.now:.2f} s")
            where[vm] = host.name


def registers(world: World, name: str) -> dict[str, Register]:
    """What is on one host's disk."""
    return {vm: from_entry(json.loads(text)) for vm, text in world.hosts[name].disk.votes.items()}


__all__ = [
    "EPOCH",
    "SITE_ID",
    "SimHost",
    "Violation",
    "World",
    "never_twice",
    "registers",
    "replace",
]
