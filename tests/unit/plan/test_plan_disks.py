"""A VM's own disks in the plan: made before a start, grown, told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plan.planned_site import NOW, QEMU, document, facts, made, report, vm
from xsm.plan.actions import Action, Consequence, Notice, Step
from xsm.plan.observed import Domain, FoundDisk
from xsm.plan.planner import plan_host
from xsm.plan.view import View
from xsm.plan.wanted import wanted
from xsm.site.disk import Disk

SITE = document(vm("vm1", "dmz01", disks=(Disk("root", 2048), Disk("data", 1024))))


def planned(
    *found: FoundDisk, domains: tuple[Domain, ...] = (), foresees: bool = False
) -> tuple[list[Action], list[Notice]]:
    seen = report("dmz01", *domains, of=facts(QEMU))
    seen = replace(seen, disks={"vm1": found} if found else {})
    view = View({"dmz01": seen}, {}, NOW, {}, None if foresees else {})
    plan = plan_host(wanted(SITE), SITE, view, "dmz01")
    return list(plan.actions), [n for n in plan.notices if n.vm == "vm1"]


def steps(*found: FoundDisk, domains: tuple[Domain, ...] = ()) -> list[tuple[Step, str]]:
    return [(a.step, a.change) for a in planned(*found, domains=domains)[0]]


def there(root_mib: int | None = 2048, data_mib: int | None = 1024) -> tuple[FoundDisk, FoundDisk]:
    return FoundDisk("root", root_mib), FoundDisk("data", data_mib)


def test_one_disk_after_the_other_and_then_the_vm() -> None:
    assert steps(*there(None, None)) == [(Step.MAKE_DISK, "disk root 2 GiB in pool default")]
    assert steps(*there(2048, None)) == [(Step.MAKE_DISK, "disk data 1 GiB in pool default")]
    assert steps(*there(1024, 1024)) == [(Step.RESIZE_DISK, "disk root 1 GiB => 2 GiB")]
    assert [step for step, _ in steps(*there())] == [Step.CREATE]


def test_a_disk_that_may_not_be_made_holds_the_vm() -> None:
    found = (FoundDisk("root", None, refused="it had it before"), *there()[1:])
    (action,), _ = planned(*found)
    assert action.consequence is Consequence.HELD
    how = "a live move from where it runs copies it with `<COPY_DISKS>yes</COPY_DISKS>`"
    assert action.held == f"it had it before; {how}"
    (action,), _ = planned(FoundDisk("root", trouble="no pool"), *there()[1:])
    assert action.held == "no pool"


def test_people_see_all_of_it_beforehand() -> None:
    actions, _ = planned(*there(None, None), foresees=True)
    assert [str(a.consequence) for a in actions] == ["make", "make", "create"]
    actions, _ = planned(foresees=True)
    assert [a.reason for a in actions][:2] == ["unless it is there already"] * 2


@pytest.mark.parametrize(("size_mib", "told"), [(2050, False), (4096, True)])
def test_a_disk_is_never_made_smaller(size_mib: int, told: bool) -> None:
    domain = made(SITE, "vm1", kind=QEMU)["vm1"]
    actions, notices = planned(*there(size_mib), domains=(domain,))
    assert not actions
    assert ["cannot shrink" in n.message for n in notices] == [True] * told


def test_a_disk_grows_while_its_domain_runs() -> None:
    domain = made(SITE, "vm1", kind=QEMU)["vm1"]
    (action,), _ = planned(*there(1024), domains=(domain,))
    assert (action.step, action.consequence) == (Step.GROW_DISK, Consequence.LIVE)
    assert action.uuid == domain.uuid
