"""Hosts join the simulated site and are forgotten, also while its network and its hosts fail."""

from __future__ import annotations

import pytest

from tests.sim.checkers import at_rest
from tests.sim.members import Errand
from tests.sim.test_world import a_world, edit, heads, runs_on
from tests.sim.world import World, registers
from xsm.peer.commands import CommandRefused

LIMIT_S = 60.0


def done(world: World, errand: Errand) -> str:
    """Why it was refused."""
    assert world.run_until(lambda: errand.done, LIMIT_S)
    return errand.error


def members(world: World, on: str = "dmz01") -> list[str]:
    return sorted(world.hosts[on].document.state.members)


def test_a_blank_host_joins_and_knows_of_all_claims() -> None:
    world = a_world()
    world.add_host("dmz05")
    assert done(world, world.join("dmz02", "dmz05")) == ""
    assert world.run_until(lambda: len(heads(world)) == 1)
    assert members(world, "dmz05") == ["dmz01", "dmz02", "dmz03", "dmz04", "dmz05"]
    known = registers(world, "dmz05")
    assert {vm: r.claimant for vm, r in known.items() if vm.startswith("vm")} == {
        f"vm{i}": f"dmz0{i}" for i in range(1, 5)
    }
    edit(world.hosts["dmz05"], "host", "dmz05")
    assert world.run_until(world.settled, LIMIT_S)
    assert runs_on(world) == ["dmz05"]
    at_rest(world)


def test_a_join_needs_a_majority() -> None:
    world = a_world()
    world.add_host("dmz05")
    world.cut_off(["dmz01", "dmz02", "dmz05"], ["dmz03", "dmz04"])
    assert done(world, world.join("dmz01", "dmz05"))
    assert members(world) == ["dmz01", "dmz02", "dmz03", "dmz04"]
    assert world.hosts["dmz05"].peer is None


def test_who_belongs_to_a_site_does_not_join_again() -> None:
    world = a_world()
    with pytest.raises(CommandRefused, match="belongs to a site already"):
        world.join("dmz01", "dmz02")
    world.add_host("dmz05")
    world.hosts["dmz01"].kill_daemon()
    assert done(world, world.join("dmz01", "dmz05")) == "no answer"


def test_a_join_whose_answer_is_lost_leaves_a_member_that_is_not_there() -> None:
    world = a_world()
    world.add_host("dmz05")
    world.cut_one_way("dmz01", "dmz05")
    assert done(world, world.join("dmz01", "dmz05")) == "no answer"
    world.heal()
    world.run(5.0)
    assert "dmz05" in members(world)
    assert "member already" in done(world, world.join("dmz01", "dmz05"))
    assert done(world, world.forget("dmz02", "dmz05", sure=True)) == ""
    assert done(world, world.join("dmz01", "dmz05")) == ""
    assert world.run_until(lambda: world.settled() and len(heads(world)) == 1, LIMIT_S)


def test_a_join_that_breaks_off_while_it_catches_up_goes_on_later() -> None:
    world = a_world()
    newcomer = world.add_host("dmz05")
    errand = world.join("dmz01", "dmz05")
    while not newcomer.has_joined:
        world.run(0.001)
    assert not errand.done
    newcomer.crash()
    assert errand.error == "dmz05 lost power meanwhile"
    world.run(5.0)
    assert newcomer.peer is None
    assert done(world, world.join("dmz01", "dmz05")) == ""
    assert world.run_until(lambda: world.settled() and len(heads(world)) == 1, LIMIT_S)


def test_a_dead_host_is_forgotten_on_somebodys_word_and_its_vms_go_on() -> None:
    world = a_world()
    world.hosts["dmz01"].crash()
    world.run(40.0)
    with pytest.raises(CommandRefused, match="does not answer"):
        world.forget("dmz02", "dmz01")
    assert done(world, world.forget("dmz02", "dmz01", sure=True)) == ""
    assert members(world, "dmz03") == ["dmz02", "dmz03", "dmz04"]
    edit(world.hosts["dmz03"], "host", "dmz03")
    assert world.run_until(world.settled, LIMIT_S)
    assert runs_on(world) == ["dmz03"]


def test_a_live_host_is_forgotten_once_it_runs_nothing() -> None:
    world = a_world()
    with pytest.raises(CommandRefused, match="is alive and runs vm1"):
        world.forget("dmz02", "dmz01")
    edit(world.hosts["dmz03"], "host", "dmz03")
    assert world.run_until(world.settled, LIMIT_S)
    world.run(10.0)
    assert done(world, world.forget("dmz02", "dmz01")) == ""
    world.run(10.0)
    assert members(world, "dmz03") == ["dmz02", "dmz03", "dmz04"]
    peer = world.hosts["dmz01"].peer
    assert peer is not None
    assert peer.expelled


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.2, 1.0])
def test_a_crash_in_the_middle_of_a_change_is_told_and_harms_nothing(after_s: float) -> None:
    world = a_world()
    world.hosts["dmz01"].crash()
    world.run(40.0)
    errand = world.forget("dmz02", "dmz01", sure=True)
    world.run(after_s)
    world.hosts["dmz02"].crash()
    world.run(1.0)
    assert errand.done
    world.hosts["dmz02"].start_daemon()
    world.run(40.0)
    if "dmz01" in members(world, "dmz03"):
        assert done(world, world.forget("dmz03", "dmz01", sure=True)) == ""
    edit(world.hosts["dmz03"], "host", "dmz03")
    assert world.run_until(world.settled, LIMIT_S)
    assert runs_on(world) == ["dmz03"]


def test_the_site_grows_and_shrinks_over_a_bad_network() -> None:
    world = a_world(3, seed=5)
    world.loss, world.jitter, world.doubled = 0.1, 10.0, 0.1
    for host in world.hosts.values():
        host.disk.fsync_s = 0.05
    for i in range(5, 8):
        name = f"dmz{i:02}"
        world.add_host(name)
        for _ in range(20):
            if world.hosts[name].peer is not None:
                break
            if done(world, world.join("dmz01", name)):
                world.run(5.0)
                there = world.hosts[name]
                if name in members(world) and not there.has_joined:
                    done(world, world.forget("dmz01", name, sure=True))
        assert world.hosts[name].peer is not None
    world.no_more_faults()
    assert world.run_until(lambda: world.settled() and len(heads(world)) == 1, LIMIT_S)
    assert len(members(world)) == 6
