"""Of a swap, who comes waits on its host until who leaves has left: for the memory, and for anti-affinity."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planned_site import document, domain_of, facts, plan_of, report, view, vm

from xsm.plan.actions import Consequence
from xsm.plan.observed import DomainState
from xsm.plan.planner import incoming, plan_host
from xsm.plan.wanted import wanted
from xsm.site.model import Host, Power

WEB = ("web",)


def held(come: dict, leave: dict, *, room_mib: int = 1000, **seen: object) -> str:
    """Why `a`, off so far, does not start on dmz01, where `b` is active that belongs on dmz02."""
    doc = document(
        vm("a", "dmz01", **come),
        vm("b", "dmz02", **leave),
        listed=[Host("dmz01", memory_mib=room_mib)],
    )
    w = wanted(doc)
    there = replace(domain_of(w.by_name["b"]), **seen)
    acting = view(report("dmz01", there, of=facts()), handovers={})
    (found,) = (f for f in plan_host(w, doc, acting, "dmz01").actions if f.vm == "a")
    assert (found.consequence is Consequence.HELD) == bool(found.held)
    return found.held


@pytest.mark.parametrize("power", [Power.RUNNING, Power.STOPPED])
def test_memory_is_held_until_it_is_free(power: Power) -> None:
    six = {"memory_mib": 600}
    told = "dmz01 is too small for it: 600 MiB more needed, 400 MiB left of 1000 MiB for VMs"
    assert held(six, {**six, "power": power}) == f"{told}; b (600 MiB) is to leave it"
    assert held(six, six, room_mib=1200) == ""
    assert held(six, six, state=DomainState.SHUTOFF) == ""


def test_what_may_not_be_beside_it_has_to_be_gone() -> None:
    told = "b, which is to be apart from it ('web'), is still on dmz01"
    assert held({"apart": WEB}, {"apart": ("db", *WEB)}) == told
    assert held({"apart": WEB}, {"apart": ("db",)}) == ""
    assert held({"apart": WEB}, {"apart": WEB}, state=DomainState.SHUTOFF) == ""


def test_who_wrote_both_down_on_one_host_wants_them_so() -> None:
    doc = document(vm("a", "dmz01", apart=WEB), vm("b", "dmz01", apart=WEB))
    w = wanted(doc)
    acting = view(report("dmz01", domain_of(w.by_name["b"]), of=facts()), handovers={})
    assert not any(found.held for found in plan_host(w, doc, acting, "dmz01").actions)


def test_the_target_does_not_claim_before_there_is_room() -> None:
    doc = document(
        vm("a", "dmz01", memory_mib=600), vm("b", "dmz02", memory_mib=600),
        listed=[Host("dmz01", memory_mib=1000), Host("dmz02", memory_mib=1000)],
    )  # fmt: skip
    w = wanted(doc)
    a, b = (domain_of(w.by_name[name]) for name in "ab")
    acting = view(report("dmz01", b, of=facts()), report("dmz02", a, of=facts()), handovers={})
    (move,) = incoming(w, doc, acting, "dmz01")
    assert move.held.endswith("b (600 MiB) is to leave it")
    # For people: in the end both fit.
    shown = plan_of(doc, view(report("dmz01", b, of=facts()), report("dmz02", a, of=facts())))
    assert [found.held for found in shown.actions] == ["", ""]
