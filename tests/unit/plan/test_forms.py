"""The plan in words."""

from __future__ import annotations

from planned_site import SHUTOFF, document, foreign, made, plan_of, report, view, vm

from xsm.plan import forms
from xsm.plan.actions import Consequence, Plan
from xsm.site.model import Migration, Power

EXPECTED = """\
Create:
  vm1  create on dmz01  running, 96 MiB, 4 VCPUs  (the site file says so)
Change live (no restart):
  vm2  memory 96 MiB => 128 MiB  live  (the site file says so)
  vm2  vcpus 4 => 2  live  (the site file says so)
Migrate live:
  vm3  host dmz01 => dmz02  migrate live  (the site placed it there)
Stop:
  vm6  stop on dmz03  power running => stopped  (the site file says so)
Remove (disks stay):
  vm4  remove on dmz02  power running => removed  (vm4 is no longer in the site file)
Held (nothing is done until the reason is gone):
  vm5  host dmz01 => dmz03  held: `<MIGRATION>never</MIGRATION>` keeps it there while it runs; \
`xsm stop vm5` lets it move while it is off
Notices:
  box on dmz03: foreign domain (shutoff): XSM did not create it; left alone
Plan: 1 to create, 1 to change live, 1 to migrate live, 1 to stop, 1 to remove, 1 held
"""


def example() -> Plan:
    old = made(
        document(
            vm("vm2", "dmz02", max_memory_mib=256), vm("vm3", "dmz01"), vm("vm4", "dmz02"),
            vm("vm5", "dmz01"), vm("vm6", "dmz03"),
        )
    )  # fmt: skip
    doc = document(
        vm("vm1", "dmz01"), vm("vm3"),
        vm("vm2", "dmz02", memory_mib=128, max_memory_mib=256, vcpus=2),
        vm("vm5", "dmz03", migration=Migration.NEVER), vm("vm6", "dmz03", power=Power.STOPPED),
        placement={"vm3": "dmz02"},
    )  # fmt: skip
    reports = (
        report("dmz01", old["vm3"], old["vm5"]),
        report("dmz02", old["vm2"], old["vm4"]),
        report("dmz03", old["vm6"], foreign("box", SHUTOFF)),
    )
    return plan_of(doc, view(*reports))


def test_the_whole_plan_as_text() -> None:
    assert forms.text(example()) == EXPECTED


def test_groups_come_in_the_order_of_consequences_and_lose_nothing() -> None:
    found = example()
    groups = forms.grouped(found)
    order = [consequence for consequence, _ in groups]
    assert order == sorted(order, key=list(Consequence).index)
    assert tuple(a for _, actions in groups for a in actions) == found.actions


def test_an_empty_plan_says_so() -> None:
    assert forms.summary(Plan()) == "Plan: nothing to do, every VM is as the site file says"


def test_every_consequence_has_its_words() -> None:
    assert set(forms.TITLES) == set(forms.COUNTED) == set(Consequence)


def test_a_waiting_action_says_for_what() -> None:
    there = made(document(vm("vm1", "dmz01")))["vm1"]
    found = plan_of(document(vm("vm1", "dmz02")), view(report("dmz01", there), handovers={}))
    assert forms.line(found.actions[0]).endswith("waits: waiting for dmz02 to claim it")
