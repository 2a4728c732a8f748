"""What `exhaustive_members.py` searches: hosts, their lists of members, claims and changes under way, as small values.

Decides when two states are the same to the search. Must not know the rule.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from tests.sim.packed import Reg, names


class List(NamedTuple):
    """A list of members, as a document has it. Number -1: no document yet."""

    number: int = -1
    members: int = 0
    fenced: int = 0


class Claim(NamedTuple):
    epoch: int
    voters: int
    earlier: int
    gone: int = 0
    won: bool = False


class Making(NamedTuple):
    """A change of members under way at the host that makes it. `known`: what its voters told. `fence`: who is to be
    fenced, `fenced`: who has been."""

    number: int
    after: int
    off: int
    voters: int
    known: Reg
    wrote: int = 0
    fence: int = 0
    fenced: int = 0


class Host(NamedTuple):
    on: bool = False
    list: List = List()
    runs: bool = False
    reg: Reg = Reg()
    vote: Reg = Reg()
    claim: Claim | None = None
    making: Making | None = None


class State(NamedTuple):
    hosts: tuple[Host, ...]
    lists: tuple[List, ...]  # that somebody committed
    settled: frozenset[tuple[int, int]] = (
        frozenset()
    )  # won claims that others hear of: claimant, epoch


def put(s: State, i: int, host: Host, *more: tuple[int, Host]) -> State:
    new = list(s.hosts)
    new[i] = host
    for j, other in more:
        new[j] = other
    return s._replace(hosts=tuple(new))


def tidy(s: State) -> State:
    """Without what can't matter any more: old lists, votes for old changes, news that nobody needs."""
    oldest = min(h.list.number for h in s.hosts if h.list.number >= 0)
    regs = [r for h in s.hosts for r in (h.reg, h.making.known if h.making else h.reg)]
    settled = frozenset(
        (h, e)
        for h, e in s.settled
        if any((r.voted, r.claimant) == (e, h) and r.claimants != 1 << h for r in regs)
    )
    hosts = tuple(
        h._replace(vote=Reg()) if h.vote.voted <= h.list.number and h.vote.voted else h
        for h in s.hosts
    )
    known = {h.list for h in s.hosts if h.list.number >= 0}
    lists = tuple(x for x in s.lists if x.number > oldest or (x.number == oldest and known != {x}))
    return State(hosts, lists, settled)


@lru_cache(None)
def nameless(h: Host) -> tuple[Any, ...]:
    """What can be said of a host without a name."""
    c, m = h.claim or Claim(0, 0, 0), h.making or Making(0, 0, 0, 0, Reg())
    counts = tuple(
        x.bit_count() for x in (h.list.members, h.reg.claimants, c.voters, c.earlier, c.gone)
    )
    making = (
        m.number,
        m.after.bit_count(),
        m.off.bit_count(),
        m.voters.bit_count(),
        m.wrote.bit_count(),
        m.fence.bit_count(),
        m.fenced.bit_count(),
    )
    regs = (h.reg.voted, h.reg.bar, h.reg.held, h.vote.voted, h.vote.bar, m.known.voted)
    return h.on, h.list.number, h.runs, c.epoch, c.won, counts, making, regs


def text(members: int) -> str:
    return "".join(sorted(names(members)))
