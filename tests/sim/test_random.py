"""Lives of sites by chance keep every promise. A seed that fails is told as a story; `make soak` runs more of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from tests.sim import story
from tests.sim.chance import Life, broken

SEEDS = range(30)
QUICK_EVENTS = 60


@pytest.mark.parametrize("seed", SEEDS)
def test_a_life_by_chance_keeps_every_promise(seed: int) -> None:
    wrong = broken(seed, QUICK_EVENTS)
    assert not wrong, wrong


def test_lives_are_lively() -> None:
    """What these seeds prove depends on what happens in them: all that can befall a site does."""
    told = "\n".join(story.told(Life(seed).run()) for seed in range(6))
    for sign in (
        "migrate:",
        "shutdown:",
        "undefine:",
        "create:",
        "claim won",
        "let go",
        "$ kill",
        "$ crash",
        "$ cut",
    ):
        assert sign in told, f"nothing of {sign!r} happens"


def told_in_another_process(hash_seed: str) -> str:
    """A digest of a life's story."""
    env = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim.chance", "7"],
        env=env,
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert len(done.stdout) > 1000
    return hashlib.sha256(done.stdout).hexdigest()


def test_the_same_seed_tells_the_same_story_whatever_the_hash_seed() -> None:
    assert told_in_another_process("1") == told_in_another_process("2")
