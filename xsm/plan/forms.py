"""The plan in words: groups by consequence, one line an action, one line for the whole. The same
for CLI, web and tests.

Decides wording only. Must not know about terminals (colours and widths are the CLI's).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from xsm.plan.actions import Action, Consequence, Notice, Plan

TITLES = {
    Consequence.DISK: "Make or grow disks, before a start",
    Consequence.CREATE: "Create",
    Consequence.START: "Start",
    Consequence.LIVE: "Change live (no restart)",
    Consequence.MIGRATE_LIVE: "Migrate live",
    Consequence.MIGRATE_COLD: "Migrate cold (stopped, then started on the other host)",
    Consequence.RESTART: "Restart (as asked)",
    Consequence.RECREATE: "Define anew (disks stay)",
    Consequence.PAUSE: "Pause",
    Consequence.RESUME: "Resume",
    Consequence.STOP: "Stop",
    Consequence.REMOVE: "Remove (disks stay)",
    Consequence.NEXT_BOOT: "Restart needed (done only when asked: `xsm restart VM`)",
    Consequence.HELD: "Held (nothing is done until the reason is gone)",
}

RUNS_TWICE = "its disks may be damaged. XSM stops neither; find out which one is right and `virsh destroy` the other"
"""What to do about a VM that runs twice."""

COUNTED = {
    Consequence.DISK: "to make disks for",
    Consequence.CREATE: "to create",
    Consequence.START: "to start",
    Consequence.LIVE: "to change live",
    Consequence.MIGRATE_LIVE: "to migrate live",
    Consequence.MIGRATE_COLD: "to migrate cold",
    Consequence.RESTART: "to restart",
    Consequence.RECREATE: "to define anew",
    Consequence.PAUSE: "to pause",
    Consequence.RESUME: "to resume",
    Consequence.STOP: "to stop",
    Consequence.REMOVE: "to remove",
    Consequence.NEXT_BOOT: "to change at a restart",
    Consequence.HELD: "held",
}

_SAYS_ITSELF = frozenset(
    {Consequence.DISK, Consequence.CREATE, Consequence.START, Consequence.PAUSE, Consequence.RESUME, Consequence.STOP,
     Consequence.REMOVE, Consequence.RESTART}
)  # fmt: skip
"""Consequences whose lines need no "power running => paused" to be understood; their lines name the
host."""


def grouped(plan: Plan) -> tuple[tuple[Consequence, tuple[Action, ...]], ...]:
    """The plan's actions by consequence, in the order in which people want to read them; no empty
    groups. What is held in the same words on several hosts is told once."""
    return tuple(
        (consequence, _told_once(actions))
        for consequence, actions in groupby(plan.actions, key=lambda a: a.consequence)
    )


def _told_once(actions: Iterable[Action]) -> tuple[Action, ...]:
    """A VM that runs on two hosts is held on both, for the same reason."""
    told: dict[Action, list[str]] = {}
    for action in actions:
        alike = replace(action, host="", uuid="") if action.held else action
        told.setdefault(alike, []).append(action.host)
    return tuple(
        replace(action, host=", ".join(dict.fromkeys(hosts))) for action, hosts in told.items()
    )


def difference(action: Action) -> str:
    return action.change


def line(action: Action) -> str:
    """One action in one line: "vm1  memory 96 MiB => 128 MiB  live  (the site file says so)"."""
    parts = [action.vm]
    if action.consequence in _SAYS_ITSELF:
        parts += [f"{action.consequence} on {action.host}", difference(action)]
    elif action.consequence is Consequence.HELD:
        parts += [f"{difference(action)}", f"held: {action.held}"]
        return "  ".join(parts)
    else:
        parts += [difference(action), str(action.consequence)]
    parts.append(f"({action.reason})")
    if action.held:
        parts.append(f"waits: {action.held}")
    return "  ".join(parts)


def notice_line(notice: Notice) -> str:
    where = f"{notice.vm} on {notice.host}" if notice.vm else notice.host
    return f"{where}: {notice.message}"


def summary(plan: Plan) -> str:
    """Counts of VMs: "Plan: 1 to create, 2 to change live, 1 held"."""
    if plan.empty:
        return "Plan: nothing to do, every VM is as the site file says"
    counts = [
        f"{len({a.vm for a in actions})} {COUNTED[consequence]}"
        for consequence, actions in grouped(plan)
    ]
    return "Plan: " + ", ".join(counts)


def text(plan: Plan) -> str:
    """The whole plan in plain text, for a log, a commit message or a golden file."""
    lines = []
    for consequence, actions in grouped(plan):
        lines.append(f"{TITLES[consequence]}:")
        lines += [f"  {line(action)}" for action in actions]
    if plan.notices:
        lines.append("Notices:")
        lines += [f"  {notice_line(notice)}" for notice in plan.notices]
    return "\n".join([*lines, summary(plan)]) + "\n"
