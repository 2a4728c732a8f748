"""Whose clock is wrong: what most hosts agree on is right; where they don't, this host measures the others."""

from __future__ import annotations

import pytest

from xsm.api.clocks import remarks

H, D = 3600.0, 86_400.0


@pytest.mark.parametrize(
    ("ahead_s", "told"),
    [
        ({}, {}),
        ({"b": -1.0, "c": 2.5}, {}),
        ({"b": 0.0, "c": H}, {"c": "its clock is 1 h ahead of this host's"}),
        ({"b": -3 * D, "c": 0.4}, {"b": "its clock is 3 d behind this host's"}),
        ({"b": -H, "c": -H - 1}, {"a": "its clock is 1 h ahead of most others'"}),
        ({"b": 90.0, "c": 91.0}, {"a": "its clock is 2 min behind most others'"}),
        ({"b": 1.5 * H}, {"b": "its clock is 1.5 h ahead of this host's"}),
        (
            {"b": H, "c": -D},
            {"b": "its clock is 1 h ahead of this host's", "c": "its clock is 1 d behind this host's"},
        ),
        (
            {"b": H, "c": H, "d": H, "e": 2 * H},
            {"a": "its clock is 1 h behind most others'", "e": "its clock is 1 h ahead of most others'"},
        ),
    ],
)  # fmt: skip
def test_whose_clock_is_wrong(ahead_s: dict[str, float], told: dict[str, str]) -> None:
    assert remarks(ahead_s, "a") == told


def test_the_order_of_hosts_does_not_matter() -> None:
    some = {"b": 3 * H, "c": 0.0, "d": 3 * H, "e": 3 * H}
    assert remarks(some, "a") == remarks(dict(reversed(some.items())), "a")
