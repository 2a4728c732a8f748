"""The rules of fencing, and of VMs that arrive where others have yet to leave, each switched off: real code with one
piece replaced.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from tests.sim import fencing as devices
from xsm.peer import fencing, membership
from xsm.peer.contacts import Contacts
from xsm.peer.fencing import Due
from xsm.peer.membership import Change
from xsm.plan import capacity
from xsm.plan import round as rounds
from xsm.site.document import Document

Patch = pytest.MonkeyPatch


def fenced_without_a_majority(patch: Patch) -> None:
    """Whoever wants a host fenced has it fenced; other changes of members take a majority as ever."""
    real = membership.enough

    def enough(change: Change, names: Collection[str]) -> bool:
        return bool(change.fenced) or real(change, names)

    patch.setattr(membership, "enough", enough)


def fenced_whatever_the_device_says(patch: Patch) -> None:
    """The change is committed, and VMs start elsewhere, though the fence agent failed."""
    patch.setattr(devices, "why_not_off", lambda world, name: "")


def hosts_that_others_hear_are_fenced(patch: Patch) -> None:
    """Voters don't mind that they heard of the host just now."""
    patch.setattr(membership, "still_heard", lambda ask, heard_s: "")


def a_storm_fences_on(patch: Patch) -> None:
    """No storm guard: however many are silent or fenced already."""
    real = fencing.due

    def due(document: Document, contacts: Contacts, tried_at: float, now: float) -> Due | None:
        found = real(document, contacts, tried_at, now)
        return replace(found, why_not="") if found else None

    patch.setattr(fencing, "due", due)


def arrivals_do_not_wait_for_room(patch: Patch) -> None:
    """Who comes doesn't count the memory of who has yet to leave."""
    patch.setattr(capacity, "leaving_from", lambda wanted, report: ())


def arrivals_do_not_wait_for_those_apart(patch: Patch) -> None:
    patch.setattr(rounds, "leaving_from", lambda wanted, report: ())
