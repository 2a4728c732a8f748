"""What the user sees: lines, tables and key-value lists, for a terminal or for a pipe.

Decides colours, widths and what a narrow terminal leaves out. Output into a pipe is never cut,
coloured or wrapped: one line a record, so that grep and awk can work with it. Must not know what
the texts mean.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

import click

GAP = 2  # blanks between columns
MIN_WRAP_WIDTH = 24  # a wrapped column that would get less goes to a line of its own
NAME_WIDTH = 24  # a longer name has a line of its own where the table is too wide otherwise
MIN_WIDTH = 20  # a terminal that claims to be narrower is treated as this wide


@dataclass(frozen=True)
class Column:
    """`drop`: what goes first when the terminal is too narrow (highest first; 0 never goes)."""

    title: str
    right: bool = False
    drop: int = 0


@dataclass(frozen=True)
class Cell:
    text: str
    style: str = ""


Row = Sequence[str | Cell]

STYLES: dict[str, dict[str, object]] = {
    "": {},
    "good": {"fg": "green"},
    "bad": {"fg": "red"},
    "care": {"fg": "yellow"},
    "faint": {"dim": True},
    "name": {"bold": True},
    "head": {"bold": True},
    "new": {"fg": "green"},
    "gone": {"fg": "red"},
    "move": {"fg": "cyan"},
}


def clean(text: str) -> str:
    """Take control characters out: texts come from other people (messages, foreign domains)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if character in "\n\r\t":
        return " "
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def width_of(text: str) -> int:
    """Columns that the text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def wants_colour(stream: TextIO) -> bool:
    """Colours only on a terminal that can, and not when NO_COLOR (no-color.org) is set."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


@dataclass(frozen=True)
class Screen:
    """Where to write. `width` None: a pipe or file, lines are as long as they are."""

    out: TextIO
    err: TextIO
    width: int | None = None
    colour: bool = False
    err_colour: bool = False

    @staticmethod
    def real() -> Screen:
        """The process's own stdout and stderr."""
        width = None
        if sys.stdout.isatty():
            width = max(MIN_WIDTH, shutil.get_terminal_size().columns)
        return Screen(
            sys.stdout, sys.stderr, width, wants_colour(sys.stdout), wants_colour(sys.stderr)
        )

    def paint(self, text: str, style: str) -> str:
        if not self.colour or not style or not text:
            return text
        return click.style(text, **STYLES[style])  # type: ignore[arg-type]

    def line(self, text: str = "", style: str = "", indent: int = 0) -> None:
        """One line of text, wrapped on a terminal; continued lines are indented by two more."""
        for number, part in enumerate(self._wrapped(clean(text), indent, GAP)):
            lead = " " * (indent if number == 0 else indent + GAP)
            self.out.write(lead + self.paint(part, style) + "\n")

    def verbatim(self, text: str, style: str = "") -> None:
        """One line that keeps its blanks and is never wrapped."""
        shown = "".join(c if c.isprintable() or c == "\t" else _escaped(c) for c in text)
        self.out.write(self.paint(shown, style) + "\n")

    def raw(self, text: str) -> None:
        """Text that goes out as it is: XML, a token, JSON."""
        self.out.write(text if text.endswith("\n") else text + "\n")

    def warn(self, text: str, style: str = "") -> None:
        """One line to stderr."""
        cleaned = clean(text)
        if self.err_colour and style:
            cleaned = click.style(cleaned, **STYLES[style])  # type: ignore[arg-type]
        self.err.write(cleaned + "\n")

    def table(self, columns: Sequence[Column], rows: Iterable[Row], indent: int = 0) -> None:
        """Aligned columns under a header; the last one takes the rest of the line and wraps."""
        cells = [[_cell(value) for value in row] for row in rows]
        if not cells:
            return
        cells = self._names_apart(columns, cells, indent)
        kept, dropped = self._fitting(columns, cells, indent)
        header = [Cell(columns[k].title, "head") for k in kept]
        body = [[row[k] for k in kept] if len(row) > 1 else row for row in cells]
        self._rows([columns[k] for k in kept], [header, *body], indent)
        if dropped:
            names = ", ".join(columns[k].title for k in dropped)
            self.line(f"(left out for want of width: {names})", "faint", indent)

    def pairs(self, pairs: Iterable[tuple[str, str | Cell]], indent: int = 0) -> None:
        """`key  value` lines with the values aligned."""
        rows = [[Cell(key, "faint"), _cell(value)] for key, value in pairs]
        if rows:
            self._rows([Column(""), Column("")], rows, indent)

    def bare_rows(self, rows: Iterable[Row], indent: int = 0) -> None:
        """Aligned columns without a header."""
        cells = [[_cell(value) for value in row] for row in rows]
        if cells:
            self._rows([Column("")] * len(cells[0]), cells, indent)

    def _names_apart(
        self, columns: Sequence[Column], rows: list[list[Cell]], indent: int
    ) -> list[list[Cell]]:
        """Rows with a long name as two, a lone name and the rest, where one name would take the room of all rows."""
        widths = _widths(columns, rows)
        widths[-1] = min(widths[-1], MIN_WRAP_WIDTH)
        needed = indent + sum(widths) + GAP * (len(widths) - 1)
        if self.width is None or needed <= self.width or len(columns) == 1 or columns[0].drop:
            return rows
        apart = []
        for row in rows:
            long = width_of(row[0].text) > NAME_WIDTH
            apart += [[row[0]], [Cell(""), *row[1:]]] if long else [row]
        return apart

    def _fitting(
        self, columns: Sequence[Column], rows: list[list[Cell]], indent: int
    ) -> tuple[list[int], list[int]]:
        kept = list(range(len(columns)))
        if self.width is None:
            return kept, []
        widths = _widths(columns, rows)
        widths[-1] = min(widths[-1], MIN_WRAP_WIDTH)  # the last column can wrap
        dropped = []
        while indent + sum(widths[k] for k in kept) + GAP * (len(kept) - 1) > self.width:
            able = [k for k in kept if columns[k].drop]
            if not able:
                break
            gone = max(able, key=lambda k: (columns[k].drop, k))
            kept.remove(gone)
            dropped.append(gone)
        return kept, sorted(dropped)

    def _rows(self, columns: Sequence[Column], rows: list[list[Cell]], indent: int) -> None:
        widths = _widths(columns, rows)
        before_last = indent + sum(widths[:-1]) + GAP * (len(widths) - 1)
        if self.width is not None and before_last - GAP > self.width:
            for row in rows:  # no room for columns: each row is a paragraph
                self.line((" " * GAP).join(cell.text for cell in row if cell.text), "", indent)
            return
        for row in rows:
            line = " " * indent
            if len(row) < len(columns):
                self.out.write(line + self.paint(row[0].text, row[0].style) + "\n")
                continue
            for number, (column, cell) in enumerate(zip(columns, row, strict=True)):
                last = number == len(columns) - 1
                fill = " " * (widths[number] - width_of(cell.text))
                painted = self.paint(cell.text, cell.style)
                if last and self._too_long(before_last, cell.text) and len(columns) > 1:
                    self._write_long(line, cell, before_last, indent)
                    break
                if column.right:
                    line += fill + painted
                else:
                    line += painted + ("" if last else fill)
                line += "" if last else " " * GAP
            else:
                self.out.write(line.rstrip() + "\n")

    def _too_long(self, before: int, text: str) -> bool:
        return self.width is not None and before + width_of(text) > self.width

    def _write_long(self, line: str, cell: Cell, before_last: int, indent: int) -> None:
        """The last cell of a row, over several lines, under its column or on lines of its own."""
        column = before_last
        longest = max(width_of(word) for word in cell.text.split(" "))
        if (self.width or 0) - before_last < max(MIN_WRAP_WIDTH, longest):
            self.out.write(line.rstrip() + "\n")
            column = indent + 2 * GAP
            line = " " * column
        for number, part in enumerate(self._wrapped(cell.text, column)):
            lead = line if number == 0 else " " * column
            self.out.write(lead + self.paint(part, cell.style) + "\n")

    def _wrapped(self, text: str, indent: int, hanging: int = 0) -> list[str]:
        """The text in lines that fit after `indent` blanks, all but the first after `hanging`."""
        if self.width is None:
            return [text]
        return wrap(text, self.width - indent, self.width - indent - hanging)


def wrap(text: str, first: int, rest: int) -> list[str]:
    """Break the text between words: the first line `first` columns wide at most, the others `rest`.

    Blanks within a line stay as they are. A word that is wider than its line isn't cut.
    """
    if width_of(text) <= first:
        return [text]
    lines = [""]
    for blanks, word in re.findall("( *)([^ ]+)", text):
        room = first if len(lines) == 1 else rest
        if lines[-1] and width_of(lines[-1] + blanks + word) > room:
            lines.append(word)
        else:
            lines[-1] += blanks + word
    return lines


def _cell(value: str | Cell) -> Cell:
    return Cell(clean(value.text), value.style) if isinstance(value, Cell) else Cell(clean(value))


def _widths(columns: Sequence[Column], rows: list[list[Cell]]) -> list[int]:
    widths = [width_of(column.title) for column in columns]
    for row in rows:
        for number, cell in enumerate(row if len(row) == len(columns) else ()):
            widths[number] = max(widths[number], width_of(cell.text))
    return widths
