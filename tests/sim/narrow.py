"""Stories in which a VM runs twice if one rule is missing: too narrow for chance to find them often.

Each is told at several paces, because what matters is which message comes first. All end in peace.
"""

from __future__ import annotations

from pathlib import Path

from tests.sim.checkers import Checkers, Violation, at_rest
from tests.sim.edits_checker import EditsChecker
from tests.sim.world import World
from xsm.peer import commands
from xsm.plan.actions import Step
from xsm.site.changes import Change, SetVM
from xsm.site.model import Power

SITE = Path(__file__).parents[2] / "sites" / "figure3"
PACES_S = tuple(i / 10 for i in range(0, 21))
PEACE_LIMIT_S = 60.0


def settled_site() -> World:
    """Figure 3: vm1 runs on dmz01."""
    files = {
        str(p.relative_to(SITE)): p.read_bytes() for p in sorted(SITE.rglob("*")) if p.is_file()
    }
    world = World([f"dmz0{i}" for i in range(1, 5)], files, live=True)
    Checkers(world)
    EditsChecker(world)
    assert world.run_until(world.settled)
    world.run(5.0)
    return world


def edit(world: World, on: str, field: str, value: object) -> None:
    host = world.hosts[on]
    changes: list[Change] = [SetVM("vm1", field, None, value)]
    world.propose(on, commands.edit_site(host.head_files, host.document, changes), "An edit")


def cut(world: World, *pairs: tuple[str, str]) -> None:
    world.cut = {frozenset(pair) for pair in pairs}


def peace(world: World) -> None:
    world.heal()
    world.run(5.0)
    if not world.run_until(world.settled, PEACE_LIMIT_S):
        raise Violation("not at rest")
    at_rest(world)


def an_overtaken_move_goes_on(pace_s: float) -> World:
    """vm1 is to go to dmz02, which claimed it; then to dmz03. dmz02 lets go of it, but dmz01 knows nothing of that yet
    and sends it there; then dmz01 says truly that it runs there no more."""
    world = settled_site()
    source = world.hosts["dmz01"]
    source.hypervisor.lose()
    edit(world, "dmz02", "host", "dmz02")
    world.run(3.0 + pace_s)
    cut(world, ("dmz01", "dmz03"), ("dmz01", "dmz04"))
    edit(world, "dmz03", "host", "dmz03")
    world.run(0.65)
    source.hypervisor.restore()
    source.observe()
    world.run(0.35)
    peace(world)
    return world


def a_newer_claimant_gets_it(pace_s: float) -> World:
    """dmz02 has the votes for vm1 and waits for dmz01. A newer claim, dmz03's, gets the VM from there. Then dmz02,
    which knows nothing of that yet, asks dmz01 again whether it has let go."""
    world = settled_site()
    cut(world, ("dmz01", "dmz02"))
    edit(world, "dmz04", "host", "dmz02")
    world.run(3.0)
    cut(world, ("dmz01", "dmz02"), ("dmz02", "dmz03"), ("dmz02", "dmz04"))
    edit(world, "dmz04", "host", "dmz03")
    world.run(1.2 + pace_s)
    cut(world, ("dmz02", "dmz03"), ("dmz02", "dmz04"))
    world.run(2.0)
    peace(world)
    return world


def a_start_outlives_its_daemon(pace_s: float) -> World:
    """libvirt takes its time to start vm1 on dmz01. Meanwhile the daemon that asked for it dies, another one starts
    there, sees no vm1, and is asked to let go of it."""
    world = settled_site()
    edit(world, "dmz01", "power", Power.STOPPED)
    assert world.run_until(world.settled)
    host = world.hosts["dmz01"]
    host.hypervisor.slow_s = {"start": 4.0}
    edit(world, "dmz01", "power", Power.RUNNING)
    world.run(1.5)
    host.kill_daemon()
    edit(world, "dmz02", "host", "dmz02")
    world.run(pace_s / 4)
    host.start_daemon()
    world.run(5.0)
    host.hypervisor.slow_s = {}
    peace(world)
    return world


def called_back(pace_s: float, killed: bool) -> World:
    """vm1 is on its way from dmz01 to dmz02, where nothing is seen of it yet, when it is called back. Then dmz02's
    daemon dies, which would say that it has come."""
    world = settled_site()
    source = world.hosts["dmz01"]
    source.hypervisor.slow_s = {"migrate": 8.0, "abort": 20.0}  # the word to end it comes too late
    world.announce_s = 4.0
    edit(world, "dmz03", "host", "dmz02")
    assert world.run_until(lambda: any(a.step is Step.MIGRATE for _, _, a in world.performed), 10.0)
    edit(world, "dmz03", "host", "dmz01")
    world.run(pace_s)
    if killed:
        source.kill_daemon()
        source.start_daemon()
    world.run(5.0)
    world.hosts["dmz02"].kill_daemon()
    world.run(4.0)
    world.hosts["dmz02"].start_daemon()
    source.hypervisor.slow_s = {}
    peace(world)
    return world


def a_move_is_called_back(pace_s: float) -> World:
    return called_back(pace_s, killed=False)


def a_move_is_called_back_by_a_new_daemon(pace_s: float) -> World:
    return called_back(pace_s, killed=True)


def somebody_migrates_it(pace_s: float) -> World:
    """vm1 is migrated by hand from dmz01, where it belongs, to dmz02, which never claimed it."""
    world = settled_site()
    world.run(pace_s)
    target = world.hosts["dmz02"].hypervisor
    world.hosts["dmz01"].hypervisor.by_hand_migrate("vm1", target)
    world.run(5.0)
    peace(world)
    return world


STORIES = (
    somebody_migrates_it,
    a_move_is_called_back,
    a_move_is_called_back_by_a_new_daemon,
    an_overtaken_move_goes_on,
    a_newer_claimant_gets_it,
    a_start_outlives_its_daemon,
)
