"""Moving a VM that runs on another host than the site wants: live, cold, or not at all and why.

Decides how the source lets go. Invariant: when acting, a source lets go only of a VM that the
target has claimed. Must not know how the target comes to claim it (`peer`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from xsm.plan import copying, differences, disks
from xsm.plan.actions import Action, Consequence, Step, hold
from xsm.plan.observed import DomainState, cannot_receive
from xsm.plan.power import Finding, off_step, turn_off
from xsm.plan.round import BY_FILE, Round, why_there
from xsm.plan.sightings import Sighting
from xsm.plan.wanted import WantedVM
from xsm.site.model import HypervisorKind, Migration


def away(r: Round, w: WantedVM, s: Sighting, home: str) -> Iterator[Finding]:
    """`w` is active at `s`, and belongs on `home`."""
    if not w.is_on:
        yield turn_off(r.view, s, w.name, Consequence.STOP, BY_FILE)
        if r.view.foresees:
            yield _once_off(r, w, s, home)
        return
    action = _move(r, w, s, home)
    yield action
    if action.consequence is Consequence.HELD:
        # It stays for now, so what can change where it is needn't wait for the move.
        for found in differences.while_active(r, w, s):
            if not isinstance(found, Action) or found.consequence is Consequence.LIVE:
                yield found


def cut_off(r: Round, w: WantedVM, s: Sighting, runs_on: str) -> Action:
    """`s` is what a live migration left at its source when libvirtd died there at the very end. Its guest runs on the
    target by now (`runs_on`), and then this is only a leftover; or nowhere, and then it is the guest itself. Invariant:
    it never goes on before a claim has shown that no other host has it, and is never cleared away before another host
    says that it runs there."""
    home = w.host or ""
    there = r.view.elsewhere.get(w.name) or runs_on
    action = Action(
        w.name,
        s.host,
        Consequence.MIGRATE_LIVE,
        Step.NONE,
        "host",
        s.host,
        there or home or "another host",
        "its migration was cut off at the very end",
        uuid=s.domain.uuid,
        target=there,
    )
    if there:
        cleared = (
            f"{action.reason}; it runs on {there}, and what is left of it here is cleared away"
        )
        known = r.view.foresees or w.name in r.view.elsewhere
        return replace(action, step=Step.CLEAR if known else Step.NONE, reason=cleared)
    if home == s.host and w.is_on:
        reason = f"{action.reason}; it goes on here once no other host has it"
        start, step = Consequence.START, Step.CONTINUE
        action = replace(action, what="power", old="paused", new=str(w.vm.power), reason=reason)
        return replace(action, consequence=start, step=step)
    told = f"it is paused on {s.host}, cut off at the end of a live migration"
    return replace(
        action,
        consequence=Consequence.HELD,
        held=f"{told}. Where it runs on another host, that one tells {s.host}, which clears this away; "
        f"if it runs nowhere, `xsm migrate {w.name} {s.host}` lets it go on",
    )


def _move(r: Round, w: WantedVM, s: Sighting, home: str) -> Action:
    move = Action(
        w.name,
        s.host,
        Consequence.MIGRATE_LIVE,
        Step.MIGRATE,
        "host",
        s.host,
        home,
        why_there(w),
        uuid=s.domain.uuid,
        target=home,
    )
    kind, cold_only, claimed = _receiver(r, w, home)
    obstacle = r.obstacle(w, home, kind)
    if obstacle:
        return hold(move, obstacle)
    if w.vm.migration is Migration.NEVER:
        return hold(
            move,
            f"{r.written('MIGRATION', 'never')} keeps it there while it runs; "
            f"`xsm stop {w.name}` lets it move while it is off",
        )
    if s.domain.incoming or s.domain.state is DomainState.SHUTDOWN:
        return replace(
            move, step=Step.NONE, reason=f"{move.reason}; its guest is shutting down on {s.host}"
        )
    not_live = _not_live(r, w, s, home, kind, cold_only)
    if not_live and w.vm.migration is Migration.LIVE:
        allow = r.written("MIGRATION", "cold")
        return hold(move, f"live migration is not possible: {not_live}; {allow} allows a cold move")
    move = _with_disks(r, w, s, move, not_live)
    if move.held:
        return move
    if not_live:
        step, told = off_step(r.view, s)
        reason = f"{move.reason}; not live because {not_live}{told}"
        move = replace(move, consequence=Consequence.MIGRATE_COLD, step=step, reason=reason)
    if not claimed:
        return replace(move, held=f"waiting for {home} to claim it")
    wait = r.turn(w, home)
    if wait and not not_live:
        return replace(move, held=f"waiting for its turn: {wait}")
    return move


def _with_disks(r: Round, w: WantedVM, s: Sighting, move: Action, not_live: str) -> Action:
    """The move, held where the VM's disks forbid it, with what is to be copied along."""
    handover = (r.view.handovers or {}).get(w.name)
    copies = tuple(disk.name for disk in w.vm.disks) if w.vm.copies_disks else ()
    if handover is not None and handover.target == move.target and not handover.wait:
        allow = r.written("COPY_DISKS", "yes")
        unsent = copying.why_not_sent(w, handover, not_live, allow)
        if unsent:
            return hold(move, unsent)
        copies = handover.copies
    if not w.vm.copies_disks:
        return move
    if not_live:
        lacks = disks.obstacle(r.view, w, move.target)
        why = f"{lacks}; its disks are copied in a live move only, and {not_live}"
        return hold(move, why) if lacks else move
    kind = r.kind(s.host)
    if kind is not None and "disks" in differences.stale_parts(w, s.domain, kind):
        why = "its disks have changed in the files since it was started, so they can't go along"
        return hold(move, f"{why}: restart it where it runs, or stop it")
    if not copies:
        return move
    along = [volume for volume in disks.volumes(w.name, w.vm.disks) if volume.disk in copies]
    return replace(move, copies=copies, reason=f"{move.reason}; {copying.told(along)}")


def _once_off(r: Round, w: WantedVM, s: Sighting, home: str) -> Action:
    """What follows once the VM is off: it is defined on its own host instead. To be shown only; when
    that is so, the planner finds it by itself."""
    reason = why_there(w)
    move = Action(
        w.name,
        s.host,
        Consequence.MIGRATE_COLD,
        Step.NONE,
        "host",
        s.host,
        home,
        f"{reason}; moved once it is off",
        target=home,
    )
    obstacle = r.obstacle(w, home, r.kind(home))
    return hold(move, obstacle) if obstacle else move


def _receiver(r: Round, w: WantedVM, home: str) -> tuple[HypervisorKind | None, str, bool]:
    """The target's kind, why it can't receive live, and whether it has claimed the VM (foreseeing:
    it will)."""
    handover = (r.view.handovers or {}).get(w.name)
    if handover is not None and handover.target == home:
        return handover.kind, handover.cold_only, True
    facts = r.view.facts(home)
    return (
        (facts.kind if facts else None),
        (cannot_receive(facts) if facts else ""),
        r.view.foresees,
    )


def _not_live(
    r: Round,
    w: WantedVM,
    s: Sighting,
    home: str,
    kind: HypervisorKind | None,
    cold_only: str,
) -> str:
    """Why the running guest can't be carried over. An unknown target is taken for able until it has
    claimed the VM."""
    if s.domain.uuid != w.uuid:
        # The target may have been defined with the new one already, and libvirt refuses two of one name.
        return "its new UUID takes a new start"
    source = r.view.facts(s.host)
    if source is not None and source.cold_only:
        return f"{s.host} can't: {source.cold_only}"
    if cold_only:
        return f"{home} can't: {cold_only}"
    if source is not None and kind is not None and source.kind is not kind:
        return f"{s.host} runs {source.kind} and {home} {kind}"
    return ""
