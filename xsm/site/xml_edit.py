"""Edits of an XML site file, byte for byte: what an edit doesn't mean keeps its bytes.

Decides where things go and how they are laid out (as their neighbours are). Must not know why.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from xsm.site import xml_tree, xml_write
from xsm.site.changes import Change, Unfit
from xsm.site.edits import Outcome, Splice, Splices, outcome
from xsm.site.entries import Findings
from xsm.site.fields import HOST_ENTRY, SET_ENTRY, VM_ENTRY, Entry, Field
from xsm.site.model import Site, VMSet
from xsm.site.xml_tree import Element, open_end
from xsm.site.xml_write import INDENT

_TAIL = re.compile(rb"[ \t]*(?:<!--(?:(?!-->)[^\r\n])*-->[ \t]*)*(?=\r?\n)")
"""Comments up to the end of a line; they belong to what stands before them on it."""
_NOT_TEXT = re.compile(rb"<!--.*?-->|<\?.*?\?>", re.DOTALL)


def edit(text: bytes, site: Site, changes: Sequence[Change], path: str) -> bytes:
    """See `xml_file.edit`. `site` is what `text` says."""
    findings = Findings(path)
    try:
        result, _ = outcome(site, changes)
    except Unfit as unfit:
        raise findings.fatal(0, f"the change doesn't fit the file: {unfit}") from None
    tree = xml_tree.parse(text, findings)
    return _Editor(text, tree.root).edit(result)


def _render(data: bytes, splices: list[Splice], start: int, end: int) -> bytes:
    parts = []
    for splice in splices:
        parts += [data[start : splice.start], splice.text.encode()]
        start = splice.end
    return b"".join([*parts, data[start:end]])


class _Editor:
    def __init__(self, data: bytes, root: Element) -> None:
        self.data = data
        self.root = root
        self.hosts = {_name(e): e for e in root.children if e.tag == HOST_ENTRY.tag}
        self.sets = {_name(e): e for e in root.children if e.tag == SET_ENTRY.tag}
        self.home = {
            _name(e): (e, parent)
            for parent in self.sets.values()
            for e in parent.children
            if e.tag == VM_ENTRY.tag
        }
        first_break = data.find(b"\n")
        self.newline = "\r\n" if first_break > 0 and data[first_break - 1] == 0x0D else "\n"
        self.splices = Splices()
        self.removed: set[int] = set()
        self.filled: dict[
            int, tuple[Element, list[str]]
        ] = {}  # parents that were empty, and what goes in
        self.units = self.find_units()

    def edit(self, todo: Outcome) -> bytes:
        self.removed = {id(self.hosts[n]) for n in todo.removed_hosts}
        self.removed |= {id(self.sets[n]) for n in todo.removed_sets}
        self.removed |= {id(self.home[n][0]) for n in {*todo.removed_vms, *todo.moved_vms}}
        for name in sorted(todo.host_fields):
            self.fields(self.hosts[name], HOST_ENTRY, todo.host_fields[name], self.splices)
        for name in sorted(todo.owners):
            self.fields(self.sets[name], SET_ENTRY, {"owner": todo.owners[name]}, self.splices)
        for name in sorted(todo.vm_fields.keys() - todo.moved_vms.keys()):
            self.fields(self.home[name][0], VM_ENTRY, todo.vm_fields[name], self.splices)
        newcomers = self.newcomers(todo)
        for element, parent in self.home.values():
            if id(element) in self.removed and id(parent) not in self.removed:
                self.cut(element)
        for element in [*self.hosts.values(), *self.sets.values()]:
            if id(element) in self.removed:
                self.cut(element)
        for host in todo.added_hosts:
            self.insert_entry(self.root, (HOST_ENTRY.tag,), 1, xml_write.host_lines(host))
        for name, parent in self.sets.items():
            for lines in newcomers.get(name, ()) if id(parent) not in self.removed else ():
                self.insert(
                    parent, self.anchor(parent, (VM_ENTRY.tag, SET_ENTRY.fields[1].tag)), 2, lines
                )
        for vm_set in todo.added_sets:
            lines = self.new_set(vm_set, newcomers.get(vm_set.name, []))
            self.insert(
                self.root, self.anchor(self.root, (SET_ENTRY.tag, HOST_ENTRY.tag)), 1, lines
            )
        self.fill()
        return _render(self.data, self.splices.result(), 0, len(self.data))

    # What comes new: lists of lines, relative to the entry's own indentation.

    def newcomers(self, todo: Outcome) -> dict[str, list[list[str]]]:
        """The VMs that go into each set: those that move there, then new ones."""
        result: dict[str, list[list[str]]] = {}
        for name in sorted(todo.moved_vms):
            element = self.home[name][0]
            own = Splices()
            self.fields(element, VM_ENTRY, todo.vm_fields.get(name, {}), own)
            text = _render(self.data, own.result(), element.start, element.end).decode()
            old = self.indent(element) or ""
            first, *rest = text.replace("\r\n", "\n").split("\n")
            lines = [first, *(line.removeprefix(old) for line in rest)]
            result.setdefault(todo.moved_vms[name], []).append(lines)
        for set_name in sorted(todo.added_vms):
            for vm in todo.added_vms[set_name]:
                lines = self.laid_out(xml_write.vm_lines(vm), 2)
                result.setdefault(set_name, []).append(lines)
        return result

    def new_set(self, vm_set: VMSet, inner: list[list[str]]) -> list[str]:
        lines = self.laid_out(xml_write.set_lines(vm_set), 1)
        if not inner:
            return lines
        head = lines[:-1] if len(lines) > 1 else [lines[0].removesuffix("/>") + ">"]
        body = [self.units[1] + line for vm_lines in inner for line in vm_lines]
        return [*head, *body, f"</{SET_ENTRY.tag}>"]

    def laid_out(self, lines: list[str], depth: int) -> list[str]:
        """`lines` of the writer with the file's own indentation in place of the writer's."""
        result = []
        for line in lines:
            bare = line.lstrip(" ")
            levels = (len(line) - len(bare)) // len(INDENT)
            result.append("".join(self.units[depth : depth + levels]) + bare)
        return result

    def find_units(self) -> list[str]:
        """How much each level is indented more than the one around it: in the root, in sets, in VMs."""
        units: list[str | None] = [None, None, None]
        for top in self.root.children:
            units[0] = self.step(self.root, top) if units[0] is None else units[0]
            for child in top.children:
                units[1] = self.step(top, child) if units[1] is None else units[1]
                if units[2] is None and child.tag == VM_ENTRY.tag and child.children:
                    units[2] = self.step(child, child.children[0])
            if None not in units:
                break
        known = [unit for unit in units if unit]
        usual = known[0] if known else INDENT
        return [usual if unit is None else unit for unit in units]

    def step(self, outer: Element, inner: Element) -> str | None:
        around, own = self.indent(outer), self.indent(inner)
        if (
            around is None
            or own is None
            or not own.startswith(around)
            or b"\n" not in self.data[outer.start : inner.start]
        ):
            return None
        return own[len(around) :]

    # Places

    def indent(self, element: Element) -> str | None:
        """The white space before the element, if nothing else is before it on its line."""
        before = self.data[self.data.rfind(b"\n", 0, element.start) + 1 : element.start]
        return before.decode() if not before.strip(b" \t") else None

    def anchor(self, parent: Element, tags: Sequence[str]) -> Element | None:
        """The last child that stays, of the first of `tags` that has any."""
        for tag in tags:
            for child in reversed(parent.children):
                if child.tag == tag and id(child) not in self.removed:
                    return child
        return None

    def insert_entry(
        self, parent: Element, tags: Sequence[str], depth: int, lines: list[str]
    ) -> None:
        self.insert(parent, self.anchor(parent, tags), depth, self.laid_out(lines, depth))

    def insert(
        self,
        parent: Element,
        after: Element | None,
        depth: int,
        lines: list[str],
        splices: Splices | None = None,
    ) -> None:
        """Put `lines` into `parent` at `depth`, behind its child `after` or before all of them."""
        inside = self.data[open_end(self.data, parent) : parent.close]
        if not parent.children and b"\n" not in inside:
            self.filled.setdefault(id(parent), (parent, []))[1].extend(lines)
            return
        at = after.end if after else open_end(self.data, parent)
        if b"\n" not in inside:
            # Lines of a VM that moves here may be those of a comment, and stay lines.
            as_is = any("<!--" in line for line in lines)
            text = self.newline.join(lines) if as_is else "".join(map(str.strip, lines))
        else:
            tail = _TAIL.match(self.data, at)
            at = tail.end() if tail else at
            indent = next((i for i in map(self.indent, parent.children) if i is not None), None)
            if indent is None:
                indent = (self.indent(parent) or "") + self.units[depth - 1]
            text = "".join(self.newline + indent + line for line in lines)
        (splices or self.splices).insert(at, text)

    def fill(self) -> None:
        """Write what goes into parents that had nothing in them: `<Set name="a"/>` gets an end tag."""
        for parent, lines in self.filled.values():
            outer = self.indent(parent)
            around = outer or ""
            unit = self.units[0] if parent is self.root else self.units[1]
            body = (
                "".join(self.newline + around + unit + line for line in lines)
                + self.newline
                + around
            )
            behind = open_end(self.data, parent)
            if parent.end == behind:  # self-closing
                slash = behind - 2
                while self.data[slash - 1 : slash].isspace():
                    slash -= 1
                self.splices.replace(slash, behind, f">{body}</{parent.tag}>")
            else:
                self.splices.insert(behind, body)

    def cut(self, element: Element, splices: Splices | None = None) -> None:
        """Take the element out, with its lines where nothing else is on them."""
        start, end = element.start, element.end
        line_end = re.compile(rb"[ \t]*(\r?\n|\Z)").match(self.data, end)
        if self.indent(element) is not None and line_end:
            start, end = self.data.rfind(b"\n", 0, start) + 1, line_end.end()
        (splices or self.splices).cut(start, end)

    # Values

    def fields(
        self, element: Element, entry: Entry, values: dict[str, Any], splices: Splices
    ) -> None:
        for row in entry.fields:
            if row.attribute in values:
                value = values[row.attribute]
                if row.in_tag:
                    self.set_attribute(element, row, value, splices)
                else:
                    self.set_child(element, entry, row, value, splices)

    def set_attribute(self, element: Element, row: Field, value: Any, splices: Splices) -> None:
        pattern = rb"\s" + row.tag.encode() + rb"""\s*=\s*("[^"]*"|'[^']*')"""
        found = re.compile(pattern).search(self.data, element.start, open_end(self.data, element))
        assert found is not None  # the reader found it
        quote = chr(self.data[found.start(1)])
        text = xml_write.escape_attribute(row.kind.format(value), quote)
        splices.replace(found.start(1) + 1, found.end(1) - 1, text)

    def set_child(
        self, element: Element, entry: Entry, row: Field, value: Any, splices: Splices
    ) -> None:
        wanted = list(row.texts(value))
        staying: list[Element] = []
        for child in element.children:
            if child.tag != row.tag:
                continue
            if row.named and wanted:  # their order counts: in place, one after the other
                text = wanted.pop(0)
                if row.kind.format(row.kind.parse(child.text.strip())) != text:
                    self.set_text(child, text, splices)
            elif row.repeatable and child.text.strip() in wanted:
                wanted.remove(child.text.strip())
                staying.append(child)
            elif not row.repeatable and wanted:
                self.set_text(child, wanted.pop(), splices)
            else:
                self.removed.add(id(child))
                self.cut(child, splices)
        if not wanted:
            return
        order = [r.tag for r in entry.fields]
        earlier = [
            c
            for c in element.children
            if c.tag in order
            and order.index(c.tag) <= order.index(row.tag)
            and id(c) not in self.removed
        ]
        depth = 3 if entry is VM_ENTRY else 2
        lines = [xml_write.element(row, text) for text in wanted]
        self.insert(element, earlier[-1] if earlier else None, depth, lines, splices)

    def set_text(self, child: Element, text: str, splices: Splices) -> None:
        """Replace the element's text; comments inside it and white space around it stay."""
        start = open_end(self.data, child)
        texts: list[tuple[int, int]] = []
        for found in [*_NOT_TEXT.finditer(self.data, start, child.close), None]:
            piece = self.data[start : found.start() if found else child.close]
            if piece.strip():
                lead = len(piece) - len(piece.lstrip())
                texts.append((start + lead, start + lead + len(piece.strip())))
            start = found.end() if found else start
        first, *others = texts
        splices.replace(*first, xml_write.escape(text))
        for other in others:
            splices.cut(*other)


def _name(element: Element) -> str:
    return element.attributes["name"].strip()
