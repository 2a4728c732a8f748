"""The XML site file as a tree that knows which bytes each element takes.

Decides what is well-formed and harmless: no DOCTYPE (so no entities, nothing fetched), bounded depth,
UTF-8. Must not know the tags' meaning, beyond what it needs to say which one was left open.

Expat rather than lxml, because it tells the byte offset of every tag, which byte-exact editing needs,
and right line numbers at any length (libxml2 keeps 16 bits of them for an element).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from xml.parsers import expat

from xsm.site.entries import Findings, check_entries, decode
from xsm.site.file_limits import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_REPAIR_BYTES,
    MAX_REPAIRS,
    MAX_XML_BYTES,
)
from xsm.site.problems import Invalid, Problem


class Element:
    """One element. `start`..`end` are byte offsets of the whole of it.

    A site of 10,000 VMs has 70,000, nearly all of them with one text and no children: these have no lists of their
    own, which would cost more time (of Python's collector of garbage) than all the rest of reading.
    """

    __slots__ = (
        "attributes",
        "children",
        "close",
        "end",
        "first_text",
        "line",
        "more_texts",
        "start",
        "stray_line",
        "tag",
    )

    def __init__(self, tag: str, attributes: dict[str, str], start: int, line: int) -> None:
        self.tag = tag
        self.attributes = attributes
        self.start = start
        self.line = line
        self.close = -1  # where </TAG> starts; -1 while open. Where it ends for <TAG/>
        self.end = -1
        self.children: Sequence[Element] = ()
        self.first_text = ""
        self.more_texts: Sequence[str] = ()
        self.stray_line = 0  # line of its first text that is not white space

    @property
    def text(self) -> str:
        return "".join((self.first_text, *self.more_texts)) if self.more_texts else self.first_text

    def add_child(self, child: Element) -> None:
        if not self.children:
            self.children = []
        self.children.append(child)  # type: ignore[attr-defined]

    def add_text(self, text: str) -> None:
        if not self.first_text:
            self.first_text = text
            return
        if not self.more_texts:
            self.more_texts = []
        self.more_texts.append(text)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Comment:
    start: int
    end: int
    line: int
    text: str
    parent: Element | None
    after: int  # number of the parent's children before it


@dataclass(frozen=True)
class Tree:
    data: bytes
    root: Element
    comments: tuple[Comment, ...]


class _Broken(Exception):
    """Not well-formed. `patch` (start, end, bytes) makes it so at this place, if that is possible."""

    def __init__(self, problem: Problem, patch: tuple[int, int, bytes] | None = None) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.patch = patch


_ENCODINGS = ("utf-8", "utf8", "us-ascii", "ascii")
_END_TAG = re.compile(rb"</([^\s>]+)")
_OPEN_TAG = re.compile(rb"""<[^\s/>"']+(?:[^"'>]|"[^"]*"|'[^']*')*>""")


class _Builder:
    def __init__(self, data: bytes, path: str, leaves: Collection[str]) -> None:
        self.data = data
        self.path = path
        self.leaves = leaves
        self.root: Element | None = None
        self.stack: list[Element] = []
        self.comments: list[Comment] = []
        self.elements = 0
        self.parser = parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.characters
        parser.CommentHandler = self.comment
        parser.StartDoctypeDeclHandler = self.doctype
        parser.XmlDeclHandler = self.declaration

    def broken(self, message: str, hint: str = "", line: int | None = None) -> _Broken:
        at = self.parser.CurrentLineNumber if line is None else line
        return _Broken(Problem(self.path, at, message, hint))

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        parser = self.parser
        stack = self.stack
        element = Element(tag, attributes, parser.CurrentByteIndex, parser.CurrentLineNumber)
        if len(stack) >= MAX_DEPTH:
            raise self.broken(
                f"elements are nested more than {MAX_DEPTH} deep", "a site file needs 4 levels"
            )
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise self.broken(f"more than {MAX_ELEMENTS} elements", "split the site")
        if stack:
            stack[-1].add_child(element)
        elif self.root is None:
            self.root = element
        stack.append(element)

    def end(self, _tag: str) -> None:
        element = self.stack.pop()
        at = self.parser.CurrentByteIndex
        data = self.data
        if not element.children and not element.first_text:
            behind = open_end(data, element)
            if data.startswith(b"/>", behind - 2):
                element.close = element.end = behind
                return
        element.close = at
        element.end = data.index(b">", at) + 1

    def characters(self, text: str) -> None:
        if self.stack:
            element = self.stack[-1]
            if text.isspace():
                if not element.children:  # else it is the layout
                    element.add_text(text)
                return
            element.add_text(text)
            if not element.stray_line:
                element.stray_line = self.parser.CurrentLineNumber

    def comment(self, text: str) -> None:
        parent = self.stack[-1] if self.stack else None
        start = self.parser.CurrentByteIndex
        after = len(parent.children) if parent else int(self.root is not None)
        end = self.data.index(b"-->", start + 4) + 3
        self.comments.append(
            Comment(start, end, self.parser.CurrentLineNumber, text, parent, after)
        )

    def doctype(self, *_: object) -> None:
        raise self.broken(
            "a DOCTYPE is not allowed", "remove it: a site file has no entities and needs no DTD"
        )

    def declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise self.broken(
                f"the encoding {encoding[:40]!r} is not allowed", "save the file as UTF-8"
            )

    def build(self) -> Tree:
        try:
            self.parser.Parse(self.data, True)
        except expat.ExpatError as error:
            raise self.explain(error) from None
        assert self.root is not None  # expat refuses a document without one
        return Tree(self.data, self.root, tuple(self.comments))

    def explain(self, error: expat.ExpatError) -> _Broken:
        """Expat's error in terms of the user's file."""
        codes = expat.errors.codes
        stack = self.stack
        if error.code == codes[expat.errors.XML_ERROR_TAG_MISMATCH]:
            return self.mismatch()
        at_end = (
            codes[expat.errors.XML_ERROR_NO_ELEMENTS],
            codes[expat.errors.XML_ERROR_UNCLOSED_TOKEN],
        )
        if error.code == at_end[0] and stack:
            return self.unclosed(len(self.data), "the file ends")
        if error.code == at_end[1] and self.data.startswith(b"<!--", self.parser.ErrorByteIndex):
            return self.broken("a comment that is never closed", "end it with -->", error.lineno)
        if error.code == at_end[0]:
            return self.broken(
                "no XML element", "a site file starts with <XSMConfig>", error.lineno
            )
        if error.code == codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]:
            hint = "only &amp; &lt; &gt; &quot; &apos; and &#...; are known"
            return self.broken("an unknown &entity;", hint, error.lineno)
        if error.code == codes[expat.errors.XML_ERROR_DUPLICATE_ATTRIBUTE]:
            return self.broken("the same attribute twice in one tag", "keep one", error.lineno)
        if error.code == codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]:
            name = self.root.tag if self.root else ""
            return self.broken(f"something after the closing </{name}>", "remove it", error.lineno)
        hint = "&, < and quotes inside values are written &amp; &lt; &quot;"
        return self.broken(
            f"not well-formed XML: {expat.ErrorString(error.code)}", hint, error.lineno
        )

    def mismatch(self) -> _Broken:
        at = self.data.rfind(b"</", 0, self.parser.ErrorByteIndex + 1)
        found = _END_TAG.match(self.data, at)
        name = found[1].decode("utf-8", "replace")[:80] if found else "?"
        open_tags = [element.tag for element in self.stack]
        if name in open_tags:
            return self.unclosed(at, f"</{name}> comes")
        opened = self.stack[-1]
        line = self.parser.ErrorLineNumber
        problem = Problem(
            self.path,
            line,
            f"</{name}> closes nothing: <{opened.tag}> of line {opened.line} is open here",
            f"write </{opened.tag}>",
        )
        end = self.data.find(b">", at) + 1
        nothing = (at, end, f"</{opened.tag}>".encode()) if end else None
        return _Broken(problem, nothing)

    def unclosed(self, at: int, event: str) -> _Broken:
        element = self.stack[-1]
        closer = f"</{element.tag}>"
        place = "" if event == "the file ends" else f" on line {self.parser.ErrorLineNumber}"
        if element.tag in self.leaves and element.children:
            first = element.children[0]
            at, event, place = first.start, f"<{first.tag}> comes", f" on line {first.line}"
        problem = Problem(
            self.path,
            element.line,
            f"<{element.tag}> is not closed before {event}{place}",
            f"add {closer}",
        )
        return _Broken(problem, (at, at, closer.encode()))


def open_end(data: bytes, element: Element) -> int:
    """Offset just behind the element's opening tag."""
    found = _OPEN_TAG.match(data, element.start)
    assert found is not None  # expat accepted the tag
    return found.end()


def parse(data: bytes, findings: Findings, leaves: Collection[str] = ()) -> Tree:
    """The tree of `data`. Raises `Invalid`.

    `leaves`: tags of elements that hold text only; it tells where a missing end tag belongs. After a missing or
    wrong end tag the tree of the repaired text is returned, with the problem noted in `findings`, so that the
    caller can find what else is wrong; nobody may use such a tree for anything else.
    """
    decode(data, findings, MAX_XML_BYTES)
    check_entries(data.count(b"name"), findings)
    for _ in range(MAX_REPAIRS):
        try:
            return _Builder(data, findings.path, leaves).build()
        except _Broken as broken:
            problem, patch = broken.problem, broken.patch
        if patch is None or len(data) > MAX_REPAIR_BYTES:
            raise findings.fatal(problem.line, problem.message, problem.hint)
        findings.error(problem.line, problem.message, problem.hint)
        start, end, replacement = patch
        data = data[:start] + replacement + data[end:]
    raise Invalid(findings.problems)
