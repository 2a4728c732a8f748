"""What a life came to, in values that a worker process can send: what went wrong, its script, what happened in it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.sim import story
from tests.sim.script import NOTHING, Script
from tests.sim.seeds import life_of
from tests.sim.shrink import Failure, Shrinking, failure, failure_of
from tests.sim.world import World


@dataclass(frozen=True)
class Outcome:
    """`lines` is the script; `failed` is None when all went well."""

    seed: int
    lines: tuple[str, ...]
    failed: Failure | None = None
    seconds: float = 0.0
    totals: Counter[str] = field(default_factory=Counter)


def live(seed: int) -> Outcome:
    """Let one life happen."""
    began, failed = time.process_time(), None
    life = life_of(seed)
    try:
        life.run()
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is what is looked for
        failed = failure_of(error, len(life.lines))
    seconds = time.process_time() - began
    return Outcome(seed, tuple(life.lines), failed, seconds, totals(life.lines, life.world))


def shorten(outcome: Outcome) -> Outcome:
    """The same failure with a shorter script. When the script alone does not fail so, it stays as it is."""
    assert outcome.failed is not None
    again = failure(outcome.lines)
    if again is None or again.kind != outcome.failed.kind:
        return outcome
    lines = Shrinking(outcome.lines, again.kind).shrunk()
    return Outcome(outcome.seed, lines, failure(lines))


def totals(lines: Sequence[str], world: World) -> Counter[str]:
    """What happened: script commands by name, hosts' actions by step, claims, and simulated seconds."""
    found = Counter(f"command {_name(line)}" for line in lines if not line.startswith("wait "))
    found.update(f"action {action.step}" for _, _, action in world.performed)
    for _, _, kind, _, text in world.story:
        if kind == "script" and text.startswith("  "):
            found["made no sense" if text.startswith(f"  {NOTHING}") else "refused"] += 1
        elif kind == "claim":
            found[text.split(":")[0]] += 1
    found["hosts"] = len(world.hosts)
    found["simulated seconds"] = round(world.now)
    found["revisions"] = len(world.archive.commits)
    return found


def _name(line: str) -> str:
    """`command` has a verb: that says more."""
    words = line.split()
    return words[2] if words[0] == "command" else words[0]


def told(lines: Sequence[str]) -> str:
    """The story of a script, up to where it goes wrong."""
    script = Script()
    try:
        for line in lines:
            script.perform(line)
    except Exception as error:  # noqa: BLE001 - it is the end of the story
        return f"{story.told(script.world)}\n\n{type(error).__name__}: {error}"
    return story.told(script.world)
