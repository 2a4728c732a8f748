"""This host as a claimant: the attempts under way for the VMs that it is to start, or runs without a claim.

Decides when an attempt is opened, carried on, won, used up and dropped; the rules of one attempt are `claims.py`'s.
Must not know why a VM is wanted here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from xsm.peer import claims
from xsm.peer.ballots import Ballots
from xsm.peer.claims import Attempt
from xsm.peer.events import Effect, Log, Observe, Send
from xsm.peer.messages import ClaimAnswer, EvictAnswer, EvictAsk, Message, Settled
from xsm.plan.observed import HypervisorFacts


@dataclass(frozen=True)
class Electorate:
    """Who counts now, and what this host tells those whom it asks to let go."""

    members: frozenset[str]
    facts: HypervisorFacts | None
    silent: Callable[
        [str], bool
    ]  # whether the last thing heard of a member is that it doesn't answer
    number: int = 0  # of this list of members
    may_claim: bool = True  # this host isn't about to leave, and its list isn't overtaken
    turn: Callable[[str, float], str] = lambda vm, now: ""  # why the VM can't come live just now
    runs: Callable[[str], bool] = lambda vm: False  # whether it runs here
    disks: Callable[[str], tuple[tuple[str, ...], tuple[str, ...]]] = lambda vm: (
        (),
        (),
    )  # its disks that are to be copied here, and those that are here on shared storage
    fenced: frozenset[str] = frozenset()  # no members until they are back


class Claiming:
    def __init__(self, ballots: Ballots) -> None:
        self.me = ballots.me
        self.attempts: dict[str, Attempt] = {}
        self.asked: set[str] = set()  # VMs to claim before the document names them (adopt)
        self._ballots = ballots
        self._won_at: dict[str, float] = {}
        self._won_among: dict[str, frozenset[str]] = {}  # VM -> the members when it was last won

    def keep(
        self, needed: Iterable[str], busy: Iterable[str], who: Electorate, now: float
    ) -> list[Effect]:
        """Have an attempt for each VM in `needed` and for no other; those in `busy` are left as they are.

        None is opened for a busy one: while it is being migrated away its target may not have it yet and say so, and
        a claim won on that answer would let this host start the VM again once it is gone from here.
        """
        busy = set(busy)
        wanted = {*needed, *self.asked} if who.may_claim else set()
        for vm in sorted(set(self.attempts) - busy):
            if vm not in wanted or (self._is_stale(vm, who) and vm not in self._won_at):
                self.drop(vm)
        effects: list[Effect] = []
        for vm in sorted(wanted - set(self.attempts) - busy):
            register = self._ballots.begin_attempt(vm)
            self.attempts[vm] = claims.open_attempt(vm, register, self.me, members=who.number)
            self._vote_for_myself(vm)
            effects += self._pursue(vm, who, now)
        return effects

    def drop(self, vm: str) -> None:
        """Forget an attempt. A win is for one start: the next one, whenever it is, asks for votes anew (rule 4)."""
        self.attempts.pop(vm, None)
        self._won_at.pop(vm, None)

    def drop_all(self) -> None:
        """This host is about to leave the site: what it has won it may not start any more."""
        for vm in sorted(self.attempts):
            self.drop(vm)

    def drop_below(self, vm: str, epoch: int) -> None:
        """Another host's claim goes first."""
        attempt = self.attempts.get(vm)
        if attempt is not None and attempt.epoch < epoch:
            self.drop(vm)

    def hear_vote(
        self, sender: str, answer: ClaimAnswer, who: Electorate, now: float
    ) -> list[Effect]:
        vm = answer.vm
        if vm not in self.attempts or vm in self._won_at or self._is_stale(vm, who):
            return []
        register = self._ballots.of(vm)
        self.attempts[vm] = claims.hear_vote(
            self.attempts[vm], sender, answer, register, self.me, now
        )
        self._vote_for_myself(vm)
        return self._pursue(vm, who, now)

    def hear_eviction(
        self, sender: str, answer: EvictAnswer, who: Electorate, now: float
    ) -> list[Effect]:
        vm = answer.vm
        if vm not in self.attempts or vm in self._won_at or self._is_stale(vm, who):
            return []
        self.attempts[vm] = claims.hear_eviction(
            self.attempts[vm], sender, answer, self._ballots.of(vm), self.me, now
        )
        self._vote_for_myself(vm)
        return self._pursue(vm, who, now)

    def _is_stale(self, vm: str, who: Electorate) -> bool:
        """Whether the members have changed since the attempt was opened. Votes for it count by another list: it is
        opened anew."""
        return self.attempts[vm].members != who.number or not who.may_claim

    def carry_on(self, who: Electorate, now: float) -> list[Effect]:
        """Ask again those who have not answered."""
        return [effect for vm in sorted(self.attempts) for effect in self._pursue(vm, who, now)]

    def may_start(self, vm: str, observed_at: float) -> bool:
        """Won, and the hypervisor was looked at since: the VM may have come by migration meanwhile."""
        won_at = self._won_at.get(vm)
        return won_at is not None and observed_at >= won_at

    def is_known_to(self, vm: str, members: frozenset[str]) -> bool:
        """Whether a majority of these members voted for this host's claim; of any other members too few may have."""
        return self._won_among.get(vm) == members

    def waiting_for(self, vm: str, who: Electorate) -> tuple[str, bool]:
        """What a claim still waits for, and whether that is somebody who does not answer."""
        attempt, register = self.attempts.get(vm), self._ballots.of(vm)
        if not who.may_claim:
            return "a change of the members that it voted for has to end first", False
        if attempt is None or vm in self._won_at:
            return "looking again before the start", False
        sent = self._ballots.may_be_at(vm, attempt.epoch, self._fenced(vm, who))
        if sent:
            return sent, True
        about = (attempt, register, self.me, who.members, who.silent)
        return claims.waiting_for(*about), claims.stuck(*about)

    def kept(self, vm: str, who: Electorate) -> bool:
        """Whether others keep the VM, and say so themselves."""
        attempt, register = self.attempts.get(vm), self._ballots.of(vm)
        if attempt is None or vm in self._won_at:
            return False
        return claims.kept(attempt, register, self.me, who.members, who.silent)

    def _in_full(self, ask: Message, who: Electorate, now: float) -> Message:
        """Whoever may send the VM live now hears whether this host can receive it just now; and all hear where it runs,
        as far as that is known: who has only the end of a migration that was cut off doesn't know."""
        if not isinstance(ask, EvictAsk):
            return ask
        runs_on = self.me if who.runs(ask.vm) else self.attempts[ask.vm].runs_on
        fenced = tuple(sorted(self._fenced(ask.vm, who)))
        wait = who.turn(ask.vm, now) if ask.last else ""
        copies, shared = who.disks(ask.vm) if ask.last and not wait else ((), ())
        live = replace(ask, wait=wait, runs_on=runs_on, fenced=fenced)
        return replace(live, copies=copies, shared=shared)

    def _fenced(self, vm: str, who: Electorate) -> frozenset[str]:
        """Earlier claimants that count as gone because they were fenced."""
        return self.attempts[vm].earlier & who.fenced

    def _vote_for_myself(self, vm: str) -> None:
        attempt = self.attempts[vm]
        if self.me in attempt.voters:
            return
        vote = self._ballots.vote_for_myself(vm, attempt.epoch)
        if vote.granted:
            self.attempts[vm] = replace(
                attempt, voters=attempt.voters | {self.me}, earlier=attempt.earlier | vote.earlier
            )

    def _pursue(self, vm: str, who: Electorate, now: float) -> list[Effect]:
        """Ask who has to be asked; once the attempt is won, write that down and look at the hypervisor again."""
        attempt, register = self.attempts[vm], self._ballots.of(vm)
        if vm in self._won_at or self._is_stale(vm, who):
            return []
        attempt = claims.next_round(attempt, register, self.me, who.members)
        attempt = claims.agreed(attempt, who.members, now)
        self.attempts[vm] = attempt
        waits = claims.awaits_voices(attempt, who.members, who.silent, now)
        sent = self._ballots.may_be_at(vm, attempt.epoch, self._fenced(vm, who))
        if waits or sent or not claims.won(attempt, register, self.me, who.members):
            self.attempts[vm], asks = claims.questions(
                attempt, register, self.me, who.members, who.facts, now
            )
            return [Send(to, self._in_full(ask, who, now)) for to, ask in asks]
        effects: list[Effect] = []
        if register.held != attempt.epoch:
            self._ballots.win(vm, attempt.epoch)
            settled = Settled(vm, attempt.epoch)
            effects += [Send(m, settled) for m in sorted(who.members - {self.me})]
            votes = ", ".join(sorted(attempt.voters))
            effects.append(Log("claim", vm, f"claim won: epoch {attempt.epoch} (votes: {votes})"))
        self._won_at[vm] = now
        self._won_among[vm] = who.members
        self.asked.discard(vm)
        return [*effects, Observe()]
