"""Writes the tables of docs/site-file.md from the table of fields that the readers go by.

With --check it only compares. A table stands between `<!-- fields of VM -->` and `<!-- end -->`;
the text around it is written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from xsm.site.fields import ENTRIES, Entry, Field

PAGE = Path(__file__).parents[1] / "docs" / "site-file.md"
TABLE = re.compile(r"(<!-- fields of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


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


def rewritten(page: str) -> str:
    by_tag = {entry.tag: entry for entry in ENTRIES}
    return TABLE.sub(lambda found: found[1] + table(by_tag[found[2]]) + found[3], page)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="change nothing; exit 1 if stale")
    check = options.parse_args().check
    old = PAGE.read_text(encoding="utf-8")
    new = rewritten(old)
    if check and new != old:
        print(
            f"{PAGE}: not the tables of xsm/site/fields.py; run make docs",
            file=sys.stderr,
        )
        return 1
    if new != old:
        PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
