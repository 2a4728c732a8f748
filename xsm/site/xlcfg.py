"""The syntax of xl.cfg(5) files, read the way libxlu reads it: names, values, and where each
stands.

Decides what is an assignment and what isn't. Must not know what any option means (`xl_options.py`
does). The grammar is that of Xen 4.17: `name = value` or `name += value`, ended by a newline or
`;`; a value is a number, a string in either quote with C-like escapes, or a list of values, which
may be nested and go over several lines; `#` starts a comment. Beyond libxlu, a comment may end
the file without a newline, and a backslash at the end of a line joins it with the next, as it did
in xm's files.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from xsm.site.problems import Invalid, Problem, Severity

MAX_DEPTH = 16
"""How deep lists may be nested; xl.cfg(5) itself needs 2 (vsnd, vnuma)."""

MAX_PROBLEMS = 50
"""How many problems of one file are worth telling; reading ends there."""


@dataclass(frozen=True)
class XlString:
    """A string or a number: libxlu keeps both as text, and so options may say 512 or "512"."""

    text: str
    line: int = field(compare=False)
    quoted: bool = field(default=True, compare=False)


@dataclass(frozen=True)
class XlList:
    items: tuple[XlString | XlList, ...]
    line: int = field(compare=False)


XlValue = XlString | XlList


@dataclass(frozen=True)
class XlOption:
    """One option with the value that counts (the last one). `line` is where that assignment
    starts.
    """

    name: str
    value: XlValue
    line: int = field(compare=False)


@dataclass(frozen=True)
class XlConfig:
    """A syntactically right xl.cfg file. Invariant: names are unique; options are in the file's
    order.
    """

    path: str
    options: tuple[XlOption, ...]
    warnings: tuple[Problem, ...] = ()

    def option(self, name: str) -> XlOption | None:
        return next((option for option in self.options if option.name == name), None)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


_TOKEN = re.compile(
    r"""
      (?P<skip>(?:[ \t\r\f\v]|\\\r?\n|\#[^\n]*)+)
    | (?P<newline>\n)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>[0-9][0-9A-Za-z_]*)
    | (?P<string>'[^'\\\n]*(?:\\[^\n][^'\\\n]*)*'|"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*")
    | (?P<add>\+=)
    | (?P<sign>[=,;\[\]])
    | (?P<unended>['"][^\n]*)
    | (?P<python>[-+*/%.():{}<>!@&|~^])
    | (?P<bad>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_PYTHON_WORDS = frozenset(keyword.kwlist) | {"print", "exec"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPES |= {"\\": "\\", "'": "'", '"': '"'}
_PYTHON_HINT = "xl doesn't run Python as xm did: write the values out, one `name = value` to a line"


class _Wrong(Exception):
    """A statement that can't be read; reading goes on with the next line."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.line, self.message, self.hint = line, message, hint


def parse(text: str, path: str) -> XlConfig:
    """Read an xl.cfg file.

    Raises `Invalid` with all syntax errors, each with its line. An option that is set twice
    counts with its last value, as in xl, and is warned about.
    """
    return _Parser(text, path).file()


class _Parser:
    def __init__(self, text: str, path: str) -> None:
        self._tokens = _tokens(text)
        self._path = path
        self._token = next(self._tokens)
        self._depth = 0  # of the list that is being read
        self._options: dict[str, XlOption] = {}
        self._errors: list[Problem] = []
        self._warnings: list[Problem] = []

    def file(self) -> XlConfig:
        while self._token.kind != "end" and len(self._errors) < MAX_PROBLEMS:
            try:
                self._statement()
            except _Wrong as wrong:
                self._errors.append(Problem(self._path, wrong.line, wrong.message, wrong.hint))
                self._skip_statement()
        if self._errors:
            raise Invalid(self._errors)
        return XlConfig(self._path, tuple(self._options.values()), tuple(self._warnings))

    def _next(self) -> _Token:
        token = self._token
        if token.kind != "end":
            self._token = next(self._tokens)
        return token

    def _is(self, sign: str) -> bool:
        return self._token.kind == "sign" and self._token.text == sign

    def _skip_statement(self) -> None:
        """Go on behind a statement that can't be read, so that its rest isn't complained about
        too.
        """
        while self._token.kind != "end":
            token = self._next()
            if token.kind == "newline" and (not self._depth or self._token.kind == "name"):
                break
            if token.kind == "sign" and token.text in "[]" and self._depth:
                self._depth += 1 if token.text == "[" else -1
        self._depth = 0

    def _skip_newlines(self) -> None:
        while self._token.kind == "newline":
            self._next()

    def _statement(self) -> None:
        if self._token.kind == "newline" or self._is(";"):
            self._next()
            return
        name = self._next()
        if name.kind != "name":
            raise _unexpected(name, "an option's name")
        if name.text in _PYTHON_WORDS:
            raise _Wrong(name.line, f"`{name.text}` starts a Python statement", _PYTHON_HINT)
        if not _NAME.fullmatch(name.text):
            hint = f"write {name.text.lower()}" if _NAME.fullmatch(name.text.lower()) else ""
            raise _Wrong(
                name.line, f"{name.text!r} is no option's name: they are in lower case", hint
            )
        add = self._token.kind == "add"
        if not add and not self._is("="):
            raise _unexpected(self._token, f"`=` after {name.text}")
        self._next()
        value = self._value()
        if self._token.kind not in ("newline", "end") and not self._is(";"):
            raise _unexpected(self._token, f"a newline or `;` after the value of {name.text}")
        self._store(name, value, add)

    def _value(self) -> XlValue:
        token = self._next()
        if token.kind == "string":
            return XlString(_unquote(token), token.line)
        if token.kind == "number":
            if not _NUMBER.fullmatch(token.text):
                raise _Wrong(
                    token.line,
                    f"{token.text[:40]!r} is no number",
                    "decimal, octal with a leading 0, or hexadecimal with 0x; text is quoted",
                )
            return XlString(token.text, token.line, quoted=False)
        if token.kind == "sign" and token.text == "[":
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise _Wrong(token.line, f"lists are nested more than {MAX_DEPTH} deep")
            return self._list(token.line)
        if token.kind == "name":
            hint = _PYTHON_HINT if token.text in _PYTHON_WORDS else f'quote it: "{token.text[:40]}"'
            raise _Wrong(token.line, f"{token.text[:40]!r} is neither a number nor a string", hint)
        if token.text in ("-", "+"):
            hint = 'a negative number is written in quotes: "-3600"'
            raise _Wrong(token.line, f"`{token.text}` starts no value", hint)
        raise _unexpected(token, "a value")

    def _list(self, line: int) -> XlList:
        items: list[XlValue] = []
        while True:
            self._skip_newlines()
            if self._is("]"):
                self._next()
                self._depth -= 1
                return XlList(tuple(items), line)
            if self._token.kind == "end":
                raise _Wrong(line, "the list that starts here has no end", "close it with `]`")
            items.append(self._value())
            self._skip_newlines()
            if self._is(","):
                self._next()
            elif not self._is("]") and self._token.kind != "end":
                raise _unexpected(self._token, "`,` or `]` in the list")

    def _store(self, name: _Token, value: XlValue, add: bool) -> None:
        old = self._options.pop(name.text, None)
        if old is not None and add:
            value = _joined(old.value, value, name)
        elif old is not None:
            self._warnings.append(
                Problem(
                    self._path,
                    name.line,
                    f"{name.text} is set again; this value counts, not the one of line {old.line}",
                    "keep one of the two",
                    Severity.WARNING,
                )
            )
        self._options[name.text] = XlOption(name.text, value, name.line)


def _joined(old: XlValue, new: XlValue, name: _Token) -> XlValue:
    if isinstance(old, XlString) and isinstance(new, XlString):
        return XlString(old.text + new.text, name.line)
    if isinstance(old, XlList) and isinstance(new, XlList):
        return XlList(old.items + new.items, name.line)
    raise _Wrong(name.line, f"{name.text} += joins a list and a string")


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "bad"
        found = match.group()
        if kind != "skip":
            yield _Token(kind, found, line)
        line += found.count("\n")
    while True:
        yield _Token("end", "", line)


def _unquote(token: _Token) -> str:
    def plain(match: re.Match[str]) -> str:
        hexadecimal, octal, other = match.groups()
        if hexadecimal or octal:
            code = int(hexadecimal, 16) if hexadecimal else int(octal, 8)
            if not 0 < code < 256:
                raise _Wrong(token.line, f"{match.group()} stands for no character")
            return chr(code)
        if other not in _ESCAPES:
            raise _Wrong(
                token.line,
                f"\\{other} means nothing in a string",
                "a backslash itself is written \\\\",
            )
        return _ESCAPES[other]

    return _ESCAPE.sub(plain, token.text[1:-1]) if "\\" in token.text else token.text[1:-1]


def _unexpected(token: _Token, wanted: str) -> _Wrong:
    if token.kind == "python" or token.text in _PYTHON_WORDS:
        return _Wrong(
            token.line, f"`{token.text}` makes this a Python expression, not a value", _PYTHON_HINT
        )
    if token.kind == "unended":
        return _Wrong(
            token.line, "a string that starts here doesn't end on its line", "close its quote"
        )
    if token.kind == "add":
        return _Wrong(token.line, f"`+=` stands where {wanted} should be")
    seen = {"newline": "the end of the line", "end": "the end of the file"}.get(token.kind)
    return _Wrong(token.line, f"{seen or repr(token.text[:40])} stands where {wanted} should be")
