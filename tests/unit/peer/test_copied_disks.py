"""Disks that go along in a live move: whose volume counts, and what is on disk before anything is done."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.peer.test_peer_disks import claimed, settled
from tests.unit.plan.planned_site import NOW, QEMU, document, made, report, vm
from xsm.peer import disks
from xsm.peer.arriving import OFFER_LIFE_S, Arriving
from xsm.peer.ballots import Ballots
from xsm.peer.register import Register, expel, from_entry, is_overtaken, to_entry
from xsm.plan.actions import Action, Consequence, Plan, Step
from xsm.plan.observed import FoundDisk, HostReport
from xsm.plan.wanted import Wanted, wanted
from xsm.site.disk import Disk
from xsm.site.model import CopyDisks
from xsm.site.state import DiskWord

ROOT = Disk("root", 1024)
SITE = document(vm("vm1", "dmz01", disks=(ROOT,), copy_disks=CopyDisks.YES))
WANTED = wanted(SITE)
MOVE = Action(
    "vm1",
    "dmz01",
    Consequence.MIGRATE_LIVE,
    Step.MIGRATE,
    "host",
    "dmz01",
    "dmz02",
    "",
    copies=("root",),
)


def found(size_mib: int | None = 1024, current: bool = False, on: str = "dmz01") -> HostReport:
    disk = FoundDisk("root", size_mib, current=current)
    return replace(report(on), disks={"vm1": (disk,)})


def stale(ballots: Ballots, of: Wanted = WANTED) -> str:
    seen = disks.judged(found(), ballots, of, settled).disks["vm1"][0]
    assert bool(seen.stale) == bool(seen.aside)
    return seen.stale


def word(host: str, token: str = "a", use: bool = True) -> Wanted:
    words = {"vm1": {"root": DiskWord(host, token, use)}}
    return wanted(replace(SITE, state=replace(SITE.state, disk_words=words)))


def test_what_is_about_to_leave_counts_as_old_until_the_guest_is_seen_to_stay() -> None:
    ballots = claimed("dmz01", (1, "dmz01"))
    disks.keep(found(), ballots, WANTED, settled)
    disks.begin(ballots, MOVE)
    assert ballots.take_unwritten()["vm1"].left == {
        "root"
    }  # before the call: it is in this very step
    assert "may be old" in stale(ballots)
    disks.done(ballots, MOVE)
    disks.keep(found(), ballots, WANTED, settled)
    assert stale(ballots)  # that it is there says nothing
    disks.keep(found(current=True), ballots, WANTED, lambda name: name == "vm1")
    assert stale(ballots)  # a look from before the move, or from its midst
    disks.keep(found(current=True), ballots, WANTED, settled)
    assert not stale(ballots)


def test_a_copy_counts_only_once_the_guest_runs_on_it() -> None:
    ballots = claimed("dmz02", (1, "dmz01"), (2, "dmz02"))
    ballots.begin_copy("vm1", "root")
    disks.keep(found(), ballots, WANTED, settled)
    assert "incomplete" in stale(ballots)
    assert ballots.of("vm1").disks == frozenset()
    disks.keep(found(current=True), ballots, WANTED, settled)
    assert not stale(ballots)
    assert ballots.of("vm1").disks == {"root"}


def test_old_volumes_get_names_that_tell_when() -> None:
    ballots = claimed("dmz01", (1, "dmz01"))
    ballots.let_go("vm1", 7)
    ballots.leave_disks("vm1", ["root"])
    ballots.begin_copy("vm1", "root")  # its pool looked empty for a while
    seen = disks.judged(found(), ballots, WANTED, settled).disks["vm1"][0]
    assert seen.aside == "vm1-root.qcow2.left-7"
    disks.done(ballots, replace(MOVE, step=Step.SET_ASIDE, volume=ROOT.volume("vm1")))
    assert not stale(ballots)


def test_somebodys_word_counts_once_and_makes_all_others_old() -> None:
    here, there = claimed("dmz01", (1, "dmz01")), claimed("dmz02", (1, "dmz01"))
    for ballots in (here, there):
        ballots.leave_disks("vm1", ["root"])
        disks.keep(found(), ballots, word("dmz01"), settled)
    assert not stale(here)
    assert stale(there)
    here.leave_disks("vm1", ["root"])
    disks.keep(found(), here, word("dmz01"), settled)
    assert stale(here)
    disks.keep(found(), here, word("dmz01", "b"), settled)
    assert not stale(here)


def test_a_word_waits_until_the_guest_is_off() -> None:
    ballots = claimed("dmz01", (1, "dmz01"))
    runs = replace(found(), domains=(made(SITE, "vm1", kind=QEMU)["vm1"],))
    disks.keep(runs, ballots, word("dmz02"), settled)
    assert not stale(ballots)
    disks.keep(found(), ballots, word("dmz02"), settled)
    assert stale(ballots)


def test_an_empty_disk_made_elsewhere_makes_what_is_here_old_where_hosts_share_none() -> None:
    ballots = claimed("dmz01", (1, "dmz01"))
    disks.keep(found(), ballots, word("dmz02", use=False), settled)
    assert stale(ballots)


def test_who_was_expelled_doubts_its_disks_once_others_had_the_vm() -> None:
    mine = expel(Register(2, "dmz01", frozenset({"dmz01"}), bar=0, held=2))
    assert not is_overtaken(mine, "dmz01")
    own_next = replace(mine, voted=3)
    assert not is_overtaken(own_next, "dmz01")  # if nobody was before it
    assert is_overtaken(replace(own_next, claimant="dmz02"), "dmz01")
    assert is_overtaken(replace(mine, voted=4), "dmz01")


def test_who_was_expelled_had_the_vm_perhaps_without_a_claim_that_counts() -> None:
    let_go = expel(Register(3, "dmz02", frozenset({"dmz01", "dmz02"}), bar=3, held=2))
    assert is_overtaken(let_go, "dmz01")  # a migration that failed leaves the VM here
    received = expel(Register(2, "dmz01", frozenset({"dmz01"}), disks=frozenset({"root"})))
    assert not is_overtaken(received, "dmz01")  # it came, and the claim was not complete
    assert is_overtaken(replace(received, voted=4), "dmz01")
    assert expel(Register(2, "dmz02", frozenset({"dmz02"}))).expelled == 0


def test_registers_of_older_versions_are_read_as_before() -> None:
    before = Register(3, "dmz01", frozenset({"dmz01"}), 1, 3, 2, frozenset({"root"}))
    assert not {"left", "expelled"} & to_entry(before).keys()
    assert from_entry(to_entry(before)) == before
    now = replace(before, left=frozenset({"root"}), expelled=3)
    assert from_entry(to_entry(now)) == now
    assert from_entry({**to_entry(now), "of_a_newer_version": 1}) == now


def test_copies_are_noted_before_anybody_is_asked_for_them() -> None:
    ballots = claimed("dmz02", (1, "dmz01"))
    ballots.take_unwritten()
    arriving = Arriving(ballots)
    received = replace(MOVE, host="dmz02", step=Step.RECEIVE)
    arriving.plan(Plan((received,)), found(None, on="dmz02"))
    assert arriving.wait("vm1", found(1024))
    assert arriving.wait("vm1", None)
    assert arriving.wait("vm1", found(None)) == ""
    assert arriving.asked("vm1", found(None)) == (("root",), ())
    assert ballots.take_unwritten()["vm1"].copying == {"root"}
    arriving.plan(Plan(), found(None))
    assert arriving.asked("vm1", found(None)) == ((), ())


def test_an_offer_counts_for_a_while() -> None:
    arriving = Arriving(Ballots("dmz02", {}))
    arriving.offered("vm1", NOW)
    assert arriving.offers(NOW + OFFER_LIFE_S) == {"vm1"}
    assert arriving.offers(NOW + OFFER_LIFE_S + 1) == frozenset()
