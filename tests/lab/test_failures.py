"""Daemons and hosts that die: guests run on, and none is started a second time."""

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site


def test_guests_run_on_while_xsmd_is_killed_and_comes_back(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that a guest doesn't notice its host's xsmd dying, and that an edit made meanwhile on another host is
    carried out once it is back."""
    site.apply(VM("fail1", "dmz01"))
    observer.wait_ticks("fail1", 3, host="dmz01")
    before = observer.machines("fail1")
    lab["dmz01"].kill_daemon("xsmd")
    observer.wait_ticks("fail1", 5, host="dmz01")
    site.write(lab["dmz02"], VM("fail1", "dmz01", memory_mib=112))
    lab["dmz02"].xsm(
        "apply", "/root/site", "--yes", "--no-wait", "-m", "While dmz01's xsmd is dead"
    )
    lab["dmz01"].start_xsmd()
    lab.wait_whole()
    site.wait_converged()
    assert site.vm("dmz02", "fail1")["memory_mib"] == 112
    observer.wait_ticks("fail1", 3, host="dmz01")
    assert observer.machines("fail1") == before
    assert observer.gaps("fail1") == []


def test_guests_run_on_while_libvirtd_restarts(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that xsmd finds its guests again after libvirtd was killed and started: nothing is started anew, and the
    next edit is carried out by the new connection."""
    site.apply(VM("fail1", "dmz01"))
    observer.wait_ticks("fail1", 3, host="dmz01")
    before = observer.machines("fail1")
    lab["dmz01"].kill_daemon("libvirtd")
    observer.wait_ticks("fail1", 5, host="dmz01")
    lab["dmz01"].start_libvirtd()
    site.apply(VM("fail1", "dmz01", memory_mib=104))
    assert int(lab["dmz01"].virsh("dommemstat", "fail1").split()[1]) == 104 * 1024
    assert observer.machines("fail1") == before
    assert observer.gaps("fail1") == []


def test_the_vm_of_a_host_that_died_waits_for_it(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that a whole host's death (all processes at once, its guest in the middle of counting) starts its VM
    nowhere else, that the rest of the site goes on working, and that the host starts its VM again when it is back, on
    the disk as the guest left it."""
    site.apply(VM("fail2", "dmz02"))
    last = observer.wait_ticks("fail2", 12, host="dmz02")
    lab["dmz02"].crash()
    wait_for("its guest is gone", lambda: not observer.hosts("fail2"), SOON_S)
    rest = ("dmz01", "dmz03", "dmz04")
    wait_for(
        "the others miss it",
        lambda: all(reach(lab, name, "dmz02") != "alive" for name in rest),
        SOON_S,
    )
    site.write(lab["dmz03"], VM("fail2", "dmz02"), VM("fail3", "dmz03"))
    lab["dmz03"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", "While dmz02 is dead")
    observer.wait_ticks("fail3", 10, host="dmz03")
    assert observer.hosts("fail2") == []
    lab["dmz02"].power_on()
    lab["dmz02"].wait_up()
    lab["dmz02"].start_xsmd()
    again = observer.wait_ticks("fail2", 3, host="dmz02")
    assert again.boot != last.boot
    lab.wait_whole()
    site.wait_converged()
    assert observer.hosts("fail2") == ["dmz02"]
    assert "disk=fail2_n=" in (lab["dmz02"].place.inside("/var/log/guests/fail2.log")).read_text(
        errors="replace"
    )
    assert len(observer.ticks("fail3")) > 0 and observer.gaps("fail3") == []


def reach(lab: Lab, asked: str, about: str) -> str:
    members = lab.status(asked).get("members", [])
    return next((m["reach"] for m in members if m["name"] == about), "")
