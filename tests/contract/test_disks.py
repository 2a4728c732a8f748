"""What every hypervisor promises of volumes of its storage pools."""

from __future__ import annotations

from dataclasses import replace

from tests.contract.domains import definition
from tests.contract.subjects import Subject
from tests.contract.test_hypervisor import NOBODY, VM1, refused
from xsm.site.disk import Disk, Volume

POOL = "default-pool"


def volume(vm: str, size_mib: int, origin: str = "") -> Volume:
    return Disk("root", size_mib, POOL, origin, "raw").volume(vm)


def test_a_volume_is_absent_until_it_is_made_and_then_never_made_again(subject: Subject) -> None:
    h, own = subject.hypervisor, volume("made", 8)
    assert [(d.disk, d.size_mib, d.trouble) for d in h.disks((own,))] == [("root", None, "")]
    h.make_disk(own)
    assert [d.size_mib for d in h.disks((own, volume("other", 1)))] == [8, None]
    refused(lambda: h.make_disk(replace(own, size_mib=16)), "there already")
    assert h.disks((own,))[0].size_mib == 8


def test_a_copy_is_as_big_as_wanted_and_needs_its_origin(subject: Subject) -> None:
    h, base = subject.hypervisor, volume("base", 4)
    refused(lambda: h.make_disk(volume("copy", 8, base.name)), base.name, "no such volume")
    h.make_disk(base)
    refused(lambda: h.make_disk(volume("copy", 2, base.name)), "more than 2 MiB")
    assert h.disks((volume("copy", 8),))[0].size_mib is None
    h.make_disk(volume("copy", 8, base.name))
    assert [d.size_mib for d in h.disks((base, volume("copy", 8)))] == [4, 8]


def test_a_pool_that_is_not_there_is_told(subject: Subject) -> None:
    h, lost = subject.hypervisor, replace(volume("lost", 1), pool="none")
    assert "no storage pool none" in h.disks((lost,))[0].trouble
    refused(lambda: h.make_disk(lost), "none")


def test_a_volume_is_never_made_smaller(subject: Subject) -> None:
    h, own = subject.hypervisor, volume("small", 8)
    h.make_disk(own)
    refused(lambda: h.grow_disk("", replace(own, size_mib=4)), "bigger already")
    assert h.disks((own,))[0].size_mib == 8


def test_what_is_not_there_gets_no_other_name(subject: Subject) -> None:
    lost = volume("lost", 1)
    refused(lambda: subject.hypervisor.set_aside(lost, f"{lost.name}.cut-off"), lost.name)


def test_a_guest_stays_on_its_volumes_while_it_is_on_and_nothing_moves_it(subject: Subject) -> None:
    h, own = subject.hypervisor, volume("vm1", 1)
    h.make_disk(own)
    source = f"<source pool='{own.pool}' volume='{own.name}'/>"
    disk = f"<disk type='volume' device='disk'>{source}<target dev='vda' bus='virtio'/></disk>"
    h.define(definition("vm1").replace("<devices>", f"<devices>{disk}"))
    assert h.stays_on(VM1) == h.stays_on(NOBODY) == frozenset()
    h.start(VM1)
    assert h.stays_on(VM1) == {(own.pool, own.name)}
    h.suspend(VM1)
    assert h.stays_on(VM1) == {(own.pool, own.name)}
    h.destroy(VM1)
    assert h.stays_on(VM1) == frozenset()
