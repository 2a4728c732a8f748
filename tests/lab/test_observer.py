"""The observer itself: it has to see a guest that runs twice, or its silence means nothing."""

from tests.lab.lab import Lab
from tests.lab.observer import Machine, Observer, Tick, judged, missing
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, make_disk

UUID = "7b1e0c9a-1ab0-4000-8000-000000000099"


def test_a_guest_started_by_hand_on_two_hosts_is_seen(lab: Lab, observer: Observer) -> None:
    """Proves that the observer reports what no case may ever cause: one disk, two running guests."""
    make_disk("twin")
    text = VM("twin").config.replace("<name>twin</name>", f"<name>twin</name><uuid>{UUID}</uuid>")
    try:
        for host in ("dmz03", "dmz04"):
            lab[host].run("sh", "-c", "cat >/root/twin.xml", stdin=text)
            lab[host].virsh("create", "/root/twin.xml")
        wait_for("it is seen on both", lambda: observer.hosts("twin") == ["dmz03", "dmz04"], SOON_S)
        assert any("both at once" in said for said in observer.twice())
        wait_for("both count", lambda: any("same time" in said for said in observer.twice()), 120.0)
    finally:
        for host in ("dmz03", "dmz04"):
            lab[host].virsh("destroy", "twin", check=False)
        wait_for("both are gone", lambda: not observer.hosts("twin"), SOON_S)
        observer.pardon("twin")


A1, A2, B1 = (
    Machine("vm", "u", host, pid, "1", incoming)
    for host, pid, incoming in (("a", 1, False), ("a", 2, True), ("b", 3, True))
)


def ticks(*said: tuple[Machine, int, str]) -> list[Tick]:
    return [Tick("vm", boot, n, m.host, float(i), m, 0, 1) for i, (m, n, boot) in enumerate(said)]


def test_a_migration_there_and_back_is_one_life() -> None:
    """Proves that what is right isn't reported: the target goes on where the source stopped, later back as well."""
    told = ticks((A1, 1, "x"), (B1, 2, "x"), (B1, 3, "x"), (A2, 4, "x"))
    assert judged(told) == [] and missing(told) == []


def test_what_runs_twice_or_loses_time_is_told() -> None:
    """Proves each rule by itself: the same number twice, a source that runs on, two boots at once, a gap."""
    assert "n=2" in judged(ticks((A1, 1, "x"), (A1, 2, "x"), (B1, 2, "x")))[0]
    assert "had left" in judged(ticks((A1, 1, "x"), (B1, 2, "x"), (A1, 3, "x")))[0]
    assert "same time" in judged(ticks((A1, 1, "x"), (B1, 1, "y"), (A1, 2, "x")))[0]
    assert missing(ticks((A1, 1, "x"), (A1, 3, "x"))) == ["boot x: no n=2"]
