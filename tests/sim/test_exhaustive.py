"""The claim rule never runs a VM twice, in any state that a small site can reach; and no part of it can be left out.

`make exhaustive` searches larger sites and prints the tables of docs/safety-tables.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.sim.exhaustive import Search, search
from tests.sim.packed import Result, Site
from xsm.peer import claims, register
from xsm.peer.claims import Attempt
from xsm.peer.register import Register, Vote

QUICK = {
    "2 hosts, 3 epochs": Site(2, 3),
    "3 hosts, 2 epochs, none forgotten": Site(3, 2, forget=False),
}
LARGE = {
    **QUICK,
    "3 hosts, 2 epochs": Site(3, 2),
    "3 hosts, 3 epochs, A runs it at first, none forgotten": Site(3, 3, running=True, forget=False),
    "3 hosts, 3 epochs, A runs it at first": Site(3, 3, running=True),
    "2 hosts, 4 epochs": Site(2, 4),
    "4 hosts, 2 epochs, A runs it at first, none forgotten": Site(4, 2, running=True, forget=False),
}


def no_quorum(a: Attempt, r: Register, me: str, members: frozenset[str]) -> bool:
    return claims.won(replace(a, voters=members), r, me, members)


def nobody_to_evict(r: Register, epoch: int, host: str) -> tuple[Register, Vote]:
    after, answer = register.vote(r, epoch, host)
    return after, replace(answer, earlier=frozenset())


def only_the_last_to_evict(r: Register, epoch: int, host: str) -> tuple[Register, Vote]:
    after, answer = register.vote(r, epoch, host)
    return after, replace(answer, earlier=frozenset({r.claimant}) - {host, ""})


def a_vote_for_anyone(r: Register, epoch: int, host: str) -> tuple[Register, Vote]:
    return register.vote(replace(r, claimant=host) if epoch == r.voted else r, epoch, host)


def settled_whatever_the_last_vote(r: Register, epoch: int, host: str) -> Register:
    return replace(r, claimants=frozenset({host}))


def settled_under_a_later_vote(r: Register, epoch: int, host: str) -> Register:
    return replace(r, claimants=frozenset({host})) if r.voted >= epoch else r


def one_round_is_enough(a: Attempt, r: Register, me: str, members: frozenset[str]) -> bool:
    return claims.won(replace(a, round=2), r, me, members)


SMALL = Site(2, 3)
THREE = Site(3, 2)
FULL = Site(3, 3, running=True)
MUTANTS: Mapping[str, tuple[Site, Mapping[str, Any]]] = {
    "no quorum": (SMALL, {"won": no_quorum}),
    "nobody evicted": (SMALL, {"vote": nobody_to_evict}),
    "only the last claimant evicted": (SMALL, {"vote": only_the_last_to_evict}),
    "no claim anew after a boot": (SMALL, {"boot_claims": False}),
    "answers from before a restart count": (SMALL, {"fresh_answers": False}),
    "settled whatever the last vote": (SMALL, {"settle": settled_whatever_the_last_vote}),
    "settled under a later vote": (SMALL, {"settle": settled_under_a_later_vote}),
    "letting go changes nothing": (SMALL, {"bars": False, "drops_attempt": False}),
    "lets go of what runs": (SMALL, {"looks_first": False}),
    "lets go while a start is under way": (SMALL, {"waits_for_start": False}),
    "lets go of what it is just receiving": (SMALL, {"sees_incoming": False}),
    "the source claims while it migrates": (SMALL, {"no_claim_in_move": False}),
    "hands over to anybody who ever asked": (
        SMALL,
        {"newest": lambda ballots, vm: 0, "may_hand_over": lambda newest, epoch, last: True},
    ),
    "a vote for a forgotten host": (SMALL, {"members_only": False}),
    "a forgotten host comes back at once": (SMALL, {"stays_off": False}),
    "two hosts joined that know of no claims": (THREE, {"newcomers": True}),
}
SLOW_MUTANTS: Mapping[str, tuple[Site, Mapping[str, Any]]] = {
    "a vote for anyone": (SMALL, {"vote": a_vote_for_anyone}),
    "votes not on disk": (replace(THREE, forget=False), {"votes_on_disk": False}),
    "earlier claimants asked once": (
        replace(FULL, forget=False),
        {"next_round": lambda a, r, me, members: a, "won": one_round_is_enough},
    ),
    "the source need not be the last": (
        FULL,
        {"may_hand_over": lambda newest, epoch, last: newest <= epoch},
    ),
}


def assert_safe(found: Result) -> None:
    assert found.finished
    assert found.trace == ()
    assert found.running > found.states // 10, "a site that does nothing is safe too"


@pytest.mark.parametrize("name", QUICK)
def test_no_state_has_the_vm_twice(name: str) -> None:
    assert_safe(search(QUICK[name]))


@pytest.mark.parametrize("name", MUTANTS)
def test_no_part_of_the_rule_can_be_left_out(name: str) -> None:
    site, change = MUTANTS[name]
    assert search(replace(site, **change)).trace


def test_the_hosts_names_do_not_matter() -> None:
    """Merging states that differ in names only loses nothing: the accident is found, and no longer trace."""

    class Apart(Search):
        def canonical(self, state):  # type: ignore[no-untyped-def]
            return state

    for site in (replace(Site(2, 2), vote=nobody_to_evict), replace(Site(3, 2), won=no_quorum)):
        assert len(Apart(site).run().trace) == len(search(site).trace) > 0
    assert Apart(Site(2, 2)).run().trace == search(Site(2, 2)).trace == ()


def table(
    title: str, sites: Mapping[str, Any], search: Callable[[Any], Result], unsafe: bool
) -> bool:
    """Search and print a line for each; whether all came out as they should."""
    print(f"\n| {title} | states | seconds | outcome |\n| --- | ---: | ---: | --- |", flush=True)
    right = True
    for name, site in sites.items():
        began = time.perf_counter()
        found = search(site)
        took_s = time.perf_counter() - began
        outcome = "safe" if found.finished else "safe as far as searched"
        if found.trace:
            outcome = f"UNSAFE in {len(found.trace)} steps: {'; '.join(found.trace)}"
        right = right and found.finished and bool(found.trace) == unsafe
        print(f"| {name} | {found.states:,} | {took_s:.1f} | {outcome} |", flush=True)
    return right


def tables(
    title: str,
    sites: Mapping[str, Any],
    mutants: Mapping[str, tuple[Any, Mapping[str, Any]]],
    search: Callable[[Any], Result],
) -> int:
    """Print both tables of a search; its exit code."""
    changed = {name: replace(site, **change) for name, (site, change) in mutants.items()}
    found_all = table("without this part of the rule", changed, search, unsafe=True)
    return 0 if table(title, sites, search, unsafe=False) and found_all else 1


if __name__ == "__main__":
    sys.exit(tables("the rule", LARGE, {**MUTANTS, **SLOW_MUTANTS}, search))
