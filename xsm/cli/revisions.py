"""Two revisions' files side by side: the model's differences line by line, or the text's."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping

from xsm.site import changes
from xsm.site.document import SITE_FILES, Document, Files, load
from xsm.site.problems import Invalid

STATE_PREFIX = "state/"
MAX_TEXT_BYTES = 4 << 20  # difflib is slow on more


def differences(old: Files, new: Files) -> tuple[str, ...]:
    """One line a difference: the site's model first, then the state tables, then other files."""
    return (*_model(old, new), *_tables(old, new), *_others(old, new))


def text_diff(old: Files, new: Files) -> Iterator[str]:
    """A unified diff of all files that differ, as `git diff` has it."""
    for path in sorted({*old, *new}):
        before, after = old.get(path), new.get(path)
        if before == after:
            continue
        if len(before or b"") + len(after or b"") > MAX_TEXT_BYTES or _binary(before, after):
            yield f"Files a/{path} and b/{path} differ"
            continue
        yield from difflib.unified_diff(
            _lines(before),
            _lines(after),
            f"a/{path}" if before is not None else "/dev/null",
            f"b/{path}" if after is not None else "/dev/null",
            lineterm="",
        )


def _model(old: Files, new: Files) -> Iterator[str]:
    before, after = _document(old), _document(new)
    if before and after:
        for change in changes.diff(before.site, after.site):
            yield changes.describe(change)
        if before.site_path != after.site_path:
            yield f"{before.site_path} => {after.site_path}"
        return
    for (
        path
    ) in SITE_FILES:  # a revision that this version can't read: say at least what is different
        if old.get(path) != new.get(path):
            yield _file_line(path, old.get(path), new.get(path))


def _document(files: Files) -> Document | None:
    try:
        return load(files)
    except Invalid:
        return None


def _tables(old: Files, new: Files) -> Iterator[str]:
    for path in sorted({*old, *new}):
        if not path.startswith(STATE_PREFIX) or old.get(path) == new.get(path):
            continue
        table = path.removeprefix(STATE_PREFIX).removesuffix(".json")
        before, after = _table(old.get(path)), _table(new.get(path))
        if before is None or after is None:
            yield _file_line(path, old.get(path), new.get(path))
            continue
        for key in sorted({*before, *after}):
            was, now = before.get(key), after.get(key)
            if was != now:
                yield f"{table} {key}: {_value(was)} => {_value(now)}"


def _table(content: bytes | None) -> Mapping[str, object] | None:
    """A state table; empty when it is missing, None when it is no table."""
    if content is None:
        return {}
    try:
        table = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return table if isinstance(table, dict) else None


def _value(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _others(old: Files, new: Files) -> Iterator[str]:
    for path in sorted({*old, *new}):
        if path in SITE_FILES or path.startswith(STATE_PREFIX) or old.get(path) == new.get(path):
            continue
        yield _file_line(path, old.get(path), new.get(path))


def _file_line(path: str, before: bytes | None, after: bytes | None) -> str:
    if before is None:
        return f"{path}: added"
    if after is None:
        return f"{path}: removed"
    if _binary(before, after) or len(before) + len(after) > MAX_TEXT_BYTES:
        return f"{path}: changed"
    lines = list(difflib.unified_diff(_lines(before), _lines(after), lineterm="", n=0))[2:]
    plus = sum(1 for line in lines if line.startswith("+"))
    minus = sum(1 for line in lines if line.startswith("-"))
    return f"{path}: changed (+{plus} -{minus} lines)"


def _binary(*contents: bytes | None) -> bool:
    return any(b"\0" in (content or b"") for content in contents)


def _lines(content: bytes | None) -> list[str]:
    return (content or b"").decode("utf-8", "replace").splitlines()
