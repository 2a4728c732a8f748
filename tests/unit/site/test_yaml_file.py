"""site.yaml: reading, its errors, writing and byte-exact editing; conversion."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.unit.site.sites import FIGURE_3, site_pairs, sites
from xsm.site import changes as ch
from xsm.site import xml_file, yaml_file, yaml_plain, yaml_tree, yaml_write
from xsm.site.changes import AddHost, AddSet, AddVM, RemoveSet, RemoveVM, SetHost, SetOwner, SetVM
from xsm.site.convert import convert
from xsm.site.entries import Findings
from xsm.site.fields import HOST_ENTRY, SET_ENTRY
from xsm.site.model import VM, Host, Power
from xsm.site.problems import Invalid

SMALL = b"""\
# My site
sets:
- name: web   # the web
  owner: root@domain.com
  vms:
  - name: vm1
    config: apache_svr
    dom0: 192.168.5.101  # rack 3
    vcpus: 4
    mem: 96
  # the second
  - {name: vm2, config: 'apache_svr', vcpus: 1, mem: 64}
"""
VM5 = VM("vm5", "c", "web", 2, 256)


def problems(text: bytes | str) -> list[str]:
    with pytest.raises(Invalid) as caught:
        yaml_file.read(text if isinstance(text, bytes) else text.encode(), "site.yaml")
    return [str(p) for p in caught.value.problems]


def test_reading():
    site = yaml_file.read(SMALL)
    assert [(s.name, s.owner, s.line) for s in site.sets] == [("web", "root@domain.com", 3)]
    assert list(site.vms()) == [
        VM("vm1", "apache_svr", "web", 4, 96, host="192.168.5.101"),
        VM("vm2", "apache_svr", "web", 1, 64),
    ]
    assert [vm.line for vm in site.vms()] == [6, 12]
    assert (
        yaml_file.read(b"sets:\n")
        == yaml_file.read(b'{"sets": []}')
        == yaml_file.read(b"\xef\xbb\xbf---\nhosts: ~\n...\n")
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vcpu: 1", "site.yaml:7: error: vcpu: is not known in an entry of vms (did you mean vcpus:"),
        ("mem: 1", "site.yaml:8: error: mem: twice"),
        ("maxmem: '96'", "maxmem: a number in quotes"),
        ("maxmem: 3", "maxmem 3 MiB is less"),
        ("maxmem: 0x60", "is not a whole number"),
        ("maxmem: 1_000", "is not a whole number"),
        ("dom0: 12", "dom0: 12 is not text in YAML (put it in quotes: '12')"),
        ("dom0: true", "is not text"),
        ("dom0: 2026-01-01", "is not text"),
        ("dom0: ~", "dom0: is empty"),
        ("dom0:", "dom0: is empty"),
        ("dom0: [a]", "dom0: should hold one value"),
        ("dom0: ' a'", "white space"),
        ('dom0: "a\\0b"', "neither a host's name"),
        ("apart: web", "apart: should hold a list"),
        ("apart: []", "apart: is empty"),
        ("apart: [1]", "is not text"),
        ("hwaddr: |\n   x", "a text block"),
        ("ip: a\n   b", "site.yaml:8: error: a value over several lines: this goes on from line 7"),
        ("ip: 'a\n   b'", "site.yaml:7: error: a value over several lines is not allowed (write it on one line)"),
        ("ip: &a DHCP", "the anchor &a is not allowed"),
        ("ip: *a", "the alias *a is not allowed"),
        ("ip: !!str DHCP", "the tag"),
        ("ip: !!python/object:os.system x", "the tag"),
        ("? ip\n  : DHCP", "the form `? key`"),
        ("? [a]\n  : b", "as a key"),
        ("<<: {a: b}", "<<: is not known"),
        ("ip: 'a", "site.yaml:7: error: a quote that is not closed"),
        ('ip: "\\U99999999"', "site.yaml:7: error: a backslash in double quotes (put the value in single"),
        ('ip: "\\q"', "site.yaml:7: error: a backslash in double quotes"),
        ("\tip: DHCP", "site.yaml:7: error: a tab in the indentation (indent with spaces, not tabs)"),
        ("ip:\tDHCP", "site.yaml:7: error: a tab after `ip:` (write `ip: DHCP`)"),
        ("ip:DHCP", "site.yaml:7: error: no space after `ip:` (write `ip: DHCP`)"),
        ("  ip:DHCP", "site.yaml:7: error: no space after `ip:` (write `ip: DHCP`)"),
        ("ip DHCP", "site.yaml:7: error: no : after ip (write `ip: DHCP`)"),
        ("ip = DHCP", "site.yaml:7: error: no : after ip (write `ip: DHCP`)"),
        ("what is this", "site.yaml:7: error: `what is this` is not of the form `key: value`"),
        (" ip: DHCP", "site.yaml:7: error: wrong indentation: `ip:` stands after 5 spaces, `vcpus:` on line 6 after 4"),
        ("owner: me", "owner: is not known in an entry of vms (it belongs in an entry of sets: is the ind"),
        ("ip: a: b", "site.yaml:7: error: ip: a second : in the value (put it in quotes: `ip: 'a: b'`)"),
        ("ip: @a", "site.yaml:7: error: ip: a value can't start with @ (put it in quotes: `ip: '@a'`)"),
        ("apart: [a", "site.yaml:7: error: a [ that is not closed (end it with ])"),
        ("name: b", "first on line 4 (keep one; a new entry starts with `- name:`)"),
    ],
)  # fmt: skip
def test_bad_values(line, expected):
    text = f"sets:\n- name: s\n  vms:\n  - name: v\n    config: c\n    vcpus: 1\n    {line.replace(chr(10), chr(10) + '  ')}\n    mem: 96\n"  # noqa: E501
    found = problems(text)
    assert any(expected in p for p in found), found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "the file is empty"),
        (b"# nothing\n", "the file holds no site"),
        (b"{}", "neither sets: nor hosts:"),
        (b"- a", "the file should hold keys with values"),
        (b"hello", "the file should hold keys with values"),
        (b"sets: 3", "sets: should hold a list"),
        (b"sets: {a: b}", "sets: should hold a list"),
        (b"sets: [a]", "an entry of sets should hold keys"),
        (b"set: []", "did you mean sets:"),
        (b"sets: []\n---\nsets: []", "site.yaml:2: error: a second document"),
        (b"%YAML 1.1\n---\nsets: []", "directive"),
        (b"sets: []\n\xff", "site.yaml:2: error: byte 0xff is not UTF-8"),
        (b"sets: []\n\0", "site.yaml:2: error: a NUL byte"),
        ("sets: []".encode("utf-16"), "UTF-16"),
        (b"sets:\n- vms: []", "site.yaml:2: error: this set has no name:"),
        (b"sets:\n- name: a\n  vms:\n  - name: b\n", "VM b has no config:"),
        (b"hosts:\n- name: a\n  mem: x\n  adress: b", "did you mean address:"),
        (b"sets:\n- name:a\n", "site.yaml:2: error: no space after `name:` (write `name: a`)"),
        (b"sets:\n-name: a\n", "-name: is not known in the file (write `- name:`, with a space after the dash)"),
        (b"sets:\n  - name: a\n   vms: []\n", "site.yaml:3: error: wrong indentation: `vms:` stands after 3"),
        (b"sets:\n  - name: a\n - name: b\n", "site.yaml:3: error: wrong indentation: the dash stands after 1 space,"),
        (b" sets:\n- name: a\n", "site.yaml:2: error: wrong indentation: the dash stands after 0 spaces"),
        (b"sets:\n- name: a\nvms:\n- name: b\n", "vms: is not known in the file (it belongs in an entry of sets"),
        (b"sets:\n- {name: a\n- {name: b}\n", "site.yaml:2: error: a { that is not closed"),
        (b'{"sets": [{"name": "a" "vms": []}]}', "a comma or a closing bracket is missing"),
        (b"<XSMConfig>\n<Set name='a'/>\n", "site.yaml:1: error: this is XML"),
        (b"<XSMConfig/>", "site.yaml:1: error: this is XML"),
    ],
)  # fmt: skip
def test_bad_files(text, expected):
    found = problems(text)
    assert any(expected in p for p in found), found


TYPED = ["", " ", "\t", "\n", "-", ":", "'", '"', "{", "]", "\\", "#", "é"]


@given(st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(TYPED)), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_a_slip_of_the_keyboard_is_told_in_plain_words(slips):
    """Wherever it is: a place within the file, and none of the parser's own words."""
    text = SMALL.decode()
    for place, typed in slips:
        at = place % len(text)
        text = text[:at] + typed + text[at + (not typed) :]
    try:
        yaml_file.read(text.encode())
    except Invalid as invalid:
        for problem in invalid.problems:
            assert 0 <= problem.line <= text.count("\n") + 1
            assert not re.search("token|scann|pars|scalar|simple key", problem.message), problem


@given(sites())
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_by_us_and_by_others(site):
    text = yaml_file.write(site)
    assert yaml_file.read(text) == site
    plain = YAML(typ="safe", pure=True).load(text)
    assert [s["name"] for s in plain["sets"]] == [s.name for s in site.sets]
    assert all(isinstance(vm[k], str) for s in plain["sets"] for vm in s["vms"] for k in vm.keys() - {"apart", "disk", "mem", "vcpus", "maxmem", "maxvcpus", "weight"})  # noqa: E501 # fmt: skip


@given(st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=12))
def test_quoting(text):
    for quote in ("", "'", '"'):
        assert YAML(typ="safe", pure=True).load("- " + yaml_write.quoted(text, quote)) == [text]
        flow = f"[{yaml_write.quoted(text, quote)}, 1]"
        assert YAML(typ="safe", pure=True).load(flow) == [text, 1]


@st.composite
def odd_layouts(draw, site) -> bytes:
    """A file for `site` in one of many styles, with comments in odd places."""
    style = draw(st.sampled_from(["block", "flush", "wide", "flow", "json", "mixed"]))
    if style == "json":
        sets = json.loads(json.dumps(YAML(typ="safe", pure=True).load(yaml_file.write(site))))
        return json.dumps(
            sets, indent=draw(st.sampled_from([None, 2])), ensure_ascii=False
        ).encode()
    if style == "flow":
        parts = (
            [yaml_write.flow(SET_ENTRY, s) for s in site.sets],
            [yaml_write.flow(HOST_ENTRY, h) for h in site.hosts],
        )
        return f"{{sets: [{', '.join(parts[0])}], hosts: [{', '.join(parts[1])}]}}".encode()
    if style == "mixed":
        lines = ["sets:"] + [f"  - {yaml_write.flow(SET_ENTRY, s)}" for s in site.sets]
        lines += ["hosts:"] + [f"  -   {yaml_write.flow(HOST_ENTRY, h)}" for h in site.hosts]
    else:
        lines = yaml_file.write(site).decode().splitlines()
    if style == "flush":
        lines = [
            re.sub(r"^  (  )?", lambda m: "" if not m[1] else "  ", line)
            if line.startswith("  ")
            else line
            for line in lines
        ]
        lines = yaml_file.write(site).decode().splitlines() if not _reads(lines, site) else lines
    if style == "wide":
        lines = [
            re.sub(r"^( *)(- )?", lambda m: m[1] * 2 + ("-   " if m[2] else ""), line)
            for line in lines
        ]
    result = []
    for line in lines:
        noise = draw(st.sampled_from(["", "", "", "", "# c - x", "", "      # - d"]))
        result += [noise] if noise else []
        tail = draw(st.sampled_from(["", "", "", "  # t: - x", " "]))
        broken = re.match(r"^( *)- (\w+: .*)$", line)
        if broken and draw(st.integers(0, 5)) == 0 and style == "block":
            result += [f"{broken[1]}-  # dash", f"{broken[1]}  {broken[2]}{tail}"]
        else:
            result.append(line + tail)
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return (
        newline.join(result) + draw(st.sampled_from(["", newline, newline + "# end" + newline]))
    ).encode()


def _reads(lines: list[str], site) -> bool:
    try:
        return yaml_file.read("\n".join(lines).encode()) == site
    except Invalid:
        return False


@given(st.data(), site_pairs())
@settings(max_examples=100, deadline=None)
def test_an_edit_makes_the_other_site(data, pair):
    first, second = pair
    text = data.draw(odd_layouts(first))
    assert ch.in_order(yaml_file.read(text)) == first
    edited = yaml_file.edit(text, ch.diff(first, second))
    assert ch.in_order(yaml_file.read(edited)) == second


@given(st.data(), sites())
@settings(max_examples=40, deadline=None)
def test_no_change_is_no_change(data, site):
    text = data.draw(odd_layouts(site))
    assert yaml_file.edit(text, ch.diff(site, site)) == text


def edited(changes, text=SMALL) -> str:
    return yaml_file.edit(text, changes).decode()


OLD = SMALL.decode()


def test_edit_touches_only_what_it_means():
    vm1, vm2 = yaml_file.read(SMALL).vms()
    assert edited([SetVM("vm1", "memory_mib", 96, 128)]) == OLD.replace("96", "128")
    assert edited([SetVM("vm2", "config", "", "db")]) == OLD.replace("'apache_svr'", "'db'")
    assert edited([SetVM("vm1", "host", "", None)]) == OLD.replace(
        "dom0: 192.168.5.101  # rack 3", "  # rack 3"
    )
    assert edited([SetVM("vm1", "host", "", "10")]) == OLD.replace("192.168.5.101", "'10'")
    assert edited([SetOwner("web", "", "")]) == OLD.replace("  owner: root@domain.com\n", "")
    assert edited([RemoveVM(vm2)]) == OLD[: OLD.index("  - {")]
    assert (
        edited([RemoveVM(vm1)])
        == OLD[: OLD.index("  - name: vm1")] + OLD[OLD.index("  # the second") :]
    )
    assert edited([RemoveVM(vm1), RemoveVM(vm2), RemoveSet("web")]) == "# My site\nsets:\n"


def test_what_is_added_looks_like_its_neighbours():
    assert edited(
        [SetVM("vm1", "cpu_weight", None, 9), SetVM("vm2", "power", 0, Power.PAUSED)]
    ) == OLD.replace("    mem: 96\n", "    mem: 96\n    weight: 9\n").replace(
        "mem: 64}", "mem: 64, state: paused}"
    )
    added = "  - name: vm5\n    config: c\n    vcpus: 2\n    mem: 256\n"
    assert edited([AddVM(VM5)]) == OLD + added
    assert edited([AddHost(Host("h", memory_mib=5))]) == OLD.replace(
        "sets:", "hosts:\n- name: h\n  mem: 5\nsets:"
    )
    assert (
        edited([AddSet("db", "me"), AddVM(replace(VM5, set_name="db"))])
        == OLD + "- name: db\n  owner: me\n  vms:\n" + added
    )
    moved = edited(
        [AddSet("db", ""), SetVM("vm1", "set_name", "web", "db"), SetVM("vm1", "vcpus", 4, 2)]
    )
    assert moved.endswith(
        "- name: db\n  vms:\n  - name: vm1\n    config: apache_svr\n    dom0: 192.168.5.101  # rack 3\n    vcpus: 2\n    mem: 96\n"  # noqa: E501
    )
    assert (
        yaml_file.edit(SMALL.replace(b"\n", b"\r\n"), [AddVM(VM5)])
        == (OLD + added).replace("\n", "\r\n").encode()
    )


def test_json_stays_json():
    text = (
        b'{"sets": [{"name": "web", "vms": [{"name": "v", "config": "c", "vcpus": 1, "mem": 64}]}]}'
    )
    changes = [
        AddVM(VM5),
        SetVM("v", "host", None, "10"),
        AddHost(Host("h")),
        SetHost("h", "address", None, "1.2.3.4"),
    ]
    changes += [SetVM("v", "apart", (), ("a", "b"))]
    read_back = json.loads(yaml_file.edit(text, changes))
    assert read_back["hosts"] == [{"name": "h", "address": "1.2.3.4"}]
    assert read_back["sets"][0]["vms"][0] == {"name": "v", "config": "c", "dom0": "10", "vcpus": 1, "mem": 64, "apart": ["a", "b"]}  # noqa: E501 # fmt: skip
    assert read_back["sets"][0]["vms"][1]["name"] == "vm5"


@given(sites())
@settings(max_examples=40, deadline=None)
def test_conversion_loses_nothing(site):
    xml = xml_file.write(site)
    yaml = convert(xml, "yaml", "site.xml")
    assert yaml_file.read(yaml) == site
    assert convert(yaml, "xml", "site.yaml") == xml
    assert convert(yaml, "yaml", "site.yaml") == yaml


def test_conversion_keeps_comments_at_their_entries():
    text = FIGURE_3.replace(b"<XSMConfig>", b"<!-- Ours.\n     All of it. -->\n<XSMConfig>", 1)
    text = text.replace(b' <VM name="vm4"', b' <!-- the db - big -->\n <VM name="vm4"')
    text = text.replace(b"<MEM>96</MEM>", b"<MEM>96</MEM> <!-- MiB -->\n   <!-- more? -->", 1)
    text = text.replace(b"   <VCPUS>", b"   <!-- many -->\n   <VCPUS>", 1).replace(
        b"</Set>", b"<!-- last --></Set>"
    )
    yaml = convert(text, "yaml", "site.xml").decode()
    assert yaml.startswith("# Ours.\n# All of it.\nsets:\n")
    assert "      # the db - big\n      - name: vm4\n" in yaml
    assert "        # many\n        vcpus: 4\n" in yaml
    assert "        mem: 96  # MiB\n        # more?\n" in yaml
    assert "    # last\n" in yaml
    again = convert(yaml.encode(), "xml", "site.yaml").decode()
    for expected in (
        "<MEM>96</MEM> <!-- MiB -->\n",
        "<!-- many -->\n      <VCPUS>",
        "<!-- the db - big -->\n    <VM",
    ):
        assert expected in again
    assert again.count("<!--") == yaml.count("#")
    assert b"<!-- a - - b -->" in convert(b"# a -- b\nsets: []\n", "xml", "site.yaml")


@given(st.data(), sites())
@settings(max_examples=100, deadline=None)
def test_the_plain_reader_and_the_parser_agree(data, site):
    """Whatever lines are lost, doubled, swapped or shifted: what the plain reader takes, the parser takes alike."""
    lines = data.draw(odd_layouts(site)).decode().split("\n")
    for _ in range(data.draw(st.integers(0, 2))):
        i, j = data.draw(st.integers(0, len(lines) - 1)), data.draw(st.integers(0, len(lines) - 1))
        how = data.draw(st.sampled_from(["lose", "double", "swap", "shift", "dash", "undash"]))
        if how == "lose":
            lines[i] = ""
        elif how == "double":
            lines.insert(j, lines[i])
        elif how == "swap":
            lines[i], lines[j] = lines[j], lines[i]
        elif how == "shift":
            lines[i] = " " * (i % 3 + 1) + lines[i] if j % 2 else lines[i].removeprefix(" ")
        else:
            lines[i] = (
                lines[i].replace("- ", "  ") if how == "undash" else lines[i].replace("  ", "- ", 1)
            )
    text = "\n".join(lines)
    plain = yaml_plain.PlainReader(text, yaml_file.SHAPE)
    try:
        root = plain.read()
    except yaml_plain.NotPlain:
        return
    findings = Findings("site.yaml")
    slow = yaml_tree.parse_any(text, False, findings, yaml_file.SHAPE)
    assert not findings.problems
    assert slow.root == root
    solid = [span for span in slow.spans if span[0] < span[1]]
    assert solid == plain.spans


@pytest.mark.parametrize("text", ["sets:\n- name: a\n  vms:\n  - name: b\n    mem: 3\n- name: c\n", "hosts:\n  -   name: 'a b'\nsets: []  # x\n", "sets:\n- name: a\n  owner: a:b/c@d\n  vms:\n", "sets:\n- name: a\n  vms:\n  - name: b\n    apart: [x, 'y z', '1']  # far\n    mem: 3\n  - apart: []\n", "sets:\n- name: a\n  owner: 'O''Brien \\ ''x'''\n"])  # noqa: E501 # fmt: skip
def test_the_plain_reader_takes_plain_files(text):
    tree = yaml_tree.parse_any(text, False, Findings("x"), yaml_file.SHAPE)
    assert yaml_plain.PlainReader(text, yaml_file.SHAPE).read() == tree.root


@given(sites())
@settings(max_examples=50, deadline=None)
def test_what_xsm_writes_is_plain(site):
    """Else a site beyond a MiB could not be read again once it was converted."""
    assert yaml_plain.PlainReader(yaml_file.write(site).decode(), yaml_file.SHAPE).read()
