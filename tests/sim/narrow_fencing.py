"""Stories about fencing and draining in which one missing rule does harm that lives by chance seldom come to. Each ends
well as XSM is. They are scripts, as tests/scenarios has them, with a look from outside at what a checker can't know.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.sim.checkers import Violation
from tests.sim.narrow_acts import SCENARIOS, told
from tests.sim.script import Script
from tests.sim.world import OFF, World

OUTVOTED = """
site random hosts=3 seed=1 fence
vm web1 MIGRATION cold
settle
edit dmz01 web1 DOM0 dmz01
settle
edit dmz01 web1 DOM0 -
settle
cut dmz01,dmz02 dmz03
fence dmz03 dmz01
wait 20
fence dmz03 dmz02
wait 40
boot dmz01 dmz02
wait 40
heal
settle
"""
"""A host that is cut off has the two others fenced, one after the other. Their devices work, and they start again."""
HEARD = """
site random hosts=4 seed=1 fence=30
vm web1 DOM0 dmz04 MIGRATION cold
settle
edit dmz01 web1 DOM0 -
settle
cut-pair dmz01 dmz04
cut-pair dmz02 dmz04
wait 90
"""
"""A majority misses dmz04, but dmz03 hears of it all the time."""
BIT_BY_BIT = """
site random hosts=5 seed=1 fence=30
vm web3 DOM0 dmz03 MIGRATION cold
vm web4 DOM0 dmz04 MIGRATION cold
vm web5 DOM0 dmz05 MIGRATION cold
settle
edit dmz01 web3 DOM0 -
edit dmz01 web4 DOM0 -
edit dmz01 web5 DOM0 -
settle
cut dmz01,dmz02,dmz04,dmz05 dmz03
wait 150
cut dmz01,dmz02,dmz05 dmz03 dmz04
wait 150
cut dmz01,dmz02 dmz03 dmz04 dmz05
wait 150
"""
"""The network fails port by port. Each time a majority of the rest could agree."""


SLOW_MIGRATION_S = 8.0


def play(script: str) -> World:
    """With the checkers of every script."""
    played = Script()
    for line in script.strip().splitlines():
        played.run(line)
    return played.world


def a_host_cut_off_has_the_others_fenced() -> World:
    return play(OUTVOTED)


def a_host_that_another_one_hears() -> World:
    world = play(HEARD)
    if world.hosts["dmz04"].hypervisor.lost == OFF:
        raise Violation("dmz04 was fenced unasked, and dmz03 hears of it")
    return world


def the_network_fails_bit_by_bit() -> World:
    world = play(BIT_BY_BIT)
    off = [h.name for h in world.hosts.values() if h.hypervisor.lost == OFF]
    if 2 * len(off) >= len(world.hosts):
        raise Violation(f"{', '.join(off)} were fenced unasked, of {len(world.hosts)} hosts")
    if not off:
        raise AssertionError("nobody was fenced: this story tells nothing")
    return world


def a_fence_device_fails() -> World:
    return told("fence_cut_off")


def a_drained_host_makes_room() -> World:
    """`drain_makes_room`, where the VM that has to leave first takes its time."""
    return watched("drain_makes_room", _room, slow="dmz04")


def two_that_are_to_be_apart_change_hosts() -> World:
    return watched("drain_apart", _apart)


def watched(scenario: str, look: Callable[[World], None], slow: str = "") -> World:
    """A scenario of tests/scenarios, with a look at every moment. `slow`: a host from which VMs migrate slowly."""
    script = Script()
    lines = (SCENARIOS / f"{scenario}.txt").read_text().splitlines()
    commands = [line[2:] for line in lines if line.startswith("$ ")]
    script.run(commands[0])
    script.world.checkers.append(look)
    if slow:
        script.world.hosts[slow].hypervisor.slow_s = {"migrate": SLOW_MIGRATION_S}
    for command in commands[1:]:
        script.run(command)
    return script.world


def _room(world: World) -> None:
    """Of its memory a host keeps a tenth for itself."""
    for host in world.hosts.values():
        used, most = host.hypervisor.used_mib(), host.hypervisor.memory_mib * 9 // 10
        if used > most:
            raise Violation(f"the VMs of {host.name} have {used} MiB, and {most} MiB are for VMs")


def _apart(world: World) -> None:
    for host in world.hosts.values():
        found = {"web1", "web2"} & {*host.hypervisor.running()}
        if len(found) > 1:
            raise Violation(f"web1 and web2, which are to be apart, are both on {host.name}")


STORIES = (
    a_host_cut_off_has_the_others_fenced,
    a_host_that_another_one_hears,
    the_network_fails_bit_by_bit,
    a_fence_device_fails,
    a_drained_host_makes_room,
    two_that_are_to_be_apart_change_hosts,
)
