"""Disks that more than one VM would write to."""

from __future__ import annotations

import pytest

from xsm.site.config import Config
from xsm.site.disks import shared, written_to
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
