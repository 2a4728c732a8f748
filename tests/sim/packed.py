"""The values of the exhaustive search: a site's state packed into small tuples, and the project's rule on them.

Hosts are numbers, sets of hosts are bits. `Rule` calls the real functions; `Site` says which of them a mutant replaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any, NamedTuple

from xsm.peer import claims, register
from xsm.peer.ballots import Ballots
from xsm.peer.claims import Attempt
from xsm.peer.messages import ClaimAnswer, EvictAnswer, EvictAsk
from xsm.peer.register import Register

VM = "v"
NAMES = "ABCDE"
LATER = 1e9
"""Any timer of `claims` has run out by then: waiting only delays, and the search knows no time."""


class Reg(NamedTuple):
    """A `Register`; hosts are numbers, sets are bits."""

    voted: int = 0
    claimant: int = -1
    claimants: int = 0
    bar: int = 0
    held: int = 0


class Try(NamedTuple):
    """An attempt. `won`: it may start the VM. `voters`, `earlier`: what was heard when its round began."""

    epoch: int
    round: int
    won: bool
    voters: int
    earlier: int


class Mail(NamedTuple):
    """Answers that may reach the claimant of `epoch`: each voter's earlier claimants (-1: no vote), who let go."""

    epoch: int
    votes: tuple[int, ...]
    gone: int


class Host(NamedTuple):
    runs: bool = False
    reg: Reg = Reg()
    attempt: Try | None = None
    flight: int = 0  # a start that libvirt was asked for: 1 by this daemon, 2 by the one before
    mail: tuple[Mail, ...] = ()


class Move(NamedTuple):
    """A live migration. `seen`: the target's libvirt shows it as incoming."""

    source: int
    target: int
    seen: bool
    known: bool  # the source's daemon is the one that asked for it


class Net(NamedTuple):
    """Messages under way, as bits, and what the operator said. `gone`: a host that was forgotten; `told`: who knows."""

    asks: int = 0
    evicts: int = 0
    lasts: int = 0  # those who were told that they are the last to let go
    settled: int = 0
    gone: int = -1
    told: int = 0


State = tuple[tuple[int, ...], Move | None, Net]  # hosts by their number in `Search.table`
Steps = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Site:
    """What is searched, and the rule. A mutant takes a part of the rule away or puts another in its place."""

    hosts: int
    epochs: int
    forget: bool = True
    migrate: bool = True
    running: bool = False  # begin where host A runs the VM under epoch 1, by everybody's vote
    newcomers: bool = False  # as `running`, but by its own vote alone: the others joined since
    limit: int = 5_000_000
    vote: Callable[..., Any] = register.vote
    settle: Callable[..., Register] = register.settle
    won: Callable[..., bool] = claims.won
    next_round: Callable[..., Attempt] = claims.next_round
    newest: Callable[[Ballots, str], int] = Ballots.newest
    may_hand_over: Callable[..., bool] = register.may_hand_over
    bars: bool = True  # letting go is written down
    fresh_answers: bool = True  # answers to an earlier attempt don't count
    votes_on_disk: bool = True
    boot_claims: bool = True  # after a crash the claim is made anew before a start
    waits_for_start: bool = True  # lets go only when no start is under way here
    looks_first: bool = True  # lets go only when it doesn't run here
    sees_incoming: bool = True  # lets go only when it isn't being received
    drops_attempt: bool = True  # letting go ends an attempt for a lower epoch
    no_claim_in_move: bool = True  # a source makes no claim while it migrates
    source_bars: bool = True  # a source is barred when it begins to migrate
    members_only: bool = True  # neither vote nor hand-over for a host that was forgotten
    stays_off: bool = True  # a forgotten host comes back only when all others know


class Result(NamedTuple):
    states: int
    running: int  # states in which the VM runs: the search isn't about a site that does nothing
    finished: bool = True
    trace: tuple[str, ...] = ()


@lru_cache(None)
def names(bits: int) -> frozenset[str]:
    return frozenset(n for i, n in enumerate(NAMES) if bits >> i & 1)


@lru_cache(None)
def bits(hosts: frozenset[str]) -> int:
    return sum(1 << NAMES.index(h) for h in hosts)


@lru_cache(None)
def unpack(reg: Reg) -> Register:
    claimant = NAMES[reg.claimant] if reg.claimant >= 0 else ""
    return Register(reg.voted, claimant, names(reg.claimants), reg.bar, reg.held)


@lru_cache(None)
def pack(r: Register) -> Reg:
    claimant = NAMES.index(r.claimant) if r.claimant else -1
    return Reg(r.voted, claimant, bits(r.claimants), r.bar, r.held)


def forward(before: Reg, after: Reg) -> Reg:
    """A register's step: neither vote, bar nor what it held ever goes back."""
    assert after.voted >= before.voted and after.bar >= before.bar and after.held >= before.held
    return after


class Rule:
    """The project's functions on packed values, remembered: they are pure."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.vote = lru_cache(None)(self._vote)
        self.epochs = lru_cache(None)(self._epochs)
        self.bar = lru_cache(None)(self._bar)
        self.settle = lru_cache(None)(self._settle)
        self.win = lru_cache(None)(self._win)
        self.newest = lru_cache(None)(self._newest)
        self.prospects = lru_cache(None)(self._prospects)

    def _vote(self, reg: Reg, epoch: int, host: int) -> tuple[Reg, bool, int]:
        after, answer = self.site.vote(unpack(reg), epoch, NAMES[host])
        new = forward(reg, pack(after))
        if self.site.vote is register.vote:  # the mutants may
            assert new.voted > reg.voted or reg.claimant in (new.claimant, -1), "a changed mind"
        return new, answer.granted, bits(answer.earlier)

    def _epochs(self, reg: Reg, me: int) -> list[int]:
        """What this host may claim now, whatever refusals it got."""
        least = range(self.site.epochs + 1)
        found = {claims.open_attempt(VM, unpack(reg), NAMES[me], e).epoch for e in least}
        return sorted(e for e in found if e <= self.site.epochs)

    def _bar(self, reg: Reg, epoch: int) -> Reg:
        return forward(reg, pack(register.bar(unpack(reg), epoch))) if self.site.bars else reg

    def _settle(self, reg: Reg, epoch: int, host: int) -> Reg:
        return forward(reg, pack(self.site.settle(unpack(reg), epoch, NAMES[host])))

    def _win(self, reg: Reg, epoch: int, me: int) -> Reg:
        return self._settle(forward(reg, pack(register.complete(unpack(reg), epoch))), epoch, me)

    def _newest(self, reg: Reg, me: int) -> int:
        return self.site.newest(Ballots(NAMES[me], {VM: unpack(reg)}), VM)

    def _prospects(
        self, reg: Reg, t: Try, mail: Mail, members: int, me: int
    ) -> tuple[int, int, tuple[Try, ...], bool]:
        """What an attempt can come to by the answers available: whom it asks to let go, whom as the last one, second
        rounds that it can begin, and whether it can be won."""
        asks, lasts, won = 0, 0, False
        rounds: dict[int, Try] = {}
        who, r, name = names(members), unpack(reg), NAMES[me]
        unheard = [v for v, e in enumerate(mail.votes) if e >= 0 and not t.voters >> v & 1]
        for heard in (h for n in range(len(unheard) + 1) for h in combinations(unheard, n)):
            a = Attempt(
                VM, t.epoch, voters=names(t.voters), earlier=names(t.earlier), round=t.round
            )
            for v in heard:
                vote = ClaimAnswer(VM, t.epoch, True, tuple(sorted(names(mail.votes[v]))), 0, "")
                a = claims.hear_vote(a, NAMES[v], vote, r, name, LATER)
            for x in sorted(names(mail.gone)):
                done = EvictAnswer(VM, t.epoch, True, "", round=t.round)
                a = claims.hear_eviction(a, x, done, r, name, LATER)
            won = won or self.site.won(a, r, name, who)
            b = self.site.next_round(a, r, name, who)
            if b.round != a.round:
                earlier = bits(b.earlier)
                # A second round with more to ask leads nowhere that one with fewer doesn't.
                if not any(e & earlier == e for e in rounds):
                    rounds[earlier] = Try(t.epoch, b.round, False, bits(b.voters), earlier)
            for to, ask in claims.questions(b, r, name, who, None, LATER)[1]:
                if isinstance(ask, EvictAsk) and b is a:
                    asks |= 1 << NAMES.index(to)
                    lasts |= ask.last << NAMES.index(to)
        return asks, lasts, tuple(rounds.values()), won


@lru_cache(None)
def spread(bits: int, to: tuple[int, ...]) -> int:
    """A set of hosts under their new names."""
    return sum(1 << to[i] for i in range(len(to)) if bits >> i & 1)
