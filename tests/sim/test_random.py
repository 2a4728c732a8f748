"""Lives of sites by chance keep every promise. A seed that fails is told as a story; `make soak` runs more of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from tests.sim.outcome import live, told
from tests.sim.seeds import FOUND, QUICK, life_of


@pytest.mark.parametrize("seed", sorted({*QUICK, *FOUND}))
def test_a_life_by_chance_keeps_every_promise(seed: int) -> None:
    outcome = live(seed)
    if outcome.failed is not None:
        pytest.fail(f"seed {seed}: {outcome.failed.text}\n\n{told(outcome.lines)}")


def test_lives_are_lively() -> None:
    """What these seeds prove depends on what happens in them: all that can befall a site does."""
    found = sum((live(seed).totals for seed in QUICK[:12]), start=live(len(QUICK)).totals)
    for sign in (
        *("command edit", "command remove", "command migrate", "command edit-from"),
        *("command kill", "command crash", "command cut", "command hand", "command lossy"),
        *("action create", "action migrate", "action shutdown", "action undefine"),
        *("claim won", "let go", "refused"),
    ):
        assert found[sign], f"nothing of {sign!r} happens"


def test_a_life_is_plausible() -> None:
    """Next to nothing of what chance makes up is senseless."""
    totals = live(5).totals
    commands = sum(n for name, n in totals.items() if name.startswith("command "))
    assert totals["made no sense"] * 20 < commands


def told_in_another_process(hash_seed: str, *args: str) -> str:
    """A digest of a life's story."""
    env = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim.chance", *args],
        env=env,
        capture_output=True,
        check=True,
        timeout=240,
    )
    assert len(done.stdout) > 1000
    return hashlib.sha256(done.stdout).hexdigest()


@pytest.mark.parametrize("args", [("7",), ("8", "restless"), ("7", "hosts=16")], ids=" ".join)
def test_the_same_seed_tells_the_same_story_whatever_the_hash_seed(args: tuple[str, ...]) -> None:
    assert told_in_another_process("1", *args) == told_in_another_process("2", *args)


def test_there_are_sites_of_all_sizes() -> None:
    sizes = {len(life_of(seed).names) for seed in range(200)}
    assert {2, 3, 4, 5, 8, 16} <= sizes
