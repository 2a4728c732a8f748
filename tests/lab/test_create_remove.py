"""VMs come and go as the site file says, as real guests."""

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.places import CONSOLES, HOSTS, SHARED_OUTSIDE
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site, disk_line


def console(host: str, vm: str) -> str:
    return (HOSTS[host].inside(CONSOLES) / f"{vm}.log").read_text(errors="replace")


def test_two_vms_are_created_where_the_file_says(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that XSM's domain XML boots under real QEMU on the hosts that DOM0 names, that the guests run with what
    the file says, and that the site then has nothing left to do."""
    site.apply(VM("create1", "dmz01"), VM("create2", "dmz02"))
    for vm, host in (("create1", "dmz01"), ("create2", "dmz02")):
        observer.wait_ticks(vm, 3, host=host)
        assert observer.hosts(vm) == [host]
        assert lab[host].virsh("domstate", vm) == "running"
        assert "persistent" in " ".join(lab[host].virsh("dominfo", vm).lower().split())
    site.wait_converged()
    assert site.json("dmz03", "plan")["plan"]["actions"] == []


def test_a_vm_that_leaves_the_file_shuts_down_and_its_disk_stays(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that removal asks the guest itself to shut down (its farewell is on the console), undefines the domain,
    leaves the disk with what the guest wrote, and does nothing to its neighbour."""
    site.apply(VM("create1", "dmz01"), VM("create2", "dmz02"))
    observer.wait_ticks("create1", 3, host="dmz01")
    last = observer.wait_ticks("create2", 12, host="dmz02")
    site.apply(VM("create1", "dmz01"))
    wait_for("the guest's process is gone", lambda: not observer.hosts("create2"), SOON_S)
    assert "BYE create2" in console("dmz02", "create2")
    assert "create2" not in lab["dmz02"].virsh("list", "--all", "--name").split()
    assert (SHARED_OUTSIDE / "disks/create2.qcow2").exists()
    assert disk_line("create2").endswith(last.boot)
    observer.wait_ticks("create1", 3, host="dmz01")
    assert len({tick.boot for tick in observer.ticks("create1")}) == 1
    assert observer.gaps("create1") == []
