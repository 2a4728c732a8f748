"""A plan as people read it: grouped by consequence, old => new, the reason, and why something is
held.

Decides the layout alone; the groups and their order are the planner's (`Consequence`).
"""

from __future__ import annotations

from collections.abc import Mapping

from xsm.cli.screen import Cell, Screen
from xsm.cli.texts import count
from xsm.plan import forms
from xsm.plan.actions import Action, Consequence, Plan

SIGNS: dict[Consequence, tuple[str, str]] = {
    Consequence.DISK: ("+", "new"),
    Consequence.CREATE: ("+", "new"),
    Consequence.START: ("+", "new"),
    Consequence.LIVE: ("~", "move"),
    Consequence.MIGRATE_LIVE: (">", "move"),
    Consequence.MIGRATE_COLD: (">", "care"),
    Consequence.RESTART: ("!", "care"),
    Consequence.RECREATE: ("!", "care"),
    Consequence.PAUSE: ("-", "care"),
    Consequence.RESUME: ("+", "new"),
    Consequence.STOP: ("-", "gone"),
    Consequence.REMOVE: ("-", "gone"),
    Consequence.NEXT_BOOT: ("*", "care"),
    Consequence.HELD: ("=", "care"),
}
"""The sign before an action and its style."""

DISRUPTIVE = frozenset(
    {
        Consequence.MIGRATE_COLD,
        Consequence.RESTART,
        Consequence.RECREATE,
        Consequence.STOP,
        Consequence.REMOVE,
    }
)
"""What the people who use a VM notice: asked about even for the small commands."""


def action_row(action: Action) -> list[Cell | str]:
    """One action's cells: sign, VM, host, what changes, why; and what it waits for."""
    sign, style = SIGNS[action.consequence]
    waits = f" held: {action.held}" if action.held else ""
    return [
        Cell(sign, style),
        Cell(action.vm, "name"),
        action.host,
        Cell(forms.difference(action), style),
        f"({action.reason}){waits}",
    ]


def show_actions(screen: Screen, plan: Plan) -> None:
    """The groups, each under its heading."""
    for consequence, actions in forms.grouped(plan):
        screen.line(f"{forms.TITLES[consequence]}:", "head")
        screen.bare_rows([action_row(action) for action in actions], indent=2)


def show_plan(screen: Screen, plan: Plan, unreachable: Mapping[str, str]) -> None:
    """A whole plan: groups, notices, hosts that could not be asked, and a line that sums it up."""
    show_actions(screen, plan)
    # A host that doesn't answer is told once, below.
    told = [n for n in plan.notices if not n.foreign and (n.vm or n.host not in unreachable)]
    foreign = sum(n.foreign for n in plan.notices)
    if told or foreign:
        screen.line("To know:", "head")
    for notice in told:
        screen.line(forms.notice_line(notice), indent=2)
    if foreign:
        screen.line(
            f"{count(foreign, 'foreign domain')} left alone (`xsm vms` lists them)", indent=2
        )
    for host, reason in sorted(unreachable.items()):
        screen.line(f"no fresh report of {host}: {reason}", "care")
    screen.line(f"{forms.summary(plan)}.", "head")


def show_changes(screen: Screen, changes: tuple[str, ...]) -> None:
    """What changes in the site's description."""
    screen.line(count(len(changes), "change") + " of the site:", "head")
    for line in changes:
        screen.line(line, indent=2)
