"""The rules of disks, each switched off: real code with one piece replaced."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xsm.peer import disks, register
from xsm.peer.ballots import Ballots
from xsm.peer.register import Register

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
