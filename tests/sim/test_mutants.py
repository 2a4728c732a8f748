"""Each safety rule that is switched off is missed: by a narrow story, or by a checker in one of a few lives by chance.

`python -m tests.sim.mutants` hunts them all at length.
"""

from __future__ import annotations

import pytest

from tests.sim import narrow_disks, narrow_fencing, test_exhaustive, test_exhaustive_members
from tests.sim.mutants import ALL, Mutant, accident, first_accident, with_mutant
from tests.sim.narrow_acts import ACTS

SEARCHED = {
    name
    for tests in (test_exhaustive, test_exhaustive_members)
    for name in (*tests.MUTANTS, *tests.SLOW_MUTANTS)
}
TRIES = 12
"""Lives that a mutant gets here. What lives mean changes with their generator: then other ones catch it."""


def lives(mutant: Mutant) -> list[int]:
    """The one that caught it when it was last hunted, then the first ones."""
    first = [] if mutant.seed is None else [mutant.seed]
    return [*first, *(seed for seed in range(TRIES) if seed not in first)]


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_a_rule_that_is_switched_off_is_missed(mutant: Mutant) -> None:
    if mutant.narrow is not None:
        assert with_mutant(mutant, mutant.narrow)
    elif mutant.searched and mutant.seed is None:
        assert mutant.searched in SEARCHED  # their own tests look for those
    else:
        tries, seen = first_accident(mutant, lives(mutant))
        assert tries, seen


@pytest.mark.parametrize(
    "story",
    (*ACTS, *narrow_disks.STORIES, *narrow_fencing.STORIES),
    ids=lambda story: story.__name__,
)
def test_a_story_of_edits_and_acts_ends_well(story) -> None:  # type: ignore[no-untyped-def]
    assert not accident(story)


def test_names_are_of_one_mutant_each() -> None:
    assert len({mutant.name for mutant in ALL}) == len(ALL)
