"""A host dies whole (all its processes at once) at each stage of creating, removing and migrating a VM.

The stages are those that its own events tell, so that no case depends on how fast the machine is. After each: the VM
is where the file says, once, its disk can be read, and `xsm why` tells the story.
"""

from __future__ import annotations

import pytest

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site, disk_line
from tests.lab.told import Told

BACK_LIMIT_S = 90.0
"""For a host that comes back to observe, ask for its claims anew and boot its guest."""


def back(lab: Lab, site: Site, name: str) -> None:
    lab[name].power_on()
    lab[name].wait_up()
    lab[name].start_xsmd()
    lab.wait_whole()
    site.wait_converged(limit_s=BACK_LIMIT_S)


def story(lab: Lab, host: str, vm: str) -> str:
    return lab[host].xsm("why", vm)


def only_where_it_belongs(lab: Lab, vm: str, home: str) -> None:
    for name, host in lab.hosts.items():
        defined = vm in host.virsh("list", "--all", "--name").split()
        assert defined == (name == home), f"{vm} is {'' if defined else 'not '}defined on {name}"


@pytest.mark.parametrize(
    ("vm", "stage"),
    [
        pytest.param("kc1", "revision ", id="it has the edit"),
        pytest.param("kc2", "claim kc2 claim won", id="it has won the claim"),
    ],
)
def test_while_it_creates(lab: Lab, site: Site, observer: Observer, vm: str, stage: str) -> None:
    """Proves that a VM whose host dies on the way to its first start is started once that host is back, and nowhere
    else; that a claim won before the death doesn't count after it."""
    told = Told(lab["dmz02"])
    site.write(lab["dmz01"], VM(vm, "dmz02"))
    lab["dmz01"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", f"{vm} is made")
    told.wait(stage, SOON_S)
    lab["dmz02"].crash()
    wait_for("its guest is gone", lambda: not observer.hosts(vm), SOON_S)
    back(lab, site, "dmz02")
    observer.wait_ticks(vm, 3, host="dmz02")
    only_where_it_belongs(lab, vm, "dmz02")
    why = story(lab, "dmz02", vm)
    assert f"{vm} is made" in why and "claim won" in why and "absent => running" in why, why


@pytest.mark.parametrize(
    ("vm", "stage"),
    [
        pytest.param("kr1", "asked to shut down", id="it has asked the guest"),
        pytest.param("kr2", "=> undefined", id="it has undefined it"),
    ],
)
def test_while_it_removes(lab: Lab, site: Site, observer: Observer, vm: str, stage: str) -> None:
    """Proves that a VM whose host dies in the middle of its removal is gone at last, is never started again, and that
    its disk stays with what the guest wrote last."""
    site.apply(VM(vm, "dmz02"))
    observer.wait_ticks(vm, 10, host="dmz02")
    told = Told(lab["dmz02"])
    boots = {tick.boot for tick in observer.ticks(vm)}
    site.write(lab["dmz01"])
    lab["dmz01"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", f"{vm} goes")
    told.wait(stage, SOON_S)
    lab["dmz02"].crash()
    wait_for("its guest is gone", lambda: not observer.hosts(vm), SOON_S)
    back(lab, site, "dmz02")
    only_where_it_belongs(lab, vm, "")
    assert {tick.boot for tick in observer.ticks(vm)} == boots
    assert disk_line(vm).startswith(f"{vm} n=")
    why = story(lab, "dmz01", vm)
    assert f"{vm} goes" in why, why


@pytest.mark.parametrize(
    ("vm", "dies", "stage"),
    [
        pytest.param("km1", "dmz03", "claim km1 claim won", id="the source, once it is claimed"),
        pytest.param(
            "km2", "dmz04", "claim km2 claim won", id="the target, once it has claimed it"
        ),
        pytest.param("km3", "dmz03", "=> running on dmz04", id="the source, when it has gone"),
        pytest.param("km4", "dmz04", "=> running on dmz04", id="the target, when it has come"),
    ],
)
def test_while_it_moves(
    lab: Lab, site: Site, observer: Observer, vm: str, dies: str, stage: str
) -> None:
    """Proves that of a VM whose source or target dies before or after the guest moved one copy is left at most, that
    it ends where the file says, and that no start goes without both hosts' word."""
    site.apply(VM(vm, "dmz03"))
    last = observer.wait_ticks(vm, 3, host="dmz03")
    claimed, moved = Told(lab["dmz04"]), Told(lab["dmz03"])
    site.write(lab["dmz01"], VM(vm, "dmz04"))
    lab["dmz01"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", f"{vm} goes to dmz04")
    (claimed if stage.startswith("claim") else moved).wait(stage, SOON_S)
    lab[dies].crash()
    wait_for("the dead one runs nothing", lambda: dies not in observer.hosts(vm), SOON_S)
    back(lab, site, dies)
    now = observer.wait_ticks(vm, 3, host="dmz04")
    assert observer.hosts(vm) == ["dmz04"]
    only_where_it_belongs(lab, vm, "dmz04")
    # It lived on where its own host didn't die; else it was started anew, from its disk.
    if stage.endswith("dmz04") and dies == "dmz03":
        assert now.boot == last.boot and observer.gaps(vm) == []
    why = story(lab, "dmz04", vm)
    assert f"{vm} goes to dmz04" in why and "claim won" in why, why
