"""Tables and lines at every width: nothing is lost in a pipe, nothing is wider than a terminal."""

from __future__ import annotations

import io
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from xsm.cli.screen import MIN_WIDTH, Cell, Column, Screen, clean, width_of, wrap

COLUMNS = (Column("NAME"), Column("SIZE", right=True, drop=1), Column("REMARK"))
ROWS = [
    ["vm1", "96", "runs"],
    [Cell("a-long-name", "bad"), "12800", "a remark of several words here"],
]


def screen(width: int | None = None, colour: bool = False) -> Screen:
    return Screen(io.StringIO(), io.StringIO(), width, colour)


def written(on: Screen) -> str:
    assert isinstance(on.out, io.StringIO)
    return on.out.getvalue()


def test_a_table_into_a_pipe_is_as_wide_as_it_is() -> None:
    on = screen()
    on.table(COLUMNS, ROWS)
    assert written(on) == (
        "NAME          SIZE  REMARK\n"
        "vm1             96  runs\n"
        "a-long-name  12800  a remark of several words here\n"
    )


def test_the_last_column_wraps_under_itself() -> None:
    on = screen(46)
    on.table(COLUMNS, ROWS)
    assert written(on).splitlines()[2:] == [
        "a-long-name  12800  a remark of several words",
        "                    here",
    ]


def test_columns_go_when_there_is_no_room_and_that_is_said() -> None:
    on = screen(38)
    on.table(COLUMNS, ROWS)
    assert written(on) == (
        "NAME         REMARK\n"
        "vm1          runs\n"
        "a-long-name  a remark of several words\n"
        "             here\n"
        "(left out for want of width: SIZE)\n"
    )


def test_one_long_name_takes_no_room_from_the_others() -> None:
    on = screen(44)
    on.table(
        COLUMNS,
        [["vm1", "96", "runs"], [Cell("n" * 61, "name"), "128", "a remark of several words"]],
    )
    assert written(on) == (
        f"NAME  SIZE  REMARK\nvm1     96  runs\n{'n' * 61}\n       128  a remark of several words\n"
    )


def test_rows_become_paragraphs_when_not_even_names_fit() -> None:
    on = screen(24)
    on.bare_rows([["+", "a-very-long-vm-name-indeed", "and why"]], indent=2)
    assert written(on).splitlines() == ["  +", "    a-very-long-vm-name-indeed", "    and why"]


def test_wrap_keeps_blanks_within_a_line_and_never_cuts_a_word() -> None:
    assert wrap("a  bb   ccc dddd", 5, 6) == ["a  bb", "ccc", "dddd"]
    assert wrap("  key: a-very-long-word x", 8, 6) == ["  key:", "a-very-long-word", "x"]
    assert wrap("日本 日本", 4, 4) == ["日本", "日本"]


def test_an_empty_table_is_nothing() -> None:
    on = screen(80)
    on.table(COLUMNS, [])
    on.bare_rows([])
    on.pairs([])
    assert written(on) == ""


def test_colours_only_when_asked_for() -> None:
    on = screen(80, colour=True)
    on.table(COLUMNS, ROWS)
    assert "\x1b[31ma-long-name\x1b[0m" in written(on)
    plain = screen(80)
    plain.table(COLUMNS, ROWS)
    assert re.sub(r"\x1b\[\d+m", "", written(on)) == written(plain)


def test_wide_characters_take_two_columns() -> None:
    assert width_of("日本") == 4
    on = screen()
    on.bare_rows([["日本", "x"], ["abcde", "y"]])
    assert written(on) == "日本   x\nabcde  y\n"


def test_control_characters_are_shown_as_what_they_are() -> None:
    assert clean("a\x1b[1mb\x9b\u2028\nc\td") == "a\\x1b[1mb\\x9b\\u2028 c d"
    assert clean("grüße 日本") == "grüße 日本"


WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), max_size=30)


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=6),
    width=st.integers(MIN_WIDTH, 120),
)
def test_no_row_of_fitting_words_is_wider_than_the_terminal(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    on = screen(width)
    on.table(COLUMNS, rows)
    longest = max([width_of(word) for row in rows for word in row], default=0)
    for line in written(on).splitlines():
        # A single word may be wider than the room that is left; it is never cut.
        assert width_of(line) <= max(width, longest + 4)


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=6))
def test_a_pipe_gets_one_line_a_row_with_every_word(rows: list[tuple[str, str, str]]) -> None:
    on = screen()
    on.table(COLUMNS, rows)
    lines = written(on).splitlines()
    assert len(lines) == (len(rows) + 1 if rows else 0)
    for row, line in zip(rows, lines[1:], strict=False):
        assert all(word in line for word in map(clean, row))
        assert line == line.rstrip() or row[2].rstrip() != row[2]
