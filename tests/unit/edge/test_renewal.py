"""When certificates are renewed: before a third of their life is left, looked at often enough whatever the life."""

from __future__ import annotations

import pytest

from xsm.edge.certificate import Identity
from xsm.edge.renewal import CHECK_EVERY_S, RETRY_LEAST_S, RETRY_MOST_S, due, pause_s, renew_at

DAY_S = 86400.0


def living(life_s: float) -> Identity:
    return Identity("dmz01", "peer", 1, 0.0, life_s)


def test_a_third_of_the_life_is_left() -> None:
    year = living(360 * DAY_S)
    assert renew_at(year) == 240 * DAY_S
    assert [due(year, 240 * DAY_S + s) for s in (-1, 0, 1)] == [False, True, True]


def test_looked_at_hourly_and_in_time() -> None:
    year = living(360 * DAY_S)
    assert pause_s(year, 0.0, failed=False) == CHECK_EVERY_S
    assert pause_s(year, 240 * DAY_S - 100, failed=False) == 100
    assert pause_s(year, 241 * DAY_S, failed=False) == RETRY_LEAST_S


@pytest.mark.parametrize("life_s", [60.0, DAY_S, 360 * DAY_S])
def test_a_renewal_that_fails_is_tried_often_enough_until_the_end(life_s: float) -> None:
    own = living(life_s)
    now, tries = renew_at(own), 0
    while now < own.not_after:
        pause = pause_s(own, now, failed=True)
        assert RETRY_LEAST_S <= pause <= RETRY_MOST_S
        now, tries = now + pause, tries + 1
    assert tries >= 8
