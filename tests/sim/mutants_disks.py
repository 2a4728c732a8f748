"""The rules of disks, each switched off: real code with one piece replaced."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xsm.peer import disks, register
from xsm.peer.ballots import Ballots
from xsm.peer.register import Register
from xsm.plan import copying
from xsm.plan.actions import Action, Step

Patch = pytest.MonkeyPatch


def whoever_lacks_a_disk_makes_it(patch: Patch) -> None:
    patch.setattr(disks, "why_no_disk", lambda mine, host, disk: "")


def any_claimant_makes_a_disk(patch: Patch) -> None:
    """Not only the first that ever won the VM's claim."""
    patch.setattr(register, "FIRST_EPOCH", 10**9)
    real = register.why_no_disk

    def why_no_disk(mine: Register, host: str, disk: str) -> str:
        return real(replace(mine, claimant=host), host, disk)

    patch.setattr(disks, "why_no_disk", why_no_disk)


def a_disk_is_forgotten(patch: Patch) -> None:
    """That it was made here, or seen."""
    patch.setattr(Ballots, "keep_disks", lambda self, vm, names: None)


def what_left_is_not_marked(patch: Patch) -> None:
    """The disks that went along in a live move."""
    patch.setattr(Ballots, "leave_disks", lambda self, vm, names: None)


def what_leaves_is_marked_only_afterwards(patch: Patch) -> None:
    """Not before the call that migrates: a daemon that dies meanwhile writes nothing."""
    begin, done = disks.begin, disks.done

    def at_the_end(ballots: Ballots, action: Action) -> None:
        begin(ballots, action)
        done(ballots, action)

    def unless_it_migrates(ballots: Ballots, action: Action) -> None:
        if action.step is not Step.MIGRATE:
            begin(ballots, action)

    patch.setattr(disks, "begin", unless_it_migrates)
    patch.setattr(disks, "done", at_the_end)


def a_copy_that_was_cut_off_is_taken_for_whole(patch: Patch) -> None:
    patch.setattr(Ballots, "begin_copy", lambda self, vm, disk: None)


def who_was_fenced_takes_its_disks_for_the_newest(patch: Patch) -> None:
    patch.setattr(register, "expel", lambda mine: mine)


def a_volume_of_ones_own_is_taken_for_shared(patch: Patch) -> None:
    """The source sends the VM to whatever its target has of its disks."""
    patch.setattr(copying, "why_not_sent", lambda w, handover, not_live, allow: "")
