"""`python -m tests.bench [NAME...] [--docs]`: run benches, print their tables; with --docs also into docs/measured.md.

Each bench runs in a process of its own: memory and CPU time that one used are not counted to the next.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.bench import report

FOLDER = Path(__file__).parent
LIMIT_S = 300.0
"""Of one bench: all together are to take about ten minutes."""
RUN = re.compile(r"^def run\(", re.MULTILINE)


def names() -> list[str]:
    """All benches: the modules of this folder that have a `run`."""
    return [p.stem for p in sorted(FOLDER.glob("*.py")) if RUN.search(p.read_text("utf-8"))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names()))
    parser.add_argument("--docs", action="store_true", help="write the tables to docs/measured.md")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"no bench {', '.join(unknown)}; there are: {', '.join(names())}")
    if options.alone:
        bench = importlib.import_module(f"tests.bench.{options.names[0]}")
        print(report.markdown(bench.run()), end="")
        return 0
    return run_all(options.names or names(), options.docs)


def run_all(wanted: list[str], docs: bool) -> int:
    machine = report.machine()
    print(f"{machine}\n")
    tables, failed = {}, []
    for name in wanted:
        started = time.monotonic()
        command = [sys.executable, "-m", "tests.bench", name, "--alone"]
        try:
            done = subprocess.run(
                command,
                cwd=report.TOP,
                stdout=subprocess.PIPE,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            failed.append(f"{name}: took more than {LIMIT_S:.0f} s")
            continue
        if done.returncode != 0:
            failed.append(f"{name}: ended with {done.returncode}")
            continue
        tables[name] = f"{done.stdout}\n`make bench BENCH={name}`: {machine}"
        print(f"{done.stdout}\n({name}: {time.monotonic() - started:.0f} s)\n", flush=True)
    if docs:
        report.write_docs(tables, names())
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
