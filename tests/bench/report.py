"""Tables of figures, as Markdown: what was measured, at which size, what was seen, what the goal is.

Decides how a figure is written and where a table stands in docs/measured.md. Must not know what is measured.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs" / "measured.md"


@dataclass(frozen=True)
class Row:
    """One figure. `goal`: "" where there is none, as for a floor that others are compared with."""

    what: str
    size: str
    figure: str
    goal: str = ""


@dataclass(frozen=True)
class Table:
    """What one bench found. `about`: how it was measured, a sentence or two."""

    title: str
    rows: tuple[Row, ...]
    about: str = ""
    columns: tuple[str, str, str, str] = field(default=("what", "size", "seen", "goal"))


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed: 0.5 the median, 1.0 the greatest."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))]


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.{0 if seconds >= 0.1 else 1}f} ms"


def mib(size_bytes: float) -> str:
    return f"{size_bytes / (1 << 20):.1f} MiB"


def markdown(table: Table) -> str:
    rows = [(r.what, r.size, r.figure, r.goal) for r in table.rows]
    cells = [table.columns, ("---",) * 4, *rows]
    lines = ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in cells]
    about = [table.about, ""] if table.about else []
    return "\n".join([f"### {table.title}", "", *about, *lines, ""])


def machine() -> str:
    """When, on what and of which commit: what a figure means nothing without."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    commit = _said("git", "rev-parse", "--short=10", "HEAD")
    dirty = ", with changes" if _said("git", "status", "--porcelain", "-uno", "xsm") else ""
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {pages / (1 << 30):.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"commit {commit}{dirty}, load {os.getloadavg()[0]:.1f} at the start"
    )


def _said(*command: str) -> str:
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def write_docs(tables: Mapping[str, str], names: Iterable[str], path: Path = DOCS) -> None:
    """Put each table between its markers; a new one goes to the end. `names`: of all benches there are, so that the
    table of one that is gone goes too."""
    page = path.read_text(encoding="utf-8")
    for name, text in tables.items():
        block = f"<!-- bench:{name} -->\n{text}\n<!-- /bench -->"
        found = re.compile(rf"<!-- bench:{re.escape(name)} -->.*?<!-- /bench -->", re.DOTALL)
        if found.search(page):
            page = found.sub(lambda _, block=block: block, page)  # type: ignore[misc]
        else:
            page = page.rstrip("\n") + f"\n\n{block}\n"
    there = set(names)
    page = re.sub(
        r"<!-- bench:([\w-]+) -->.*?<!-- /bench -->\n*",
        lambda m: m[0] if m[1] in there else "",
        page,
        flags=re.DOTALL,
    )
    path.write_text(page, encoding="utf-8")
