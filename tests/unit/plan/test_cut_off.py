"""What a live migration left paused at its source when it was cut off at the very end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim.hypervisor import SimHypervisor
from tests.unit.plan.planned_site import PAUSED, document, made, plan_of, report, short, view, vm
from xsm.edge.act import perform
from xsm.edge.hypervisor import HypervisorError
from xsm.peer.events import Way
from xsm.plan.actions import STARTS, Action, Consequence, Plan, Step
from xsm.site.document import Document


def planned(doc: Document, elsewhere: dict[str, str] | None = None) -> Plan:
    """By dmz01 alone, which has vm1 cut off."""
    left = made(doc, "vm1", state=PAUSED, cut_off=True)["vm1"]
    seen = view(report("dmz01", left), handovers={})
    return plan_of(doc, replace(seen, elsewhere=elsewhere or {}))


def steps(found: Plan) -> list[tuple[Consequence, Step]]:
    return [(consequence, step) for name, _, consequence, step in short(found) if name == "vm1"]


def test_at_home_it_goes_on_as_a_start_does() -> None:
    assert steps(planned(document(vm("vm1", "dmz01")))) == [(Consequence.START, Step.CONTINUE)]
    assert Step.CONTINUE in STARTS


def test_elsewhere_nothing_is_done_until_somebody_says_that_it_runs() -> None:
    (action,) = planned(document(vm("vm1", "dmz02"))).actions
    assert (action.consequence, action.step) == (Consequence.HELD, Step.NONE)
    assert "`xsm migrate vm1 dmz01` lets it go on" in action.held


@pytest.mark.parametrize("home", ["dmz01", "dmz02"])
def test_it_is_cleared_away_where_another_host_says_that_it_runs_there(home: str) -> None:
    found = planned(document(vm("vm1", home)), {"vm1": "dmz02"})
    assert steps(found) == [(Consequence.MIGRATE_LIVE, Step.CLEAR)]


def test_people_are_not_told_that_it_runs_twice() -> None:
    doc = document(vm("vm1", "dmz02"))
    left = made(doc, "vm1", state=PAUSED, cut_off=True)["vm1"]
    found = plan_of(doc, view(report("dmz01", left), report("dmz02", made(doc)["vm1"])))
    assert [step for _, step in steps(found)] == [Step.CLEAR]
    assert not any(a.held for a in found.actions)


DOMAIN = """<domain type="test"><name>vm1</name><memory unit="MiB">64</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""


def done(step: Step, *, cut_off: bool) -> tuple[SimHypervisor, str]:
    doc = document(vm("vm1", "dmz01"))
    one = SimHypervisor("dmz01")
    uuid = one.by_hand_define(DOMAIN, start=True)
    tag = made(doc)["vm1"].tag
    assert tag is not None
    one.set_tag(uuid, tag)
    if cut_off:
        one.by_hand_cut_off("vm1")
    action = Action("vm1", "dmz01", Consequence.START, step, "host", "a", "b", "why", uuid=uuid)
    return one, perform(one, action, xml="", way=Way("test://dmz02"))


def test_only_a_leftover_is_cleared_away() -> None:
    one, outcome = done(Step.CLEAR, cut_off=True)
    assert "cleared away" in outcome
    assert one.running() == []
    with pytest.raises(HypervisorError, match="no leftover"):
        done(Step.CLEAR, cut_off=False)


def test_what_may_run_elsewhere_is_neither_resumed_nor_migrated() -> None:
    for step in (Step.RESUME, Step.MIGRATE):
        with pytest.raises(HypervisorError, match="may run elsewhere"):
            done(step, cut_off=True)
    one, outcome = done(Step.CONTINUE, cut_off=True)
    assert outcome.endswith("running")
    assert one.running() == ["vm1"]
