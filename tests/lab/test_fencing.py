"""Hosts that are fenced: their VMs start elsewhere, and never before the host is off."""

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.places import HOSTS
from tests.lab.power_switch import PowerSwitch, fenced_hosts
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site

FENCE_AFTER_S = 30
FENCED = fenced_hosts(FENCE_AFTER_S)


def test_a_host_that_is_cut_off_is_fenced_and_its_vm_starts_elsewhere(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that a guest whose host is cut off from the others (and runs on) starts elsewhere by the policy of the
    site file, only after its host was switched off; that the VM that is pinned there waits; and that the host comes
    back by itself when it has power again, without ever running the guest that moved."""
    rest = ("dmz01", "dmz02", "dmz03")
    with PowerSwitch(lab) as switch:
        site.apply(VM("fen1"), VM("fen2", "dmz04"), hosts=FENCED)
        if observer.hosts("fen1") != ["dmz04"]:
            lab["dmz01"].xsm("migrate", "fen1", "dmz04", "--yes")
        last = observer.wait_ticks("fen1", 3, host="dmz04")
        lab.cut("dmz04")
        took_s = wait_for(
            "fen1 runs elsewhere", lambda: bool(set(observer.hosts("fen1")) & set(rest)), 4 * SOON_S
        )
        (now,) = observer.hosts("fen1")
        again = observer.wait_ticks("fen1", 3, host=now)
        print(f"cut off -> runs elsewhere: {took_s:.0f} s, of which {FENCE_AFTER_S} s of patience")
        assert again.boot != last.boot
        assert switch.asked[0] == "off dmz04"
        assert observer.hosts("fen2") == []
        assert any("dmz04 was fenced" in line for line in lab.status("dmz02")["held"])
        lab["dmz04"].power_on()
        lab["dmz04"].wait_up()
        lab["dmz04"].start_xsmd()
        observer.wait_ticks("fen2", 3, host="dmz04")
        lab.wait_whole()
        site.wait_converged()
        assert observer.hosts("fen1") == [now]


def test_a_person_fences_a_host(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that `xsm host fence` switches a host off whose guest runs happily, and starts that elsewhere."""
    site.apply(VM("fen3"), hosts=FENCED)
    wait_for("fen3 runs", lambda: len(observer.hosts("fen3")) == 1, SOON_S)
    (where,) = observer.hosts("fen3")
    asked = next(name for name in HOSTS if name != where)
    observer.wait_ticks("fen3", 3, host=where)
    with PowerSwitch(lab) as switch:
        lab[asked].xsm("host", "fence", where, "--yes", "--no-wait")
        wait_for("fen3 runs again", lambda: observer.hosts("fen3") not in ([], [where]), SOON_S)
        assert switch.asked == [f"off {where}", f"status {where}"]
        lab[where].power_on()
        lab[where].wait_up()
        lab[where].start_xsmd()
        lab.wait_whole()
        site.wait_converged()
