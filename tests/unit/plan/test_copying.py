"""Live moves of VMs whose disks are their host's own: when they go, with what, and why they are held."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plan.planned_site import NOW, QEMU, document, facts, made, report, vm
from xsm.plan.actions import Action, Consequence, Step
from xsm.plan.observed import FoundDisk
from xsm.plan.planner import plan_host
from xsm.plan.view import Handover, View
from xsm.plan.wanted import wanted
from xsm.site.disk import Disk
from xsm.site.model import CopyDisks, Migration

DISKS = (Disk("root", 2048), Disk("data", 1024))
YES = vm("vm1", "dmz02", disks=DISKS, copy_disks=CopyDisks.YES)
BEFORE = document(replace(YES, host="dmz01"))
LACKS = FoundDisk("root", None, refused="it had it before", renames=True)
HAS = FoundDisk("data", 1024, shared=True)


def at_source(
    copies: tuple[str, ...], shared: tuple[str, ...] = (), of: object = YES, cold_only: str = ""
) -> Action:
    site = document(of)  # type: ignore[arg-type]
    seen = report("dmz01", made(BEFORE, "vm1", kind=QEMU)["vm1"], of=facts(QEMU))
    asked = Handover("dmz02", 2, QEMU, cold_only, "", copies, shared)
    view = View({"dmz01": seen}, {}, NOW, {}, {"vm1": asked})
    return next(a for a in plan_host(wanted(site), site, view, "dmz01").actions if a.what == "host")


def at_target(*found: FoundDisk, offered: bool = True, of: object = YES) -> Action:
    site = document(of)  # type: ignore[arg-type]
    seen = replace(report("dmz02", of=facts(QEMU)), disks={"vm1": found})
    offers = frozenset({"vm1"}) if offered else frozenset()
    view = View({"dmz02": seen}, {}, NOW, {}, {}, offered=offers)
    (action,) = plan_host(wanted(site), site, view, "dmz02").actions
    return action


def test_the_source_takes_along_what_its_target_lacks() -> None:
    action = at_source(("root",), ("data",))
    assert (action.step, action.copies, action.held) == (Step.MIGRATE, ("root",), "")
    assert "its disks are copied: root 2 GiB" in action.reason


@pytest.mark.parametrize(
    ("copies", "shared", "why"),
    [
        ((), ("root",), "dmz02 has a volume of its own for its disks data"),
        (("root",), (), "dmz02 has a volume of its own for its disks data"),
        (("root", "data", "more"), (), "names no disks more"),
    ],
)
def test_the_source_trusts_no_volume_that_may_be_old(
    copies: tuple[str, ...], shared: tuple[str, ...], why: str
) -> None:
    action = at_source(copies, shared)
    assert action.consequence is Consequence.HELD
    assert why in action.held


def test_nothing_is_copied_unless_the_file_says_so_nor_in_a_cold_move() -> None:
    action = at_source(("root",), of=replace(YES, copy_disks=CopyDisks.NO))
    assert "`<COPY_DISKS>yes</COPY_DISKS>` has them copied" in action.held
    cold = replace(YES, migration=Migration.COLD)
    action = at_source(("root", "data"), of=cold, cold_only="it is old")
    assert "copied in a live move only" in action.held


def test_a_disk_that_the_running_domain_has_not_got_yet_cannot_go_along() -> None:
    action = at_source(("root", "data", "new"), of=replace(YES, disks=(*DISKS, Disk("new", 1024))))
    assert "have changed in the files since it was started" in action.held


def test_the_target_receives_only_what_is_offered() -> None:
    action = at_target(LACKS, HAS)
    assert (action.step, action.copies, action.held) == (Step.RECEIVE, ("root",), "")
    action = at_target(LACKS, HAS, offered=False)
    assert action.held.startswith("it had it before; a live move from where it runs copies it")
    assert action.consequence is not Consequence.HELD  # its source may yet speak up


def test_an_old_volume_is_put_aside_first_and_never_started_from() -> None:
    old = FoundDisk("root", 2048, stale="may be old", aside="r.left-2", renames=True)
    action = at_target(old, HAS)
    assert (action.step, action.new) == (Step.SET_ASIDE, "r.left-2")
    assert at_target(old, HAS, offered=False).held == "may be old"
    assert "XSM can't rename it" in at_target(replace(old, renames=False), HAS).held
    pinned = at_target(old, HAS, offered=False, of=replace(YES, copy_disks=CopyDisks.NO))
    assert pinned.held == "may be old"


def test_the_target_needs_room() -> None:
    assert "take up to 2 GiB" in at_target(replace(LACKS, free_mib=2047), HAS).held
    assert at_target(replace(LACKS, free_mib=2048), HAS).held == ""
