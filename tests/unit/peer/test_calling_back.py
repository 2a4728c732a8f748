"""Which migrations in flight are called back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plan.planned_site import XEN, document, facts, report, vm
from xsm.peer.calling_back import call_back
from xsm.peer.events import Abort
from xsm.peer.work import Work
from xsm.plan.actions import Action, Consequence, Step
from xsm.plan.wanted import wanted
from xsm.site.model import VM, Power
from xsm.site.state import Conflict


def flight(step: Step = Step.MIGRATE) -> Work:
    """vm1 is on its way from dmz01 to dmz02."""
    work = Work()
    kind = Consequence.MIGRATE_LIVE
    why = "the site file says so"
    action = Action(
        "vm1", "dmz01", kind, step, "host", "dmz01", "dmz02", why, uuid="u", target="dmz02"
    )
    work.begin(action, 1.0)
    return work


def ended(*vms: VM, work: Work | None = None, conflicts: tuple[Conflict, ...] = ()) -> list[str]:
    """Why, for each migration that is called back."""
    found = call_back(
        work or flight(), wanted(document(*vms, conflicts=conflicts)), report("dmz01")
    )
    return [effect.why for effect in found if isinstance(effect, Abort)]


@pytest.mark.parametrize(
    ("vms", "why"),
    [
        ((vm("vm1", "dmz01"),), ["it belongs on dmz01 now"]),
        ((vm("vm1", "dmz03"),), ["it belongs on dmz03 now"]),
        ((vm("vm1"),), ["the site has no place for it now"]),
        ((), ["the site file no longer has it"]),
        ((vm("vm1", "dmz02"),), []),
        ((vm("vm1", "dmz02", power=Power.STOPPED, memory_mib=64),), []),
    ],
)
def test_only_the_host_that_the_site_wants_decides(vms: tuple[VM, ...], why: list[str]) -> None:
    assert ended(*vms) == why


def test_nothing_is_done_to_a_vm_about_which_edits_disagree() -> None:
    disputed = Conflict("vm1", "host", "dmz01", "dmz02", ())
    assert ended(vm("vm1", "dmz01"), conflicts=(disputed,)) == []


def test_each_is_told_once_and_says_so_while_it_ends() -> None:
    work = flight()
    assert len(ended(vm("vm1", "dmz01"), work=work)) == 1
    assert ended(vm("vm1", "dmz01"), work=work) == []
    action = work.in_flight["vm1"].action
    assert work.hindrance(action, 2.0, 3.0).endswith("called back: it belongs on dmz01 now")


def test_what_is_no_migration_goes_on() -> None:
    assert ended(vm("vm1", "dmz01"), work=flight(Step.SHUTDOWN)) == []


def test_where_none_can_be_ended_none_is_told_to() -> None:
    work = flight()
    no_abort = "libvirt's Xen driver can't end a live migration that has begun"
    xen = report("dmz01", of=replace(facts(XEN), no_abort=no_abort))
    assert call_back(work, wanted(document(vm("vm1", "dmz01"))), xen) == []
    assert work.in_flight["vm1"].called_back == ""
