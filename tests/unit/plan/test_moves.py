"""Moving VMs between hosts: live, cold, held; and who waits for whom."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planned_site import (
    KVM,
    PAUSED,
    SHUTOFF,
    XEN,
    document,
    facts,
    foreign,
    made,
    only,
    plan_of,
    report,
    short,
    view,
    vm,
    wanted,
)

from xsm.plan.actions import Consequence, Step
from xsm.plan.observed import HypervisorFacts, cannot_receive
from xsm.plan.planner import Handover, incoming, plan_host
from xsm.site.model import HypervisorKind, Migration, Power

C, S = Consequence, Step


# policy, source kind, target kind, why the target can't receive live; what the source does next.
MOVES = [
    (Migration.LIVE, KVM, KVM, "", (C.MIGRATE_LIVE, S.MIGRATE)),
    (Migration.COLD, KVM, KVM, "", (C.MIGRATE_LIVE, S.MIGRATE)),
    (Migration.NEVER, KVM, KVM, "", (C.HELD, S.NONE)),
    (Migration.LIVE, KVM, XEN, "", (C.HELD, S.NONE)),
    (Migration.COLD, KVM, XEN, "", (C.MIGRATE_COLD, S.SHUTDOWN)),
    (Migration.LIVE, KVM, KVM, "no shared storage", (C.HELD, S.NONE)),
    (Migration.COLD, KVM, KVM, "no shared storage", (C.MIGRATE_COLD, S.SHUTDOWN)),
    (Migration.NEVER, KVM, XEN, "", (C.HELD, S.NONE)),
]


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("acting", [False, True])
def test_move(move: tuple, acting: bool) -> None:
    policy, source, target, cold_only, expected = move
    there = made(document(vm("vm1", "dmz01")), kind=source)["vm1"]
    doc = document(vm("vm1", "dmz02", migration=policy))
    at_source = report("dmz01", there, of=facts(source))
    if acting:  # the source knows only itself and the claim
        v = view(at_source, handovers={"vm1": Handover("dmz02", 7, target, cold_only)})
    else:
        v = view(at_source, report("dmz02", of=facts(target, cold_only=cold_only)))
    action = only(plan_of(doc, v))
    assert (action.consequence, action.step) == expected
    assert (action.host, action.target) == ("dmz01", "dmz02")
    assert (action.old, action.new) == ("dmz01", "dmz02")
    if expected[0] is C.HELD and policy is Migration.LIVE:
        assert action.held.endswith("; `<MIGRATION>cold</MIGRATION>` allows a cold move")


@pytest.mark.parametrize(
    "handovers", [{}, {"vm1": Handover("dmz03", 9, KVM, "")}], ids=["no claim", "another's claim"]
)
@pytest.mark.parametrize("policy", [Migration.LIVE, Migration.COLD])
def test_a_source_keeps_its_vm_until_the_target_has_claimed_it(handovers, policy) -> None:
    there = made(document(vm("vm1", "dmz01")), kind=KVM)["vm1"]
    doc = document(vm("vm1", "dmz02", migration=policy))
    v = view(report("dmz01", there, of=facts(KVM)), handovers=handovers)
    assert only(plan_of(doc, v)).held == "waiting for dmz02 to claim it"


def test_a_cold_move_from_start_to_end() -> None:
    doc = document(vm("vm1", "dmz02", migration=Migration.COLD))
    cold = facts(KVM, cold_only="test driver")
    there = made(document(vm("vm1", "dmz01")), kind=KVM)["vm1"]
    running = plan_of(doc, view(report("dmz01", there, of=cold), report("dmz02", of=cold)))
    assert short(running) == [("vm1", "dmz01", C.MIGRATE_COLD, S.SHUTDOWN)]  # one line for people
    off = replace(there, state=SHUTOFF)
    between = plan_of(doc, view(report("dmz01", off, of=cold), report("dmz02", of=cold)))
    assert short(between) == [
        ("vm1", "dmz01", C.MIGRATE_COLD, S.UNDEFINE),
        ("vm1", "dmz02", C.MIGRATE_COLD, S.CREATE),
    ]
    done = made(doc, kind=KVM)["vm1"]
    assert plan_of(doc, view(report("dmz01", of=cold), report("dmz02", done, of=cold))).empty


def test_a_stopped_vm_moves_by_definition() -> None:
    there = made(document(vm("vm1", "dmz01", power=Power.STOPPED)), state=SHUTOFF)["vm1"]
    doc = document(vm("vm1", "dmz02", power=Power.STOPPED, migration=Migration.NEVER))
    found = plan_of(doc, view(report("dmz01", there), report("dmz02")))
    assert [(a.host, a.step) for a in found.actions] == [
        ("dmz01", S.UNDEFINE),
        ("dmz02", S.DEFINE),
    ]


def test_the_old_definition_stays_while_the_new_host_cannot_take_the_vm() -> None:
    there = made(document(vm("vm1", "dmz01")), state=SHUTOFF)["vm1"]
    doc = document(vm("vm1", "dmz02"))
    found = plan_of(doc, view(report("dmz01", there), unreachable={"dmz02": "timeout"}))
    assert short(found) == [("vm1", "dmz02", C.HELD, S.NONE)]


def test_a_held_move_does_not_stop_live_changes() -> None:
    there = made(document(vm("vm1", "dmz01")))["vm1"]
    doc = document(vm("vm1", "dmz02", migration=Migration.NEVER, memory_mib=64))
    found = plan_of(doc, view(report("dmz01", there), report("dmz02")))
    assert short(found) == [
        ("vm1", "dmz01", C.LIVE, S.SET_MEMORY),
        ("vm1", "dmz01", C.HELD, S.NONE),
    ]


@pytest.mark.parametrize(
    ("changes", "reports", "why"),
    [
        ({"drained": ["dmz02"]}, [report("dmz02")], "dmz02 is drained"),
        ({}, [], "no report from dmz02 yet"),
        ({}, [report("dmz02", of=facts(memory_mib=100))], "dmz02 is too small for it"),
        ({}, [report("dmz02", foreign("vm1"))], "a domain named vm1 that XSM did not create"),
    ],
)
def test_a_move_to_a_host_that_cannot_is_held(changes: dict, reports: list, why: str) -> None:
    there = made(document(vm("vm1", "dmz01")))["vm1"]
    doc = document(vm("vm1", "dmz02"), **changes)
    action = only(plan_of(doc, view(report("dmz01", there), *reports)))
    assert (action.host, action.consequence) == ("dmz01", C.HELD)
    assert action.held.startswith(why)


def test_a_domain_that_is_being_received_is_left_alone() -> None:
    doc = document(vm("vm1", "dmz02"))
    there = made(doc)["vm1"]
    coming = replace(there, state=PAUSED, persistent=False, incoming=True)
    acting = view(report("dmz02", coming), handovers={})
    assert plan_host(wanted(doc), doc, acting, "dmz02").empty
    foreseen = plan_of(doc, view(report("dmz01", there), report("dmz02", coming)))
    assert short(foreseen) == [("vm1", "dmz01", C.MIGRATE_LIVE, S.MIGRATE)]


def test_stop_and_move_at_once_stops_where_it_runs() -> None:
    there = made(document(vm("vm1", "dmz01")))["vm1"]
    doc = document(vm("vm1", "dmz02", power=Power.STOPPED))
    found = plan_of(doc, view(report("dmz01", there), report("dmz02")))
    moved, _ = found.actions  # what follows is shown along with it
    assert short(found)[1] == ("vm1", "dmz01", C.STOP, S.SHUTDOWN)
    assert (moved.consequence, moved.step, moved.target) == (C.MIGRATE_COLD, S.NONE, "dmz02")
    assert moved.reason == "the site file says so; moved once it is off"
    acting = plan_host(wanted(doc), doc, view(report("dmz01", there), handovers={}), "dmz01")
    assert short(acting) == [("vm1", "dmz01", C.STOP, S.SHUTDOWN)]
    small = report("dmz02", foreign("vm1"))
    held = next(a for a in plan_of(doc, view(report("dmz01", there), small)).actions if a.held)
    assert held.held.startswith("a domain named vm1 that XSM did not create")


def test_the_target_sees_what_it_should_claim() -> None:
    doc = document(
        vm("vm1", "dmz02"), vm("vm2", "dmz02", migration=Migration.NEVER), vm("vm3", "dmz02")
    )
    domains = made(document(vm("vm1", "dmz01"), vm("vm2", "dmz01")))
    v = view(report("dmz01", *domains.values()), report("dmz02"))
    moves = incoming(wanted(doc), doc, v, "dmz02")
    assert [(a.vm, a.consequence) for a in moves] == [
        ("vm1", C.MIGRATE_LIVE),
        ("vm2", C.HELD),
    ]


def test_a_host_without_a_migrate_uri_can_not_receive_live() -> None:
    facts = HypervisorFacts(HypervisorKind.KVM, "9.0", "x86_64", 8, 4096, 4096)
    assert "migrate_uri" in cannot_receive(facts)
    assert cannot_receive(replace(facts, migrate_uri="qemu+tls://there/system")) == ""
    assert cannot_receive(replace(facts, cold_only="it is a test")) == "it is a test"
