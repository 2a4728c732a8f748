"""The narrow stories end well, at every pace."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sim.narrow import PACES_S, STORIES
from tests.sim.world import World


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_narrow_story_ends_well(story: Callable[[float], World]) -> None:
    for pace_s in PACES_S:
        story(pace_s)
