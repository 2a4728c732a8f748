"""site.xml: read, written, and edited without touching what an edit doesn't mean.

Decides what a valid site.xml is, by the table in `fields.py`. Must not know other files; what only the
whole site can tell (duplicate names, missing configs) is `checks.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xsm.site import xml_edit, xml_tree, xml_write
from xsm.site.changes import Change
from xsm.site.comments import END, Collector, Comments, Place
from xsm.site.entries import Findings, RawEntry, host_of, near, set_of, vm_of
from xsm.site.fields import ENTRIES, HOST_ENTRY, ROOT_TAG, SET_ENTRY, VM_ENTRY, Entry
from xsm.site.model import VM, Host, Site, VMSet
from xsm.site.xml_tree import Element, Tree

LEAVES = frozenset(row.tag for entry in ENTRIES for row in entry.fields if not row.in_tag)


def read(text: bytes, path: str = "site.xml") -> Site:
    """The site that `text` describes. Raises `Invalid` with all problems, at `path` and their lines."""
    findings = Findings(path)
    tree = xml_tree.parse(text, findings, LEAVES)
    site = _Reader(findings).site(tree.root)
    findings.raise_any(site)
    return site


def write(site: Site, comments: Comments | None = None) -> bytes:
    """A fresh site.xml."""
    return xml_write.write(site, comments or Comments())


def edit(
    text: bytes, changes: Sequence[Change], path: str = "site.xml", site: Site | None = None
) -> bytes:
    """`text` with `changes` made and every other byte as it was. `site`: what `text` says, where it was read already.

    Raises `Invalid` when `text` is not well-formed or a change doesn't fit it (a VM that isn't there).
    """
    return xml_edit.edit(text, site or read(text, path), changes, path) if changes else text


class _Reader:
    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    def site(self, root: Element) -> Site:
        if root.tag != ROOT_TAG:
            raise self.findings.fatal(
                root.line,
                f"the root element is <{root.tag[:80]}>",
                f"a site file starts with <{ROOT_TAG}>",
            )
        # Editors find a schema by these; they say nothing about the site.
        kept = {k: v for k, v in root.attributes.items() if not k.startswith(("xsi:", "xmlns:"))}
        self.attributes(root, {}, RawEntry(VM_ENTRY, root.line), kept)
        self.stray_text(root)
        hosts: list[Host] = []
        sets: list[VMSet] = []
        for child in root.children:
            if child.tag == HOST_ENTRY.tag:
                host = host_of(self.raw(child, HOST_ENTRY), self.findings, xml=True)
                hosts += [host] if host else []
            elif child.tag == SET_ENTRY.tag:
                vm_set = self.vm_set(child)
                sets += [vm_set] if vm_set else []
            elif child.tag == VM_ENTRY.tag:
                self.findings.error(
                    child.line, "<VM> outside a <Set>", 'put it inside a <Set name="...">'
                )
            else:
                self.unknown(child, (HOST_ENTRY.tag, SET_ENTRY.tag), ROOT_TAG)
        return Site(tuple(sets), tuple(hosts))

    def vm_set(self, element: Element) -> VMSet | None:
        raw = self.raw(element, SET_ENTRY, inner=VM_ENTRY.tag)
        name = element.attributes.get("name", "").strip()
        vms: list[VM] = []
        for child in element.children:
            if child.tag == VM_ENTRY.tag:
                vm = vm_of(self.raw(child, VM_ENTRY), name, self.findings, xml=True)
                vms += [vm] if vm else []
        return set_of(raw, vms, self.findings, xml=True)

    def raw(self, element: Element, entry: Entry, inner: str = "") -> RawEntry:
        """What the element says, by model attribute. Child elements called `inner` are left to the caller."""
        raw = RawEntry(entry, element.line)
        self.attributes(element, entry.by_xml_attribute, raw, element.attributes)
        by_tag = entry.by_tag
        for child in element.children:
            row = by_tag.get(child.tag)
            if row is not None:
                self.leaf(child)
                raw.values.setdefault(row.attribute, []).append((child.text, child.line))
            elif child.tag != inner:
                self.unknown(child, [*by_tag, *([inner] if inner else [])], f"{entry.tag}", entry)
        self.stray_text(element)
        return raw

    def attributes(
        self, element: Element, known: Mapping[str, object], raw: RawEntry, found: Mapping[str, str]
    ) -> None:
        for name, value in found.items():
            if name in known:
                raw.values[name] = [(value, element.line)]
                continue
            by_tag = {row.key: row.tag for row in raw.entry.fields if not row.in_tag}
            hint = near(name, known, "{}=") if known else "it takes none"
            if known and name.lower() in by_tag:
                hint = (
                    f"write it as an element: <{by_tag[name.lower()]}>...</{by_tag[name.lower()]}>"
                )
            self.findings.error(
                element.line, f"<{element.tag}> has an unknown attribute {name[:80]}=", hint
            )

    def leaf(self, element: Element) -> None:
        for child in element.children:
            self.findings.error(
                child.line, f"<{child.tag[:80]}> inside <{element.tag}>", "only text goes there"
            )
        for name in element.attributes:
            self.findings.error(
                element.line,
                f"<{element.tag}> has an unknown attribute {name[:80]}=",
                "it takes none",
            )

    def stray_text(self, element: Element) -> None:
        if element.stray_line:
            text = " ".join(element.text.split())[:40]
            self.findings.error(
                element.stray_line,
                f"text inside <{element.tag}>: {text!r}",
                "only elements and comments go there",
            )

    def unknown(
        self, child: Element, known: Sequence[str], parent: str, entry: Entry | None = None
    ) -> None:
        hint = near(child.tag, known, "<{}>")
        if entry is not None and child.tag.lower() in entry.by_xml_attribute:
            hint = f'write it as an attribute: <{parent} {child.tag.lower()}="...">'
        self.findings.error(child.line, f"<{child.tag[:80]}> is not known inside <{parent}>", hint)


def comments(text: bytes, path: str = "site.xml") -> Comments:
    """The comments of a valid site.xml by the entries they stand at. Raises `Invalid`."""
    findings = Findings(path)
    tree = xml_tree.parse(text, findings, LEAVES)
    findings.raise_any()
    places: dict[int, Place] = {id(tree.root): Place("site")}
    for child in tree.root.children:
        _places(child, places)
    found = Collector()
    for comment in tree.comments:
        _place_comment(comment, tree, places, found)
    return found.result()


def _places(element: Element, places: dict[int, Place]) -> None:
    entry = next(e for e in ENTRIES if e.tag == element.tag)
    name = element.attributes["name"].strip()
    places[id(element)] = Place(entry.what, name)
    for child in element.children:
        if child.tag in entry.by_tag:
            places[id(child)] = Place(entry.what, name, entry.by_tag[child.tag].attribute)
        else:
            _places(child, places)


def _place_comment(
    comment: xml_tree.Comment, tree: Tree, places: Mapping[int, Place], found: Collector
) -> None:
    parent = comment.parent
    if parent is None:
        place = Place("site") if comment.after == 0 else Place("site", "", END)
        found.add_before(place, comment.text)
        return
    own = places[id(parent)]
    if own.attribute:  # inside a value
        found.add_beside(own, comment.text)
        return
    earlier = parent.children[comment.after - 1] if comment.after else None
    behind = earlier.end if earlier else xml_tree.open_end(tree.data, parent)
    beside = b"\n" not in tree.data[behind : comment.start]
    if beside and (earlier or parent is not tree.root):
        found.add_beside(places[id(earlier)] if earlier else own, comment.text)
    elif comment.after < len(parent.children):
        found.add_before(places[id(parent.children[comment.after])], comment.text)
    else:
        found.add_before(Place(own.kind, own.name, END), comment.text)
