"""Soaking: lives in several processes; a process that dies or hangs is told; a failure that is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sim import soak
from tests.sim.outcome import Outcome, live, told
from tests.sim.pool import Done, Job, Workers
from tests.sim.shrink import Failure

LONG_S = 60.0
SHORT_S = 0.1
"""A limit that a process which waits for ever can't keep."""


def double(number: int) -> int:
    return 2 * number


def die() -> None:
    os._exit(3)


def hang() -> None:
    signal.pause()


def fail() -> None:
    raise ValueError("no such life")


def all_done(workers: Workers, jobs: list[Job]) -> dict[str, Done]:
    found: dict[str, Done] = {}
    while jobs or workers.busy:
        while jobs and workers.idle:
            workers.give(jobs.pop(0))
        found.update({done.job.name: done for done in workers.done()})
    return found


def test_a_process_that_dies_or_hangs_is_told_with_its_job_and_replaced() -> None:
    jobs = [
        Job("dies", die, (), LONG_S),
        Job("hangs", hang, (), SHORT_S),
        Job("fails", fail, (), LONG_S),
        *(Job(str(n), double, (n,), LONG_S) for n in range(5)),
    ]
    with Workers(2) as workers:
        found = all_done(workers, jobs)
    assert found["dies"].error == "its process died (exit code 3)"
    assert found["hangs"].error == "had not ended after 0 s"
    assert found["fails"].error == "ValueError: no such life"
    assert [found[str(n)].result for n in range(5)] == [0, 2, 4, 6, 8]


def test_a_run_says_what_happened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "soak.json"
    code = soak.main(["--from", "3", "--seeds", "3", "--processes", "2", "--json", str(record)])
    said = capsys.readouterr().out
    assert code == 0, said
    found = json.loads(record.read_text())
    assert (found["seeds"], found["first"], found["last"], found["failures"]) == (3, 3, 5, {})
    assert found["totals"]["command edit"] > 10
    assert found["totals"]["simulated seconds"] > 100
    assert "3 seeds, 0 failures" in said
    assert "command: edit" in said


def test_outcomes_do_not_depend_on_the_process() -> None:
    """Whatever ran before in it."""
    first = live(11)
    assert live(12).failed is None
    assert live(11).lines == first.lines


LINES = (
    "site random hosts=2 seed=1",
    "vm vm1 DOM0 dmz01",
    "wait 5",
    "edit dmz01 vm1 MEM 128",
    "peace",
)


def test_a_failure_is_kept_as_a_scenario_with_its_story(tmp_path: Path) -> None:
    kept, scenarios = tmp_path / "kept", tmp_path / "scenarios"
    scenarios.mkdir()
    wrong = Failure("# runs twice", "Violation: vm1 runs twice", 5)
    path = soak.keep(Outcome(7, LINES, wrong), kept)
    text = path.read_text()
    assert text.splitlines()[0].startswith("Seed 7 at ")
    assert text.splitlines()[0].endswith("Violation: vm1 runs twice")
    assert text.splitlines()[2:] == [f"$ {line}" for line in LINES]
    assert path.with_suffix(".story").read_text() == told(LINES) + "\n"
    assert "$ edit dmz01 vm1 MEM 128" in soak.shown(Outcome(7, LINES, wrong), path)
    soak.save(7, "twice", kept, scenarios)
    assert (scenarios / "twice.txt").read_text() == text
    with pytest.raises(SystemExit, match="exists"):
        soak.save(7, "twice", kept, scenarios)
    with pytest.raises(SystemExit, match="no such failure"):
        soak.save(8, "other", kept, scenarios)


def test_ctrl_c_ends_all_processes() -> None:
    """Its group has no process left, and it says what it has done."""
    command = [sys.executable, "-u", "-m", "tests.sim.soak", "--from", "0", "--processes", "2"]
    with subprocess.Popen(
        command,
        cwd=soak.ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        os.killpg(run.pid, 0)
        limit = time.monotonic() + LONG_S
        while len(children(run.pid)) < 2:
            assert time.monotonic() < limit
            assert run.poll() is None
        os.killpg(run.pid, signal.SIGINT)
        said = run.communicate(timeout=LONG_S)[0]
    assert "stopped" in said
    assert "seeds/s" in said
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
