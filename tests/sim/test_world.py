"""The simulated site does to its hosts what it says: each fault is seen for itself."""

from __future__ import annotations

import pytest

from tests.sim.checkers import Checkers, Violation
from tests.sim.disk import TORN, Torn
from tests.sim.narrow import SITE
from tests.sim.world import SimHost, World, never_twice, registers
from xsm.peer import commands
from xsm.peer.messages import ClaimAnswer
from xsm.peer.register import Register
from xsm.plan.actions import Step
from xsm.site.changes import SetVM
from xsm.site.model import Power

MOVE_S = 30.0
"""By then a move has been claimed, let go for and made."""


def a_world(hosts: int = 4, settled: bool = True, seed: int = 0) -> World:
    """Figure 3: vm1 belongs on dmz01, vm2 on dmz02 and so on."""
    paths = sorted(p for p in SITE.rglob("*") if p.is_file())
    files = {str(p.relative_to(SITE)): p.read_bytes() for p in paths}
    world = World([f"dmz{i:02}" for i in range(1, hosts + 1)], files, seed=seed, live=True)
    Checkers(world)
    if settled:
        assert world.run_until(world.settled)
        world.run(5.0)
    return world


def edit(host: SimHost, field: str, value: object, vm: str = "vm1") -> str:
    change = SetVM(vm, field, None, value)
    files = commands.edit_site(host.head_files, host.document, [change])
    return host.world.propose(host.name, files, "An edit")


def runs_on(world: World, vm: str = "vm1") -> list[str]:
    """Where its guest may write to its disks."""
    return [h.name for h in world.hosts.values() if vm in h.hypervisor.running()]


def heads(world: World) -> set[tuple[str, ...]]:
    return {host.disk.heads for host in world.hosts.values()}


# -- the network ---------------------------------------------------------------------------------------------


def test_a_request_against_a_one_way_cut_arrives_and_its_answer_does_not() -> None:
    world = a_world()
    one, other = world.hosts["dmz01"], world.hosts["dmz02"]
    world.cut_one_way("dmz02", "dmz01")
    got: list[str] = []
    heard: list[str] = []

    def arrive(receiver: SimHost, reply: object) -> None:
        got.append(receiver.name)
        assert callable(reply)
        reply("taken")

    def ask() -> None:
        world.request(one, "dmz02", arrive, lambda answer, error: heard.append(error))
        world.request(other, "dmz01", arrive, lambda answer, error: heard.append(error))
        world.run(1.0)

    ask()
    assert (got, heard) == (["dmz02"], ["no answer", "no answer"])
    assert not world.linked("dmz01", "dmz02")
    assert world.linked("dmz01", "dmz03")
    world.heal()
    ask()
    assert (sorted(got), heard[2:]) == (["dmz01", "dmz02", "dmz02"], ["", ""])


def test_an_edit_gets_round_a_one_way_cut() -> None:
    world = a_world()
    for name in ("dmz01", "dmz03", "dmz04"):
        world.cut_one_way("dmz02", name)
    edit(world.hosts["dmz01"], "memory_mib", 100)
    world.run(MOVE_S)
    assert len(heads(world)) == 1, "deliveries to it arrive"
    edit(world.hosts["dmz02"], "memory_mib", 120)
    world.run(MOVE_S)
    assert len(heads(world)) == 2, "nobody hears of its own edits"
    world.heal()
    assert world.run_until(lambda: len(heads(world)) == 1)


def test_lost_answers_are_lost_though_the_request_was_taken() -> None:
    world = a_world()
    world.loss = 0.5
    got, heard = [], []

    def arrive(receiver: SimHost, reply: object) -> None:
        got.append(receiver.name)
        assert callable(reply)
        reply(None)

    for _ in range(100):
        world.request(
            world.hosts["dmz01"], "dmz02", arrive, lambda answer, error: heard.append(error)
        )
    world.run(1.0)
    assert len(heard) == 100
    assert 30 < len(got) < 70
    assert 0 < heard.count("") < len(got)


def test_doubled_requests_arrive_twice() -> None:
    world = a_world()
    world.doubled = 1.0
    got: list[str] = []
    world.request(world.hosts["dmz01"], "dmz02", lambda host, reply: got.append(host.name))
    world.run(1.0)
    assert got == ["dmz02", "dmz02"]


@pytest.mark.parametrize("jitter", [0.0, 1000.0])
def test_jitter_lets_requests_overtake_one_another(jitter: float) -> None:
    world = a_world()
    world.jitter = jitter
    order: list[int] = []
    for i in range(50):
        world.after(
            i * world.latency_s * 3,
            lambda i=i: world.request(  # type: ignore[misc]
                world.hosts["dmz01"], "dmz02", lambda host, reply: order.append(i)
            ),
        )
    world.run(60.0)
    assert len(order) == 50
    assert (order == sorted(order)) is (jitter == 0.0)


def test_an_answer_of_a_daemon_that_died_meanwhile_does_not_come() -> None:
    world = a_world()
    heard: list[str] = []
    world.request(
        world.hosts["dmz01"],
        "dmz02",
        lambda host, reply: None,
        lambda answer, error: heard.append(error),
    )
    world.run(0.1)
    assert heard == []
    world.hosts["dmz02"].kill_daemon()
    world.run(0.1)
    assert heard == ["no answer"]


# -- disks ---------------------------------------------------------------------------------------------------


def while_it_writes() -> tuple[World, SimHost]:
    """dmz02 is asked for its vote for vm1, and its disk is slow: nobody has heard of the vote yet."""
    world = a_world()
    voter = world.hosts["dmz02"]
    voter.disk.fsync_s = 1.0
    edit(world.hosts["dmz03"], "host", "dmz03")
    assert world.run_until(lambda: bool(voter.disk.is_writing), MOVE_S)
    return world, voter


def test_nothing_is_said_before_it_is_on_disk_and_events_wait_meanwhile() -> None:
    world, voter = while_it_writes()
    before = registers(world, "dmz02")["vm1"]
    said: list[str] = []
    world.checkers.insert(
        0, lambda w: said.extend(s for s, _, m in w.sent if isinstance(m[0], ClaimAnswer))
    )
    world.run(0.45)
    assert "dmz02" not in said
    assert voter.disk.is_writing
    world.run(0.6)
    assert "dmz02" in said
    assert registers(world, "dmz02")["vm1"].voted == before.voted + 1


@pytest.mark.parametrize("torn", TORN)
@pytest.mark.parametrize("power", [True, False])
def test_a_write_that_is_cut_off_leaves_all_nothing_or_a_piece(torn: Torn, power: bool) -> None:
    world, voter = while_it_writes()
    before = registers(world, "dmz02")["vm1"].voted
    (voter.crash if power else voter.kill_daemon)(torn)
    voter.start_daemon()
    assert registers(world, "dmz02")["vm1"].voted == before + (torn == "all")
    voter.disk.fsync_s = 0.002
    assert world.run_until(world.settled)
    assert runs_on(world) == ["dmz03"]


def test_what_a_killed_daemon_wrote_is_made_sure_of_before_the_next_one_counts_on_it() -> None:
    world, voter = while_it_writes()
    before = registers(world, "dmz02")["vm1"].voted
    voter.kill_daemon("all")
    assert registers(world, "dmz02")["vm1"].voted == before, "not fsynced"
    voter.start_daemon()
    voter.crash("nothing")
    voter.start_daemon()
    assert registers(world, "dmz02")["vm1"].voted == before + 1
    world.check()


def test_what_a_killed_daemon_wrote_may_be_lost_with_the_power() -> None:
    world, voter = while_it_writes()
    before = registers(world, "dmz02")["vm1"].voted
    voter.kill_daemon("all")
    voter.crash("nothing")
    voter.start_daemon()
    assert registers(world, "dmz02")["vm1"].voted == before


@pytest.mark.parametrize("torn", TORN)
def test_an_edit_is_on_disk_before_anybody_hears_of_it(torn: Torn) -> None:
    world = a_world()
    host, other = world.hosts["dmz01"], world.hosts["dmz02"]
    host.disk.commit_s = 1.0
    revision = edit(host, "memory_mib", 100)
    world.run(0.5)
    assert revision not in other.history
    host.crash(torn)
    world.run(5.0)
    assert revision not in other.history
    host.disk.commit_s = 0.0
    host.start_daemon()
    world.run(MOVE_S)
    assert (revision in other.history) is (torn == "all")
    assert (revision in host.history) is (torn != "nothing")
    assert revision not in world.committed, "nobody was told that it was taken"
    assert len(heads(world)) == 1


def test_commits_whose_heads_a_crash_lost_are_taken_up_from_a_greeting() -> None:
    world = a_world()
    world.hosts["dmz02"].disk.commit_s = 1.0
    edit(world.hosts["dmz01"], "memory_mib", 100)
    world.run(0.5)
    world.hosts["dmz02"].crash("torn")
    world.hosts["dmz02"].start_daemon()
    assert world.run_until(lambda: len(heads(world)) == 1, 20.0)


def test_an_edit_that_was_overtaken_on_its_way_to_the_disk_is_refused() -> None:
    world = a_world()
    host = world.hosts["dmz01"]
    host.disk.commit_s = 1.0
    first, second = edit(host, "memory_mib", 100), edit(host, "vcpus", 2)
    world.run(3.0)
    assert first in world.committed
    assert second not in world.committed
    assert second not in host.history


# -- clocks --------------------------------------------------------------------------------------------------


def test_clocks_that_jump_by_hours_harm_nothing() -> None:
    world = a_world()
    for skew_s in (7200.0, -86400.0, 3600.0, -7200.0):
        world.hosts["dmz01"].clock_skew_s = skew_s
        world.hosts["dmz03"].clock_skew_s = -skew_s
        to = "dmz03" if runs_on(world) == ["dmz01"] else "dmz01"
        edit(world.hosts["dmz01"], "host", to)
        world.run(0.7)
        world.hosts["dmz02"].clock_skew_s = skew_s
        assert world.run_until(world.settled, MOVE_S)
        assert runs_on(world) == [to]


# -- hypervisors ---------------------------------------------------------------------------------------------


def test_a_call_that_hangs_is_done_when_it_is_released() -> None:
    world = a_world()
    host = world.hosts["dmz01"]
    edit(host, "power", Power.STOPPED)
    assert world.run_until(world.settled)
    host.hypervisor.hang("start")
    edit(host, "power", Power.RUNNING)
    world.run(120.0)
    assert runs_on(world) == []
    edit(world.hosts["dmz02"], "host", "dmz02")
    world.run(120.0)
    assert runs_on(world) == [], "it may still be started on dmz01"
    host.hypervisor.release()
    assert runs_on(world) == ["dmz01"]
    assert world.run_until(world.settled)
    assert runs_on(world) == ["dmz02"]


@pytest.mark.parametrize("crash", [True, False])
def test_a_call_that_hangs_is_never_done_once_its_daemon_or_host_is_gone(crash: bool) -> None:
    world = a_world()
    host = world.hosts["dmz01"]
    host.hypervisor.hang("migrate")
    edit(host, "host", "dmz02")
    world.run(MOVE_S)
    assert runs_on(world) == ["dmz01"]
    (host.crash if crash else host.kill_daemon)()
    host.hypervisor.release()
    assert runs_on(world) == ([] if crash else ["dmz01"])
    host.start_daemon()
    assert world.run_until(world.settled)
    assert runs_on(world) == ["dmz02"]


def test_a_look_that_hangs_is_told_and_what_it_saw_is_old() -> None:
    world = a_world()
    host = world.hosts["dmz01"]
    host.hypervisor.hang("domains")
    world.run(20.0)
    assert host.peer is not None
    assert host.peer.report is not None
    assert host.peer.report.facts is not None
    world.run(20.0)
    assert host.peer.report.error == "no answer within 30 s"
    edit(host, "power", Power.STOPPED)
    edit(world.hosts["dmz02"], "host", "dmz02")
    world.run(60.0)
    assert runs_on(world) == ["dmz01"]
    host.hypervisor.release()
    assert world.run_until(world.settled)


def test_a_host_reboots_with_its_daemon_or_without() -> None:
    world = a_world()
    host = world.hosts["dmz01"]
    host.reboot(daemon=False)
    world.run(MOVE_S)
    assert runs_on(world) == []
    host.reboot()
    assert world.run_until(world.settled)
    assert runs_on(world) == ["dmz01"]


# -- the checkers --------------------------------------------------------------------------------------------


def test_a_vm_in_two_places_is_seen_at_once() -> None:
    world = a_world()
    one, other = (world.hosts[n].hypervisor for n in ("dmz01", "dmz02"))
    other.by_hand_define(one.domain_xml(one.named("vm1").uuid), start=True)
    with pytest.raises(Violation, match=r"vm1 runs on dmz01 and on dmz02"):
        world.check()
    with pytest.raises(Violation):
        never_twice(world)


def test_votes_that_are_lost_are_seen() -> None:
    world = a_world()
    world.hosts["dmz02"].disk.forget_votes()
    with pytest.raises(Violation, match=r"the votes of dmz02 for vm\d went back"):
        world.check()


def test_what_is_said_and_not_on_disk_is_seen() -> None:
    world = a_world()
    said = ClaimAnswer("vm1", 99, True, (), 0, "")
    world.post(world.hosts["dmz02"], "dmz03", [said])
    with pytest.raises(Violation, match="has on its disk only"):
        world.check()


def test_a_start_without_a_claim_is_seen() -> None:
    world = a_world()
    at, name, action = next(p for p in world.performed if p[2].step is Step.CREATE)
    disk = world.hosts[name].disk
    disk.registers = {**disk.registers, action.vm: Register()}
    world.performed.append((at, name, action))
    with pytest.raises(Violation, match="no claim of it on its disk"):
        world.check()


def test_heads_that_go_back_are_seen() -> None:
    world = a_world()
    host = world.hosts["dmz01"]
    root = host.disk.heads
    edit(host, "memory_mib", 100)
    world.check()
    host.disk.set_heads(root)
    with pytest.raises(Violation, match="the heads of dmz01 went back"):
        world.check()


def test_too_much_memory_is_seen() -> None:
    world = a_world()
    hypervisor = world.hosts["dmz01"].hypervisor
    hypervisor.memory_mib = 32
    hypervisor.by_hand_set_memory("vm1", 64)
    with pytest.raises(Violation, match="of 32"):
        world.check()


# -- its size ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hosts", [2, 32])
def test_two_to_many_hosts(hosts: int) -> None:
    world = a_world(hosts)
    edit(world.hosts["dmz02"], "host", "dmz02", "vm1")
    assert world.run_until(world.settled)
    assert runs_on(world) == ["dmz02"]


def test_the_same_seed_is_the_same_world() -> None:
    def story(seed: int) -> list[tuple[float, str, str, str, str]]:
        world = a_world(settled=False, seed=seed)
        world.jitter, world.loss, world.doubled = 20.0, 0.2, 0.2
        world.hosts["dmz02"].disk.fsync_s = world.hosts["dmz02"].disk.commit_s = 0.3
        edit(world.hosts["dmz02"], "host", "dmz03")
        world.run(2.0)
        world.hosts["dmz02"].reboot()
        world.run(10.0)
        return world.story

    assert story(1) == story(1)
    assert story(1) != story(2)
