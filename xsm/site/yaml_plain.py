"""The plain layout of site.yaml, read without the YAML parser: `key: value` lines, `- key: value` lists, and
`key: [a, b]`.

Nearly every site.yaml is written so, and the parser, in pure Python, takes 4 s for 10,000 VMs. Decides only
whether a file is of this layout and without faults of structure; all else is left to `yaml_tree.py`, which gives
the same tree (a property test holds them together) and finds words for what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from xsm.site.file_limits import MAX_VALUE_CHARS
from xsm.site.yaml_node import VALUE, Mapping_, Node, Scalar, Sequence_, Shape

_WORD = r"[A-Za-z0-9][A-Za-z0-9._/@+-]*(?::+[A-Za-z0-9._/@+-]+)*"
_QUOTED = r"'[^']*(?:''[^']*)*'"
_ITEM = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]*|{_QUOTED}")
_LINE = re.compile(
    r"( *)(?:(-)( +))?([a-z0-9]+):"
    rf"(?: +({_WORD}|{_QUOTED}|\[(?:(?:{_ITEM.pattern})(?:, (?:{_ITEM.pattern}))*)?\]))?"
    r" *(?:(?<= )#.*)?"
)
_NOTHING = re.compile(r"[ ]*(?:#.*)?")
_BREAK = re.compile("\r?\n")


class NotPlain(Exception):
    """Line `line` is not of the plain layout."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Open:
    """A mapping that is being read: its keys' column, what it may hold, and its list that may go on."""

    __slots__ = ("column", "keys", "mapping", "pending", "seen", "sequence", "sequence_column")

    def __init__(self, mapping: Mapping_, column: int, keys: Mapping[str, Shape]) -> None:
        self.mapping = mapping
        self.column = column
        self.keys = keys
        self.seen: set[str] = set()
        self.pending: Shape | None = None  # of the items of the list that its last key opens
        self.sequence: Sequence_ | None = None
        self.sequence_column = -1


class PlainReader:
    """One reading. `root` and `spans` are as in `yaml_tree.Tree`."""

    def __init__(self, text: str, shape: Shape) -> None:
        assert shape.keys is not None
        self.text = text
        self.keys = shape.keys
        self.stack: list[_Open] = []
        self.spans: list[tuple[int, int]] = []
        self.root: Mapping_ | None = None

    def read(self) -> Mapping_:
        """Raises `NotPlain`."""
        text = self.text
        at = 0
        line = 1
        while at < len(text):
            found = _BREAK.search(text, at)
            end = found.start() if found else len(text)
            match = _LINE.fullmatch(text, at, end)
            if match is not None:
                self.line(match, line)
            elif not _NOTHING.fullmatch(text, at, end):
                raise NotPlain(line)
            at = found.end() if found else end
            line += 1
        if self.root is None:
            raise NotPlain(line)
        self.close(0)
        return self.root

    def line(self, match: re.Match[str], line: int) -> None:
        indent, dash, gap, word, text = match.groups()
        column = len(indent)
        start, end = match.span(4)
        if dash:
            top = self.item(match.start(2), start, column, column + 1 + len(gap), line)
        elif self.root is None:
            self.root = Mapping_(line, start, flow=False)
            top = _Open(self.root, column, self.keys)
            self.stack = [top]
        else:
            while self.stack[-1].column > column:
                self.pop()
                if not self.stack:
                    raise NotPlain(line)
            top = self.stack[-1]
        if top.column != (column if not dash else column + 1 + len(gap)):
            raise NotPlain(line)
        shape = top.keys.get(word)
        if shape is None or word in top.seen:
            raise NotPlain(line)
        top.seen.add(word)
        self.spans.append((start, end))
        key = Scalar(word, "", start, end, line)
        top.mapping.pairs.append((key, self.value(match, key, shape, text, line)))
        top.mapping.end = top.mapping.pairs[-1][1].end
        top.pending = shape.item if text is None else None
        top.sequence = None

    def value(
        self, match: re.Match[str], key: Scalar, shape: Shape, text: str | None, line: int
    ) -> Node:
        if text is None:
            if shape is VALUE:
                raise NotPlain(line)
            return Scalar("", "", key.end + 1, key.end + 1, line)
        start, end = match.span(5)
        if text.startswith("["):
            return self.words(shape, line, start, end)
        if shape is not VALUE:
            raise NotPlain(line)
        return self.scalar(line, start, end)

    def words(self, shape: Shape, line: int, start: int, end: int) -> Node:
        """The list on one line that stands there."""
        if shape.item is None:
            raise NotPlain(line)
        found = [
            self.scalar(line, *match.span()) for match in _ITEM.finditer(self.text, start, end)
        ]
        if found and shape.item is not VALUE:
            raise NotPlain(line)
        return Sequence_(line, start, True, end, [*found])

    def scalar(self, line: int, start: int, end: int) -> Scalar:
        if end - start > MAX_VALUE_CHARS:
            raise NotPlain(line)
        self.spans.append((start, end))
        if self.text.startswith("'", start):
            value = self.text[start + 1 : end - 1].replace("''", "'")
            return Scalar(value, "'", start, end, line)
        return Scalar(self.text[start:end], "", start, end, line)

    def item(self, dash: int, start: int, column: int, key_column: int, line: int) -> _Open:
        """The mapping that a dash opens, in a list that goes on or that the last key opens."""
        while self.stack:
            home = self.stack[-1]
            if home.sequence is not None and home.sequence_column == column:
                break
            if home.sequence is None and home.pending is not None and column >= home.column:
                home.sequence = Sequence_(line, dash, flow=False)
                home.sequence_column = column
                key, _ = home.mapping.pairs[-1]
                home.mapping.pairs[-1] = (key, home.sequence)
                break
            self.pop()
        else:
            raise NotPlain(line)
        assert home.sequence is not None
        if home.pending is None or home.pending.keys is None:
            raise NotPlain(line)
        mapping = Mapping_(line, start, flow=False)
        home.sequence.items.append(mapping)
        opened = _Open(mapping, key_column, home.pending.keys)
        self.stack.append(opened)
        return opened

    def pop(self) -> None:
        closed = self.stack.pop()
        if self.stack:
            home = self.stack[-1]
            assert home.sequence is not None
            home.sequence.end = home.mapping.end = closed.mapping.end

    def close(self, depth: int) -> None:
        while len(self.stack) > depth:
            self.pop()
