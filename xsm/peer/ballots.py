"""This host's votes: the registers of all VMs, and which of them have to be written to disk.

Decides nothing that `register.py` doesn't. Every change is remembered as unwritten until `take_unwritten`, so that
no register can change without getting to disk before anybody hears of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from xsm.peer import membership
from xsm.peer import register as rules
from xsm.peer.membership import MEMBERS
from xsm.peer.messages import ClaimAnswer, ClaimAsk, MemberAnswer, MemberAsk
from xsm.peer.register import Register, Vote

REGISTERS_LIMIT = 100_000
"""Of VMs that are, were, or that a confused member made up: registers stay for ever, and the votes file with them."""


class Ballots:
    """Invariant: `registers` is what is on disk, but for the VMs that `take_unwritten` will give."""

    def __init__(self, me: str, on_disk: Mapping[str, Register]) -> None:
        self.me = me
        self.registers: dict[str, Register] = dict(on_disk)
        self._unwritten: set[str] = set()
        self._sent: dict[str, int] = {
            vm: r.bar
            for vm, r in on_disk.items()
            if r.held < r.bar and r.claimants != {r.claimant} and vm != MEMBERS
        }
        """VM -> the claim for which this host began to migrate it away, until one as new is known to be complete. Of
        what was before its daemon's start it knows only that it let go."""

    def of(self, vm: str) -> Register:
        return self.registers.get(vm, Register())

    def has_room(self, vm: str) -> bool:
        """Whether another host's question about this VM may make a register."""
        return vm in self.registers or len(self.registers) < REGISTERS_LIMIT

    def take_unwritten(self) -> dict[str, Register]:
        """The registers that changed since the last call: to be fsynced before any other effect."""
        changed = {vm: self.registers[vm] for vm in sorted(self._unwritten)}
        self._unwritten = set()
        return changed

    def answer(self, sender: str, ask: ClaimAsk, runs_here: bool) -> ClaimAnswer:
        """This host's answer to another host's claim. `runs_here`: it sees the VM active on itself, perhaps without a
        claim of its own (somebody migrated it by hand). Then it has to be evicted like an earlier claimant."""
        vote = self._vote(ask.vm, ask.epoch, sender)
        earlier = vote.earlier | {self.me} if runs_here else vote.earlier
        return ClaimAnswer(
            ask.vm,
            ask.epoch,
            vote.granted,
            tuple(sorted(earlier)),
            vote.highest,
            vote.claimant,
            ask.attempt,
        )

    def begin_attempt(self, vm: str) -> Register:
        self._put(vm, rules.begin_attempt(self.of(vm)))
        return self.of(vm)

    def vote_for_myself(self, vm: str, epoch: int) -> Vote:
        return self._vote(vm, epoch, self.me)

    def let_go(self, vm: str, epoch: int) -> None:
        """Never start the VM here below `epoch` (`register.bar` says what must be sure before)."""
        self._put(vm, rules.bar(self.of(vm), epoch))

    def send(self, vm: str, epoch: int) -> None:
        """The same, as this host begins to migrate it to that claimant."""
        self._sent[vm] = epoch
        self.let_go(vm, epoch)

    def may_be_at(self, vm: str, epoch: int, fenced: Collection[str]) -> str:
        """Why the claim of that epoch can't go by what is seen here, "" when it can. `fenced`: earlier claimants that
        count as gone since they were fenced.

        A migration that began as its target lost its power may arrive there once that is switched on again: it waits
        for its connection. So it isn't sure that the VM is off, though it doesn't run here, nor ran there.
        """
        if not fenced or not self.of(vm).held < self._sent.get(vm, 0) < epoch:
            return ""
        hosts = ", ".join(sorted(fenced))
        return (
            f"{self.me} was migrating it away as {hosts} was fenced, and it may have arrived there since: "
            f"switch {hosts} on, or give your word that it is off: `xsm host forget {hosts} --it-is-off`"
        )

    def win(self, vm: str, epoch: int) -> None:
        """This host's own claim is complete."""
        self._put(vm, rules.complete(self.of(vm), epoch))
        self.settle(vm, epoch, self.me)

    def settle(self, vm: str, epoch: int, claimant: str) -> None:
        if epoch >= self._sent.get(vm, epoch + 1):
            del self._sent[vm]
        self._put(vm, rules.settle(self.of(vm), epoch, claimant))

    def keep_disks(self, vm: str, disks: Collection[str]) -> None:
        """Disks of the VM are here, whole."""
        self._put(vm, rules.keep_disks(self.of(vm), disks))

    def begin_copy(self, vm: str, disk: str) -> None:
        """A disk of the VM is about to be made as a copy."""
        self._put(vm, rules.begin_copy(self.of(vm), disk))

    def use_disks(self, vm: str, disks: Collection[str]) -> None:
        """What is here of them is the newest."""
        self._put(vm, rules.use_disks(self.of(vm), disks, self.me))

    def leave_disks(self, vm: str, disks: Collection[str]) -> None:
        """What is here of them may be old from now on."""
        self._put(vm, rules.leave_disks(self.of(vm), disks))

    def set_aside(self, vm: str, disk: str) -> None:
        """What was here of it has another name."""
        self._put(vm, rules.set_aside(self.of(vm), [disk]))

    def expel(self) -> None:
        """The site counts this host as gone."""
        for vm in sorted(self.registers.keys() - {MEMBERS}):
            self._put(vm, rules.expel(self.of(vm)))

    def doubted(self) -> frozenset[str]:
        """VMs whose disks here are not known to be the newest."""
        known = self.registers.items()
        return frozenset(vm for vm, r in known if r.left or r.copying or r.expelled)

    def learn(self, registers: Mapping[str, Register]) -> None:
        """Take over what other hosts know."""
        for vm, register in sorted(registers.items()):
            if vm != MEMBERS:
                self._put(vm, rules.learn_as(self.of(vm), register, self.me))

    def known(self) -> dict[str, Register]:
        """What this host knows of claims."""
        return {vm: self.registers[vm] for vm in sorted(self.registers) if vm != MEMBERS}

    def vote_for_change(self, sender: str, ask: MemberAsk, number: int) -> MemberAnswer:
        """This host's answer to a change of members; `number`: of its own list."""
        mine = self.of(MEMBERS)
        changed, why_not = membership.vote(mine, ask, sender, number)
        self._put(MEMBERS, changed)
        stuck = ask.off and membership.voted_for_others(mine, sender, number)
        return MemberAnswer(ask.number, not why_not, why_not, changed.voted, stuck)

    def outlive(self, number: int, fenced: Collection[str]) -> None:
        """The list of members is `number` now: see `membership.outlive`."""
        self._put(MEMBERS, membership.outlive(self.of(MEMBERS), number, fenced))

    def may_vote(self, claimant: str, its: int, mine: int) -> bool:
        """Whether a claim may be voted for at all: see `membership.may_vote`."""
        return membership.may_vote(self.of(MEMBERS), claimant, its, mine)

    def newest(self, vm: str) -> int:
        """The highest epoch that this host has claimed or let go for: for a lower one it says nothing any more."""
        register = self.of(vm)
        mine = register.voted if register.claimant == self.me else 0
        return max(register.held, register.bar, mine)

    def holds(self, vm: str) -> bool:
        """Whether this host's claim of the VM is complete and no newer one is known here."""
        register = self.of(vm)
        complete = register.held > 0 and register.claimant == self.me
        return complete and register.held == register.voted >= register.bar

    def _vote(self, vm: str, epoch: int, host: str) -> Vote:
        register, vote = rules.vote(self.of(vm), epoch, host)
        self._put(vm, register)
        return vote

    def _put(self, vm: str, register: Register) -> None:
        if register != self.of(vm):
            self.registers[vm] = register
            self._unwritten.add(vm)
