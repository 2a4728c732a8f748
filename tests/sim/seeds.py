"""Which lives are tried every time, and those that once found something.

A seed means a life only as long as tests/sim/chance.py stays as it is. So what a seed found is kept as a script in
tests/scenarios too, and `FOUND` has only seeds since the generator last changed.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.sim.chance import Life

FIXED = range(500)
"""`make sim`: about a minute on two cores."""
QUICK = range(50)
"""`make test`: about 20 s of CPU."""
FOUND: Mapping[int, str] = {}
"""Seed -> what it found."""
RESTLESS_OF = 3
"""Every third life is restless."""


def life_of(seed: int) -> Life:
    """The life that a seed stands for in `make sim`, `make soak` and the tests."""
    return Life(seed, restless=seed % RESTLESS_OF == RESTLESS_OF - 1)
