"""From somebody's edit to the files of the next revision: checked, merged with what came since, floating VMs placed.

Decides whether an edit is accepted, and what exactly is committed. Must not know how it came (apply, save, command)
nor where it is stored. Equal inputs give equal files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from xsm.plan.capacity import unfit
from xsm.plan.observed import HostReport
from xsm.plan.order import ASSUMED_PACE, Pace
from xsm.plan.place import place
from xsm.site import checks, disks, state_file
from xsm.site.changes import describe, diff
from xsm.site.conflicts import active_conflicts
from xsm.site.document import SITE_FILES, Document, Files, load
from xsm.site.fields import vm_label
from xsm.site.merge import merge
from xsm.site.merge_site import FLOATING, REMOVED
from xsm.site.problems import Invalid, Problem, Severity
from xsm.site.side import Side, side_of
from xsm.site.state import Conflict, DiskWord, State

STATE_FOLDER = "state/"


@dataclass(frozen=True)
class Surroundings:
    """What placing floating VMs looks at beside the document."""

    reports: Mapping[str, HostReport]
    unreachable: Mapping[str, str]
    now: float  # wall clock, seconds since the epoch
    moving: Mapping[str, str] = field(
        default_factory=dict
    )  # floating VM -> member that somebody chose for it
    planned: Mapping[str, str] = field(
        default_factory=dict
    )  # floating VM -> member to which the site itself moves it (draining)
    pace: Pace = ASSUMED_PACE  # of the live migrations that an order counts on


@dataclass(frozen=True)
class Edited:
    """What to commit. `files` is the whole tree; empty `changes`: the site already is like that."""

    files: Files
    document: Document
    changes: tuple[str, ...]
    warnings: tuple[Problem, ...]


class Overtaken(Exception):
    """The edit was made from an older revision and disagrees with what came since."""

    def __init__(self, conflicts: tuple[Conflict, ...], head: Files, edited: Files) -> None:
        self.conflicts = conflicts
        sides = side_of(head), side_of(edited)
        super().__init__("; ".join(_disagreement(c, *sides) for c in conflicts))


def _disagreement(conflict: Conflict, head: Side, edited: Side) -> str:
    """Who says what. What a conflict shows is the edit's word unless only the head says so: a VM that one side removes
    and the other changes is shown, whoever removes it."""
    vm, what, mine, theirs = conflict.vm, conflict.what, conflict.shown, conflict.other
    if head.says(vm, what) == conflict.shown != edited.says(vm, what):
        mine, theirs = theirs, mine
    if what == "removal":
        said = ("remove", "changed") if mine == REMOVED else ("change", "removed")
        return f"{vm}: you {said[0]} it, meanwhile somebody {said[1]} it"
    return f"{vm}: {vm_label(what)}: you say {mine or 'none'}, meanwhile somebody said {theirs or 'none'}"


class PlaceRefused(Exception):
    """Somebody chose a host for a floating VM that can't have it. The message says why."""


def overlay(files: Files, put: Files, remove: tuple[str, ...]) -> Files:
    """`files` with `put` in place and `remove` gone. A site file in the other format replaces the present one.

    Raises `Invalid` for paths under state/: what the site decides is changed by commands, not by hand.
    """
    wrong = sorted(
        p for p in (*put, *remove) if p.startswith(STATE_FOLDER) and put.get(p) != files.get(p)
    )
    if wrong:
        raise Invalid(
            Problem(
                p,
                0,
                "state/ is written by XSM itself",
                "leave it out; commands like `xsm migrate` change it",
            )
            for p in wrong
        )
    gone = set(remove) - set(put)
    if any(p in put for p in SITE_FILES):
        gone |= {p for p in SITE_FILES if p in files and p not in put}
    return {**{p: content for p, content in files.items() if p not in gone}, **put}


def edit(
    head: Files,
    head_id: str,
    base: Files,
    base_id: str,
    edited: Files,
    around: Surroundings,
    state: State | None = None,
) -> Edited:
    """Make the next revision's files from an edit.

    `edited` is the whole tree as the user wants it, made from `base`; `head` is what main shows now. `state`: state
    tables that a command changed, None to keep the head's. Raises `Invalid` (all problems), `Overtaken`,
    `PlaceRefused`.
    """
    wanted = edited
    if base_id != head_id:
        merged = merge(base, head, edited, head_id, "this edit")
        known = {(c.vm, c.what, c.shown) for c in _conflicts(head)}
        fresh = tuple(c for c in merged.conflicts if (c.vm, c.what, c.shown) not in known)
        if fresh:
            raise Overtaken(fresh, head, edited)
        wanted = merged.files
    old_state = state_file.read(head)
    new_state = state if state is not None else old_state
    tree = {p: c for p, c in wanted.items() if not p.startswith(STATE_FOLDER)}
    document = load({**tree, **state_file.write(new_state)})
    before = load(head)
    _refuse_witnesses(document, before)
    settled, unplaced = _settle(document, around)
    files = {**tree, **state_file.write(settled)}
    document = load(files)
    renamed = disks.renamed(document.site_path, before.site.vms(), document.site.vms())
    warnings = sorted({*document.warnings, *unplaced, *unfit(document, around.reports), *renamed})
    return Edited(files, document, describe_changes(head, files), tuple(warnings))


def _refuse_witnesses(document: Document, head: Document) -> None:
    """No VM is pinned to a host that runs none. Raises `Invalid`, but not for one that is so already: two edits at once
    may have come to that, and others go on."""
    before = {name: host for name, (_, host) in head.pinned_to_witnesses().items()}
    fresh = [
        checks.witness_problem(document.site_path, vm, host, Severity.ERROR)
        for name, (vm, host) in document.pinned_to_witnesses().items()
        if before.get(name) != host
    ]
    if fresh:
        raise Invalid(fresh)


def _conflicts(files: Files) -> tuple[Conflict, ...]:
    return state_file.read(files).conflicts


def _settle(document: Document, around: Surroundings) -> tuple[State, list[Problem]]:
    """The state tables that belong to this document: every floating VM that fits has a place, nothing is left over.
    And a warning for each that doesn't fit anywhere."""
    vms = {vm.name: vm for vm in document.site.vms()}
    chosen = {
        vm: host
        for vm, host in document.state.placement.items()
        if vm in vms and vms[vm].host is None
    }
    document = replace(document, state=replace(document.state, placement=chosen))
    seen = (around.reports, around.unreachable, around.now)
    placed = place(document, *seen, around.moving, around.planned)
    if placed.refused:
        raise PlaceRefused(
            "; ".join(
                f"{vm} can't go to {around.moving[vm]}: {why}"
                for vm, why in sorted(placed.refused.items())
            )
        )
    unplaced = [
        Problem(
            document.site_path,
            vms[vm].line,
            f"no host was found for {vm}: {why}",
            "it waits for an edit that makes room",
            Severity.WARNING,
        )
        for vm, why in sorted(placed.unplaced.items())
    ]
    by_person = _chosen(document.state, placed.placements, around.moving)
    state = replace(
        document.state,
        placement=dict(placed.placements),
        chosen=by_person,
        away={vm: host for vm, host in document.state.away.items() if vm in placed.placements},
        restarts={vm: token for vm, token in document.state.restarts.items() if vm in vms},
        disk_words=_words_that_hold(document, placed.placements),
        conflicts=_unsettled(document, by_person, around.moving),
    )
    return state, unplaced


def _words_that_hold(
    document: Document, placements: Mapping[str, str]
) -> dict[str, dict[str, DiskWord]]:
    """Words that a VM's host may make a disk. One for a host that the VM has left holds no more: if the VM came there
    again, its data would be elsewhere."""
    kept: dict[str, dict[str, DiskWord]] = {}
    for name, words in document.state.disk_words.items():
        vm = document.vms.get(name)
        if vm is None:
            continue
        host = document.host_name(vm.host) if vm.host else placements.get(name)
        mine = {disk: word for disk, word in words.items() if word.host == host}
        if mine:
            kept[name] = mine
    return kept


def _chosen(
    before: State, placements: Mapping[str, str], moving: Mapping[str, str]
) -> frozenset[str]:
    """The floating VMs that are where a person chose, now or earlier."""
    stayed = {vm for vm in before.chosen if placements.get(vm) == before.placement.get(vm)}
    return frozenset((stayed | moving.keys()) & placements.keys())


def _unsettled(
    document: Document, chosen: frozenset[str], moving: Mapping[str, str]
) -> tuple[Conflict, ...]:
    """The conflicts that this edit leaves as they are. That the site finds a floating VM another place than the one
    somebody chose settles none over its host: nobody said so."""
    vms = {vm.name: vm for vm in document.site.vms()}
    left = []
    for conflict in active_conflicts(document.site, document.state):
        kept = conflict
        if conflict.what == "host" and vms[conflict.vm].host is None:
            if conflict.vm in moving:
                continue
            if conflict.shown != FLOATING and conflict.vm not in chosen:
                lost = conflict.shown if conflict.other == FLOATING else conflict.other
                kept = replace(conflict, shown=FLOATING, other=lost)
        left.append(kept)
    return tuple(left)


def describe_changes(old: Files, new: Files) -> tuple[str, ...]:
    """What changed between two valid trees, one line each, for people."""
    before, after = load(old), load(new)
    lines = [describe(change) for change in diff(before.site, after.site)]
    paths = sorted({*old, *new} - set(SITE_FILES))
    for path in paths:
        if path.startswith(STATE_FOLDER) or old.get(path) == new.get(path):
            continue
        lines.append(
            f"{path}: "
            + ("added" if path not in old else "removed" if path not in new else "changed")
        )
    if before.site_path != after.site_path:
        lines.append(f"{before.site_path} => {after.site_path}")
    elif not lines and old[before.site_path] != new[after.site_path]:
        lines.append(f"{after.site_path}: layout or comments only")
    return tuple(lines + _state_changes(before.state, after.state))


def _state_changes(old: State, new: State) -> list[str]:
    lines = []
    for vm in sorted({*old.placement, *new.placement}):
        was, now = old.placement.get(vm), new.placement.get(vm)
        if was != now and now is not None:
            lines.append(f"{vm}: placed on {now}" + (f" (was {was})" if was else ""))
    lines += new.hosts_since(old)
    asked = [vm for vm in sorted(new.restarts) if new.restarts[vm] != old.restarts.get(vm)]
    lines += [f"{vm}: restart asked for" for vm in asked]
    lines += new.disk_words_since(old)
    there = {(c.vm, c.what) for c in new.conflicts}
    lines += [
        f"{c.vm}: conflict over {vm_label(c.what)} settled"
        for c in old.conflicts
        if (c.vm, c.what) not in there
    ]
    return lines
