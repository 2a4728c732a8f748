"""Moves and starts that could not succeed: found out before anything is stopped or sent."""

from dataclasses import dataclass

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.places import SHARED, SHARED_OUTSIDE
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site, make_disk


@dataclass(frozen=True)
class OnBr7(VM):
    """A guest on a bridge that not all hosts have."""

    @property
    def config(self) -> str:
        return super().config.replace("bridge='br0'", "bridge='br7'")


def held(lab: Lab) -> str:
    return "\n".join(lab.status("dmz04").get("held", []))


def told_of(lab: Lab, host: str, vm: str) -> str:
    """What the host's log tells of the VM; other cases leave their lines there, too."""
    return "\n".join(line for line in lab[host].xsmd_log().splitlines() if f"vm={vm}" in line)


def make_bridge(lab: Lab, host: str) -> None:
    lab[host].run("ip", "link", "add", "br7", "type", "bridge")
    lab[host].run("ip", "link", "set", "br7", "up")


def test_a_move_to_a_host_without_the_bridge_waits_with_its_reason(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that the target looks for what the VM needs before it claims it: the reason is told on every host, the
    guest isn't touched, and the move goes by itself once the bridge is there."""
    make_bridge(lab, "dmz01")
    site.apply(OnBr7("needs1", "dmz01"))
    observer.wait_ticks("needs1", 3, host="dmz01")
    site.write(lab["dmz03"], OnBr7("needs1", "dmz02"))
    lab["dmz03"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", "needs1 goes to dmz02")
    wait_for("the reason is told", lambda: "dmz02 has no bridge br7" in held(lab), SOON_S)
    assert "dmz02 has no bridge br7" in lab["dmz04"].xsm("plan")
    assert "dmz02 has no bridge br7" in "".join(site.json("dmz04", "why", "needs1")["next"])
    observer.wait_ticks("needs1", 10, host="dmz01")
    assert "migrate:" not in told_of(lab, "dmz01", "needs1")
    make_bridge(lab, "dmz02")
    wait_for("it has moved", lambda: observer.hosts("needs1") == ["dmz02"], SOON_S)
    observer.wait_ticks("needs1", 5, host="dmz02")
    assert observer.gaps("needs1") == []
    site.wait_converged()


def test_a_start_without_its_disk_waits(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that a new VM whose disk is missing isn't claimed and started in vain, and that it starts by itself when
    the disk is there."""
    site.write(lab["dmz01"], VM("needs2", "dmz03"))
    (SHARED_OUTSIDE / "disks" / "needs2.qcow2").unlink()
    lab["dmz01"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", "needs2 without a disk")
    missing = f"{SHARED}/disks/needs2.qcow2 is not on dmz03"
    wait_for("the reason is told", lambda: missing in held(lab), SOON_S)
    assert "failed" not in told_of(lab, "dmz03", "needs2")
    make_disk("needs2")
    observer.wait_ticks("needs2", 3, host="dmz03")
    site.wait_converged()
    site.apply()
