"""While its members change, the site never runs a VM twice either; and no part of that rule can be left out.

`make exhaustive` searches larger sites and prints the tables of docs/safety-tables.md.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.sim.exhaustive_members import Changes, search
from tests.sim.member_states import Host, List, Making
from tests.sim.packed import Reg
from tests.sim.test_exhaustive import assert_safe, tables
from xsm.peer import membership, register
from xsm.peer.membership import Change
from xsm.peer.messages import MemberAsk
from xsm.peer.register import Register

QUICK = {
    "1 host runs it, 2 join": Changes(3, 1, join="BC", running=1),
    "2 hosts, B leaves alive": Changes(2, 2, leave="B"),
    "2 hosts, B is forgotten": Changes(2, 2, forget="B"),
    "2 hosts fence one another": Changes(2, 2, fence="AB", running=2, numbers=1),
}
AB, ABC, ABCD, ABCDE = 0b11, 0b111, 0b1111, 0b11111
B_LAGS = tuple(Host(True, List(2, ABCDE) if n != "B" else List(0, ABC)) for n in "ABCDE")
"""D and E joined ABC; A, C and D agreed to that. B hasn't heard of it."""
C_LEFT = (
    Host(True, List(1, AB)),
    *[Host(True, List(0, ABC), vote=Reg(1, 0, 0b100, 0, 0))] * 2,
    Host(),
)
"""A has forgotten C, which is alive; B and C agreed to that and haven't heard that it is done."""
OVERTAKEN = (
    Host(True, List(0, AB), vote=Reg(2, 1, 0, 0, 0), making=Making(1, ABC, 0, AB, Reg(), AB)),
    Host(True, List(0, AB), vote=Reg(2, 1, 0, 0, 0), making=Making(2, 0b1011, 0, AB, Reg(), AB)),
    Host(),
    Host(),
)
"""A and B agreed to A's change, C joins; then to B's, D joins. Neither is committed."""
FROM_THERE: Mapping[str, Changes] = {
    "5 hosts, B doesn't know that D and E joined": Changes(5, 5, begin=B_LAGS, epochs=1),
    "4 hosts, C has left and doesn't know, D joins": Changes(4, 4, "D", begin=C_LEFT, epochs=1),
    "4 hosts, C and D join at once": Changes(4, 4, begin=OVERTAKEN, epochs=1),
}
A_FENCED = Changes(3, 3, fence="A", running=2, numbers=1, crashes=False)
LARGE = {
    **QUICK,
    "3 hosts, A runs it, is fenced and may be back at once": A_FENCED,
    "3 hosts, 1 epoch, A and B are fenced and come back": Changes(
        3, 3, fence="AB", running=2, epochs=1, crashes=False
    ),
    **FROM_THERE,
    "1 host runs it, 2 join and are told nothing": Changes(
        3, 1, join="BC", running=1, newcomer_knows=False
    ),
    "1 host, 2 join": Changes(3, 1, join="BC"),
    "2 hosts, A runs it, C joins, changes up to 2": Changes(3, 2, join="C", running=2),
    "3 hosts, 2 know that A runs it, C is forgotten": Changes(
        3, 3, forget="C", running=2, numbers=1
    ),
    "2 hosts, 1 epoch, B is forgotten, C joins": Changes(3, 2, "C", "B", epochs=1),
    "3 hosts, 1 epoch, B and C forgotten at once": Changes(
        3, 3, forget="BC", together=True, epochs=1, numbers=1
    ),
}


def a_vote_for_every_change(
    mine: Register, ask: MemberAsk, sender: str, number: int
) -> tuple[Register, str]:
    return replace(mine, voted=ask.number, claimant=sender, bar=number), ""


def a_vote_by_an_old_list(
    mine: Register, ask: MemberAsk, sender: str, number: int
) -> tuple[Register, str]:
    return membership.vote(mine, replace(ask, base=number), sender, number)


def votes_for_who_leaves(vote: Register, claimant: str, its: int, mine: int) -> bool:
    return membership.may_vote(replace(vote, claimants=frozenset()), claimant, its, mine)


def overtaken_lists_count(vote: Register, claimant: str, its: int, mine: int) -> bool:
    return its == mine


def any_list_counts(vote: Register, claimant: str, its: int, mine: int) -> bool:
    return membership.may_vote(vote, claimant, mine, mine)


def first_claimant_stays(mine: Register, other: Register) -> Register:
    learnt = register.learn(mine, other)
    return replace(learnt, claimant=mine.claimant) if mine.voted == other.voted else learnt


def a_forget_may_overtake(
    mine: Register, ask: MemberAsk, sender: str, number: int
) -> tuple[Register, str]:
    return membership.vote(mine, replace(ask, off=False), sender, number)


def anyone_gives_it_up(
    mine: Register, ask: MemberAsk, sender: str, number: int
) -> tuple[Register, str]:
    """A list that somebody's change overtook may be changed by others than the maker of that change."""
    return membership.vote(replace(mine, claimant=sender), ask, sender, number)


def half_is_enough(change: Change, names: frozenset[str]) -> bool:
    return 2 * len(names & change.now) >= len(change.now)


MUTANTS: Mapping[str, tuple[Changes, Mapping[str, Any]]] = {
    "nothing is shared": (QUICK["1 host runs it, 2 join"], {"learn": lambda mine, other: mine}),
    "who leaves alive may still run it": (
        Changes(2, 2, leave="B", numbers=1),
        {"runs_nothing": False},
    ),
    "who leaves alive gets votes": (
        Changes(2, 2, leave="B", numbers=1),
        {"may_vote": votes_for_who_leaves},
    ),
    "a forgotten host comes back at once": (
        Changes(2, 2, forget="B", numbers=1),
        {"stays_off": False},
    ),
    "half of the hosts agree to a fencing": (
        QUICK["2 hosts fence one another"],
        {"enough": half_is_enough, "enough_wrote": half_is_enough},
    ),
}
SLOW_MUTANTS: Mapping[str, tuple[Changes, Mapping[str, Any]]] = {
    "a forget overtakes a join": (
        replace(LARGE["2 hosts, 1 epoch, B is forgotten, C joins"], crashes=False),
        {"vote": a_forget_may_overtake},
    ),
    "nobody waits until a fenced host is off": (A_FENCED, {"fenced_first": False}),
    "fenced before the votes": (A_FENCED, {"fenced_last": False}),
    "two changes at once": (
        Changes(4, 2, join="CD", numbers=1, epochs=1),
        {"vote": a_vote_for_every_change},
    ),
    "half of the hosts agree": (
        Changes(4, 2, join="CD", numbers=1, epochs=1, crashes=False),
        {"enough": half_is_enough, "enough_wrote": half_is_enough},
    ),
    "a vote by another list": (
        FROM_THERE["5 hosts, B doesn't know that D and E joined"],
        {"may_vote": any_list_counts, "crashes": False},
    ),
    "a vote for a change of a list not heard of": (
        FROM_THERE["4 hosts, C has left and doesn't know, D joins"],
        {"vote": a_vote_by_an_old_list, "crashes": False},
    ),
    "one epoch may have two claimants": (
        replace(FROM_THERE["4 hosts, C has left and doesn't know, D joins"], crashes=False),
        {"learn": first_claimant_stays},
    ),
    "anyone gives up a change that another made": (
        replace(FROM_THERE["4 hosts, C and D join at once"], renew=True, numbers=3),
        {"vote": anyone_gives_it_up, "crashes": False},
    ),
    "an overtaken list counts": (
        FROM_THERE["4 hosts, C and D join at once"],
        {"may_vote": overtaken_lists_count, "crashes": False},
    ),
}


@pytest.mark.parametrize("name", QUICK)
def test_no_state_has_the_vm_twice(name: str) -> None:
    assert_safe(search(QUICK[name]))


@pytest.mark.parametrize("name", MUTANTS)
def test_no_part_of_the_rule_can_be_left_out(name: str) -> None:
    site, change = MUTANTS[name]
    assert search(replace(site, **change)).trace


if __name__ == "__main__":
    sys.exit(tables("members change", LARGE, {**MUTANTS, **SLOW_MUTANTS}, search))
