"""The order in which a host is emptied, as people read it: step by step, with times, and what stays.

Decides the layout alone; the order is `xsm.plan.draining`'s.
"""

from __future__ import annotations

from xsm.cli.screen import Cell, Screen
from xsm.cli.texts import age, count
from xsm.plan.order import Move, Order, Pace


def show_order(screen: Screen, order: Order) -> None:
    if order.moves:
        screen.line(f"The order ({sums(order)}):", "head")
        screen.bare_rows([_row(move) for move in order.moves], indent=2)
        screen.line(f"Times go by {_pace(order.pace)}.", "faint")
        if len(order.stages) > 1:
            screen.line(
                f"It takes {len(order.stages)} edits, each made when the one before is carried out: "
                "follow it to the end, or ask again.",
                "care",
            )
    if order.stays:
        screen.line(f"What stays on {order.host}:", "head")
        screen.bare_rows(
            [[Cell("=", "care"), Cell(vm, "name"), why] for vm, why in order.stays.items()],
            indent=2,
        )


def sums(order: Order) -> str:
    """ "3 moves in 2 steps, about 12 s" """
    steps = len({move.step for move in order.moves})
    total = f"about {age(order.total_s)}" if order.total_s else "at once"
    return f"{count(len(order.moves), 'move')} in {count(steps, 'step')}, {total}"


def _row(move: Move) -> list[Cell | str]:
    how = "it is off" if move.off else f"{move.memory_mib} MiB, {age(move.takes_s)}"
    notes = [how]
    if move.makes_room:
        notes.append("to make room")
    if move.stopped_for:
        notes.append(f"STOPPED for it: {move.stopped_for}")
    style = "care" if move.stopped_for else "move"
    return [
        f"{move.step}.",
        Cell(move.vm, "name"),
        Cell(f"{move.source} => {move.target}", style),
        f"({'; '.join(notes)})",
    ]


def _pace(pace: Pace) -> str:
    rate = f"{pace.rate_mib_s:.0f} MiB/s for each"
    known = "which earlier migrations had" if pace.measured else "an assumption: none was measured"
    return f"{rate}, {known}; {pace.out} at once from a host and {pace.into} to it"
