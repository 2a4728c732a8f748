"""What goes wrong in the middle of a live migration: the guest goes on, on exactly one host, and the site comes right.

Each case migrates a guest over a slow link, and does something as soon as both QEMU processes are there.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site

AFTER_LIMIT_S = 180.0
"""Until a broken migration was noticed (libvirt's keepalive: 20 s), tried again after a pause, and done."""
SOURCE, TARGET = "dmz03", "dmz04"


@pytest.fixture
def moving(lab: Lab, site: Site, observer: Observer) -> Iterator[str]:
    """A guest on its way from SOURCE to TARGET, with most of its memory still to be sent. Gives its name."""
    vm = "mid1"
    site.apply(VM(vm, SOURCE))
    observer.wait_ticks(vm, 5, host=SOURCE)
    with lab.slow(TARGET):
        site.write(lab["dmz01"], VM(vm, TARGET))
        lab["dmz01"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", "mid1 goes to dmz04")
        wait_for(
            "the migration is under way", lambda: observer.hosts(vm) == [SOURCE, TARGET], SOON_S
        )
        yield vm


def test_a_definition_made_by_hand_on_the_target_does_not_make_it_run_twice(
    lab: Lab, site: Site, observer: Observer, moving: str
) -> None:
    """Proves that a guest that is still arriving is taken for that, also where a definition of it is on the target
    (libvirt then calls the paused copy persistent): nobody resumes it, and nobody says that it runs twice."""
    xml = lab[SOURCE].virsh("dumpxml", "--inactive", moving)
    lab[TARGET].run("sh", "-c", "cat >/root/mid.xml && virsh -q define /root/mid.xml", stdin=xml)
    seen = []

    def arrived() -> bool:
        told = [lab[name].xsm("status", "-o", "json", check=False) for name in ("dmz01", TARGET)]
        seen.extend(text for text in told if "RUNS TWICE" in text or "paused by hand" in text)
        return observer.hosts(moving) == [TARGET]

    wait_for("it has arrived", arrived, AFTER_LIMIT_S)
    assert seen == []
    ends_well(lab, site, observer, moving, TARGET)


def edited_back(lab: Lab, site: Site) -> None:
    site.write(lab["dmz02"], VM("mid1", SOURCE))
    lab["dmz02"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", "mid1 stays after all")


def kill_and_start_xsmd(name: str) -> Callable[[Lab, Site], None]:
    def fault(lab: Lab, _site: Site) -> None:
        lab[name].kill_daemon("xsmd")
        lab[name].start_xsmd()

    return fault


def kill_and_start_libvirtd(name: str) -> Callable[[Lab, Site], None]:
    def fault(lab: Lab, _site: Site) -> None:
        lab[name].kill_daemon("libvirtd")
        lab[name].start_libvirtd()

    return fault


@pytest.mark.parametrize(
    ("fault", "home"),
    [
        pytest.param(edited_back, SOURCE, id="the file is edited back"),
        pytest.param(kill_and_start_xsmd(SOURCE), TARGET, id="the source's xsmd is killed"),
        pytest.param(kill_and_start_xsmd(TARGET), TARGET, id="the target's xsmd is killed"),
        pytest.param(kill_and_start_libvirtd(TARGET), TARGET, id="the target's libvirtd is killed"),
        pytest.param(kill_and_start_libvirtd(SOURCE), TARGET, id="the source's libvirtd is killed"),
    ],
)
def test_a_guest_outlives_it(
    lab: Lab, site: Site, observer: Observer, moving: str, fault: Callable[[Lab, Site], None], home: str
) -> None:  # fmt: skip
    """Proves that the guest runs on through it without a gap, ends where the file says, and leaves no copy behind."""
    fault(lab, site)
    ends_well(lab, site, observer, moving, home)


def test_the_cable_is_cut_for_a_while(
    lab: Lab, site: Site, observer: Observer, moving: str
) -> None:
    """Proves that the source gives up by itself and its guest runs on, and that the move is made once the target can be
    reached again."""
    lab.cut(TARGET)
    try:
        wait_for(
            "the source has given up", lambda: "migrate" in failures(lab, SOURCE), AFTER_LIMIT_S
        )
        observer.wait_ticks(moving, 5, host=SOURCE)
    finally:
        lab.plug(TARGET)
    ends_well(lab, site, observer, moving, TARGET)


def test_the_target_dies_whole(lab: Lab, site: Site, observer: Observer, moving: str) -> None:
    """Proves that a guest stays where it was when its target crashes, and goes there once the target is back."""
    lab[TARGET].crash()
    observer.wait_ticks(moving, 10, host=SOURCE)
    lab[TARGET].power_on()
    lab[TARGET].wait_up()
    lab[TARGET].start_xsmd()
    ends_well(lab, site, observer, moving, TARGET)


def failures(lab: Lab, name: str) -> str:
    """The lines of its log that tell of something that failed."""
    return "\n".join(line for line in lab[name].xsmd_log().splitlines() if " failed" in line)


def ends_well(lab: Lab, site: Site, observer: Observer, vm: str, home: str) -> None:
    """It runs on `home` only, the same boot without a gap, and the site is content."""
    lab.wait_whole()
    wait_for(f"{vm} is on {home} only", lambda: observer.hosts(vm) == [home], AFTER_LIMIT_S)
    site.wait_converged(limit_s=AFTER_LIMIT_S)
    observer.wait_ticks(vm, 5, host=home)
    assert observer.hosts(vm) == [home]
    assert observer.gaps(vm) == []
    for name, host in lab.hosts.items():
        assert (vm in host.virsh("list", "--all", "--name").split()) == (name == home)
