"""A revision as a whole: what clashes between entries and files, and which host a DOM0 means."""

from __future__ import annotations

import json

import pytest

from tests.unit.site.sites import FIGURE_3
from xsm.site import yaml_file
from xsm.site.document import load
from xsm.site.model import VM, Site, VMSet
from xsm.site.problems import Invalid

CFG = b'kernel = "/boot/vmlinuz"\nmemory = 64\n'
CONFIGS = {"configs/apache_svr.cfg": CFG, "configs/mysql_svr.cfg": CFG}
MEMBERS = {
    "dmz01": {"address": "192.168.5.101", "url": "https://192.168.5.101:7440"},
    "dmz02": {"address": "fe80::2", "url": "https://[fe80::2]:7440"},
}


def table(value) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=2) + "\n").encode()


def vm(name: str, inner: str = "", config: str = "c") -> str:
    mem = "" if "<MEM>" in inner else "<MEM>64</MEM>"
    return f'<VM name="{name}" config="{config}"><VCPUS>1</VCPUS>{mem}{inner}</VM>\n'


def files(*entries: str, hosts: str = "") -> dict[str, bytes]:
    text = "<XSMConfig>\n" + hosts + '<Set name="s">\n' + "".join(entries) + "</Set></XSMConfig>"
    return {"site.xml": text.encode(), "configs/c.cfg": CFG}


def problems(tree) -> list[str]:
    with pytest.raises(Invalid) as caught:
        load(tree)
    return [str(p) for p in caught.value.problems]


def test_figure_3():
    document = load(
        {"site.xml": FIGURE_3, **CONFIGS, "README": b"hello", "configs/notes/x.cfg": b"(("}
    )
    assert document.site_path == "site.xml"
    assert sorted(document.configs) == ["apache_svr", "mysql_svr"]
    assert document.warnings == ()
    assert document.host_of(document.vms["vm1"]) == "192.168.5.101"
    assert document.host_entry("192.168.5.101") is None
    as_yaml = load({"site.yaml": yaml_file.write(document.site), **CONFIGS})
    assert (as_yaml.site, as_yaml.site_path) == (document.site, "site.yaml")


def test_which_host():
    hosts = '<Host name="rack1"><ADDRESS>192.168.5.101</ADDRESS><MEM>4096</MEM></Host>\n'
    hosts += '<Host name="spare"><ADDRESS>10.0.0.9</ADDRESS></Host>\n'
    tree = files(
        vm("a", "<DOM0>192.168.5.101</DOM0>"),
        vm("b", "<DOM0>FE80::2</DOM0>"),
        vm("c"),
        vm("d"),
        hosts=hosts,
    )
    tree["state/members.json"] = table(MEMBERS)
    tree["state/placement.json"] = table({"c": "dmz02"})
    document = load(tree)
    assert [document.host_of(v) for v in document.site.vms()] == ["dmz01", "dmz02", "dmz02", None]
    assert document.host_name("rack1") == document.host_name("DMZ01") == "dmz01"
    assert document.host_name("10.0.0.9") == "spare"
    assert document.host_name("elsewhere") == "elsewhere"
    entry = document.host_entry("dmz01")
    assert entry is not None and entry.name == "rack1"
    assert document.host_entry("dmz02") is None


def test_a_host_that_the_site_does_not_have_is_warned_about():
    tree = files(
        vm("a", "<DOM0>dmz9</DOM0>"),
        vm("b"),
        vm("c", "<DOM0>dmz9</DOM0>"),
        vm("d", "<DOM0>dmz01</DOM0>"),
    )
    assert load(tree).warnings == ()  # a loose file
    tree["state/members.json"] = table({"dmz01": MEMBERS["dmz01"]})
    assert load(tree).warnings == ()  # just founded: the others are to come
    tree["state/members.json"] = table(MEMBERS)
    (warning,) = load(tree).warnings
    assert str(warning) == (
        "site.xml:3: warning: VM a and 1 more: dmz9 is no host of this site "
        "(did you mean dmz02 or dmz01?; or `xsm invite dmz9` takes it in)"
    )


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (files(vm("a"), vm("a")), "site.xml:4: error: VM name a twice (the first is on line 3)"),
        (
            files(vm("a", "<HWADDR>AA:00:00:00:00:01</HWADDR>"), vm("b", "<HWADDR>aa-00-00-00-00-01</HWADDR>")),
            "site.xml:4: error: VM b: HWADDR aa:00:00:00:00:01 twice (the first is of a on line 3)",
        ),
        (
            files(*(vm(n, "<UUID>6C0B2E0A-9D7C-4A7B-8F43-1E5E3C2B7A11</UUID>") for n in "ab")),
            "VM b: UUID 6c0b2e0a",
        ),
        (files(vm("a", "<IP>10.0.0.7/8</IP>"), vm("b", "<IP>10.0.0.7</IP>")), "VM b: IP address 10.0.0.7 twice"),
        (files(vm("a"), "</Set><Set name='s'>"), "set name s twice"),
        (
            files(vm("a", config="d")),
            "VM a: there is no config d (expected configs/d.cfg or configs/d.xml; known are c)",
        ),
        (
            {"site.xml": FIGURE_3},
            "site.xml:4: error: VM vm1: there is no config apache_svr (expected configs/apache_svr.cfg or "
            "configs/apache_svr.xml; configs/ holds none)",
        ),
        (
            files(vm("a", "<DOM0>dmz1</DOM0>"), hosts='<Host name="dmz01"/>\n'),
            "site.xml:4: error: VM a: host dmz1 is not known (did you mean dmz01?; or list it as a <Host>)",
        ),
        (
            files(vm("a"), hosts='<Host name="h"><ADDRESS>10.0.0.1</ADDRESS></Host>\n<Host name="10.0.0.1"/>\n'),
            "site.xml:3: error: host name 10.0.0.1 twice (the first is host h on line 2)",
        ),
        (
            files(vm("a", "<DOM0>h</DOM0><MEM>65</MEM>"), hosts='<Host name="h"><MEM>64</MEM></Host>\n'),
            "site.xml:4: error: VM a: MEM 65 MiB is more than host h has, 64 MiB",
        ),
        ({}, "there is no site.xml or site.yaml"),
        ({"site.xml": FIGURE_3, "site.yaml": b"sets: []", **CONFIGS}, "there are both site.xml and site.yaml"),
        ({**files(vm("a")), "configs/c.xml": b"<domain/>"}, "config c twice"),
        ({**files(vm("a")), "../x": b""}, "../x: error: the path leaves the site's folder"),
        ({**files(vm("a")), "/etc/x": b""}, "leaves"),
        ({**files(vm("a")), "a//x": b""}, "leaves"),
        ({**files(vm("a")), ".git/config": b""}, "leaves"),
        ({**files(vm("a")), "a\\x": b""}, "backslash"),
        ({**files(vm("a")), "a\nb": b""}, "a\\nb: error: the path has a backslash or a control character"),
        ({**files(vm("a")), "x" * 256: b""}, "a name in the path is too long (at most 255 bytes)"),
        ({**files(vm("a")), "a/" + "ä" * 128: b""}, "a name in the path is too long"),
        ({**files(vm("a")), f"{'x' * 200}/{'x' * 200}": b""}, "401 characters"),
    ],
)  # fmt: skip
def test_refused(tree, expected):
    found = problems(tree)
    assert any(expected in p for p in found), found


YAML = b"""\
hosts:
- name: h
  mem: 64
  fence_after: 60
sets:
- name: s
  owner: o
  vms:
  - {name: a, config: c, dom0: x, vcpus: 1, mem: 64, maxmem: 32}
"""


@pytest.mark.parametrize(
    ("found", "instead", "expected"),
    [
        (b"", b"", "maxmem 32 MiB is less than mem 64 MiB"),
        (b", maxmem: 32", b"", "host x is not known (known are h; or list it under hosts:)"),
        (b", maxmem: 32", b"", "host h: fence_after without fence"),
        (b"x, vcpus: 1, mem: 64, maxmem: 32", b"h, vcpus: 1, mem: 65", "mem 65 MiB is more than host h has"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_yaml_site_is_in_its_words(found, instead, expected):
    tree = {"site.yaml": YAML.replace(found, instead), **CONFIGS}
    assert any(expected in p for p in problems(tree)), problems(tree)


def test_a_name_that_is_there_twice_writes_to_no_disk_twice():
    twice = files(vm("a"), vm("a"))
    disk = {**twice, "configs/c.cfg": b'kernel = "/k"\ndisk = ["phy:/dev/vg/a,xvda,w"]\n'}
    assert [p for p in problems(disk) if "one disk" in p] == []


def test_all_problems_of_all_files_at_once():
    tree = files(vm("a", config="x"), vm("a"), vm("b", "<MEM>0</MEM>"))
    tree |= {"configs/bad.cfg": b"((", "../x": b"", "state/members.json": b"["}
    paths = {p.split(":")[0] for p in problems(tree)}
    assert paths == {"site.xml", "configs/bad.cfg", "../x", "state/members.json"}


def test_a_broken_config_is_not_called_missing():
    tree = {**files(vm("a")), "configs/c.cfg": b"(("}
    assert all(p.startswith("configs/c.cfg") for p in problems(tree))


def test_too_much_for_a_host_in_sum_is_a_warning():
    hosts = '<Host name="h"><MEM>100</MEM></Host>\n'
    document = load(files(*(vm(n, "<DOM0>h</DOM0>") for n in "ab"), hosts=hosts))
    assert [str(w) for w in document.warnings] == [
        "site.xml:2: warning: host h: its 2 VMs want 128 MiB together, it has 100 MiB "
        "(move some, or let them float)"
    ]


def test_a_config_that_no_vm_can_name_is_a_warning():
    document = load({**files(vm("a")), "configs/-x.cfg": b"(("})
    assert "no VM can name this config" in str(document.warnings[0])


def test_ten_thousand_vms_with_the_same_fault_stay_quick_to_check():
    """Hints are searched once for each unknown word, not once for each VM."""
    vms = tuple(VM(f"vm{i}", "missing", "s", 1, 64, line=i) for i in range(10_000))
    text = yaml_file.write(Site((VMSet("s", "", vms),)))
    tree = {"site.yaml": text, **{f"configs/c{i}.cfg": CFG for i in range(50)}}
    assert len(problems(tree)) == 10_000
