"""How entries look in XML: escaping and layout, for a fresh file and for what an edit adds.

Must not know an existing file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xsm.site.comments import END, NONE, Comments, Place
from xsm.site.fields import HOST_ENTRY, ROOT_TAG, SET_ENTRY, VM_ENTRY, Entry, Field
from xsm.site.model import VM, Host, Site, VMSet

INDENT = "  "


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_attribute(text: str, quote: str = '"') -> str:
    return escape(text).replace(quote, "&quot;" if quote == '"' else "&apos;")


def element(row: Field, text: str) -> str:
    return f"<{row.tag}>{escape(text)}</{row.tag}>"


def _comment(text: str) -> str:
    while "--" in text:  # which XML forbids inside a comment
        text = text.replace("--", "- -")
    return f"<!-- {text.removesuffix('-')} -->"


def _lines(entry: Entry, value: Any, comments: Comments, inner: list[str]) -> Iterator[str]:
    """One entry, line by line, its own indentation left out. `inner`: lines of entries inside it."""
    place = Place(entry.what, value.name)
    attributes = ""
    beside = comments.beside.get(place, "")
    for row in entry.fields:
        if row.in_tag:
            for text in row.texts(getattr(value, row.attribute)):
                attributes += f' {row.tag}="{escape_attribute(text)}"'
            at = Place(entry.what, value.name, row.attribute)
            yield from map(_comment, comments.at(at))
            beside = "; ".join(filter(None, (beside, comments.beside.get(at, ""))))
    body: list[str] = []
    for row in entry.fields:
        at = Place(entry.what, value.name, row.attribute)
        texts = () if row.in_tag else row.texts(getattr(value, row.attribute))
        if not row.in_tag:
            body.extend(map(_comment, comments.at(at)))
            if at in comments.beside and not texts:
                body.append(_comment(comments.beside[at]))
        for i, text in enumerate(texts):
            tail = f" {_comment(comments.beside[at])}" if i == 0 and at in comments.beside else ""
            body.append(element(row, text) + tail)
    body.extend(inner)
    body.extend(map(_comment, comments.at(Place(entry.what, value.name, END))))
    tail = f" {_comment(beside)}" if beside else ""
    if not body:
        yield f"<{entry.tag}{attributes}/>{tail}"
        return
    yield f"<{entry.tag}{attributes}>{tail}"
    yield from (INDENT + line for line in body)
    yield f"</{entry.tag}>"


def vm_lines(vm: VM, comments: Comments = NONE) -> list[str]:
    before = map(_comment, comments.at(Place(VM_ENTRY.what, vm.name)))
    return [*before, *_lines(VM_ENTRY, vm, comments, [])]


def host_lines(host: Host, comments: Comments = NONE) -> list[str]:
    before = map(_comment, comments.at(Place(HOST_ENTRY.what, host.name)))
    return [*before, *_lines(HOST_ENTRY, host, comments, [])]


def set_lines(vm_set: VMSet, comments: Comments = NONE) -> list[str]:
    before = map(_comment, comments.at(Place(SET_ENTRY.what, vm_set.name)))
    inner = [line for vm in vm_set.vms for line in vm_lines(vm, comments)]
    return [*before, *_lines(SET_ENTRY, vm_set, comments, inner)]


def write(site: Site, comments: Comments = NONE) -> bytes:
    """A fresh site.xml."""
    body = [line for host in site.hosts for line in host_lines(host, comments)]
    body += [line for vm_set in site.sets for line in set_lines(vm_set, comments)]
    body += map(_comment, comments.at(Place("site", "", END)))
    head = ['<?xml version="1.0" encoding="UTF-8"?>', *map(_comment, comments.at(Place("site")))]
    if not body:
        lines = [*head, f"<{ROOT_TAG}/>"]
    else:
        lines = [*head, f"<{ROOT_TAG}>", *(INDENT + line for line in body), f"</{ROOT_TAG}>"]
    return ("\n".join(lines) + "\n").encode()
