"""Writes the tables of docs/*.md from the tables that the code goes by.

With --check it only compares. A table stands between `<!-- NAME -->` and `<!-- end -->`; the text
around it is written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from xsm.api.access import KIB, RULES
from xsm.site.fields import ENTRIES, Entry, Field
from xsm.site.xl_options import KNOWN

DOCS = Path(__file__).parents[1] / "docs"
TABLE = re.compile(r"(<!-- ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def row(field: Field) -> str:
    tag = f"`{field.tag}=`" if field.in_tag else f"`<{field.tag}>`"
    more = ["required"] if field.required else []
    more += ["may be repeated"] if field.repeatable else []
    if field.default not in (None, (), ""):
        more.append(f"default `{field.default}`")
    extra = f" ({', '.join(more)})" if more else ""
    about = field.kind.about
    return f"| {tag} | `{field.key}` | {about} | {field.doc}{extra} |"


def table(entry: Entry) -> str:
    head = "| XML | YAML | value | meaning |\n| --- | --- | --- | --- |\n"
    return head + "".join(row(field) + "\n" for field in entry.fields)


def lost_options() -> str:
    """Options of xl.cfg files that are never carried over, by reason."""
    by_reason: dict[str, list[str]] = {}
    for name, known in KNOWN.items():
        if known.lost:
            by_reason.setdefault(known.lost, []).append(f"`{name}`")
    head = "| option | why |\n| --- | --- |\n"
    rows = [f"| {', '.join(names)} | {why} |\n" for why, names in by_reason.items()]
    return head + "".join(rows).replace("<", "\\<")


def routes() -> str:
    head = "| route | least role | body at most |\n| --- | --- | --- |\n"
    rows = []
    for rule in RULES:
        size = f"{rule.body_bytes // KIB} KiB" if rule.body_bytes else ""
        rows.append(f"| `{rule.method} {rule.path}` | {rule.least} | {size} |\n")
    return head + "".join(rows)


TABLES = {f"fields of {entry.tag}": table(entry) for entry in ENTRIES}
TABLES["lost xl options"] = lost_options()
TABLES["api routes"] = routes()


def rewritten(page: str) -> str:
    return TABLE.sub(lambda found: found[1] + TABLES[found[2]] + found[3], page)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="change nothing; exit 1 if stale")
    check = options.parse_args().check
    stale = []
    for path in sorted(DOCS.glob("*.md")):
        old = path.read_text(encoding="utf-8")
        new = rewritten(old)
        if new != old and check:
            stale.append(path)
        elif new != old:
            path.write_text(new, encoding="utf-8")
    for path in stale:
        print(f"{path}: its tables are not those of the code; run make docs", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
