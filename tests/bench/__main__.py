"""`python -m tests.bench [NAME...] [--docs]`: run benches, print their tables; with --docs also into docs/measured.md.

Each bench runs in a process of its own: memory and CPU time that one used are not counted to the next.
"""

from __future__ import annotations

import argparse
import importlib
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.bench import report

FOLDER = Path(__file__).parent
LIMIT_S = 300.0
"""Of one bench: all together are to take about ten minutes."""
END_LIMIT_S = 60.0
"""32 daemons that are told to stop."""
RUN = re.compile(r"^def run\(", re.MULTILINE)


def names() -> list[str]:
    """All benches: the modules of this folder that have a `run`."""
    return [p.stem for p in sorted(FOLDER.glob("*.py")) if RUN.search(p.read_text("utf-8"))]


def main() -> int:
    signal.signal(signal.SIGTERM, _end)
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
        code, out = _run(command)
        if code != 0:
            failed.append(f"{name}: ended with {code}")
            continue
        tables[name] = f"{out}\n`make bench BENCH={name}`: {machine}"
        print(f"{out}\n({name}: {time.monotonic() - started:.0f} s)\n", flush=True)
    if docs:
        report.write_docs(tables, names())
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def _run(command: list[str]) -> tuple[int, str]:
    """A bench's exit code and output. However it ends, it is asked to end what it started."""
    process = subprocess.Popen(command, cwd=report.TOP, stdout=subprocess.PIPE, text=True)
    try:
        out, _ = process.communicate(timeout=LIMIT_S)
    except BaseException as error:
        process.terminate()
        process.communicate(timeout=END_LIMIT_S)
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        print(f"it took more than {LIMIT_S:.0f} s", file=sys.stderr)
        return 1, ""
    return process.returncode, out


def _end(number: int, _frame: object) -> None:
    """SIGTERM ends us as an error would: what was started is ended."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
