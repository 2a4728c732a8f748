"""How entries look in YAML: quoting and layout, for a fresh file and for what an edit adds.

Must not know an existing file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from xsm.site.comments import END, NONE, Comments, Place
from xsm.site.fields import HOST_ENTRY, SET_ENTRY, VM_ENTRY, Entry, Field
from xsm.site.model import Site, VMSet

INDENT = "  "
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@+-]*(?::[A-Za-z0-9._/@+:-]*[A-Za-z0-9._/@+-])?")
_OTHER_TYPE = re.compile(
    r"~|null|true|false|=|<<"
    r"|[-+]?[0-9][0-9_]*|0o[0-7_]+|0x[0-9a-f_]+"
    r"|[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:e[-+]?[0-9]+)?"
    r"|[-+]?\.inf|\.nan"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:t|[ \t]+)[0-9].*)?",
    re.IGNORECASE,
)
_OTHER_TYPE_IN_1_1 = re.compile(r"y|n|yes|no|on|off|[0-9:._]+", re.IGNORECASE)


def is_text(plain: str) -> bool:
    """Whether YAML 1.2 takes an unquoted value for text, and not for a number, null, a date..."""
    return bool(plain) and not _OTHER_TYPE.fullmatch(plain)


def quoted(text: str, quote: str = "") -> str:
    """`text` as a value: in these quotes, or in as few as it needs, also with readers of YAML 1.1."""
    if quote == '"':
        return json.dumps(text, ensure_ascii=False)
    plain = _SAFE.fullmatch(text) and is_text(text) and not _OTHER_TYPE_IN_1_1.fullmatch(text)
    dotted = re.fullmatch(r"[0-9]+(\.[0-9]+){3}", text)  # an IPv4 address is no number anywhere
    if not quote and (plain or dotted):
        return text
    return "'" + text.replace("'", "''") + "'"


def value(row: Field, of: Any, quote: str = "") -> str:
    """What stands behind `key: ` for the value `of`, which is not the field's default."""
    texts = row.texts(of)
    if row.repeatable:
        return "[" + ", ".join(quoted(text, quote) for text in texts) + "]"
    return texts[0] if row.kind.is_number else quoted(texts[0], quote)


def flow(entry: Entry, of: Any, quote: str = "") -> str:
    """The entry as `{name: vm1, ...}`."""
    pairs = [
        f"{quote}{row.key}{quote}: {value(row, getattr(of, row.attribute), quote)}"
        for row in entry.fields
        if row.texts(getattr(of, row.attribute))
    ]
    if isinstance(of, VMSet):
        pairs.append(
            f"{quote}vms{quote}: [" + ", ".join(flow(VM_ENTRY, vm, quote) for vm in of.vms) + "]"
        )
    return "{" + ", ".join(pairs) + "}"


def _comment(text: str) -> str:
    return f"# {text}" if text else "#"


def entry_lines(entry: Entry, of: Any, comments: Comments = NONE) -> list[str]:
    """The entry as an item of a block list: `- name: vm1` and more lines, all without outer indentation."""
    place = Place(entry.what, of.name)
    lines: list[str] = []
    before: list[str] = list(map(_comment, comments.at(place)))
    beside = comments.beside.get(place, "")
    for row in entry.fields:
        at = Place(entry.what, of.name, row.attribute)
        lines.extend(map(_comment, comments.at(at)))
        own = comments.beside.get(at, "")
        if not row.texts(getattr(of, row.attribute)):
            lines.extend([_comment(own)] if own else [])
            continue
        text = f"{row.key}: {value(row, getattr(of, row.attribute))}"
        if row.attribute == "name":
            own = "; ".join(filter(None, (beside, own)))
        lines.append(text + (f"  {_comment(own)}" if own else ""))
    if isinstance(of, VMSet):
        lines.extend(_list("vms", VM_ENTRY, of.vms, comments))
    lines.extend(map(_comment, comments.at(Place(entry.what, of.name, END))))
    first = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    dashed = ["- " + lines[first], *(INDENT + line for line in lines[first + 1 :])]
    return [*before, *lines[:first], *dashed]


def _list(key: str, entry: Entry, items: tuple[Any, ...], comments: Comments) -> Iterator[str]:
    if not items:
        yield f"{key}: []"
        return
    yield f"{key}:"
    for item in items:
        yield from (INDENT + line for line in entry_lines(entry, item, comments))


def write(site: Site, comments: Comments = NONE) -> bytes:
    """A fresh site.yaml."""
    lines = list(map(_comment, comments.at(Place("site"))))
    if site.hosts:
        lines.extend(_list(HOST_ENTRY.key, HOST_ENTRY, site.hosts, comments))
    lines.extend(_list(SET_ENTRY.key, SET_ENTRY, site.sets, comments))
    lines.extend(map(_comment, comments.at(Place("site", "", END))))
    return ("\n".join(lines) + "\n").encode()
