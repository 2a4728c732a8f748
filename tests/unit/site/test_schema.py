"""The schemas on disk are those of the field table, and say what the readers say."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from lxml import etree
from ruamel.yaml import YAML

from tests.unit.site.sites import FIGURE_3, sites
from xsm.site import schema, xml_file, yaml_file
from xsm.site.convert import convert
from xsm.site.problems import Invalid

ROOT = Path(__file__).resolve().parents[3]
RELAX_NG = etree.RelaxNG(etree.fromstring(schema.relax_ng().encode()))
JSON = jsonschema.Draft202012Validator(YAML(typ="safe", pure=True).load(schema.json_schema()))


def schema_takes(text: bytes) -> bool:
    if text.lstrip().startswith(b"<"):
        return RELAX_NG.validate(etree.fromstring(text))
    return JSON.is_valid(YAML(typ="safe", pure=True).load(text))


def reader_takes(text: bytes) -> bool:
    reader = xml_file if text.lstrip().startswith(b"<") else yaml_file
    try:
        reader.read(text)
    except Invalid:
        return False
    return True


@pytest.mark.parametrize("name", sorted(schema.FILES))
def test_the_files_on_disk_are_up_to_date(name):
    assert (ROOT / "schemas" / name).read_text(encoding="utf-8") == schema.FILES[name](), (
        "run .venv/bin/python tools/make_schemas.py"
    )


def test_the_schemas_themselves_are_valid():
    jsonschema.Draft202012Validator.check_schema(JSON.schema)


def test_figure_3():
    text = (ROOT / "sites" / "figure3" / "site.xml").read_bytes()
    assert len(list(xml_file.read(text).vms())) == 4
    assert schema_takes(text)
    assert schema_takes(convert(text, "yaml", "site.xml"))


@given(sites())
@settings(max_examples=40, deadline=None)
def test_what_is_written_fits_the_schemas(site):
    assert schema_takes(xml_file.write(site))
    assert schema_takes(yaml_file.write(site))


XML_EDITS = {
    "order": (b"<VCPUS>4</VCPUS>", b"", b"<MEM>96</MEM>", b"<MEM>96</MEM><VCPUS>4</VCPUS>"),
    "host": (b'<Set name="My_site">', b'<Host name="h"><MEM>4096</MEM></Host><Set name="My_site">'),
    "apart": (b"<IP>DHCP</IP>", b"<APART>a</APART><IP>dhcp</IP><APART>b</APART>"),
    "space": (b"<MEM>96</MEM>", b"<MEM>\n 96 </MEM>", b"<IP>DHCP", b"<IP>\n  DHCP\n "),
    "no owner": (b" <Owner>root@domain.com</Owner>\n", b""),
    "schema": (
        b"<XSMConfig>",
        b'<XSMConfig xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        b'xsi:noNamespaceSchemaLocation="x">',
    ),
}
BAD_XML_EDITS = {
    "unknown element": (b"<IP>DHCP</IP>", b"<IPADDR>DHCP</IPADDR>"),
    "twice": (b"<IP>DHCP</IP>", b"<IP>DHCP</IP><IP>DHCP</IP>"),
    "no memory": (b"<MEM>96</MEM>", b""),
    "empty": (b"<MEM>96</MEM>", b"<MEM/>"),
    "zero": (b"<MEM>96</MEM>", b"<MEM>0</MEM>"),
    "leading zero": (b"<MEM>96</MEM>", b"<MEM>096</MEM>"),
    "too many": (b"<VCPUS>4</VCPUS>", b"<VCPUS>4097</VCPUS>"),
    "no name": (b' name="vm1"', b""),
    "path": (b'config="apache_svr"', b'config="../apache_svr"'),
    "attribute": (b"<VM ", b'<VM host="x" '),
    "root attribute": (b"<XSMConfig>", b'<XSMConfig version="1">'),
    "state": (b"<IP>DHCP</IP>", b"<STATE>Running</STATE>"),
    "mac": (b"AA:00:00:00:00:01", b"AA:00:00:00:00"),
    "ip": (b"<IP>DHCP</IP>", b"<IP>static</IP>"),
    "text": (b"<IP>DHCP</IP>", b"hello"),
    "vm outside": (b"</Set>", b'</Set><VM name="x" config="y"><VCPUS>1</VCPUS><MEM>1</MEM></VM>'),
    "root": (b"XSMConfig", b"Config"),
}


@pytest.mark.parametrize("name", sorted(XML_EDITS))
def test_both_take(name):
    text = FIGURE_3
    pairs = XML_EDITS[name]
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in text
        text = text.replace(old, new, 1)
    assert reader_takes(text)
    assert schema_takes(text)


@pytest.mark.parametrize("name", sorted(BAD_XML_EDITS))
def test_both_refuse(name):
    old, new = BAD_XML_EDITS[name]
    assert old in FIGURE_3
    text = FIGURE_3.replace(old, new) if name == "root" else FIGURE_3.replace(old, new, 1)
    assert not reader_takes(text)
    assert not schema_takes(text)


YAML_TEXT = convert(FIGURE_3, "yaml", "site.xml")
BAD_YAML_EDITS = {
    "unknown key": (b"mem:", b"memory:"),
    "text for a number": (b"mem: 96", b"mem: '96'"),
    "number for a text": (b"name: vm1", b"name: 1"),
    "null": (b"ip: DHCP", b"ip: ~"),
    "list": (b"ip: DHCP", b"ip: [DHCP]"),
    "no list": (b"ip: DHCP", b"apart: web"),
    "empty list": (b"ip: DHCP", b"apart: []"),
    "tag twice": (b"ip: DHCP", b"apart: [a, a]"),
    "date": (b"name: vm1", b"name: 2026-01-01"),
    "no config": (b"        config: apache_svr\n", b""),
    "root key": (b"sets:", b"site:"),
    "big": (b"mem: 96", b"mem: 67108865"),
}


@pytest.mark.parametrize("name", sorted(BAD_YAML_EDITS))
def test_both_refuse_in_yaml(name):
    old, new = BAD_YAML_EDITS[name]
    assert old in YAML_TEXT
    text = YAML_TEXT.replace(old, new, 1)
    assert not reader_takes(text)
    assert not schema_takes(text)


@pytest.mark.parametrize("text", [b"sets: []", b"sets:", b"hosts:\n- name: a", b"{hosts: [], sets: [{name: a, vms: }]}"])  # noqa: E501 # fmt: skip
def test_both_take_in_yaml(text):
    assert reader_takes(text)
    assert schema_takes(text)
