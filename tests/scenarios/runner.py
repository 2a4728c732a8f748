"""Plays scenario scripts: stories of a simulated site, with what it does written under each command.

A script is text. Lines that start with `$ ` are commands (tests/sim/script.py), the indented lines under one are what
it has to print, everything else is prose. `python -m tests.scenarios.runner --update [FILE...]` writes what is printed
now; read the difference before you commit it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.sim.script import Script

HERE = Path(__file__).parent


def play(text: str) -> str:
    """The script with what its commands print now."""
    script, out = Script(), []
    for line in text.splitlines():
        if line.startswith("$ "):
            out += [line, *(f"    {printed}" for printed in script.run(line[2:]))]
        elif not line.startswith("    "):
            out.append(line)
    return "\n".join(out) + "\n"


def main(argv: list[str]) -> int:
    update = "--update" in argv
    paths = [Path(a) for a in argv if not a.startswith("-")] or sorted(HERE.glob("*.txt"))
    changed = 0
    for path in paths:
        old = path.read_text()
        new = play(old)
        if new != old:
            changed += 1
            print(f"{path.name}: {'written' if update else 'differs'}")
            if update:
                path.write_text(new)
    return 0 if update or not changed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
