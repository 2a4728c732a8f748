"""site.yaml: read, written, and edited without touching what an edit doesn't mean.

Decides what a valid site.yaml is, by the table in `fields.py`. Must not know other files.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from xsm.site import yaml_edit, yaml_tree, yaml_write
from xsm.site.changes import Change
from xsm.site.comments import END, Collector, Comments, Place
from xsm.site.entries import Findings, RawEntry, host_of, set_of, vm_of
from xsm.site.fields import HOST_ENTRY, SET_ENTRY, VM_ENTRY, Entry, Field
from xsm.site.model import VM, Host, Site, VMSet
from xsm.site.yaml_node import VALUE, Mapping_, Node, Scalar, Sequence_, Shape
from xsm.site.yaml_tree import Tree


def _shape(entry: Entry, **more: Shape) -> Shape:
    own = {row.key: Shape(item=VALUE) if row.repeatable else VALUE for row in entry.fields}
    return Shape(keys={**own, **more})


SHAPE = Shape(
    keys={
        HOST_ENTRY.key: Shape(item=_shape(HOST_ENTRY)),
        SET_ENTRY.key: Shape(item=_shape(SET_ENTRY, vms=Shape(item=_shape(VM_ENTRY)))),
    }
)


def read(text: bytes, path: str = "site.yaml") -> Site:
    """The site that `text` describes. Raises `Invalid` with all problems, at `path` and their lines."""
    findings = Findings(path)
    tree = yaml_tree.parse(text, findings, SHAPE)
    site = _site(tree, findings)
    findings.raise_any(site)
    return site


def write(site: Site, comments: Comments | None = None) -> bytes:
    """A fresh site.yaml."""
    return yaml_write.write(site, comments or Comments())


def edit(
    text: bytes, changes: Sequence[Change], path: str = "site.yaml", site: Site | None = None
) -> bytes:
    """`text` with `changes` made and everything else as it was, byte for byte. `site`: what `text` says, where it was
    read already.

    Raises `Invalid` when `text` is not a valid site file or a change doesn't fit it.
    """
    if not changes:
        return text
    findings = Findings(path)
    tree = yaml_tree.parse(text, findings, SHAPE)
    site = site or _site(tree, findings)
    findings.raise_any()
    return yaml_edit.edit(tree, site, changes, path)


def _site(tree: Tree, findings: Findings) -> Site:
    if (
        tree.root.get(SET_ENTRY.key) is None
        and tree.root.get(HOST_ENTRY.key) is None
        and not findings.problems
    ):
        findings.error(tree.root.line, "neither sets: nor hosts:", "an empty site is `sets: []`")
    hosts: list[Host] = []
    for node in items(tree.root, HOST_ENTRY.key):
        host = host_of(_raw(node, HOST_ENTRY, findings), findings, xml=False)
        hosts += [host] if host else []
    sets: list[VMSet] = []
    for node in items(tree.root, SET_ENTRY.key):
        raw = _raw(node, SET_ENTRY, findings)
        name = raw.values["name"][0][0] if "name" in raw.values else ""
        found = (
            vm_of(_raw(vm, VM_ENTRY, findings), name, findings, xml=False)
            for vm in items(node, VM_ENTRY.key)
        )
        vms: list[VM] = [vm for vm in found if vm]
        vm_set = set_of(raw, vms, findings, xml=False)
        sets += [vm_set] if vm_set else []
    return Site(tuple(sets), tuple(hosts))


def items(mapping: Mapping_, key: str) -> list[Mapping_]:
    """The entries of the list at `key`; none when it is absent or empty."""
    node = mapping.get(key)
    return (
        [item for item in node.items if isinstance(item, Mapping_)]
        if isinstance(node, Sequence_)
        else []
    )


def _raw(mapping: Mapping_, entry: Entry, findings: Findings) -> RawEntry:
    raw = RawEntry(entry, mapping.line)
    by_key = entry.by_key
    for key, node in mapping.pairs:
        row = by_key.get(key.value)
        if row is None:
            continue
        scalars = node.items if isinstance(node, Sequence_) else [node]
        texts = [(_text(row, s, findings), s.line) for s in scalars if isinstance(s, Scalar)]
        if row.repeatable and (not isinstance(node, Sequence_) or not texts):
            findings.error(node.line, f"{row.key}: is empty", "leave it out")
        if texts:
            raw.values[row.attribute] = texts
    return raw


def _text(row: Field, scalar: Scalar, findings: Findings) -> str:
    """The scalar's text, once it is clear that every YAML reader takes it for the type that the schema asks for."""
    if row.kind.is_number:
        if scalar.quote:
            findings.error(scalar.line, f"{row.key}: a number in quotes", "write it without quotes")
    elif not scalar.quote and not scalar.is_null and not yaml_write.is_text(scalar.value):
        findings.error(
            scalar.line,
            f"{row.key}: {scalar.value} is not text in YAML",
            f"put it in quotes: '{scalar.value}'",
        )
    elif scalar.value != scalar.value.strip():
        findings.error(scalar.line, f"{row.key}: white space around the value", "remove it")
    return "" if scalar.is_null else scalar.value


_COMMENT = re.compile(r"(?:(?<=\s)|^)#[^\r\n]*", re.MULTILINE)


def comments(text: bytes, path: str = "site.yaml") -> Comments:
    """The comments of a valid site.yaml by the entries they stand at. Raises `Invalid`."""
    findings = Findings(path)
    tree = yaml_tree.parse(text, findings, SHAPE)
    findings.raise_any()
    starts: list[int] = []  # of everything that a comment can stand before, in file order
    places: list[tuple[Place, int]] = []  # the place, and the end of its own line's value
    for start, end, place in _marks(tree):
        starts.append(start)
        places.append((place, end))
    found = Collector()
    for comment_start, comment in _comments(tree):
        after = bisect_right(starts, comment_start)
        line_start = tree.text.rfind("\n", 0, comment_start) + 1
        words = comment.lstrip("#")
        if after and tree.text[line_start:comment_start].strip():
            place, end = places[after - 1]
            if end >= line_start:
                found.add_beside(place, words)
                continue
        place = places[after][0] if after < len(places) else Place("site", "", END)
        found.add_before(place, words)
    return found.result()


def _comments(tree: Tree) -> Iterator[tuple[int, str]]:
    start = 0
    for span_start, span_end in [*tree.spans, (len(tree.text), len(tree.text))]:
        for match in _COMMENT.finditer(tree.text, start, span_start):
            yield match.start(), match[0]
        start = max(start, span_end)


def _marks(tree: Tree) -> Iterator[tuple[int, int, Place]]:
    first = True
    for key, node in tree.root.pairs:
        entry = HOST_ENTRY if key.value == HOST_ENTRY.key else SET_ENTRY
        if not first:
            yield key.start, key.end, Place("site", "", END)
        else:
            yield key.start, key.end, Place("site")
        first = False
        if isinstance(node, Sequence_):
            for item in node.items:
                yield from _entry_marks(item, entry)


def _entry_marks(item: Node, entry: Entry) -> Iterator[tuple[int, int, Place]]:
    assert isinstance(item, Mapping_)
    named = item.get("name")
    assert isinstance(named, Scalar)
    for i, (key, node) in enumerate(item.pairs):
        place = Place(entry.what, named.value)
        if key.value in entry.by_key and i:
            place = Place(entry.what, named.value, entry.by_key[key.value].attribute)
        if isinstance(node, Sequence_) and key.value == VM_ENTRY.key:
            yield key.start, key.end, Place(entry.what, named.value, END)
            for vm in node.items:
                yield from _entry_marks(vm, VM_ENTRY)
        else:
            yield key.start, node.end, place
