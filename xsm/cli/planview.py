"""A plan as people read it: grouped by consequence, old => new, the reason, and why something is
held.

Decides the layout alone; the groups and their order are the planner's (`Consequence`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xsm.cli.screen import Cell, Screen
from xsm.cli.texts import count
from xsm.plan.actions import Action, Consequence, Plan

SIGNS: dict[Consequence, tuple[str, str]] = {
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


def groups(actions: Iterable[Action]) -> list[tuple[Consequence, list[Action]]]:
    """Actions by what they mean, in the planner's order; those that wait for something count as
    held.
    """
    found: dict[Consequence, list[Action]] = {}
    for action in actions:
        found.setdefault(consequence_of(action), []).append(action)
    return [(group, found[group]) for group in Consequence if group in found]


def consequence_of(action: Action) -> Consequence:
    return Consequence.HELD if action.held else action.consequence


def where(action: Action) -> str:
    return f"{action.host} => {action.target}" if action.target else action.host


def change(action: Action) -> str:
    """`memory 96 MiB => 128 MiB`; a held action says first what it would be."""
    held = action.held and action.consequence is not Consequence.HELD
    kind = f"{action.consequence}: " if held else ""
    return f"{kind}{action.what} {action.old or '-'} => {action.new or '-'}"


def action_row(action: Action) -> list[Cell | str]:
    sign, style = SIGNS[consequence_of(action)]
    held = f" HELD: {action.held}" if action.held else ""
    return [
        Cell(sign, style),
        Cell(action.vm, "name"),
        where(action),
        Cell(change(action), style),
        f"({action.reason}){held}",
    ]


def show_actions(screen: Screen, actions: Iterable[Action]) -> None:
    """The groups, each under its heading."""
    for group, members in groups(actions):
        screen.line(f"{group} ({len(members)})", "head")
        screen.bare_rows([action_row(action) for action in members], indent=2)


def show_plan(screen: Screen, plan: Plan, unreachable: Mapping[str, str]) -> None:
    """A whole plan: groups, notices, hosts that could not be asked, and a line that sums it up."""
    show_actions(screen, plan.actions)
    if plan.notices:
        screen.line(f"to know ({len(plan.notices)})", "head")
        for notice in plan.notices:
            place = f"{notice.vm} on {notice.host}" if notice.vm else notice.host
            screen.line(f"  {place}: {notice.message}")
    for host, reason in sorted(unreachable.items()):
        screen.line(f"no fresh report of {host}: {reason}", "care")
    if plan.actions and (plan.notices or unreachable or len(plan.actions) > 1):
        screen.line()
    screen.line(summary(plan), "head")


def summary(plan: Plan) -> str:
    """`Plan: 1 create, 2 live; 1 held.`"""
    if plan.empty:
        return "Plan: nothing to do."
    counted = [(group, len(members)) for group, members in groups(plan.actions)]
    going = [f"{number} {group}" for group, number in counted if group is not Consequence.HELD]
    held = [f"{number} held" for group, number in counted if group is Consequence.HELD]
    return "Plan: " + "; ".join(part for part in (", ".join(going), *held) if part) + "."


def show_changes(screen: Screen, changes: tuple[str, ...]) -> None:
    """What changes in the site's description."""
    screen.line(count(len(changes), "change") + " of the site:", "head")
    for line in changes:
        screen.line(line, indent=2)
