"""The schemas of the site file, for editors and for people, made from the field table.

They say what the readers say about structure and single values; what takes more than one value
(duplicates, VCPUS above MAXVCPUS, impossible addresses) only the readers and `checks.py` say.
"""

from __future__ import annotations

import json
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from xsm.site.fields import HOST_ENTRY, ROOT_TAG, SET_ENTRY, VM_ENTRY, Entry, Field
from xsm.site.kinds import Kind

MADE = "Made by tools/make_schemas.py from xsm/site/fields.py; don't edit."
MAX_OWNER_CHARS = 256


def _data(kind: Kind) -> list[str]:
    if kind.choices:
        return ["<choice>", *(f"  <value>{escape(c)}</value>" for c in kind.choices), "</choice>"]
    params: list[tuple[str, str]] = []
    if kind.is_number:
        data = "integer"
        params = [("minInclusive", str(kind.minimum)), ("maxInclusive", str(kind.maximum))]
    else:
        data = "token"
        params = [] if kind.pattern else [("minLength", "1"), ("maxLength", str(MAX_OWNER_CHARS))]
    if kind.pattern:
        # White space around a value is nothing to XML Schema, but libxml2 shows it to the pattern.
        params.append(("pattern", rf"\s*({kind.pattern})\s*"))
    body = [f'  <param name="{name}">{escape(text)}</param>' for name, text in params]
    return [f'<data type="{data}">', *body, "</data>"]


def _field(row: Field) -> list[str]:
    tag = "attribute" if row.in_tag else "element"
    doc = f"  <a:documentation>{escape(row.doc)}</a:documentation>"
    lines = [f"<{tag} name={quoteattr(row.tag)}>", doc, *_inside(_data(row.kind)), f"</{tag}>"]
    if row.required:
        return lines
    wrap = "zeroOrMore" if row.repeatable else "optional"
    return [f"<{wrap}>", *_inside(lines), f"</{wrap}>"]


def _inside(lines: list[str]) -> list[str]:
    return ["  " + line for line in lines]


def _entry(entry: Entry, inner: list[str]) -> list[str]:
    attributes = [line for row in entry.fields if row.in_tag for line in _field(row)]
    elements = [line for row in entry.fields if not row.in_tag for line in _field(row)] + inner
    body = [*attributes, "<interleave>", *_inside(elements), "</interleave>"]
    element = [f'<element name="{entry.tag}">', *_inside(body), "</element>"]
    return [f'<define name="{entry.tag}">', *_inside(element), "</define>"]


def relax_ng() -> str:
    """schemas/xsm-site.rng, for site.xml."""
    schema_instance = "http://www.w3.org/2001/XMLSchema-instance"
    root = [
        "<start>",
        f'  <element name="{ROOT_TAG}">',
        "    <zeroOrMore>",  # the attributes by which editors find a schema
        f'      <attribute><nsName ns="{schema_instance}"/></attribute>',
        "    </zeroOrMore>",
        "    <zeroOrMore>",
        "      <choice>",
        f'        <ref name="{HOST_ENTRY.tag}"/>',
        f'        <ref name="{SET_ENTRY.tag}"/>',
        "      </choice>",
        "    </zeroOrMore>",
        "  </element>",
        "</start>",
    ]
    vms = ["<zeroOrMore>", f'  <ref name="{VM_ENTRY.tag}"/>', "</zeroOrMore>"]
    body = [*root, *_entry(HOST_ENTRY, []), *_entry(SET_ENTRY, vms), *_entry(VM_ENTRY, [])]
    head = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<!-- {MADE} -->",
        '<grammar xmlns="http://relaxng.org/ns/structure/1.0"',
        '         xmlns:a="http://relaxng.org/ns/compatibility/annotations/1.0"',
        '         datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">',
    ]
    return "\n".join([*head, *_inside(body), "</grammar>"]) + "\n"


def _property(row: Field) -> dict[str, Any]:
    kind = row.kind
    if kind.choices:
        value: dict[str, Any] = {"enum": list(kind.choices)}
    elif kind.is_number:
        value = {"type": "integer", "minimum": kind.minimum, "maximum": kind.maximum}
    elif kind.pattern:
        value = {"type": "string", "pattern": f"^({kind.pattern})$"}
    else:
        value = {"type": "string", "minLength": 1, "maxLength": MAX_OWNER_CHARS}
    if row.repeatable:
        value = {
            "type": "array",
            "items": value,
            "minItems": 1,
            "maxItems": row.most,
            "uniqueItems": True,
        }
    return {"description": row.doc, **value}


def _object(entry: Entry, more: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**{row.key: _property(row) for row in entry.fields}, **more},
        "required": [row.key for row in entry.fields if row.required],
        "additionalProperties": False,
    }


def _array(name: str, about: str) -> dict[str, Any]:
    return {"description": about, "type": ["array", "null"], "items": {"$ref": f"#/$defs/{name}"}}


def json_schema() -> str:
    """schemas/xsm-site.schema.json (JSON Schema 2020-12), for site.yaml."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "XSM site file",
        "$comment": MADE,
        "type": "object",
        "properties": {
            HOST_ENTRY.key: _array("host", "Hosts. Left out: they are implied by the VMs' dom0."),
            SET_ENTRY.key: _array("set", "Named groups of VMs, each with an owner."),
        },
        "anyOf": [{"required": [SET_ENTRY.key]}, {"required": [HOST_ENTRY.key]}],
        "additionalProperties": False,
        "$defs": {
            "host": _object(HOST_ENTRY, {}),
            "set": _object(SET_ENTRY, {VM_ENTRY.key: _array("vm", "The VMs of the set.")}),
            "vm": _object(VM_ENTRY, {}),
        },
    }
    return json.dumps(schema, indent=2) + "\n"


FILES = {"xsm-site.rng": relax_ng, "xsm-site.schema.json": json_schema}
"""Name in schemas/ -> what makes it."""
