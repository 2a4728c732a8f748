"""A host is emptied for servicing, and taken back: `xsm host drain` and `resume` as state tables.

Decides which VMs are to leave by one edit, which come home, and which stay when somebody gives up. Where they go and in
which order is `plan.draining`'s. Must not know how an edit is stored or carried out.
"""

from __future__ import annotations

from dataclasses import replace

from xsm.peer.commands import Intent, find_member
from xsm.peer.edit import Surroundings
from xsm.plan.draining import order, where_active
from xsm.site.document import Document, Files


def drain(files: Files, document: Document, host: str, around: Surroundings) -> Intent:
    """A host is to run no VMs. Those that float leave it; which ones they were is kept, for `resume`.

    Where the order has several stages this is its first, and the host is drained only by the last: until then it may
    have VMs, or the site would send them off at its next edit, before there is room.
    """
    name = find_member(document, host)
    found = order(document, around.reports, around.unreachable, name, around.pace)
    state, stage = document.state, found.stages[0] if found.stages else ()
    last = len(found.stages) < 2
    leave = {
        vm: name
        for vm, member in state.placement.items()
        if member == name and (last or any(move.vm == vm for move in stage))
    }
    drained = state.drained | ({name} if last else set())
    state = replace(state, drained=drained, away={**state.away, **leave})
    subject = f"Drain {name}" if last else f"Drain {name}: 1 of {len(found.stages)} edits"
    return Intent(
        files, state, subject, planned={move.vm: move.target for move in stage}, order=found
    )


def resume(
    files: Files,
    document: Document,
    host: str,
    home: bool = False,
    stay: bool = False,
    around: Surroundings | None = None,
) -> Intent:
    """It may run VMs again. `home`: those that a drain made leave it come back, but for those that somebody gave
    another place since. `stay`: the drain is given up: what has not begun to move stays where it runs; what left may
    be brought home later."""
    name = find_member(document, host)
    state = document.state
    left = [vm for vm, member in sorted(state.away.items()) if member == name]
    if stay and around is not None:
        return _give_up(files, document, name, around)
    away = {vm: member for vm, member in state.away.items() if member != name}
    after = replace(state, drained=state.drained - {name}, away=away)
    coming = [vm for vm in left if vm in state.placement and vm not in state.chosen]
    moving = dict.fromkeys(coming, name) if home else {}
    return Intent(files, after, f"Take {name} back into use", moving)


def _give_up(files: Files, document: Document, name: str, around: Surroundings) -> Intent:
    """What the site itself is still to move stays, by the word of the hosts that answer; what is under way ends."""
    state, reports = document.state, around.reports.values()
    moving = {t.vm for report in reports for t in report.transfers}
    moving |= {d.tag.vm for report in reports for d in report.domains if d.incoming and d.tag}
    stays = {}
    for vm, runs_on in sorted(where_active(document, around.reports).items()):
        place = state.placement.get(vm, runs_on)
        to_move = runs_on != place and vm not in moving and vm not in state.chosen
        if to_move and (runs_on == name or runs_on not in state.drained):
            stays[vm] = runs_on
    away = {vm: member for vm, member in state.away.items() if stays.get(vm) != member}
    after = replace(state, drained=state.drained - {name}, away=away)
    return Intent(files, after, f"Give up draining {name}", planned=stays)
