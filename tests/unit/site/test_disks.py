"""Disks that more than one VM would write to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xsm.site.config import Config
from xsm.site.disk import Disk
from xsm.site.disks import renamed, shared, written_to
from xsm.site.document import load
from xsm.site.model import VM, Power


def cfg(name: str, *disks: str) -> Config:
    return Config(
        name, f"configs/{name}.cfg", f"kernel='/k'\ndisk=[{', '.join(map(repr, disks))}]\n"
    )


def xml(name: str, disks: str) -> Config:
    text = f"<domain type='kvm'><os><type>hvm</type></os><devices>{disks}</devices></domain>"
    return Config(name, f"configs/{name}.xml", text)


@pytest.mark.parametrize(
    ("disk", "expected"),
    [
        ("/srv/a.img,raw,xvda,rw", ("/srv/a.img",)),
        ("phy:/dev/vg/a,xvda,w", ("/dev/vg/a",)),
        ("vg/a,raw,xvda", ("/dev/vg/a",)),
        ("file:/srv/a.img,xvda,r", ()),
        ("/srv/a.iso,raw,hdc:cdrom,r", ()),
        (",raw,xvdc,cdrom", ()),
    ],
)
def test_disks_of_an_xl_config(disk: str, expected: tuple) -> None:
    assert written_to(cfg("c", disk)) == expected


@pytest.mark.parametrize(
    ("disk", "expected"),
    [
        ("<disk device='disk'><source file='/srv/a.img'/></disk>", ("/srv/a.img",)),
        ("<disk><source dev='/dev/vg/a'/></disk>", ("/dev/vg/a",)),
        ("<disk><source protocol='rbd' name='pool/a'/></disk>", ("rbd:pool/a",)),
        ("<disk><source pool='p' volume='v'/></disk>", ("volume v of pool p",)),
        ("<disk><source file='/srv/a.img'/><readonly/></disk>", ()),
        ("<disk><source file='/srv/a.img'/><shareable/></disk>", ()),
        ("<disk><source file='/srv/a.img'/><transient shareBacking='yes'/></disk>", ()),
        ("<disk><source file='/srv/a.img'/><transient/></disk>", ("/srv/a.img",)),
        ("<disk device='cdrom'><source file='/srv/a.iso'/></disk>", ()),
        ("<disk device='cdrom'/><disk/>", ()),
    ],
)
def test_disks_of_a_domain_xml(disk: str, expected: tuple) -> None:
    assert written_to(xml("c", disk)) == expected


def vm(name: str, config: str, line: int, power: Power = Power.RUNNING) -> VM:
    return VM(name, config, "s", 1, 64, power=power, line=line)


def test_vms_that_write_to_one_disk_are_named_with_it() -> None:
    configs = {
        "a": cfg("a", "/srv/x.img,raw,xvda,rw"),
        "b": xml("b", "<disk><source file='/srv/x.img'/></disk>"),
    }
    one_config = [vm("vm1", "a", 3), vm("vm2", "a", 9)]
    (problem,) = shared("site.xml", one_config, configs)
    assert str(problem).startswith(
        "site.xml:9: warning: vm1 and vm2 would write to one disk, /srv/x.img (configs/a.cfg) ("
    )
    (problem,) = shared("site.xml", [vm("vm1", "a", 3), vm("vm2", "b", 9)], configs)
    assert problem.message.endswith("/srv/x.img (configs/a.cfg and configs/b.xml)")
    (problem,) = shared("site.xml", [vm(f"vm{i}", "a", i) for i in range(1, 6)], configs)
    assert problem.message.startswith("vm1, vm2, vm3 and 2 more would write")
    stopped = [vm("vm1", "a", 3), vm("vm2", "b", 9, Power.STOPPED)]
    assert not list(shared("site.xml", stopped, configs))
    assert not list(shared("site.xml", [vm("vm1", "a", 3), vm("vm2", "broken", 4)], configs))


def test_a_document_warns_of_them() -> None:
    site = "<Set name='s'>" + "".join(
        f"<VM name='{n}' config='a'><VCPUS>1</VCPUS><MEM>64</MEM></VM>" for n in ("vm1", "vm2")
    )
    files = {
        "site.xml": f"<XSMConfig>{site}</Set></XSMConfig>".encode(),
        "configs/a.cfg": b"kernel='/k'\ndisk=['/srv/x.img,raw,xvda,rw']\n",
    }
    (warning,) = load(files).warnings
    assert warning.message == "vm1 and vm2 would write to one disk, /srv/x.img (configs/a.cfg)"


def test_a_vm_whose_config_names_its_own_disk_would_have_it_twice() -> None:
    mine = "<disk><source pool='default' volume='vm1-root.qcow2'/></disk>"
    configs = {"a": xml("a", mine)}
    one = replace(vm("vm1", "a", 3), disks=(Disk("root", 1024),))
    (problem,) = shared("site.xml", [one], configs)
    assert str(problem) == (
        "site.xml:3: warning: vm1 would have volume vm1-root.qcow2 of pool default twice: it is its DISK root, and "
        "configs/a.xml names it, too (leave it out of the config, where the DISK adds it, or leave the DISK out)"
    )
    other = replace(vm("vm2", "a", 5), disks=(Disk("root", 1024),))
    found = [str(p) for p in shared("site.yaml", [one, other], configs)]
    assert "twice: it is its disk root, and" in found[0]
    assert "vm1 and vm2 would write to one disk" in found[1] and len(found) == 2
    assert not [*shared("site.xml", [other], configs)]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("root", "root data", ""),
        ("root data", "root", ""),
        ("root", "system", "vm1 loses its disk root, and gets a new one: system (empty)"),
        ("", "root", ""),
    ],
)
def test_a_disk_of_another_name_is_a_new_one(before: str, after: str, told: str) -> None:
    def with_disks(names: str) -> VM:
        return replace(vm("vm1", "a", 3), disks=tuple(Disk(n, 1024) for n in names.split()))

    found = [*renamed("site.xml", [with_disks(before)], [with_disks(after)])]
    assert [p.message for p in found] == ([told] if told else [])
    copied = replace(with_disks("system"), disks=(Disk("system", 1024, origin="debian.qcow2"),))
    assert not [*renamed("site.xml", [], [copied])]
    (problem,) = renamed("site.xml", [with_disks("root")], [copied])
    assert "system (a copy of debian.qcow2)" in problem.message and problem.line == 3
