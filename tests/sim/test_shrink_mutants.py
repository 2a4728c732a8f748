"""With a rule switched off, a life of 60 events goes wrong; its script is shortened to what the accident needs.

Like test_mutants.py, this replaces attributes of modules: a mutant is the real code with one rule taken out.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim import soak
from tests.sim.chance import Life
from tests.sim.checkers import Violation
from tests.sim.shrink import Shrinking, failure, kind_of
from tests.sim.test_mutants import bars_are_not_honoured, one_vote_is_enough

Patch = pytest.MonkeyPatch
SHORT = 10
"""Lines: the site, a VM or two, what is done to them and the time between."""


def script_of(life: Life) -> list[str]:
    with pytest.raises(Violation):
        life.run()
    return life.lines


def test_a_script_that_goes_wrong_becomes_short(monkeypatch: Patch) -> None:
    bars_are_not_honoured(monkeypatch)
    lines = script_of(Life(0, restless=True))
    before = failure(lines)
    assert before is not None
    short = Shrinking(lines, before.kind).shrunk()
    print(f"{len(lines)} lines became {len(short)}:", *short, sep="\n")
    after = failure(short)
    assert after is not None
    assert after.kind == before.kind == "# runs on # and on # at # s"
    assert after.line == len(short) <= SHORT < len(lines)
    assert Shrinking(lines, before.kind).shrunk() == short
    assert all(failure([*short[:i], *short[i + 1 :]]) is None for i in range(1, len(short)))


def test_no_more_is_tried_than_was_allowed(monkeypatch: Patch) -> None:
    one_vote_is_enough(monkeypatch)
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
    one_vote_is_enough(monkeypatch)
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
