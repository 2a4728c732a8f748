"""Two halves that do not reach each other: guests run on in both, edits are taken in both, all come together again."""

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site


def test_two_halves_are_edited_and_come_together(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that neither half is a majority: a VM that is moved or added in one is started nowhere while the halves
    last; that each half changes its running guests all the same; that no edit is lost once they meet again, what both
    edited is told as a conflict, and no guest was restarted or ran twice for it."""
    site.apply(VM("par1", "dmz01"), VM("par3", "dmz03"))
    for name, host in (("par1", "dmz01"), ("par3", "dmz03")):
        observer.wait_ticks(name, 3, host=host)
    before = observer.machines("par1"), observer.machines("par3")
    with lab.split("dmz03", "dmz04"):
        for name in ("dmz01", "dmz03"):
            wait_for(
                f"{name} misses the others", lambda n=name: not lab.status(n)["majority"], SOON_S
            )
        one, other = lab["dmz01"], lab["dmz03"]
        site.write(one, VM("par1", "dmz01", memory_mib=112), VM("par3", "dmz01"))
        one.xsm("apply", "/root/site", "--yes", "--no-wait", "-m", "par3 goes to dmz01")
        site.write(other, VM("par1", "dmz01"), VM("par3", "dmz04"), VM("par4", "dmz04"))
        other.xsm("apply", "/root/site", "--yes", "--no-wait", "-m", "par3 goes to dmz04")
        wait_for(
            "dmz01 changes its guest",
            lambda: memory_kib(lab, "dmz01", "par1") == 112 * 1024,
            SOON_S,
        )
        observer.wait_ticks("par3", 5, host="dmz03")
        assert observer.hosts("par3") == ["dmz03"] and observer.hosts("par4") == []
    lab.wait_whole()
    observer.wait_ticks("par4", 3, host="dmz04")
    status = lab.status("dmz02")
    assert [(c["vm"], c["what"]) for c in status["conflicts"]] == [("par3", "host")]
    assert observer.hosts("par3") == ["dmz03"], "nothing is done about it until somebody says so"
    said = lab["dmz02"].xsm("resolve", "par3", "--yes")
    shown = site.vm("dmz02", "par3")["wanted_host"]
    assert shown in ("dmz01", "dmz04"), said
    observer.wait_ticks("par3", 3, host=shown)
    site.wait_converged()
    assert (observer.machines("par1"), observer.gaps("par1"), observer.gaps("par3")) == (
        before[0],
        [],
        [],
    )
    assert {m.boot for m in observer.ticks("par3")} == {observer.ticks("par3")[0].boot}


def memory_kib(lab: Lab, host: str, vm: str) -> int:
    return int(lab[host].virsh("dommemstat", vm).split()[1])
