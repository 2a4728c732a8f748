"""The rate that an order counts on: of what migrations told, the middle one."""

from __future__ import annotations

from xsm.api.pace import pace_of
from xsm.api.types import Event
from xsm.plan.observed import Moved
from xsm.plan.order import Pace

MOVED = "running here => running on dmz02: {} (the site file says so)"


def event(seq: int, message: str) -> Event:
    return Event(seq, float(seq), "dmz01", "action", "vm1", message)


def test_a_line_says_what_a_migration_took_and_is_read_again() -> None:
    moved = Moved(4300, 52, 860)
    assert Moved.told_in(MOVED.format(moved)) == moved
    assert round(moved.rate_mib_s) == 200
    assert Moved.told_in("running here => running on dmz02 (the site file says so)") is None


def test_the_middle_of_those_that_were_measured() -> None:
    took = [Moved(1000, 9, 100), Moved(1000, 9, 300), Moved(1000, 9, 120), Moved(1000, 9, 2)]
    events = [event(i, MOVED.format(each)) for i, each in enumerate(took)]
    assert pace_of(events, 2, 2) == Pace(120.0, True, 2, 2)


def test_before_any_was_measured_a_usual_link_is_shared() -> None:
    assert pace_of([event(1, "absent => running")], 2, 2) == Pace(55.0, False, 2, 2)
