"""Two revisions' files side by side: the model's differences line by line, or the text's."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from xsm.peer.edit import describe_changes
from xsm.site.document import Files
from xsm.site.problems import Invalid

MAX_TEXT_BYTES = 4 << 20  # difflib is slow on more


def differences(old: Files, new: Files) -> tuple[str, ...]:
    """One line a difference, in the words of the history."""
    try:
        return describe_changes(old, new)
    except Invalid:
        # The first revision has no site before it; and this version may not know an older one.
        return tuple(
            file_line(path, old.get(path), new.get(path))
            for path in sorted({*old, *new})
            if old.get(path) != new.get(path)
        )


def file_line(path: str, before: bytes | None, after: bytes | None) -> str:
    """`configs/apache_svr.cfg: changed`."""
    return f"{path}: " + ("added" if before is None else "removed" if after is None else "changed")


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


def _binary(*contents: bytes | None) -> bool:
    return any(b"\0" in (content or b"") for content in contents)


def _lines(content: bytes | None) -> list[str]:
    return (content or b"").decode("utf-8", "replace").splitlines()


def added_lines(before: bytes | None, after: bytes) -> Iterator[str]:
    """The lines that `after` has more than `before`."""
    for line in difflib.unified_diff(_lines(before), _lines(after), lineterm="", n=0):
        if line.startswith("+") and not line.startswith("+++"):
            yield line[1:]
