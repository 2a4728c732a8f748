"""Live migration through XSM, between libvirt daemons over their own TLS."""

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.site import VM, Site


def test_an_edit_of_dom0_migrates_the_running_guest(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that DOM0's change moves the guest live: one boot, no number left out or counted twice, by a process that
    only one host runs at a time; and that the site is content afterwards, with nothing to put right on the target."""
    site.apply(VM("move1", "dmz01"))
    observer.wait_ticks("move1", 5, host="dmz01")
    before = identity(lab, "dmz01", "move1")
    said = site.apply(VM("move1", "dmz02"), message="move1 goes to dmz02")
    assert "Migrate live" in said
    observer.wait_ticks("move1", 10, host="dmz02")
    one_life(observer, "move1", ["dmz01", "dmz02"])
    assert observer.hosts("move1") == ["dmz02"]
    assert identity(lab, "dmz02", "move1") == before
    assert "move1" not in lab["dmz01"].virsh("list", "--all", "--name").split()
    stays_content(lab, site, observer, "move1")


def test_xsm_migrate_there_and_back(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that `xsm migrate` does it from any host, several times, and over hosts that never had the VM."""
    site.apply(VM("move1", "dmz02"))
    observer.wait_ticks("move1", 3, host="dmz02")
    began = len(observer.ticks("move1"))
    for asked, target in (("dmz01", "dmz03"), ("dmz03", "dmz04"), ("dmz02", "dmz02")):
        lab[asked].xsm("migrate", "move1", target, "--yes")
        observer.wait_ticks("move1", 3, host=target)
        assert observer.hosts("move1") == [target]
    ticks = observer.ticks("move1")[began - 1 :]
    assert len({tick.boot for tick in ticks}) == 1
    assert observer.gaps("move1") == []
    stays_content(lab, site, observer, "move1")


def one_life(observer: Observer, vm: str, hosts: list[str]) -> None:
    """It counted on these hosts one after the other, in one boot, without a gap."""
    ticks = sorted(observer.ticks(vm), key=lambda tick: tick.n)
    assert len({tick.boot for tick in ticks}) == 1
    assert observer.gaps(vm) == []
    order = [tick.host for n, tick in enumerate(ticks) if n == 0 or tick.host != ticks[n - 1].host]
    assert order == hosts


def stays_content(lab: Lab, site: Site, observer: Observer, vm: str) -> None:
    """Once converged, no host does anything more: no drift that is put right again and again."""
    site.wait_converged()
    assert site.json("dmz01", "plan")["plan"]["actions"] == []
    done = {name: acted(lab, name) for name in lab.hosts}
    observer.wait_ticks(vm, 15)
    assert {name: acted(lab, name) for name in lab.hosts} == done


def acted(lab: Lab, host: str) -> int:
    return lab[host].xsmd_log().count("kind=action")


def identity(lab: Lab, host: str, vm: str) -> tuple[str, str]:
    """UUID and MAC address by libvirt's word."""
    mac = lab[host].virsh("domiflist", vm).split()[-1]
    return lab[host].virsh("domuuid", vm), mac
