"""Commands of a scenario script by which hosts join the site and are forgotten.

Both take their time, and other things happen meanwhile. What an operator does in earnest is kept to: a host that he
said is off for good is not switched on again while it is open whether the site forgot it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.sim.members import Errand
from tests.sim.stage import Senseless, Stage
from tests.sim.world import OFF, SimHost
from xsm.peer.commands import CommandRefused
from xsm.peer.edit import describe_changes
from xsm.site.model import HypervisorKind

ERRAND_LIMIT_S = 60.0
"""By then a host has joined or was forgotten, or it is known why not: votes are waited for 10 s, requests shorter."""


class Members(Stage):
    """Who belongs to the site."""

    def __init__(self) -> None:
        super().__init__()
        self.errands: list[tuple[Errand, str]] = []  # what is under way, and about which host
        self.blank: set[str] = set()  # machines that have not joined yet

    # -- coming -----------------------------------------------------

    def do_new_host(self, name: str, word: str = "") -> None:
        """new-host NAME [witness]: a blank machine; `join` makes it one of the site's hosts, a witness if so."""
        if name in self.world.hosts:
            raise Senseless(f"there is a host {name}")
        like = next(iter(self.world.hosts.values())).hypervisor
        hypervisor = self.world.add_host(name).hypervisor
        hypervisor.kind, hypervisor.memory_mib = like.kind, like.memory_mib
        if word == "witness":
            hypervisor.kind = HypervisorKind.NONE
        self.blank.add(name)

    def do_join(self, name: str, via: str) -> None:
        """join NAME HOST: `xsm join` on a blank machine, by way of that host. It takes its time; again after a failure
        it goes on where it was."""
        host = self.host(name)
        self.open(via)
        if name not in self.blank or self.is_busy(name):
            raise Senseless(f"{name} has joined, or is about to")
        if host.hypervisor.lost == OFF:
            raise Senseless(f"{name} is off")
        self.errands.append((self.world.join(via, name), name))

    # -- going -----------------------------------------------------

    def do_forget(self, on: str, lost: str, word: str = "") -> None:
        """forget HOST HOST [it-is-off]: `xsm host forget` on the first host. It takes its time; the operator's word
        that a host is off is good."""
        self.begin_to_forget(on, lost, bool(word))

    def forget_now(self, on: str, lost: str, sure: bool) -> Iterable[str]:
        """The same, until it is done."""
        host = self.open(on)
        before = host.head_files
        errand = self.begin_to_forget(on, lost, sure)
        self.world.run_until(lambda: errand.done, ERRAND_LIMIT_S)
        self.look_after()
        if errand.error:
            raise CommandRefused(errand.error)
        return [f"applied: {line}" for line in describe_changes(before, host.head_files)]

    def begin_to_forget(self, on: str, lost: str, sure: bool) -> Errand:
        self.open(on)
        if sure and lost in self.world.hosts and self.host(lost).hypervisor.lost != OFF:
            raise Senseless(f"{lost} is not off")
        errand = self.world.forget(on, lost, sure)
        self.errands.append((errand, lost))
        if sure:
            self.gone.add(lost)
        return errand

    def do_fence(self, on: str, lost: str) -> None:
        """fence HOST HOST: `xsm host fence` on the first host. It takes its time."""
        self.open(on)
        self.host(lost)
        self.errands.append((self.world.fence(on, lost), lost))

    def do_break_fence(self, *hosts: str) -> None:
        """break-fence HOST...: their fence devices don't answer from now on."""
        self.world.broken_fences |= {self.host(name).name for name in hosts}

    # -- what became of it -----------------------------------------------------

    def look_after(self) -> None:
        """Take note of what has ended."""
        for errand, name in self.errands:
            if errand.done:
                said = f"refused: {errand.error}" if errand.error else "done"
                self.world.tell("", "script", "", f"  {errand.what}: {said}")
                if name in self.blank and self.world.hosts[name].peer is not None:
                    self.blank.discard(name)
                elif not errand.error and name not in self.blank:
                    self.gone.add(name)
        self.errands = [(errand, name) for errand, name in self.errands if not errand.done]

    def is_busy(self, name: str) -> bool:
        """Whether somebody is about to make it join, or to forget it."""
        return any(about == name and not errand.done for errand, about in self.errands)

    def may_be_switched_on(self, host: SimHost) -> None:
        """A host that an operator said is off for good stays so while that is open, in anybody's files. Raises
        `Senseless`."""
        if host.name in self.blank:
            raise Senseless(f"{host.name} has not joined")
        if host.name not in self.gone:
            return
        listed = set(self._listings(host.name))
        if self.is_busy(host.name) or len(listed) > 1:
            raise Senseless(f"somebody said that {host.name} is off")
        if listed == {True}:
            self.gone.discard(host.name)  # it was not forgotten after all

    def forgotten(self) -> set[str]:
        """Hosts that are no part of the site any more, or not yet, by what those show that are on and know of nothing
        else; and those that are still blank. One that was fenced is a part of it: it comes back by itself."""
        states = [
            host.document.state
            for host in self.world.alive()
            if self.readable(host) and host.peer and not host.peer.expelled
        ]
        listed = {name for state in states for name in (*state.members, *state.fenced)}
        return self.blank | (self.world.hosts.keys() - listed)

    def _listings(self, name: str) -> Iterator[bool]:
        """Whether it is a member: by what the other hosts show, and by each head on the disk of those that are off."""
        for other in self.world.hosts.values():
            if other.name in {name, *self.gone}:
                continue
            if self.readable(other):
                yield name in other.document.state.members
                continue
            for head in other.disk.heads:
                yield name in self.world.archive.document(head).state.members
