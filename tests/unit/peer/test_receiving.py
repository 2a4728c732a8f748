"""Whose turn it is to be migrated here."""

from __future__ import annotations

from tests.unit.plan.planned_site import PAUSED, foreign, report
from xsm.peer.receiving import TURN_S, Receiving
from xsm.plan.observed import HostReport

NOBODY = report("dmz02")


def arriving(*names: str) -> HostReport:
    return report("dmz02", *(foreign(name, PAUSED, incoming=True) for name in names))


def asked(one: Receiving, names: str, seen: HostReport, now: float) -> str:
    """Which of these VMs may come, asked in this order."""
    return " ".join(vm for vm in names.split() if not one.turn(vm, seen, names.split(), now))


def test_so_many_at_a_time_and_no_more() -> None:
    two = Receiving(2)
    assert asked(two, "a b c", NOBODY, 1.0) == "a b"
    assert asked(two, "a b c", arriving("a", "b"), 2.0) == "a b"
    assert two.turn("c", arriving("a", "b"), {"a", "b", "c"}, 2.0) == "after a, b"


def test_what_arrives_keeps_its_place_however_long_it_takes() -> None:
    one = Receiving(1)
    assert asked(one, "a b", NOBODY, 1.0) == "a"
    for now in range(2, 60):
        assert asked(one, "a b", arriving("a"), float(now)) == "a"


def test_the_next_one_comes_when_one_is_here() -> None:
    one = Receiving(1)
    assert asked(one, "a b", NOBODY, 1.0) == "a"
    assert asked(one, "b", NOBODY, 2.0) == "b"


def test_what_somebody_else_sends_counts() -> None:
    assert asked(Receiving(1), "a", arriving("by-hand"), 1.0) == ""
    assert asked(Receiving(2), "a", arriving("by-hand"), 1.0) == "a"


def test_a_turn_that_nobody_takes_passes_to_all_others_before_it_comes_again() -> None:
    one, now, came = Receiving(1), 0.0, []
    for _ in range(40):
        came += asked(one, "a b c", NOBODY, now).split()
        now += 1.0
    changes = [vm for n, vm in enumerate(came) if n == 0 or came[n - 1] != vm]
    assert changes[:6] == ["a", "b", "c", "a", "b", "c"]
    assert now / len(changes) < 2 * TURN_S


def test_who_is_alone_has_its_turn_again_at_once() -> None:
    one, waited = Receiving(1), 0
    for now in range(60):
        waited += asked(one, "a", NOBODY, float(now)) == ""
    assert waited == 0
