"""The syntax of xl.cfg files. The same inputs were compared with Xen 4.17's own libxlutil."""

from __future__ import annotations

import keyword
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsm.site import xlcfg
from xsm.site.problems import Invalid
from xsm.site.xlcfg import XlConfig, XlString, XlValue


def _plain(value: XlValue) -> object:
    return value.text if isinstance(value, XlString) else [_plain(item) for item in value.items]


def _read(text: str) -> dict[str, object]:
    return {option.name: _plain(option.value) for option in xlcfg.parse(text, "c.cfg").options}


def _problems(text: str) -> list[str]:
    with pytest.raises(Invalid) as caught:
        xlcfg.parse(text, "c.cfg")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a = 12", "12"),
        ("a=0x1F # hexadecimal", "0x1F"),
        ("a = 017\n", "017"),
        ('a = "two words"', "two words"),
        ("a = 'it said \"x\"'", 'it said "x"'),
        (r'a = "tab\t quote\" back\\ \x41\102"', 'tab\t quote" back\\ AB'),
        ("a = []", []),
        ("a = [ 'x', 2, ]", ["x", "2"]),
        ("a = [ 'x', # first\n\n   'y'\n , 'z' ]", ["x", "y", "z"]),
        ("a = [ [ 'x' ], [ 'y', 'z' ] ]", [["x"], ["y", "z"]]),
        ("b=1; a = 'x';;\n", "x"),
        ("a = \\\n 'x'", "x"),
        ("a = 'x'\r\n", "x"),
        ("a = 'x'\na += 'y'", "xy"),
        ("a = ['x']\na += ['y']", ["x", "y"]),
        ("a = 'no newline at the end' # nor here", "no newline at the end"),
    ],
)
def test_values(text: str, value: object) -> None:
    assert _read(text)["a"] == value


def test_every_option_knows_its_line() -> None:
    config = xlcfg.parse("# one\na = 1; b = 2\n\nc = [ 'x',\n  'y' ]\nd = 1\n", "c.cfg")
    assert [(option.name, option.line) for option in config.options] == [
        ("a", 2),
        ("b", 2),
        ("c", 4),
        ("d", 6),
    ]
    c = config.option("c")
    assert c is not None
    assert isinstance(c.value, xlcfg.XlList)
    assert [item.line for item in c.value.items] == [4, 5]


def test_the_last_of_two_values_counts_and_is_warned_about() -> None:
    config = xlcfg.parse("a = 1\nb = 2\na = 3\n", "c.cfg")
    assert {option.name: _plain(option.value) for option in config.options} == {"b": "2", "a": "3"}
    (warning,) = config.warnings
    assert (warning.line, warning.severity) == (3, "warning")
    assert "not the one of line 1" in warning.message


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("import os\n", 1, "Python"),
        ("name = 'a'\ndef f(x):\n    return x\n", 2, "Python"),
        ("memory = 64 * 2", 1, "Python expression"),
        ("disk = [ 'a' + 'b' ]", 1, "Python expression"),
        ("name = 'vm%d' % vmid", 1, "Python expression"),
        ("if True:\n", 1, "Python"),
        ("\nname = small-1'", 2, 'quote it: "small"'),
        ("a = 'x\nb = 1", 1, "doesn't end on its line"),
        ("a = [ 'x'", 1, "has no end"),
        ("\na = [ 'x'\n 'y' ]", 3, "`,` or `]`"),
        ("a = [ , ]", 1, "','"),
        ("a = 08", 1, "no number"),
        ("a = -3", 1, "in quotes"),
        ("a = 1 b = 2", 1, "newline or `;`"),
        ("a", 1, "end of the file"),
        ("Memory = 5", 1, "write memory"),
        ("= 5", 1, "an option's name"),
        (r"a = '\q'", 1, "means nothing"),
        (r"a = '\0'", 1, "stands for no character"),
        ("a = 'x'\na += ['y']", 2, "joins a list and a string"),
        ("a = " + "[" * 40 + "]" * 40, 1, "more than 16 deep"),
    ],
)
def test_what_xl_refuses_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    (first, *_) = _problems(text)
    assert first.startswith(f"c.cfg:{line}: error: ")
    assert words in first


def test_all_wrong_lines_are_told_at_once_and_nothing_else() -> None:
    text = "a = 1\nb = x\nc = [ 'y',\n  z,\n  'w' ]\nd = 2\ne = 'unended\nf = 3\n"
    assert [problem.split(":")[1] for problem in _problems(text)] == ["2", "4", "7"]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "a = " + "[" * 200_000 + "]" * 200_000,
        "a = '" + "\\\\" * 200_000,
        "a = ['x'" + ", 'x'" * 100_000 + "]",
        "=\n" * 200_000,
        "a = '" + "x" * 1_000_000 + "'",
        "'" * 500_001,
        "a = 1\n" * 100_000,
    ],
)
def test_hostile_files_take_little_time(text: str) -> None:
    started = time.process_time()
    try:
        xlcfg.parse(text, "c.cfg")
    except Invalid as invalid:
        assert len(invalid.problems) <= xlcfg.MAX_PROBLEMS
    assert time.process_time() - started < 5


_PIECES = st.sampled_from(
    (
        *("a", "b1", "=", "+=", " ", "\n", ";", "[", "]", ",", '"x"', "'y'", "12", "0x1f", "#c\n"),
        *("\\\n", "'\\x41'", "'\\", '"', "-", "%", "\0", "\u20ac", "import", "\r\n", "A", "["),
    )
)


@given(st.one_of(st.text(max_size=80), st.lists(_PIECES, max_size=30).map("".join)))
@settings(max_examples=300)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        config = xlcfg.parse(text, "c.cfg")
    except Invalid as invalid:
        lines = text.count("\n") + 1
        assert all(1 <= problem.line <= lines for problem in invalid.problems)
        return
    assert isinstance(config, XlConfig)
    names = [option.name for option in config.options]
    assert len(set(names)) == len(names)


_VALUES = st.recursive(
    st.one_of(
        st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20),
        st.integers(0, 1 << 40).map(str),
    ),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


def _written(value: object) -> str:
    """As a person could write it, over several lines."""
    if isinstance(value, list):
        return "[" + ",\n".join(_written(item) for item in value) + "]  # list\n"
    text = str(value).replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{text}'"


_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name) and name not in ("print", "exec")
)


@given(st.dictionaries(_NAMES, _VALUES, max_size=5))
@settings(max_examples=150)
def test_what_is_written_is_what_is_read(options: dict[str, object]) -> None:
    text = "".join(f"{name} = {_written(value)}\n" for name, value in options.items())
    assert _read(text) == options
