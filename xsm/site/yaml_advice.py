"""What is wrong with a site.yaml that the YAML parser gave up on, in the words of those who write one.

Decides where the mistake most likely is, from the lines around the place where the parser noticed it: a tab, a missing
space or colon, a quote or bracket left open, an odd indentation. Must not know what the values mean.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from xsm.site.yaml_node import Shape

MAX_SHOWN_CHARS = 40
LINES_BEFORE = 2  # how far above the place where the parser noticed it we look for the mistake


class Advice(NamedTuple):
    line: int  # from 1
    message: str
    hint: str


class _Part(NamedTuple):
    """A line of block layout: `dash` is the column of its first dash, -1 without one; `key` may be ""."""

    column: int
    dash: int
    key: str
    rest: str


_PART = re.compile(r"(?P<indent> *)(?P<dash>-(?: +|$))?(?:(?P<key>[\w.-]+) *:(?= |$)(?P<rest>.*))?")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_BACKSLASH = ("a backslash in double quotes", "put the value in single quotes")
_ODD_STARTS = "@`%&*!|>"


def keys_of(shape: Shape) -> frozenset[str]:
    """All keys of a shape and of what is in it."""
    found: set[str] = set()
    shapes = [shape]
    while shapes:
        now = shapes.pop()
        found |= set(now.keys or ())
        shapes += [*(now.keys or {}).values(), *([now.item] if now.item else [])]
    return frozenset(found)


def places_of(key: str, shape: Shape, where: str = "the file") -> tuple[str, ...]:
    """Where a key belongs: "an entry of vms"."""
    if shape.item is not None:
        return places_of(key, shape.item, f"an entry of {where}")
    keys = shape.keys or {}
    here = (where,) if key in keys else ()
    return (*here, *(place for k, s in keys.items() for place in places_of(key, s, k)))


def for_syntax(
    text: str, noticed: int, began: int, problem: str, known: frozenset[str]
) -> Advice | None:
    """The mistake behind the parser's error. `noticed`: the line where it saw it; `began`: where what it was reading
    began (0: unknown); `problem`: its words. None: it can't be told."""
    lines = text.split("\n")
    noticed = min(noticed, len(lines))
    if "escape" in problem:
        return Advice(noticed, *_BACKSLASH)
    first = max(1, noticed - LINES_BEFORE, began)
    for number in range(first, noticed + 1):
        found = _of_line(lines[number - 1], number, known)
        if found:
            return found
    start = lines[began - 1] if 0 < began <= len(lines) else ""
    if "quoted scalar" in problem:
        return Advice(began, "a quote that is not closed", "end the value with the same quote")
    if "flow" in problem:
        return _open_bracket(start, began) or Advice(
            noticed, "a comma or a closing bracket is missing", "entries in {} and [] end with ,"
        )
    return _indentation(lines[:noticed])


def for_long_value(text: str, start: int, end: int, known: frozenset[str]) -> Advice:
    """The mistake behind a value from line `start` to line `end`."""
    lines = text.split("\n")
    for number in range(start, min(end, len(lines)) + 1):
        found = _of_line(lines[number - 1], number, known, words=False)
        if found:
            return found
    opened = _open_bracket(lines[start - 1], start)
    if opened:
        return opened
    for number in range(start + 1, min(end, len(lines)) + 1):
        part = _part(lines[number - 1])
        if part.key or part.dash >= 0:
            return _indentation(lines[:number]) or Advice(
                number, "the indentation does not fit the lines above", "indent it as they are"
            )
    if (
        lines[start:end]
        and lines[start].strip()
        and lines[start - 1].count("'") + lines[start - 1].count('"') == 0
    ):
        return Advice(
            start + 1,
            f"a value over several lines: this goes on from line {start}",
            "write it on one line",
        )
    return Advice(start, "a value over several lines is not allowed", "write it on one line")


def for_escape(text: str) -> Advice:
    """The mistake behind an escape that means no character."""
    lines = enumerate(text.split("\n"), 1)
    return Advice(next((n for n, line in lines if '"' in line and "\\" in line), 0), *_BACKSLASH)


def for_word(word: str, line: int, known: frozenset[str]) -> Advice | None:
    """What was meant with a single word where keys should be: `name:vm1`."""
    return _of_line(word, line, known, words=False)


def _of_line(line: str, number: int, known: frozenset[str], words: bool = True) -> Advice | None:
    """A mistake that a line shows by itself. `words`: a line of mere words is one, too."""
    plain = _COMMENT.sub("", line).rstrip()
    body = plain.lstrip(" \t")
    if "\t" in plain[: len(plain) - len(body)]:
        return Advice(number, "a tab in the indentation", "indent with spaces, not tabs")
    dashed = re.match(r"-(\w+:.*)", body)
    if dashed and _first_word(dashed[1]) in known:
        return Advice(number, "no space after the dash", f"write `- {_shown(dashed[1])}`")
    body = re.sub(r"^(-\s+)+", "", body)
    key = _first_word(body)
    rest = body[len(key) :]
    if key not in known:
        if words and re.match(r"\w[\w .-]*$", body) and not dashed:
            return Advice(
                number, f"`{_shown(body)}` is not of the form `key: value`", "is a : missing?"
            )
        return None
    value = rest.lstrip(" \t:=")
    if not rest.lstrip(" \t").startswith(":"):
        if rest and rest[0] not in " \t=":
            return None
        return Advice(number, f"no : after {key}", f"write `{key}: {_shown(value)}`".rstrip())
    after = rest.lstrip(" \t")[1:]
    if after[:1] == "\t":
        return Advice(number, f"a tab after `{key}:`", f"write `{key}: {_shown(value)}`")
    if after and not after.startswith(" "):
        return Advice(number, f"no space after `{key}:`", f"write `{key}: {_shown(value)}`")
    return _of_value(key, after.strip(), number)


def _of_value(key: str, value: str, number: int) -> Advice | None:
    if value[:1] in ("'", '"', "{", "["):
        return None
    in_quotes = "put it in quotes: `{}: '{}'`".format(key, _shown(value.replace("'", "''")))
    if value[:1] and value[0] in _ODD_STARTS:
        return Advice(number, f"{key}: a value can't start with {value[0]}", in_quotes)
    if ": " in value or value.endswith(":"):
        return Advice(number, f"{key}: a second : in the value", in_quotes)
    return None


def _open_bracket(line: str, number: int) -> Advice | None:
    plain = _COMMENT.sub("", line)
    for opening, closing in ("{}", "[]"):
        if plain.count(opening) > plain.count(closing):
            return Advice(number, f"a {opening} that is not closed", f"end it with {closing}")
    return None


def _part(line: str) -> _Part:
    match = _PART.match(_COMMENT.sub("", line).rstrip())
    assert match is not None
    indent, dash = len(match["indent"]), match["dash"]
    column = indent + len(dash or "")
    return _Part(column, indent if dash else -1, match["key"] or "", (match["rest"] or "").strip())


def _indentation(lines: Sequence[str]) -> Advice | None:
    """The first line whose key or dash stands below none of the lines that it belongs to."""
    columns: list[int] = []  # of the keys of the mappings that are open, outermost first
    dashes: list[int] = []  # of the lists that are open
    above: tuple[int, _Part] | None = None  # the last key, and its line
    for number, line in enumerate(lines, 1):
        part = _part(line)
        if not part.key and part.dash < 0:
            continue
        if above is None:
            columns, dashes, above = [part.column], [part.dash], (number, part)
            continue
        opens = not above[1].rest
        if part.dash >= 0:
            new = opens and part.dash >= above[1].column
            if not new and part.dash not in dashes:
                return _misplaced_dash(number, part.dash, _nearest(part.dash, dashes, columns))
            columns = [c for c in columns if c <= part.dash] + [part.column]
            dashes = [d for d in dashes if d < part.dash] + [part.dash]
        else:
            if part.column not in columns and not (opens and part.column > above[1].column):
                return _misplaced_key(number, part, *above)
            columns = [c for c in columns if c < part.column] + [part.column]
            dashes = [d for d in dashes if d < part.column]
        if part.key:
            above = number, part
    return None


def _nearest(column: int, dashes: Sequence[int], columns: Sequence[int]) -> int:
    known = [d for d in dashes if d >= 0] or list(columns)
    return min(known, key=lambda c: (abs(c - column), c))


def _misplaced_dash(number: int, column: int, near: int) -> Advice:
    return Advice(
        number,
        f"wrong indentation: the dash stands after {_blanks(column)}, its list after {_blanks(near)}",
        "the dashes of one list stand below each other",
    )


def _misplaced_key(number: int, part: _Part, above_line: int, above: _Part) -> Advice:
    return Advice(
        number,
        f"wrong indentation: `{part.key}:` stands after {_blanks(part.column)}, "
        f"`{above.key}:` on line {above_line} after {_blanks(above.column)}",
        "the keys of one entry stand below each other",
    )


def _blanks(number: int) -> str:
    return f"{number} space{'' if number == 1 else 's'}"


def _first_word(text: str) -> str:
    match = re.match(r"\w+", text)
    return match[0] if match else ""


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "..."
