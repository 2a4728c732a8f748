"""A whole site in one process: the real peer code against a simulated network, disk, hypervisor and clock.

Everything that happens comes from one queue ordered by simulated time, and chance only from seeded generators, so
that a run is the same for the same seed. The checkers look from outside, at the hypervisors, disks and revisions.

What can befall it (each shown in test_world.py):
  network     world.loss, doubled, latency_s, jitter; cut_off(groups), cut_one_way(sender, receiver), heal()
  disk        host.disk.fsync_s, host.disk.commit_s; host.crash(torn), host.kill_daemon(torn), host.reboot(torn, daemon)
  clock       host.clock_skew_s
  hypervisor  hypervisor.hang(call), release(), slow_s, fail_next, lose, restore, guest_crashes and the other hands
  members     world.add_host(name), join(on, name), forget(on, name, sure), fence(on, name): these take their time, see
              `members.Errand`; broken_fences: whose fence device fails
  hints       world.hints: what Serf would say, see `hints.Hints`; none by default
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

from tests.sim import fencing, members
from tests.sim.archive import Archive
from tests.sim.disk import FSYNC_S, Changes
from tests.sim.hints import Hints
from tests.sim.host import EPOCH, SimHost, Violation
from tests.sim.hypervisor import SimSwitch
from tests.sim.members import Errand
from tests.sim.network import Network, Reply
from xsm.peer import edit as edits
from xsm.peer.commands import CommandRefused
from xsm.peer.contacts import Hint
from xsm.peer.events import Received
from xsm.peer.machine import TICK_S
from xsm.peer.messages import Hello, Message, decode, encode
from xsm.peer.register import Register
from xsm.plan.actions import Action
from xsm.plan.observed import ACTIVE
from xsm.site import state_file
from xsm.site.document import Files
from xsm.site.model import HypervisorKind
from xsm.site.problems import Problem
from xsm.site.state import Member, State

SITE_ID = "5f0c1a52-0000-4000-8000-00000000beef"
OFF = "powered off"
"""Why a hypervisor is lost: its host has no power."""
FIRST_ADDRESS = 101
"""Hosts are 192.168.5.101 and so on."""


class World(Network):
    """The site and what happens to it."""

    def __init__(
        self,
        names: Iterable[str],
        site: Files,
        seed: int = 0,
        live: bool = False,
        witness: str = "",
    ) -> None:
        """`witness`: the host that is one, if any."""
        super().__init__(Random(seed))
        self.seed = seed
        self.archive = Archive()
        self.disk_changes = Changes()
        self.switch = SimSwitch(live=live, linked=self.linked)
        self.announce_s = 0.0  # until the target of a live migration has the VM as "incoming"
        self.story: list[tuple[float, str, str, str, str]] = []
        self.warnings: tuple[Problem, ...] = ()  # of the last edit
        self.performed: list[tuple[float, str, Action]] = []
        self.asked: dict[str, tuple[Files, Files]] = {}  # commit -> what was opened, and saved
        self.heads_heard = 0  # times that a peer was told of a new head
        self.committed: dict[str, str] = {}  # edits that are on a disk: revision -> host
        self.sent: list[
            tuple[str, str, list[Message]]
        ] = []  # (from, to, messages) since the last check
        self.hints: Hints | None = None  # by default there is no membership engine
        self.broken_fences: set[str] = set()  # hosts whose fence device does not answer
        self.checkers: list[Callable[[World], None]] = []
        for name in names:
            self._new_host(name)
        if witness:
            self.hosts[witness].hypervisor.kind = HypervisorKind.NONE
        # Rows as older sites have them, but for a witness's; who joins later has the whole row.
        founders = {
            h.name: replace(self.member(h), witness=h.is_witness or None)
            for h in self.hosts.values()
        }
        state = State(site_id=SITE_ID, members=founders)
        files = {**site, **state_file.write(state)}
        root = self.archive.put(files, (), "root <root@domain.com>", EPOCH - 60, "Start the site")
        self.committed[root] = ""
        for host in self.hosts.values():
            host.disk.set_heads((root,))
            host.history.have.add(root)
        for host in self.hosts.values():
            host.start_daemon()

    # -- hosts -----------------------------------------------------

    def _new_host(self, name: str) -> SimHost:
        address = f"192.168.5.{FIRST_ADDRESS + len(self.hosts)}"
        host = self.hosts[name] = SimHost(self, name, address)
        return host

    def add_host(self, name: str) -> SimHost:
        """A blank machine, that is no member yet: it has no revision, no votes, and no daemon runs on it."""
        if name in self.hosts:
            raise ValueError(f"there is a host {name} already")
        return self._new_host(name)

    def join(self, on: str, name: str) -> Errand:
        """A blank host joins by way of another one; its daemon starts then. Raises `CommandRefused`."""
        return members.join(self, on, name)

    def forget(self, on: str, name: str, sure: bool = False) -> Errand:
        """A host is no member any more. `sure`: by somebody's word that it is off. Raises `CommandRefused`."""
        return members.forget(self, on, name, sure)

    def fence(self, on: str, name: str) -> Errand:
        """A host is switched off by its fence device, and is no member until it is back. Raises `CommandRefused`."""
        return fencing.fence(self, on, name)

    def cut_power(self, name: str) -> None:
        """The fence device's doing: the host is off, as after `crash`."""
        host = self.hosts[name]
        if host.hypervisor.lost != OFF:
            host.crash()
            host.hypervisor.lose(OFF)

    def end_change(self, host: SimHost) -> None:
        """A change of members that the host made and that came to nothing is overtaken."""
        members.end_change(host)

    def member(self, host: SimHost) -> Member:
        return Member(host.name, host.address, f"https://{host.address}:8701", host.is_witness)

    def no_more_faults(self) -> None:
        """The network and all disks are as they should be; daemons and hosts that are off stay off."""
        self.heal()
        self.loss = self.doubled = self.jitter = 0.0
        self.broken_fences.clear()
        for host in self.hosts.values():
            host.disk.fsync_s, host.disk.commit_s = FSYNC_S, 0.0
            host.hypervisor.no_more_faults()

    # -- time -----------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let simulated time go by."""
        end = self.now + seconds
        while (what := self.next_until(end)) is not None:
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
        self.sent.clear()

    def hint(self, about: SimHost, hint: Hint) -> None:
        """The membership engine, where there is one, noticed something."""
        if self.hints is not None:
            self.hints.tell(about, hint)

    def tell(self, host: str, kind: str, vm: str, message: str) -> None:
        self.story.append((self.now, host, kind, vm, message))

    # -- what daemons ask of each other ------------------------------------------------

    def post(self, sender: SimHost, to: str, messages: list[Message]) -> None:
        self.sent.append((sender.name, to, messages))
        body = encode(messages)
        self.request(sender, to, lambda receiver, reply: self._hear(sender, receiver, body, reply))

    def _hear(self, sender: SimHost, receiver: SimHost, body: bytes, reply: Reply) -> None:
        """`api.answers.Answers.receive_messages`."""
        messages = decode(body)
        heads = {h for m in messages if isinstance(m, Hello) for h in m.heads}
        missing = tuple(sorted(h for h in heads if h not in receiver.history))

        def hear() -> None:
            receiver.feed(Received(sender.name, messages, missing))
            reply(None)

        if heads and not missing and not heads <= {*receiver.disk.heads}:
            # Their commits are here, but a crash may have come before they counted as heads.
            receiver.take_heads(heads, local=False, done=hear)
        else:
            hear()

    def deliver(self, sender: SimHost, to: str) -> None:
        heads = sender.disk.heads

        def arrive(receiver: SimHost, reply: Reply) -> None:
            receiver.take_heads(heads, local=False, done=lambda: reply(None))

        self.request(sender, to, arrive)

    def fetch(self, asker: SimHost, member: str, heads: tuple[str, ...]) -> None:
        def arrive(owner: SimHost, reply: Reply) -> None:
            reply(tuple(h for h in heads if h in owner.history))

        def answered(found: object, error: str) -> None:
            if not error and isinstance(found, tuple):
                asker.take_heads(found, local=False)

        self.request(asker, member, arrive, answered)

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
        host = self.as_member(on)
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
        commit_id = host.commit(edited.files, message)
        self.asked[commit_id] = (base if base is not None else head, tree)
        return commit_id

    def intend(self, on: str, intent: object) -> str:
        """A command (`peer.commands.Intent`) given on one host."""
        host = self.as_member(on)
        edited = edits.edit(
            host.head_files,
            "head",
            host.head_files,
            "head",
            intent.files,
            replace(host.surroundings(intent.moving), planned=intent.planned),
            intent.state,
        )
        self.warnings = edited.warnings
        if not edited.changes:
            return ""
        return host.commit(edited.files, intent.message)

    def as_member(self, on: str) -> SimHost:
        """`api.answers.Answers._as_member`: a host that the site forgot takes no edits."""
        host = self.hosts[on]
        if host.peer is not None and host.peer.expelled:
            raise CommandRefused(host.peer.expelled)
        return host

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
    return dict(world.hosts[name].disk.registers)


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
