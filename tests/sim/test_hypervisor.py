"""The simulated hypervisor's own: faults, meddling hands, live migration. The rest is in tests/contract."""

from __future__ import annotations

import pytest

from tests.contract.domains import definition, mark, uuid_of
from tests.sim.hypervisor import SimHypervisor, SimSwitch, uri
from xsm.edge.act import perform
from xsm.edge.hypervisor import HypervisorError
from xsm.peer.events import Way
from xsm.plan.actions import Action, Consequence, Step
from xsm.plan.observed import DomainState
from xsm.site.model import HypervisorKind

VM1 = uuid_of("vm1")


def refusal(call: object, *arguments: object) -> HypervisorError:
    with pytest.raises(HypervisorError) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value


def running(sim: SimHypervisor) -> SimHypervisor:
    sim.define(definition("vm1"))
    sim.start(VM1)
    return sim


def state(sim: SimHypervisor) -> DomainState:
    return sim.named("vm1").state


def test_a_fault_hits_the_call_it_is_for_and_only_so_often() -> None:
    sim = running(SimHypervisor())
    sim.fail_next("destroy", "no", times=2)
    sim.suspend(VM1)
    assert refusal(sim.destroy, VM1).reason == "no"
    assert refusal(sim.destroy, VM1).reason == "no"
    assert state(sim) is DomainState.PAUSED
    sim.destroy(VM1)
    assert state(sim) is DomainState.SHUTOFF


def test_a_fault_after_the_effect_loses_only_the_answer() -> None:
    sim = running(SimHypervisor())
    sim.fail_next("destroy", "link cut", lost=True, after=True)
    assert refusal(sim.destroy, VM1).lost
    assert state(sim) is DomainState.SHUTOFF


def test_losing_libvirtd_leaves_the_guests() -> None:
    told: list[str] = []
    sim = running(SimHypervisor(on_change=told.append))
    told.clear()
    sim.lose()
    assert told == [""]
    sim.guest_shuts_down("vm1")
    assert told == [""], "nobody tells while the connection is gone"
    assert refusal(sim.domains).lost
    assert [d.state for d in sim.domains_unchecked()] == [DomainState.SHUTOFF]
    sim.restore()
    assert sim.alive()
    assert [d.state for d in sim.domains()] == [DomainState.SHUTOFF]


@pytest.mark.parametrize(("keeps", "left"), [(True, ["vm1"]), (False, [])])
def test_a_crash_takes_what_runs(keeps: bool, left: list[str]) -> None:
    sim = running(SimHypervisor(keeps_definitions=keeps))
    sim.by_hand_define(definition("vm2"), start=True)
    sim.undefine(uuid_of("vm2"))
    sim.crash()
    assert [(d.name, d.state) for d in sim.domains()] == [(n, DomainState.SHUTOFF) for n in left]


def test_guests_that_do_not_heed_or_take_their_time() -> None:
    sim = running(SimHypervisor(heeds_paused=False))
    sim.deaf.add("vm1")
    sim.shutdown(VM1)
    assert state(sim) is DomainState.RUNNING
    sim.deaf.clear()
    sim.suspend(VM1)
    sim.shutdown(VM1)
    assert state(sim) is DomainState.PAUSED
    sim.resume(VM1)
    sim.lingering.add("vm1")
    sim.shutdown(VM1)
    assert state(sim) is DomainState.SHUTDOWN
    sim.finish_shutdown("vm1")
    assert state(sim) is DomainState.SHUTOFF


def test_memory_is_finite() -> None:
    sim = running(SimHypervisor(memory_mib=150))
    sim.define(definition("vm2"))
    assert "not enough memory" in refusal(sim.start, uuid_of("vm2")).reason
    assert sim.facts().free_memory_mib == 54
    sim.destroy(VM1)
    sim.start(uuid_of("vm2"))


def test_hands_meddle_and_every_event_of_libvirt_is_told() -> None:
    told: list[str] = []
    sim = running(SimHypervisor(on_change=told.append))
    told.clear()
    sim.by_hand_suspend("vm1")
    sim.by_hand_resume("vm1")
    sim.by_hand_untag("vm1")
    sim.by_hand_undefine("vm1")
    sim.by_hand_destroy("vm1")
    assert told == [VM1] * 5
    assert sim.domains() == ()


def test_hands_that_no_event_tells_of() -> None:
    told: list[str] = []
    sim = running(SimHypervisor(on_change=told.append))
    told.clear()
    sim.by_hand_set_memory("vm1", 64)
    sim.by_hand_set_vcpus("vm1", 3)
    sim.by_hand_autostart("vm1")
    assert told == []
    (seen,) = sim.domains()
    assert (seen.memory_mib, seen.vcpus, seen.autostart) == (64, 3, True)


def test_weight_where_the_hypervisor_has_one() -> None:
    sim = running(SimHypervisor(kind=HypervisorKind.XEN))
    assert sim.domains()[0].cpu_weight == 256
    sim.set_weight(VM1, 512)
    assert sim.domains()[0].cpu_weight == 512


# -- live migration --------------------------------------------------------------------------------


def pair(live: bool = True, kind: HypervisorKind = HypervisorKind.XEN) -> list[SimHypervisor]:
    switch = SimSwitch(live=live)
    return [SimHypervisor(n, switch=switch, kind=kind) for n in ("dmz01", "dmz02")]


def test_a_live_migration_moves_the_running_domain_and_its_definition() -> None:
    source, target = pair()
    running(source).set_memory(VM1, 64)
    assert source.facts().cold_only == ""
    move = Action(
        "vm1", "dmz01", Consequence.MIGRATE_LIVE, Step.MIGRATE, "host", "", "", "", VM1, 0, "dmz02"
    )
    outcome = perform(source, move, xml="", way=Way(target.facts().migrate_uri))
    assert outcome == "running here => running on dmz02"
    assert source.domains() == ()
    (moved,) = target.domains()
    assert (moved.state, moved.memory_mib, moved.persistent) == (DomainState.RUNNING, 64, True)
    assert moved.tag == mark("vm1")


def test_the_weight_is_the_default_again_after_a_migration_under_xen() -> None:
    source, target = pair()
    running(source).set_weight(VM1, 512)
    source.migrate(VM1, Way(uri("dmz02")))
    assert target.domains()[0].cpu_weight == 256


def test_a_target_that_refuses_leaves_everything_as_it_was() -> None:
    source, target = pair()
    running(source)
    running(target)
    assert "already active" in refusal(source.migrate, VM1, Way(uri("dmz02"))).reason
    target.destroy(VM1)
    target.memory_mib = 10
    assert "not enough memory" in refusal(source.migrate, VM1, Way(uri("dmz02"))).reason
    target.lose()
    error = refusal(source.migrate, VM1, Way(uri("dmz02")))
    assert "unable to connect" in error.reason
    assert not error.lost, "our own connection lives"
    assert "unable to connect" in refusal(source.migrate, VM1, Way(uri("dmz99"))).reason
    assert state(source) is DomainState.RUNNING
    assert state(target) is DomainState.SHUTOFF


def test_hosts_that_are_cut_off_from_each_other_cannot_migrate() -> None:
    switch = SimSwitch(live=True, linked=lambda one, other: False)
    source, _ = (SimHypervisor(n, switch=switch) for n in ("dmz01", "dmz02"))
    running(source)
    assert "unable to connect" in refusal(source.migrate, VM1, Way(uri("dmz02"))).reason


def test_the_husk_of_a_cut_migration_is_incoming_and_nobody_touches_it() -> None:
    sim = SimHypervisor(kind=HypervisorKind.XEN)
    sim.husk(definition("vm1"))
    (husk,) = sim.domains()
    assert (husk.incoming, husk.state, husk.persistent) == (True, DomainState.PAUSED, False)
    for step in (Step.CREATE, Step.DESTROY, Step.RESUME):
        action = Action("vm1", "dmz01", Consequence.STOP, step, "", "", "", "", VM1)
        error = refusal(
            lambda action=action: perform(sim, action, xml=definition("vm1"), way=Way(""))
        )
        assert "received by a live migration" in error.reason
    sim.by_hand_destroy("vm1")
    assert sim.domains() == ()
