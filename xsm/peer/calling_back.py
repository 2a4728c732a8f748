"""Migrations in flight that the site no longer wants: they are called back.

Decides which, from the document alone: where it no longer says that the VM belongs on the target, its source ends the
migration, and the guest runs on there. Claims are put right as after any other edit: the source claims the VM anew,
and so evicts the target. A call that comes too late changes nothing: then the VM runs on the target, and moves again.
Must not know how a migration is ended.
"""

from __future__ import annotations

from xsm.peer.events import Abort, Effect, Log
from xsm.peer.work import Work
from xsm.plan.actions import Action, Step
from xsm.plan.observed import HostReport
from xsm.plan.wanted import Wanted


def call_back(work: Work, wanted: Wanted, report: HostReport | None) -> list[Effect]:
    """End what is to end; each migration is told so once. Where the host's hypervisor can't (`report`), all arrive, and
    move back."""
    effects: list[Effect] = []
    if report is not None and report.facts is not None and report.facts.no_abort:
        return effects
    for vm, flight in sorted(work.in_flight.items()):
        action = flight.action
        why = why_back(action, wanted) if action.step is Step.MIGRATE else ""
        if why and not flight.called_back:
            work.call_back(vm, why)
            effects.append(Log("action", vm, f"called back from {action.target}: {why}"))
            effects.append(Abort(action, why))
    return effects


def why_back(action: Action, wanted: Wanted) -> str:
    """Why the migration should not go on, "" when it should."""
    w = wanted.by_name.get(action.vm)
    if w is None:
        return "the site file no longer has it"
    if w.conflicts or w.host == action.target:
        return ""  # nothing is done to a VM about which two edits disagree, what was begun included
    return f"it belongs on {w.host} now" if w.host else "the site has no place for it now"
