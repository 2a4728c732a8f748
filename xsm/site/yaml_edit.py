"""Edits of a YAML site file: what an edit doesn't mean keeps its bytes.

Decides where things go and how they are laid out (as their neighbours are). Must not know why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from xsm.site import yaml_write
from xsm.site.changes import Change, Unfit
from xsm.site.edits import Outcome, Splice, Splices, outcome
from xsm.site.entries import Findings
from xsm.site.fields import HOST_ENTRY, SET_ENTRY, VM_ENTRY, Entry, Field
from xsm.site.model import VM, Site, VMSet
from xsm.site.yaml_node import Mapping_, Node, Scalar, Sequence_
from xsm.site.yaml_tree import Tree

_TAIL = re.compile(r"[ \t]*(#[^\r\n]*)?(?=\r?\n|\Z)")
_LINE_END = re.compile(r"[ \t]*(\r?\n|\Z)")
_COMMENT = re.compile(r"#[^\r\n]*")
DASH = "- "

Render = Callable[[bool, str], list[str]]
"""An entry that comes new, as lines of a block list, or (flow=True) as one; the argument says with which quotes."""


def edit(tree: Tree, site: Site, changes: Sequence[Change], path: str) -> bytes:
    """See `yaml_file.edit`. `site` is what `tree` says."""
    try:
        todo, after = outcome(site, changes)
    except Unfit as unfit:
        raise Findings(path).fatal(0, f"the change doesn't fit the file: {unfit}") from None
    text = _Editor(tree, after).edit(todo)
    return (b"\xef\xbb\xbf" if tree.bom else b"") + text.encode()


def _render(text: str, splices: list[Splice], start: int, end: int) -> str:
    parts = []
    for splice in splices:
        parts += [text[start : splice.start], splice.text]
        start = splice.end
    return "".join([*parts, text[start:end]])


def _items(node: Node | None) -> list[Mapping_]:
    return (
        [item for item in node.items if isinstance(item, Mapping_)]
        if isinstance(node, Sequence_)
        else []
    )


def _name(mapping: Mapping_) -> str:
    scalar = mapping.get("name")
    assert isinstance(scalar, Scalar)  # the reader found one
    return scalar.value


class _Editor:
    def __init__(self, tree: Tree, after: Site) -> None:
        self.text = tree.text
        self.root = tree.root
        self.after = {vm.name: vm for vm in after.vms()}
        self.hosts = {_name(item): item for item in _items(self.root.get(HOST_ENTRY.key))}
        self.sets = {_name(item): item for item in _items(self.root.get(SET_ENTRY.key))}
        self.vms = {
            _name(vm): vm for home in self.sets.values() for vm in _items(home.get(VM_ENTRY.key))
        }
        first_break = self.text.find("\n")
        self.newline = "\r\n" if first_break > 0 and self.text[first_break - 1] == "\r" else "\n"
        self.splices = Splices()
        self.list_indent, self.key_indent = self.find_indents()

    def edit(self, todo: Outcome) -> str:
        for name in sorted(todo.host_fields):
            self.fields(self.hosts[name], HOST_ENTRY, todo.host_fields[name], self.splices)
        for name in sorted(todo.owners):
            self.fields(self.sets[name], SET_ENTRY, {"owner": todo.owners[name]}, self.splices)
        for name in sorted(todo.vm_fields.keys() - todo.moved_vms.keys()):
            self.fields(self.vms[name], VM_ENTRY, todo.vm_fields[name], self.splices)
        newcomers = self.newcomers(todo)
        gone = {*todo.removed_vms, *todo.moved_vms}
        for name, home in self.sets.items():
            if name not in todo.removed_sets:
                self.entries(home, VM_ENTRY, gone, newcomers.get(name, []))
        hosts = [self.fresh(HOST_ENTRY, host) for host in todo.added_hosts]
        self.entries(self.root, HOST_ENTRY, todo.removed_hosts, hosts)
        sets = [
            self.fresh_set(vm_set, newcomers.get(vm_set.name, []), todo)
            for vm_set in todo.added_sets
        ]
        self.entries(self.root, SET_ENTRY, todo.removed_sets, sets)
        return _render(self.text, self.splices.result(), 0, len(self.text))

    # What comes new

    def fresh(self, entry: Entry, of: Any) -> Render:
        def render(flow: bool, quote: str) -> list[str]:
            return (
                [yaml_write.flow(entry, of, quote)] if flow else yaml_write.entry_lines(entry, of)
            )

        return render

    def fresh_set(self, vm_set: VMSet, inner: list[Render], todo: Outcome) -> Render:
        vms = sorted(
            (vm for vm in self.after.values() if vm.set_name == vm_set.name and (inner or todo)),
            key=lambda vm: vm.name,
        )

        def render(flow: bool, quote: str) -> list[str]:
            if flow:
                return [yaml_write.flow(SET_ENTRY, replace(vm_set, vms=tuple(vms)), quote)]
            lines = yaml_write.entry_lines(SET_ENTRY, vm_set)
            if not inner:
                return lines
            body = [
                yaml_write.INDENT + " " * self.list_indent + line
                for entry in inner
                for line in self.with_key_indent(entry(False, ""))
            ]
            return [*lines[:-1], f"{yaml_write.INDENT}{VM_ENTRY.key}:", *body]

        return render

    def newcomers(self, todo: Outcome) -> dict[str, list[Render]]:
        """The VMs that go into each set: those that move there, then new ones."""
        result: dict[str, list[Render]] = {}
        for name in sorted(todo.moved_vms):
            render = self.moved(self.vms[name], self.after[name], todo.vm_fields.get(name, {}))
            result.setdefault(todo.moved_vms[name], []).append(render)
        for set_name in sorted(todo.added_vms):
            for vm in todo.added_vms[set_name]:
                result.setdefault(set_name, []).append(self.fresh(VM_ENTRY, vm))
        return result

    def moved(self, mapping: Mapping_, vm: VM, values: dict[str, Any]) -> Render:
        """A VM's own text with its changes in it; written afresh where the other list has another style."""
        own = Splices()
        self.fields(mapping, VM_ENTRY, values, own)
        text = _render(self.text, own.result(), mapping.start, mapping.end)
        lines = text.replace("\r\n", "\n").split("\n")
        fresh = self.fresh(VM_ENTRY, vm)

        def render(flow: bool, quote: str) -> list[str]:
            if mapping.flow != flow or (mapping.flow and len(lines) > 1):
                return fresh(flow, quote)
            if flow:
                return lines
            outer = " " * self.column(mapping.start)
            rest = [yaml_write.INDENT + line.removeprefix(outer) for line in lines[1:]]
            return [DASH + lines[0], *rest]

        return render

    # Places

    def column(self, at: int) -> int:
        return at - (self.text.rfind("\n", 0, at) + 1)

    def tail(self, at: int) -> int:
        """The end of the line when only a comment is left on it, else `at`."""
        found = _TAIL.match(self.text, at)
        return found.end() if found else at

    def find_indents(self) -> tuple[int, int]:
        """How far the file's block lists are indented more than their keys, and keys more than their dashes."""
        lists = [(key, node) for key, node in self.root.pairs]
        lists += [
            pair
            for home in self.sets.values()
            for pair in home.pairs
            if pair[0].value == VM_ENTRY.key
        ]
        for key, node in lists:
            if isinstance(node, Sequence_) and not node.flow and node.items:
                first = node.items[0]
                between = self.text[node.start : first.start]
                keys = 2 if "\n" in between or not isinstance(first, Mapping_) else len(between)
                return max(0, self.column(node.start) - self.column(key.start)), keys
        return 2, 2

    def with_key_indent(self, lines: list[str]) -> list[str]:
        """Lines of an entry with the file's distance between a dash and its keys; the writer's is two."""
        start = DASH.rstrip() + " " * (self.key_indent - 1)
        return [
            start + line[2:] if line.startswith(DASH) else " " * self.key_indent + line[2:]
            for line in lines
        ]

    def block(self, renders: list[Render], column: int) -> list[str]:
        return [
            " " * column + line
            for render in renders
            for line in self.with_key_indent(render(False, ""))
        ]

    # Lists of entries

    def entries(self, home: Mapping_, entry: Entry, gone: set[str], new: list[Render]) -> None:
        """Take the entries called `gone` out of the home's list, and put `new` ones at its end."""
        node = home.get(entry.key)
        leaving = [_name(item) in gone for item in _items(node)]
        if not new and not any(leaving):
            return
        quote = '"' if home.pairs[0][0].quote == '"' else ""
        if isinstance(node, Sequence_) and node.items:
            if node.flow:
                self.flow_list(node, leaving, [render(True, quote)[0] for render in new])
            else:
                self.block_list(node, leaving, new)
            return
        at_key = next((key.start for key, _ in home.pairs if key.value == entry.key), None)
        if home.flow:
            text = "[" + ", ".join(render(True, quote)[0] for render in new) + "]"
            if at_key is None:
                self.splices.insert(home.pairs[-1][1].end, f", {quote}{entry.key}{quote}: {text}")
            else:
                assert node is not None
                self.put(node, f" {text}" if node.end == node.start else text)
            return
        column = self.column(home.start if at_key is None else at_key) + self.list_indent
        lines = self.block(new, column)
        body = "".join(self.newline + line for line in lines)
        if at_key is not None:
            assert node is not None
            if node.end == node.start:
                self.splices.insert(self.tail(node.end), body)
            else:
                self.put(node, body)
        elif home is self.root:
            outer = self.newline + " " * self.column(home.start)
            self.splices.insert(home.pairs[0][0].start, f"{entry.key}:{body}{outer}")
        else:
            outer = self.newline + " " * self.column(home.start)
            self.splices.insert(self.tail(home.pairs[-1][1].end), f"{outer}{entry.key}:{body}")

    def put(self, node: Node, text: str) -> None:
        self.splices.replace(node.start, node.end, text)

    def block_list(self, node: Sequence_, leaving: list[bool], new: list[Render]) -> None:
        staying = [item for item, leaves in zip(node.items, leaving, strict=True) if not leaves]
        lines = self.block(new, self.column(node.start))
        if staying:
            self.splices.insert(
                self.tail(staying[-1].end), "".join(self.newline + line for line in lines)
            )
        elif lines:
            at = node.start - self.column(node.start)
            self.splices.insert(at, "".join(line + self.newline for line in lines))
        before = node.start
        for item, leaves in zip(node.items, leaving, strict=True):
            if leaves:
                dash = self.dash(before, item.start)
                self.cut(dash, item.end, self.splices)
            before = item.end

    def dash(self, start: int, end: int) -> int:
        """Where the dash is between two items; comments may be there too."""
        while True:
            comment = _COMMENT.search(self.text, start, end)
            found = self.text.find("-", start, comment.start() if comment else end)
            if found >= 0 or comment is None:
                return found
            start = comment.end()

    def flow_list(self, node: Sequence_, leaving: list[bool], new: list[str]) -> None:
        if all(leaving):
            self.put(node, "[" + ", ".join(new) + "]")
            return
        last = [item for item, leaves in zip(node.items, leaving, strict=True) if not leaves][-1]
        self.splices.insert(last.end, "".join(f", {text}" for text in new))
        self.flow_cuts([(item.start, item.end) for item in node.items], leaving, self.splices)

    def flow_cuts(
        self, spans: list[tuple[int, int]], leaving: list[bool], splices: Splices
    ) -> None:
        """Take members out of {...} or [...], each with one comma. Invariant: one stays."""
        last = max(i for i, leaves in enumerate(leaving) if not leaves)
        for i, leaves in enumerate(leaving):
            if leaves and i < last:
                splices.cut(spans[i][0], spans[i + 1][0])
        if last < len(spans) - 1:
            splices.cut(spans[last][1], spans[-1][1])

    def cut(self, start: int, end: int, splices: Splices) -> None:
        """Take out `start`..`end`, with its lines where nothing else is on them."""
        line_end = _LINE_END.match(self.text, end)
        line_start = start - self.column(start)
        if not self.text[line_start:start].strip() and line_end:
            start, end = line_start, line_end.end()
        splices.cut(start, end)

    # Values

    def fields(
        self, mapping: Mapping_, entry: Entry, values: dict[str, Any], splices: Splices
    ) -> None:
        leaving = [False] * len(mapping.pairs)
        places = {key.value: i for i, (key, _) in enumerate(mapping.pairs)}
        new: list[Field] = []
        for row in entry.fields:
            if row.attribute not in values:
                continue
            written = row.texts(values[row.attribute])
            at = places.get(row.key)
            if at is not None and written:
                self.set_value(mapping.pairs[at][1], row, values[row.attribute], splices)
            elif at is not None:
                leaving[at] = True
            elif written:
                new.append(row)
        for row in new:
            self.add_pair(mapping, entry, row, values[row.attribute], leaving, splices)
        if mapping.flow and any(leaving):
            self.flow_cuts([(key.start, node.end) for key, node in mapping.pairs], leaving, splices)
        elif any(leaving):
            self.block_cuts(mapping, leaving, splices)

    def set_value(self, node: Node, row: Field, of: Any, splices: Splices) -> None:
        if isinstance(node, Scalar):
            splices.replace(node.start, node.end, yaml_write.value(row, of, node.quote))
            return
        assert isinstance(node, Sequence_)
        quotes = {item.quote for item in node.items if isinstance(item, Scalar)}
        quote = quotes.pop() if len(quotes) == 1 else ""
        if node.flow:
            splices.replace(node.start, node.end, yaml_write.value(row, of, quote))
            return
        between = self.newline + " " * self.column(node.start)
        lines = [DASH + yaml_write.quoted(text, quote) for text in row.texts(of)]
        splices.replace(node.start, node.end, between.join(lines))

    def add_pair(
        self,
        mapping: Mapping_,
        entry: Entry,
        row: Field,
        of: Any,
        leaving: list[bool],
        splices: Splices,
    ) -> None:
        """Behind the last pair that the table has before it; there is one, since a name is never taken out."""
        order = {r.key: i for i, r in enumerate(entry.fields)}
        earlier = [
            node
            for (key, node), leaves in zip(mapping.pairs, leaving, strict=True)
            if not leaves and order.get(key.value, len(order)) < order[row.key]
        ]
        quote = '"' if mapping.pairs[0][0].quote == '"' else ""
        pair = f"{quote}{row.key}{quote}: {yaml_write.value(row, of, quote)}"
        if mapping.flow:
            splices.insert(earlier[-1].end, f", {pair}")
        else:
            outer = self.newline + " " * self.column(mapping.start)
            splices.insert(self.tail(earlier[-1].end), outer + pair)

    def block_cuts(self, mapping: Mapping_, leaving: list[bool], splices: Splices) -> None:
        first = leaving.index(False)
        leaders = mapping.pairs[:first]
        if leaders:  # on the line of the dash
            bounds = [*(key.start for key, _ in leaders[1:]), mapping.pairs[first][0].start]
            gaps = [
                self.text[node.end : until]
                for (_, node), until in zip(leaders, bounds, strict=True)
            ]
            if not "".join(gaps).strip():
                splices.cut(mapping.start, bounds[-1])
            else:
                for key, node in leaders:
                    splices.cut(key.start, node.end)
        for (key, node), leaves in list(zip(mapping.pairs, leaving, strict=True))[first:]:
            if leaves:
                self.cut(key.start, node.end, splices)
