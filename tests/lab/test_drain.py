"""`xsm host drain` on real guests: room is made first, and giving up lets end what is under way."""

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.places import HOSTS
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site


def sized(**mib: int) -> str:
    """<Host> entries with so much memory for VMs."""
    return "".join(
        f'  <Host name="{name}"><ADDRESS>{HOSTS[name].address}</ADDRESS><MEM>{size}</MEM></Host>\n'
        for name, size in mib.items()
    )


def big(name: str) -> VM:
    return VM(name, memory_mib=128)


def test_a_host_is_emptied_by_making_room_and_its_guest_comes_home(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that a guest that fits nowhere leaves all the same, live, after another one has made room on a third host;
    that the order is told beforehand; and that the guest comes home by itself when asked."""
    hosts = sized(dmz01=400, dmz02=200, dmz03=200, dmz04=130)
    site.apply(big("dra1"), VM("dra2"), VM("dra3"), VM("dra4"), hosts=hosts)
    for name, host in (("dra1", "dmz01"), ("dra2", "dmz02"), ("dra3", "dmz03")):
        observer.wait_ticks(name, 3, host=host)
    said = lab["dmz02"].xsm("host", "drain", "dmz01", "--yes")
    assert "2 moves in 2 steps" in said and "to make room" in said, said
    (now,) = observer.hosts("dra1")
    assert now in ("dmz02", "dmz03"), said
    assert observer.hosts("dra2") == observer.hosts("dra3") != [now]
    lab["dmz03"].xsm("host", "resume", "dmz01", "--bring-home", "--yes")
    observer.wait_ticks("dra1", 3, host="dmz01")
    for name in ("dra1", "dra2", "dra3"):
        assert observer.gaps(name) == []
        assert len({tick.boot for tick in observer.ticks(name)}) == 1
    site.wait_converged()


def test_giving_up_lets_end_what_is_under_way(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that when the time is up the guests on their way arrive, the one that waited for its turn stays, and the
    host is in use again; no guest loses anything by it."""
    hosts = sized(dmz01=400, dmz02=400, dmz03=10, dmz04=10)
    guests = ("dra5", "dra6", "dra7")
    site.apply(*(VM(name, "dmz01") for name in guests), hosts=hosts)
    for name in guests:
        observer.wait_ticks(name, 3, host="dmz01")
    # Now they float, and stay where they run.
    site.apply(*(VM(name) for name in guests), hosts=hosts)
    with lab.slow("dmz02", 100):
        options = ("--yes", "--timeout", "4")
        said = lab["dmz03"].xsm("host", "drain", "dmz01", *options, check=False)
    assert "giving up: what is under way ends" in said, said
    site.wait_converged()
    where = sorted(observer.hosts(name) for name in guests)
    assert where == [["dmz01"], ["dmz02"], ["dmz02"]], said
    assert not any(m["drained"] for m in lab.status("dmz02")["members"])
    lab["dmz03"].xsm("host", "resume", "dmz01", "--bring-home", "--yes")
    wait_for("all are home", lambda: all(observer.hosts(n) == ["dmz01"] for n in guests), SOON_S)
    for name in guests:
        observer.wait_ticks(name, 3, host="dmz01")
        assert observer.gaps(name) == []
    site.wait_converged()
    site.apply()
