"""Disks that the site file names: what their text may be, and what becomes of them in a domain."""

from __future__ import annotations

import re

import pytest
from lxml import etree

from xsm.site import domain, needs, xml_file, yaml_file
from xsm.site.changes import SetVM
from xsm.site.config import Config
from xsm.site.disk import Disk, parse, size_text, volumes
from xsm.site.model import VM, HypervisorKind, Site, VMSet
from xsm.site.problems import Invalid

XML = """<domain type='kvm'><os><type>hvm</type></os><devices>
<disk type='file' device='disk'><source file='/srv/a.img'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='disk'><source file='/srv/c.img'/><target dev='vdc' bus='virtio'/></disk>
<console type='pty'/></devices></domain>"""
CONFIG = Config("web", "configs/web.xml", XML)
IDENTITY = {"uuid": "11111111-1111-4111-8111-111111111111", "mac": "00:16:3e:00:00:01"}


@pytest.mark.parametrize(
    ("text", "disk"),
    [
        ("name=root size=10G", Disk("root", 10240)),
        ("size=2T  name=a_1 format=raw", Disk("a_1", 2 * 1024 * 1024, format="raw")),
        (
            "name=root size=100M pool=fast from=debian-12.qcow2",
            Disk("root", 100, "fast", "debian-12.qcow2"),
        ),
    ],
)
def test_a_text_is_a_disk_and_back(text: str, disk: Disk) -> None:
    assert parse(text) == disk
    assert parse(str(disk)) == disk


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("root 10G", "'root' is none of name=, size="),
        ("name=root", "it has no size="),
        ("size=10G", "it has no name="),
        ("name=root size=10", "size=10: a whole number with M, G or T"),
        ("name=root size=10g", "size=10g: a whole number"),
        ("name=root size=0G", "size=0G: a whole number"),
        ("name=root size=2000000T", "more than 1024T"),
        ("name=root size=1G size=2G", "size= is there twice"),
        ("name=a-b size=1G", "name=a-b: small letters"),
        ("name=root size=1G pool=../x", "pool=../x: letters"),
        ("name=root size=1G format=vmdk", "format=vmdk: qcow2 or raw"),
        ("name=root size=1G bus=ide", "'bus=ide' is none of"),
    ],
)
def test_a_wrong_text_is_told(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=re.escape(error)):
        parse(text)


def test_the_site_file_keeps_the_order_of_disks_and_refuses_a_name_twice() -> None:
    text = b"""<XSMConfig><Set name="s"><VM name="vm1" config="web"><VCPUS>1</VCPUS><MEM>64</MEM>
<DISK>name=root size=1G</DISK><DISK>name=data size=%sG</DISK></VM></Set></XSMConfig>"""
    site = xml_file.read(text % b"2")
    assert [str(d) for d in next(site.vms()).disks] == ["name=root size=1G", "name=data size=2G"]
    with pytest.raises(Invalid, match="<DISK> size=xG: a whole number"):
        xml_file.read(text % b"x")
    with pytest.raises(Invalid, match="<DISK> root twice"):
        xml_file.read((text % b"2").replace(b"data", b"root"))


def _vm(*disks: Disk) -> VM:
    return VM("vm1", "web", "s", 1, 64, disks=disks)


def test_disks_are_volumes_under_names_that_are_free() -> None:
    vm = _vm(Disk("root", 1024), Disk("data", 1024, "fast", format="raw"))
    kind = HypervisorKind.QEMU
    xml = domain.render(vm, CONFIG, **IDENTITY, kind=kind, tag=None).xml
    found = [
        (d.get("type"), dict(d.find("source").attrib), d.find("target").get("dev"))  # type: ignore[union-attr]
        for d in etree.fromstring(xml).iterfind("devices/disk")
    ]
    assert found[2:] == [
        ("volume", {"pool": "default", "volume": "vm1-root.qcow2"}, "vdb"),
        ("volume", {"pool": "fast", "volume": "vm1-data"}, "vdd"),
    ]
    own = volumes("vm1", vm.disks)
    assert needs.of(xml).volumes == (("default", "vm1-root.qcow2"), ("fast", "vm1-data"))
    assert (needs.of(xml, own=own).volumes, needs.of(xml, own=own).own) == ((), own)


def test_a_size_changes_live_and_another_disk_at_a_boot() -> None:
    def print_of(*disks: Disk) -> object:
        kind = HypervisorKind.QEMU
        return domain.fingerprint(_vm(*disks), CONFIG, **IDENTITY, kind=kind)

    root = Disk("root", 1024)
    assert print_of(root) == print_of(Disk("root", 2048, origin="base.qcow2"))
    assert len({str(print_of(*d)) for d in ((), (root,), (root, Disk("data", 1)))}) == 3


def test_sizes_for_people() -> None:
    assert [size_text(n) for n in (1, 1000, 1024, 10240, 1024 * 1024)] == [
        "1 MiB", "1000 MiB", "1 GiB", "10 GiB", "1 TiB",
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["xml", "yaml"])
def test_an_edit_keeps_the_order_of_disks_and_what_is_written_otherwise(form: str) -> None:
    old = (Disk("root", 1024), Disk("data", 1024), Disk("log", 1))
    new = (Disk("root", 1024), Disk("data", 2048), Disk("a", 1), Disk("b", 1))
    site = Site((VMSet("s", "", (_vm(*old),)),))
    module = xml_file if form == "xml" else yaml_file
    text = module.write(site).replace(b"name=root size=1G", b"size=1024M name=root")
    assert next(module.read(text).vms()).disks == old
    edited = module.edit(text, [SetVM("vm1", "disks", old, new)])
    assert next(module.read(edited).vms()).disks == new
    assert (b"size=1024M" in edited) == (form == "xml")
    assert (
        next(module.read(module.edit(edited, [SetVM("vm1", "disks", new, ())])).vms()).disks == ()
    )
