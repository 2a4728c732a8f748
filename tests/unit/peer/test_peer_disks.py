"""What this host may do about a VM's own disks, and what it remembers of them."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.plan.planned_site import document, made, report, vm
from xsm.peer import disks
from xsm.peer.ballots import Ballots
from xsm.peer.preflight import Preflight
from xsm.plan.observed import FoundDisk, HostReport
from xsm.plan.wanted import Wanted, wanted
from xsm.site.disk import Disk
from xsm.site.needs import Needs
from xsm.site.state import DiskWord

ROOT = Disk("root", 1024, origin="debian.qcow2")
SITE = document(vm("vm1", "dmz01", disks=(ROOT,)))
OWN = (ROOT.volume("vm1"),)


def with_word(host: str, token: str) -> Wanted:
    words = {"vm1": {"root": DiskWord(host, token)}}
    return wanted(replace(SITE, state=replace(SITE.state, disk_words=words)))


def found(size_mib: int | None) -> HostReport:
    return replace(report("dmz01"), disks={"vm1": (FoundDisk("root", size_mib),)})


def judged(ballots: Ballots, of: Wanted, size_mib: int | None = None) -> FoundDisk:
    return disks.judged(found(size_mib), ballots, of, lambda _: False).disks["vm1"][0]


def settled(_vm: str) -> bool:
    return False


def claimed(me: str, *claims: tuple[int, str]) -> Ballots:
    ballots = Ballots(me, {})
    for epoch, host in claims:
        ballots._vote("vm1", epoch, host)
    return ballots


def test_what_was_here_is_never_made_again_but_on_somebodys_word_and_that_once() -> None:
    ballots, site = claimed("dmz01", (1, "dmz01")), wanted(SITE)
    assert judged(ballots, site).refused == ""
    disks.keep(found(1024), ballots, site, settled)
    assert ballots.take_unwritten()["vm1"].disks == {"root"}
    assert "dmz01 had it before" in judged(ballots, site).refused
    assert judged(ballots, with_word("dmz02", "a")).refused
    assert judged(ballots, with_word("dmz01", "a")).refused == ""
    disks.keep(found(1024), ballots, with_word("dmz01", "a"), settled)
    assert judged(ballots, with_word("dmz01", "a")).refused
    assert judged(ballots, with_word("dmz01", "b")).refused == ""


def test_a_later_claimant_makes_nothing() -> None:
    ballots = claimed("dmz02", (1, "dmz01"), (2, "dmz02"))
    assert "`xsm disk make vm1 root`" in judged(ballots, wanted(SITE)).refused


def test_a_copy_that_was_cut_off_is_not_taken_for_the_disk() -> None:
    ballots, site = claimed("dmz01", (1, "dmz01")), wanted(SITE)
    ballots.begin_copy("vm1", "root")
    disks.keep(found(1024), ballots, site, settled)
    assert "virsh vol-delete vm1-root.qcow2 default" in judged(ballots, site, 1024).trouble
    assert judged(ballots, site).refused == ""  # once it is deleted
    ballots.keep_disks("vm1", ["root"])  # it came to its end
    assert judged(ballots, site, 1024).trouble == ""


def test_what_a_look_found_while_something_was_done_counts_for_nothing() -> None:
    seen = disks.judged(found(None), claimed("dmz01"), wanted(SITE), lambda name: name == "vm1")
    assert seen.disks == {}


def test_disks_are_looked_at_before_a_start_and_while_the_vm_runs() -> None:
    one, site, running = Preflight(), wanted(SITE), made(SITE, "vm1")["vm1"]
    assert one.ask(site, report("dmz01"), "dmz01", 1.0)["vm1"].own == OWN
    assert one.ask(site, report("dmz01", running), "dmz01", 2.0) == {"vm1": Needs(own=OWN)}
    assert one.ask(site, report("dmz01"), "dmz01", 3.0)["vm1"].paths
