"""What is particular to Xen: what its migrations forget, and how far a guest that runs can grow."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planned_site import (
    OTHER_SITE,
    SITE_ID,
    XEN,
    document,
    facts,
    foreign,
    made,
    only,
    plan_of,
    report,
    told,
    view,
    vm,
)

from xsm.plan.actions import Consequence, Step
from xsm.plan.observed import XEN_DOM0_UUID
from xsm.plan.sightings import is_foreign
from xsm.plan.tags import after
from xsm.site.model import Drift


@pytest.mark.parametrize("drift", list(Drift))
@pytest.mark.parametrize(("started", "now"), [(None, 256), (400, 400)])
def test_a_weight_that_a_migration_forgot_is_set_again_whatever_the_drift_policy(
    drift: Drift, started: int | None, now: int
) -> None:
    doc = document(vm("vm1", "xen01", cpu_weight=512, drift=drift), hosts=("xen01", "xen02"))
    arrived = replace(made(doc, kind=XEN)["vm1"], cpu_weight=now, started_weight=started)
    action = only(plan_of(doc, view(report("xen01", arrived, of=facts(XEN)))))
    assert (action.consequence, action.step, action.value) == (
        Consequence.LIVE,
        Step.SET_WEIGHT,
        512,
    )
    assert action.reason == "Xen's migrations forget a weight that was set"
    assert arrived.tag is not None
    done = replace(arrived, cpu_weight=512, tag=after(arrived.tag, action))
    assert plan_of(doc, view(report("xen01", done, of=facts(XEN)))).empty


def test_a_weight_that_somebody_set_is_drift_on_xen_too() -> None:
    doc = document(vm("vm1", "xen01", cpu_weight=512, drift=Drift.REPORT), hosts=("xen01", "xen02"))
    there = replace(made(doc, kind=XEN)["vm1"], cpu_weight=300)
    found = plan_of(doc, view(report("xen01", there, of=facts(XEN))))
    assert found.empty and "weight was changed by hand: 300" in told(found)["vm1"]


@pytest.mark.parametrize(
    ("vcpus", "consequence"), [(8, Consequence.LIVE), (9, Consequence.NEXT_BOOT)]
)
def test_xen_gives_a_guest_that_runs_no_more_cpus_than_its_host_has(
    vcpus: int, consequence: Consequence
) -> None:
    old = document(vm("vm1", "xen01", max_vcpus=16), hosts=("xen01", "xen02"))
    doc = document(vm("vm1", "xen01", max_vcpus=16, vcpus=vcpus), hosts=("xen01", "xen02"))
    there = made(old, kind=XEN)["vm1"]
    action = only(plan_of(doc, view(report("xen01", there, of=facts(XEN)))))
    assert action.consequence is consequence
    if consequence is Consequence.NEXT_BOOT:
        assert action.reason.startswith(
            "Xen gives a guest that runs no more than the 8 CPUs of its host; "
        )


def test_memory_within_a_mebibyte_is_as_wanted() -> None:
    """PVH guests' memory reads 64 KiB too high, a balloon of a PV guest may be some pages off."""
    doc = document(vm("vm1", "xen01"), hosts=("xen01", "xen02"))
    there = made(doc, kind=XEN)["vm1"]
    for found in (-1, 0, 1):
        seen = replace(there, memory_mib=there.memory_mib + found)
        assert plan_of(doc, view(report("xen01", seen, of=facts(XEN)))).empty
    off = replace(there, memory_mib=there.memory_mib - 2)
    assert only(plan_of(doc, view(report("xen01", off, of=facts(XEN))))).step is Step.SET_MEMORY


def test_what_xl_made_holds_memory_and_its_name_and_is_left_alone() -> None:
    """libvirt doesn't show it: nobody could act on it."""
    doc = document(vm("vm1", "xen01", memory_mib=700), hosts=("xen01", "xen02"))
    small = facts(XEN, memory_mib=1000)
    box = foreign("box", memory_mib=300, unshown=True)
    found = plan_of(doc, view(report("xen01", box, of=small)))
    assert "made by xl, libvirt doesn't show it; left alone" in told(found)["box"]
    assert "700 MiB more needed, 600 MiB left of 600 MiB for VMs" in only(found).held
    rival = foreign("vm1", unshown=True)
    held = only(plan_of(doc, view(report("xen01", rival, of=facts(XEN))))).held
    assert held.startswith(
        "a domain named vm1 that was made by xl is on xen01, and libvirt doesn't"
    )


def test_domain_0_is_neither_the_sites_nor_foreign() -> None:
    """`xsm adopt` of a whole host takes what is foreign: it must not take that."""
    doc = document(vm("vm1", "xen01"), hosts=("xen01", "xen02"))
    domain0 = foreign("Domain-0", uuid=XEN_DOM0_UUID)
    assert not is_foreign(domain0, SITE_ID)
    assert is_foreign(foreign("box"), SITE_ID) and is_foreign(foreign("box", unshown=True), SITE_ID)
    assert is_foreign(made(doc)["vm1"], OTHER_SITE) and not is_foreign(made(doc)["vm1"], SITE_ID)
