"""Many lives by chance in several processes, until told to stop; what fails is made short and kept.

python -m tests.sim.soak                      on and on from a new seed, until Ctrl-C
python -m tests.sim.soak --from 0 --seeds 10000
python -m tests.sim.soak --fixed              the seeds of `make sim`
python -m tests.sim.soak --save 123 NAME      .soak/seed-123.txt becomes tests/scenarios/NAME.txt
python -m tests.sim.soak --story FILE         what happens in a script
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path

from tests.sim.outcome import Outcome, live, shorten, told
from tests.sim.pool import Done, Job, Workers
from tests.sim.seeds import FIXED, FOUND

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".soak"
SCENARIOS = ROOT / "tests" / "scenarios"
LIFE_LIMIT_S = 300.0
"""A life takes half a second; what takes so long on the slowest machine hangs."""
SHORTEN_LIMIT_S = 1800.0
"""`shrink.TRIES` lives, and again."""
PROGRESS_S = 20.0
"""How often it is said how far it has come, where no terminal shows it all the time."""
STORY_LINES = 80
"""Lines of a story that are shown; the file has all."""


class Soak:
    """One run over many seeds."""

    def __init__(self, seeds: Iterable[int], processes: int, kept: Path = KEPT) -> None:
        self.seeds = iter(seeds)
        self.processes = processes
        self.kept = kept
        self.began = time.monotonic()
        self.lives = 0
        self.last: list[int] = []  # seeds that were tried: the lowest and the highest
        self.cpu_s = 0.0
        self.failures: dict[int, str] = {}
        self.totals: Counter[str] = Counter()
        self._shown = self.began
        self._to_shorten: list[Outcome] = []

    def run(self) -> None:
        """Until there are no more seeds. Ctrl-C ends it too, and its processes."""
        with Workers(self.processes) as workers:
            self._give(workers)
            while workers.busy:
                for done in workers.done():
                    self._take(done)
                self._give(workers)
                self._progress()

    def _give(self, workers: Workers) -> None:
        while workers.idle:
            if self._to_shorten:
                failed = self._to_shorten.pop(0)
                workers.give(Job(str(failed.seed), shorten, (failed,), SHORTEN_LIMIT_S))
                continue
            seed = next(self.seeds, None)
            if seed is None:
                return
            workers.give(Job(str(seed), live, (seed,), LIFE_LIMIT_S))

    def _take(self, done: Done) -> None:
        seed = int(done.job.name)
        if done.job.work is live:
            self.lives += 1
            self.last = [min([seed, *self.last]), max([seed, *self.last])]
        if done.error:
            self.failures.setdefault(seed, done.error)
            self._say(f"seed {seed}: {done.job.work.__name__}: {done.error}")
            return
        outcome: Outcome = done.result
        self.totals.update(outcome.totals)
        self.cpu_s += outcome.seconds
        if outcome.failed is None:
            return
        if done.job.work is live:
            self.failures[seed] = outcome.failed.text
            self._say(
                f"seed {seed}: {outcome.failed.text}\n  (its {len(outcome.lines)} lines are made fewer)"
            )
            keep(outcome, self.kept)
            self._to_shorten.append(outcome)
        else:
            path = keep(outcome, self.kept)
            self._say(shown(outcome, path))

    def _say(self, text: str) -> None:
        if sys.stdout.isatty():
            sys.stdout.write("\r\033[K")
        print(text, flush=True)

    def _progress(self) -> None:
        now = time.monotonic()
        if sys.stdout.isatty():
            sys.stdout.write(f"\r\033[K{self.summary()}")
            sys.stdout.flush()
        elif now - self._shown > PROGRESS_S:
            self._shown = now
            self._say(self.summary())

    def summary(self) -> str:
        seconds = time.monotonic() - self.began
        wrong = f"{len(self.failures)} failures"
        return f"{self.lives} seeds, {wrong}, {self.lives / max(seconds, 0.01):.1f} seeds/s, {seconds:.0f} s"

    def record(self) -> dict[str, object]:
        """For the docs: what was run, and what came of it."""
        commit, clean = revision()
        return {
            "date": time.strftime("%Y-%m-%d"),
            "commit": commit,
            "clean": clean,
            "processes": self.processes,
            "seconds": round(time.monotonic() - self.began),
            "cpu_seconds": round(self.cpu_s),
            "seeds": self.lives,
            "first": self.last[0] if self.last else None,
            "last": self.last[1] if self.last else None,
            "failures": {str(seed): text for seed, text in sorted(self.failures.items())},
            "totals": dict(sorted(self.totals.items())),
        }


def revision() -> tuple[str, bool]:
    """The commit that is tested, and whether the code is as it says."""

    def git(*args: str) -> str:
        run = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False)
        return run.stdout.strip()

    return git("rev-parse", "--short=12", "HEAD") or "unknown", not git(
        "status", "--porcelain", "--", "xsm", "tests/sim"
    )


def script_text(outcome: Outcome) -> str:
    """The script as a scenario file."""
    commit, clean = revision()
    wrong = outcome.failed.text.splitlines()[0] if outcome.failed else "nothing goes wrong"
    about = f"Seed {outcome.seed} at {commit}{'' if clean else ' (with changes)'}: {wrong}"
    return "\n".join([about, "", *(f"$ {line}" for line in outcome.lines)]) + "\n"


def keep(outcome: Outcome, folder: Path) -> Path:
    """Write the script and its story; gives the script's path."""
    folder.mkdir(exist_ok=True)
    path = folder / f"seed-{outcome.seed}.txt"
    path.write_text(script_text(outcome))
    path.with_suffix(".story").write_text(told(outcome.lines) + "\n")
    return path


def shown(outcome: Outcome, path: Path) -> str:
    """A failure for the terminal."""
    lines = path.with_suffix(".story").read_text().splitlines()
    start = [f"  ... {len(lines) - STORY_LINES} lines before"] if len(lines) > STORY_LINES else []
    return "\n".join(
        [
            f"seed {outcome.seed}, {len(outcome.lines)} lines, in {path}:",
            *(f"  {line}" for line in script_text(outcome).splitlines()),
            "  What happened:",
            *start,
            *(f"  {line}" for line in lines[-STORY_LINES:]),
        ]
    )


def totals_text(totals: Counter[str]) -> Iterator[str]:
    """What happened in all lives, the most frequent first."""
    for kind in ("command", "action", ""):
        found = {
            name.removeprefix(f"{kind} "): n
            for name, n in totals.items()
            if (name.split(" ")[0] if name.startswith(("command ", "action ")) else "") == kind
        }
        most = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        yield f"{kind or 'other'}: " + ", ".join(f"{name} {n:,}" for name, n in most)


def save(seed: int, name: str, kept: Path = KEPT, scenarios: Path = SCENARIOS) -> str:
    """Keep a failure for good. What it prints is written once it is mended."""
    source, target = kept / f"seed-{seed}.txt", scenarios / f"{name}.txt"
    if not source.exists():
        raise SystemExit(f"{source} does not exist: no such failure was found")
    if target.exists():
        raise SystemExit(f"{target} exists: give it another name")
    target.write_text(source.read_text())
    return (
        f"{target}: say in its first line what happens; when it is mended: "
        f"python -m tests.scenarios.runner --update {target}"
    )


def parsed(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.soak", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--fixed", action="store_true", help="the seeds of `make sim`")
    parser.add_argument("--from", type=int, dest="first", help="the first seed; else a new one")
    parser.add_argument("--seeds", type=int, help="how many; else until Ctrl-C")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what came of it")
    parser.add_argument("--save", nargs=2, metavar=("SEED", "NAME"), help="keep a failure for good")
    parser.add_argument("--story", type=Path, metavar="FILE", help="tell what happens in a script")
    return parser.parse_args(argv)


def seeds_of(args: argparse.Namespace) -> Iterator[int]:
    if args.fixed:
        return iter(sorted({*FIXED, *FOUND}))
    first = args.first if args.first is not None else int(time.time())
    return islice(count(first), args.seeds)


def main(argv: list[str]) -> int:
    args = parsed(argv)
    if args.save:
        print(save(int(args.save[0]), args.save[1]))
        return 0
    if args.story:
        text = args.story.read_text()
        print(told([line[2:] for line in text.splitlines() if line.startswith("$ ")]))
        return 0
    soak = Soak(seeds_of(args), args.processes)
    try:
        soak.run()
    except KeyboardInterrupt:
        soak._say("stopped")
    soak._say("\n".join(totals_text(soak.totals)))
    commit, clean = revision()
    soak._say(f"{soak.summary()} at {commit}{'' if clean else ' (with changes)'}")
    if soak.failures:
        print(f"failed: {', '.join(map(str, sorted(soak.failures)))}; see {KEPT}")
    if args.json:
        args.json.write_text(json.dumps(soak.record(), indent=1) + "\n")
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
