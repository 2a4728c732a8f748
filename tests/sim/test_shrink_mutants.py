"""With a rule switched off, a life of 60 events goes wrong; its script is shortened to what the accident needs.

Like test_mutants.py, this replaces attributes of modules: a mutant is the real code with one rule taken out.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim import soak
from tests.sim.chance import Life
from tests.sim.checkers import Violation
from tests.sim.mutants_claims import no_quorum, only_the_last_claimant_evicted
from tests.sim.seeds import life_of
from tests.sim.shrink import Shrinking, failure, kind_of

Patch = pytest.MonkeyPatch
SEEDS = (17, *range(17))
"""The first one is shortened quickest; the others are tried when lives mean something else by then."""
LONG = 75
"""Lines of which a life of sixty events has a hundred and more."""
SHORT = 12
"""Lines: the site, a VM or two, what is done to them and the time between."""


def script_of(life: Life) -> list[str]:
    """The lines of a life that goes wrong; none when it doesn't."""
    try:
        life.run()
    except Violation:
        return life.lines
    return []


def test_a_life_that_goes_wrong_late_becomes_a_short_script(monkeypatch: Patch) -> None:
    only_the_last_claimant_evicted(monkeypatch)
    lines = next(lines for s in SEEDS if len(lines := script_of(life_of(s))) > LONG)
    before = failure(lines)
    assert before is not None
    short = Shrinking(lines, before.kind).shrunk()
    print(f"{len(lines)} lines became {len(short)}:", *short, sep="\n")
    after = failure(short)
    assert after is not None
    assert after.kind == before.kind
    assert after.line == len(short) <= SHORT


def test_nothing_can_be_left_out_of_what_is_left(monkeypatch: Patch) -> None:
    no_quorum(monkeypatch)
    lines = next(lines for s in SEEDS if (lines := script_of(life_of(s))))
    before = failure(lines)
    assert before is not None
    short = Shrinking(lines, before.kind).shrunk()
    assert Shrinking(lines, before.kind).shrunk() == short
    assert all(failure([*short[:i], *short[i + 1 :]]) is None for i in range(1, len(short)))


def test_no_more_is_tried_than_was_allowed(monkeypatch: Patch) -> None:
    no_quorum(monkeypatch)
    lines = script_of(Life(0))
    shrinking = Shrinking(lines, "# runs on # and on # at # s", tries=5)
    shrinking.shrunk()
    assert shrinking.tries == 0
    again = failure(shrinking.lines)
    assert again is not None
    assert again.kind == shrinking.kind


def test_another_kind_of_failure_is_not_the_same() -> None:
    twice = Violation("vm1 runs on dmz02 and on dmz03 at 14.82 s")
    assert kind_of(twice) == kind_of(Violation("vm12 runs on dmz01 and on dmz02 at 3.00 s"))
    rest = Violation("not at rest 400 s after all faults ended: dmz01: vm1 on dmz01: create")
    assert kind_of(rest) == "not at rest # s after all faults ended"
    assert kind_of(twice) != kind_of(rest) != kind_of(KeyError("x"))


def test_soak_makes_a_failure_short_and_keeps_it(
    monkeypatch: Patch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its processes are copies of this one: the rule is off in them too."""
    no_quorum(monkeypatch)
    run = soak.Soak([0], processes=1, kept=tmp_path)
    run.run()
    said = capsys.readouterr().out
    assert list(run.failures) == [0]
    kept = (tmp_path / "seed-0.txt").read_text()
    lines = [line[2:] for line in kept.splitlines() if line.startswith("$ ")]
    assert len(lines) <= SHORT
    again = failure(lines)
    assert again is not None
    assert " runs on " in again.text
    assert "What happened:" in said
    assert soak.revision()[0] in said
