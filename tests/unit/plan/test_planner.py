"""What the planner does about one VM: a table of situations, then the rules that need more than a
row."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planned_site import (
    KVM,
    NOW,
    OTHER_SITE,
    PAUSED,
    QEMU,
    RUNNING,
    SHUTOFF,
    SITE_ID,
    XEN,
    document,
    facts,
    foreign,
    made,
    only,
    plan_of,
    report,
    retagged,
    short,
    told,
    view,
    vm,
    wanted,
    with_live,
)

from xsm.plan import forms
from xsm.plan.actions import Consequence, Step
from xsm.plan.observed import DomainState, HostReport
from xsm.plan.planner import SHUTDOWN_LIMIT_S, going_off, plan
from xsm.plan.tags import after
from xsm.site.model import Drift, Power
from xsm.site.state import Conflict

C, S = Consequence, Step

# What the file wants of vm1 on dmz01, the domain's state there (None: absent), and what comes next.
POWER = [
    (Power.RUNNING, None, C.CREATE, S.CREATE),
    (Power.RUNNING, RUNNING, None, None),
    (Power.RUNNING, PAUSED, C.RESUME, S.RESUME),
    (Power.RUNNING, SHUTOFF, C.START, S.START),
    (Power.RUNNING, DomainState.CRASHED, C.START, S.START),
    (Power.RUNNING, DomainState.SHUTDOWN, C.START, S.NONE),
    (Power.RUNNING, DomainState.SUSPENDED, None, None),
    (Power.PAUSED, None, C.CREATE, S.CREATE),
    (Power.PAUSED, RUNNING, C.PAUSE, S.SUSPEND),
    (Power.PAUSED, PAUSED, None, None),
    (Power.PAUSED, SHUTOFF, C.START, S.START),
    (Power.STOPPED, None, C.CREATE, S.DEFINE),
    (Power.STOPPED, RUNNING, C.STOP, S.SHUTDOWN),
    (Power.STOPPED, PAUSED, C.STOP, S.DESTROY),
    (Power.STOPPED, SHUTOFF, None, None),
    (Power.STOPPED, DomainState.CRASHED, None, None),
]


@pytest.mark.parametrize(("power", "state", "consequence", "step"), POWER)
def test_power(power: Power, state: DomainState | None, consequence: C | None, step: S) -> None:
    doc = document(vm("vm1", "dmz01", power=power))
    domains = made(doc, state=state).values() if state else ()
    found = plan_of(doc, view(report("dmz01", *domains)))
    assert short(found) == ([("vm1", "dmz01", consequence, step)] if consequence else [])


def test_create_is_told_with_its_size() -> None:
    action = only(plan_of(document(vm("vm1", "192.168.5.101")), view(report("dmz01"))))
    assert (action.host, action.old, action.new) == ("dmz01", "absent", "running, 96 MiB, 4 VCPUs")
    assert action.reason == "the site file says so" and action.uuid


def test_a_guest_is_asked_then_waited_for_then_powered_off() -> None:
    doc = document(vm("vm1", "dmz01", power=Power.STOPPED))
    domain = made(doc, state=RUNNING)["vm1"]
    asked = {("dmz01", domain.uuid): NOW}
    rep = report("dmz01", domain)
    waiting = plan_of(doc, view(rep, now=NOW + SHUTDOWN_LIMIT_S - 1, shutdowns=asked))
    late = plan_of(doc, view(rep, now=NOW + SHUTDOWN_LIMIT_S, shutdowns=asked))
    assert (only(waiting).step, only(waiting).held) == (S.NONE, "")
    assert only(late).step is S.DESTROY and "60 s" in only(late).reason
    assert going_off(waiting) == going_off(late) == frozenset(asked)


def test_a_clock_of_a_vm_that_shall_run_is_out_of_date() -> None:
    doc = document(vm("vm1", "dmz01"))
    assert going_off(plan_of(doc, view(report("dmz01", *made(doc).values())))) == frozenset()


# -- reconfigure -----------------------------------------------------------------------------------

# The VM's new values, the domain's, the kind, and what comes next with the value that it sets.
RECONFIGURE = [
    ({"memory_mib": 128}, {"max_memory_mib": 256}, KVM, (C.LIVE, S.SET_MEMORY, 128)),
    ({"memory_mib": 64}, {}, KVM, (C.LIVE, S.SET_MEMORY, 64)),
    ({"memory_mib": 128}, {"max_memory_mib": 96}, KVM, (C.NEXT_BOOT, S.NONE, 0)),
    ({"memory_mib": 97}, {}, XEN, None),
    ({"memory_mib": 97}, {"max_memory_mib": 256}, KVM, (C.LIVE, S.SET_MEMORY, 97)),
    ({"memory_mib": 98}, {"max_memory_mib": 256}, XEN, (C.LIVE, S.SET_MEMORY, 98)),
    ({"vcpus": 6}, {"max_vcpus": 8}, KVM, (C.LIVE, S.SET_VCPUS, 6)),
    ({"vcpus": 6}, {"max_vcpus": 4}, KVM, (C.NEXT_BOOT, S.NONE, 0)),
    ({"vcpus": 2}, {}, KVM, (C.NEXT_BOOT, S.NONE, 0)),
    ({"vcpus": 2}, {}, QEMU, (C.NEXT_BOOT, S.NONE, 0)),
    ({"vcpus": 2}, {}, XEN, (C.LIVE, S.SET_VCPUS, 2)),
    ({"cpu_weight": 512}, {"cpu_weight": 256}, XEN, (C.LIVE, S.SET_WEIGHT, 512)),
    ({"cpu_weight": 512}, {"cpu_weight": None}, XEN, None),
    ({}, {"cpu_weight": 300}, XEN, None),
    ({"mac": "aa:00:00:00:00:01"}, {}, KVM, (C.NEXT_BOOT, S.NONE, 0)),
    ({}, {"persistent": False}, KVM, (C.LIVE, S.DEFINE, 0)),
    ({}, {"autostart": True}, KVM, (C.LIVE, S.DEFINE, 0)),
]


@pytest.mark.parametrize(("edit", "domain", "kind", "expected"), RECONFIGURE)
def test_reconfigure(edit: dict, domain: dict, kind, expected: tuple | None) -> None:
    there = replace(made(document(vm("vm1", "dmz01")), kind=kind)["vm1"], **domain)
    doc = document(vm("vm1", "dmz01", **edit))
    found = plan_of(doc, view(report("dmz01", there, of=facts(kind))))
    assert [(a.consequence, a.step, a.value) for a in found.actions] == (
        [expected] if expected else []
    )


def test_a_changed_config_waits_for_a_restart_that_somebody_asks_for() -> None:
    from planned_site import APACHE_NEW_DISK

    there = made(document(vm("vm1", "dmz01")))["vm1"]
    edited = document(vm("vm1", "dmz01"), configs=[APACHE_NEW_DISK])
    action = only(plan_of(edited, view(report("dmz01", there))))
    assert (action.consequence, action.what, action.new) == (C.NEXT_BOOT, "definition", "disks")
    asked = document(vm("vm1", "dmz01"), configs=[APACHE_NEW_DISK], restarts={"vm1": "t1"})
    action = only(plan_of(asked, view(report("dmz01", there))))
    assert (action.consequence, action.step) == (C.RESTART, S.SHUTDOWN)
    off = replace(there, state=SHUTOFF)
    assert only(plan_of(asked, view(report("dmz01", off)))).step is S.START
    renewed = made(asked)["vm1"]  # START wrote the new token
    assert plan_of(asked, view(report("dmz01", renewed))).empty


def test_a_stopped_vm_is_simply_defined_anew() -> None:
    there = made(document(vm("vm1", "dmz01", power=Power.STOPPED)), state=SHUTOFF)["vm1"]
    doc = document(vm("vm1", "dmz01", power=Power.STOPPED, memory_mib=128))
    action = only(plan_of(doc, view(report("dmz01", there))))
    assert (action.step, action.new) == (S.DEFINE, "memory 96 MiB => 128 MiB")


def test_a_new_uuid_needs_a_new_definition_when_the_vm_is_off() -> None:
    there = made(document(vm("vm1", "dmz01")))["vm1"]
    doc = document(vm("vm1", "dmz01", uuid="11111111-1111-4111-8111-111111111111"))
    action = only(plan_of(doc, view(report("dmz01", there))))
    assert (action.consequence, action.new) == (C.NEXT_BOOT, "mac, uuid")  # MAC follows
    action = only(plan_of(doc, view(report("dmz01", replace(there, state=SHUTOFF)))))
    assert (action.consequence, action.step) == (C.RECREATE, S.UNDEFINE)
    assert action.uuid == there.uuid


def test_memory_beyond_the_host_is_held_with_figures() -> None:
    small = facts(memory_mib=1000)  # 900 MiB for VMs
    old = document(vm("vm1", "dmz01", max_memory_mib=4096), vm("vm2", "dmz01", memory_mib=500))
    doc = document(
        vm("vm1", "dmz01", memory_mib=800, max_memory_mib=4096), vm("vm2", "dmz01", memory_mib=500)
    )
    action = only(plan_of(doc, view(report("dmz01", *made(old).values(), of=small))))
    assert (action.consequence, action.what, action.step) == (C.HELD, "memory", S.NONE)
    assert "704 MiB more needed, 304 MiB left of 900 MiB" in action.held


# -- drift -----------------------------------------------------------------------------------------

# What somebody did by hand to the running domain of vm1.
BY_HAND = [
    {"state": SHUTOFF},
    {"state": DomainState.CRASHED},
    {"state": PAUSED},
    {"memory_mib": 64},
    {"vcpus": 2},
    {"persistent": False},
    {"autostart": True},
]


@pytest.mark.parametrize("change", BY_HAND)
def test_drift_is_repaired_and_called_so(change: dict) -> None:
    doc = document(vm("vm1", "dmz01"))
    there = replace(made(doc)["vm1"], **change)
    action = only(plan_of(doc, view(report("dmz01", there))))
    assert action.step is not S.NONE and action.reason.startswith("drift: ")


@pytest.mark.parametrize("change", BY_HAND)
def test_drift_is_only_reported_where_the_policy_says_so(change: dict) -> None:
    doc = document(vm("vm1", "dmz01", drift=Drift.REPORT))
    there = replace(made(doc)["vm1"], **change)
    found = plan_of(doc, view(report("dmz01", there)))
    assert [text.startswith("drift: ") for text in told(found).values()] == [True]
    assert all(a.consequence is C.HELD and a.step is S.NONE for a in found.actions)
    off = there.state in (SHUTOFF, DomainState.CRASHED)
    assert len(found.actions) == off  # a VM that is off against the file is more than a remark


# The policy is `report`: what was edited in the file since the tag was written is done all the
# same.
EDITED = [
    ({"memory_mib": 64}, RUNNING, S.SET_MEMORY),
    ({"vcpus": 2}, RUNNING, S.SET_VCPUS),
    ({"power": Power.STOPPED}, RUNNING, S.SHUTDOWN),
    ({"power": Power.PAUSED}, RUNNING, S.SUSPEND),
]


@pytest.mark.parametrize(("edit", "state", "step"), EDITED)
def test_an_edit_is_no_drift(edit: dict, state: DomainState, step: S) -> None:
    there = made(document(vm("vm1", "dmz01", drift=Drift.REPORT)), state=state)["vm1"]
    doc = document(vm("vm1", "dmz01", drift=Drift.REPORT, **edit))
    action = only(plan_of(doc, view(report("dmz01", there))))
    assert (action.step, action.reason) == (step, "the site file says so")


def test_a_step_writes_down_what_it_set_so_that_later_drift_is_seen() -> None:
    doc = document(vm("vm1", "dmz01", drift=Drift.REPORT, memory_mib=64))
    there = made(document(vm("vm1", "dmz01", drift=Drift.REPORT)))["vm1"]
    action = only(plan_of(doc, view(report("dmz01", there))))
    assert there.tag is not None
    done = replace(there, memory_mib=64, tag=after(there.tag, action))
    assert plan_of(doc, view(report("dmz01", done))).empty
    by_hand = plan_of(doc, view(report("dmz01", replace(done, memory_mib=80))))
    told_by_hand = "memory was changed by hand, or its guest has not followed yet: 80 MiB"
    assert by_hand.empty and told_by_hand in told(by_hand)["vm1"]


def test_stopped_then_wanted_again_is_started_under_either_policy() -> None:
    doc = document(vm("vm1", "dmz01", drift=Drift.REPORT))
    there = with_live(made(doc, state=SHUTOFF)["vm1"], power="stopped")
    action = only(plan_of(doc, view(report("dmz01", there))))
    assert (action.step, action.reason) == (S.START, "the site file says so")


def test_a_restart_after_which_the_vm_could_not_start_is_held_before_it_is_shut_down() -> None:
    there = made(document(vm("vm1", "dmz01")))["vm1"]
    small = facts(memory_mib=3072)
    too_big = document(vm("vm1", "dmz01", memory_mib=16000), restarts={"vm1": "t1"})
    for v in (
        view(report("dmz01", there, of=small)),
        view(report("dmz01", there, of=small), handovers={}),
        view(report("dmz01", there, of=small), shutdowns={("dmz01", there.uuid): NOW - 100}),
    ):
        found = plan_of(too_big, v)
        told_needed, held = found.actions
        assert short(found)[1] == ("vm1", "dmz01", C.HELD, S.NONE)
        assert held.change == "power running => restarted"
        assert held.held == (
            "it could not start again: dmz01 is too small for it: "
            "15904 MiB more needed, 2669 MiB left of 2765 MiB for VMs"
        )
        assert told_needed.consequence is C.NEXT_BOOT
        assert "could not start" not in told_needed.reason  # said already
        assert going_off(found) == frozenset()
    xen_only = document(vm("vm1", "dmz01", config="pv"), restarts={"vm1": "t1"})
    held = plan_of(xen_only, view(report("dmz01", there, of=facts(KVM)))).actions[-1]
    assert held.held.startswith("it could not start again: its config 'pv' can't run on dmz01")
    fits = document(vm("vm1", "dmz01", memory_mib=2765), restarts={"vm1": "t1"})
    action = only(plan_of(fits, view(report("dmz01", there, of=small))))
    assert (action.consequence, action.step) == (C.RESTART, S.SHUTDOWN)


def test_a_needed_restart_after_which_the_vm_could_not_start_says_so() -> None:
    there = made(document(vm("vm1", "dmz01")))["vm1"]
    too_big = document(vm("vm1", "dmz01", memory_mib=16000))
    action = only(plan_of(too_big, view(report("dmz01", there, of=facts(memory_mib=3072)))))
    assert (action.consequence, action.reason) == (
        C.NEXT_BOOT,
        "more than the 96 MiB that this boot allows; takes effect at the next `xsm restart`, and "
        "could not start: dmz01 is too small for it: 15904 MiB more needed, 2669 MiB left of "
        "2765 MiB for VMs",
    )


def test_restart_starts_what_a_reporting_vm_left_off() -> None:
    doc = document(vm("vm1", "dmz01", drift=Drift.REPORT), restarts={"vm1": "t2"})
    there = retagged(with_live(made(doc, state=SHUTOFF)["vm1"], power="running"), restart="t1")
    assert only(plan_of(doc, view(report("dmz01", there)))).step is S.START


# -- removal and foreign domains -------------------------------------------------------------------


def test_a_removed_vm_is_shut_down_then_powered_off_then_undefined() -> None:
    there = made(document(vm("vm4", "dmz01")))["vm4"]
    doc = document()
    asked = {("dmz01", there.uuid): NOW - SHUTDOWN_LIMIT_S}
    steps = [
        only(plan_of(doc, v)).step
        for v in (
            view(report("dmz01", there)),
            view(report("dmz01", there), shutdowns=asked),
            view(report("dmz01", replace(there, state=PAUSED))),
            view(report("dmz01", replace(there, state=SHUTOFF))),
        )
    ]
    assert steps == [S.SHUTDOWN, S.DESTROY, S.DESTROY, S.UNDEFINE]
    assert only(plan_of(doc, view(report("dmz01", there)))).consequence is C.REMOVE


def test_foreign_domains_are_told_and_left_alone() -> None:
    there = made(document(vm("vm4", "dmz01")))["vm4"]
    other = retagged(there, site_id=OTHER_SITE)
    copy = replace(there, name="vm4-clone", uuid="22222222-2222-4222-8222-222222222222")
    found = plan_of(document(), view(report("dmz01", foreign("box"), other, copy)))
    assert found.empty
    assert "XSM did not create it" in told(found)["box"]
    assert "another XSM site" in told(found)["vm4"]
    assert "copy" in told(found)["vm4-clone"]


def test_a_copy_of_a_wanted_vm_is_not_taken_for_it() -> None:
    doc = document(vm("vm1", "dmz01"))
    there = made(doc)["vm1"]
    copy = replace(there, name="vm1-clone", uuid="22222222-2222-4222-8222-222222222222")
    found = plan_of(doc, view(report("dmz01", there), report("dmz02", copy)))
    assert found.empty and list(told(found)) == ["vm1-clone"]


def test_domain_0_is_nobodys_vm() -> None:
    dom0 = foreign("Domain-0", uuid="00000000-0000-0000-0000-000000000000")
    found = plan_of(document(), view(report("dmz01", dom0)))
    assert (found.actions, told(found)) == ((), {})


@pytest.mark.parametrize("host", ["dmz01", "dmz02"])
@pytest.mark.parametrize("alike", ["name", "uuid"])
def test_a_foreign_domain_with_its_name_or_uuid_holds_the_vm(host: str, alike: str) -> None:
    doc = document(vm("vm1", "dmz01"))
    uuid = wanted(doc).by_name["vm1"].uuid
    box = foreign("vm1") if alike == "name" else foreign("box", uuid=uuid)
    reports = [report(h, *([box] if h == host else [])) for h in ("dmz01", "dmz02")]
    action = only(plan_of(doc, view(*reports)))
    assert action.consequence is C.HELD
    assert f"that XSM did not create is on {host}; `xsm adopt`" in action.held


def test_a_foreign_namesake_elsewhere_does_not_hold_a_vm_that_has_its_domain() -> None:
    doc = document(vm("vm1", "dmz01", memory_mib=64))
    there = made(document(vm("vm1", "dmz01")))["vm1"]
    found = plan_of(doc, view(report("dmz01", there), report("dmz02", foreign("vm1"))))
    assert only(found).step is S.SET_MEMORY


def test_a_renamed_vm_that_keeps_its_uuid_waits_for_its_old_domain_to_go() -> None:
    uuid = "33333333-3333-4333-8333-333333333333"
    there = made(document(vm("old", "dmz01", uuid=uuid)))["old"]
    found = plan_of(document(vm("new", "dmz01", uuid=uuid)), view(report("dmz01", there)))
    assert short(found) == [
        ("old", "dmz01", C.REMOVE, S.SHUTDOWN),
        ("new", "dmz01", C.HELD, S.NONE),
    ]
    assert "made for old" in found.actions[1].held


# -- held ------------------------------------------------------------------------------------------


def test_a_conflict_holds_the_vm_entirely() -> None:
    conflict = Conflict("vm1", "host", "dmz02", "dmz03", ("a", "b"))
    doc = document(vm("vm1", "dmz02", memory_mib=64), conflicts=[conflict])
    there = made(document(vm("vm1", "dmz01")))["vm1"]
    action = only(plan_of(doc, view(report("dmz01", there), report("dmz02"))))
    assert (action.host, action.consequence, action.step) == ("dmz01", C.HELD, S.NONE)
    assert "dmz02 is shown, dmz03 was wanted too" in action.held
    settled = document(vm("vm1", "dmz01"), conflicts=[conflict])
    assert plan_of(settled, view(report("dmz01", there))).empty


def test_running_twice_is_held_on_both_hosts_and_never_resolved_by_killing() -> None:
    doc = document(vm("vm1", "dmz01", memory_mib=64))
    there = made(doc)["vm1"]
    found = plan_of(doc, view(report("dmz01", there), report("dmz02", there)))
    assert short(found) == [("vm1", "dmz01", C.HELD, S.NONE), ("vm1", "dmz02", C.HELD, S.NONE)]
    assert "RUNS TWICE, on dmz01 and dmz02" in found.actions[0].held
    assert forms.text(found).count("RUNS TWICE") == 1
    ((_, (told,)),) = forms.grouped(found)
    assert told.host == "dmz01, dmz02"


def test_an_old_report_does_not_prove_that_a_vm_runs_twice() -> None:
    doc = document(vm("vm1", "dmz01"))
    there = made(doc)["vm1"]
    for at, unreachable in ((NOW - 61, {}), (NOW, {"dmz02": "timeout"})):
        reports = report("dmz01", there), report("dmz02", there, at=at)
        found = plan_of(doc, view(*reports, unreachable=unreachable))
        assert found.empty
        assert any("by its old report" in n.message for n in found.notices)


@pytest.mark.parametrize(
    ("the_view", "why"),
    [
        (view(), "no report from dmz01 yet"),
        (view(unreachable={"dmz01": "connection refused"}), "dmz01 does not answer: connection"),
        (
            view(HostReport("dmz01", NOW, "r1", None, (), "libvirtd is down")),
            "the hypervisor of dmz01 can't be asked: libvirtd is down (as of 13:46:40 UTC)",
        ),
        (view(report("dmz01", frozen="merge rule 2")), "dmz01 acts on nothing: merge rule 2"),
        (view(report("dmz01", of=facts(memory_mib=100))), "dmz01 is too small for it"),
    ],
)
def test_a_host_that_cannot_holds_its_vms(the_view, why: str) -> None:
    action = only(plan_of(document(vm("vm1", "dmz01")), the_view))
    assert (action.vm, action.host, action.consequence) == ("vm1", "dmz01", C.HELD)
    assert action.held.startswith(why)


def test_a_host_without_xsmd_holds_its_vms() -> None:
    action = only(plan_of(document(vm("vm1", "192.168.5.104")), view()))
    assert action.held.startswith("no xsmd has joined for 192.168.5.104")


def test_an_unreachable_host_keeps_what_was_as_wanted() -> None:
    doc = document(vm("vm1", "dmz01"))
    rep = report("dmz01", *made(doc).values(), at=NOW - 500)
    found = plan_of(doc, view(rep, unreachable={"dmz01": "timeout"}))
    assert found.empty and "last report 13:38:20 UTC" in found.notices[0].message


def test_a_config_for_another_hypervisor_is_held() -> None:
    doc = document(vm("vm1", "dmz01", config="pv"))
    action = only(plan_of(doc, view(report("dmz01", of=facts(KVM)))))
    assert "its config 'pv' can't run on dmz01" in action.held
    assert only(plan_of(doc, view(report("dmz01", of=facts(XEN))))).step is S.CREATE


def test_a_drained_host_starts_nothing_and_says_what_is_left_on_it() -> None:
    doc = document(vm("vm1", "dmz01"), vm("vm2", "dmz01"), drained=["dmz01"])
    found = plan_of(doc, view(report("dmz01", *made(doc, "vm1").values())))
    assert short(found) == [("vm1", "dmz01", C.HELD, S.NONE), ("vm2", "dmz01", C.HELD, S.NONE)]
    assert "its DOM0 pins it there" in found.actions[0].held
    assert "dmz01 is drained" in found.actions[1].held


def test_what_does_not_fit_is_held_and_running_vms_come_first() -> None:
    doc = document(*(vm(f"vm{i}", "dmz01", memory_mib=400) for i in (1, 2, 3)))
    small = facts(memory_mib=1000)  # 900 MiB for VMs: two of them
    found = plan_of(doc, view(report("dmz01", *made(doc, "vm3").values(), of=small)))
    assert short(found) == [("vm1", "dmz01", C.CREATE, S.CREATE), ("vm2", "dmz01", C.HELD, S.NONE)]
    assert "400 MiB more needed, 100 MiB left of 900 MiB" in found.actions[1].held


def test_a_floating_vm_without_a_place_is_held() -> None:
    action = only(plan_of(document(vm("vm1")), view(report("dmz01"))))
    assert (action.host, action.consequence) == ("", C.HELD)


def test_the_file_of_an_unfounded_site_can_be_planned() -> None:
    doc = document(vm("vm1", "dmz01"))
    doc = replace(doc, state=replace(doc.state, site_id=""))
    found = plan(wanted(doc), doc, view(report("dmz01", foreign("box"))))
    assert short(found) == [("vm1", "dmz01", C.CREATE, S.CREATE)]


def test_the_site_id_of_the_tests_is_the_tags() -> None:
    domain = made(document(vm("vm1", "dmz01")))["vm1"]
    assert domain.tag is not None and domain.tag.site_id == SITE_ID


def test_what_the_hypervisor_stopped_is_not_called_paused_by_hand() -> None:
    doc = document(vm("vm1", "dmz01"))
    there = made(doc)["vm1"]
    why = "stopped at an I/O error: its disk has no room to grow, or is gone"
    for stopped, reason in ((why, why), ("", "drift: paused by hand")):
        seen = view(report("dmz01", replace(there, state=PAUSED, stopped=stopped)))
        found = only(plan_of(doc, seen))
        assert (found.step, found.reason) == (S.RESUME, reason)
