"""Whose wall clock is wrong, told from what the hosts' clocks say beside each other.

Decides only what is shown: clocks order edits for people, nothing that could hurt a VM rests on them. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping

OFF_LIMIT_S = 60.0
"""What differs by less agrees: an answer's date is whole seconds, and may be on its way for some."""


def remarks(ahead_s: Mapping[str, float], myself: str) -> dict[str, str]:
    """What is wrong with whose clock, by host. `ahead_s`: by how much each other host's clock is ahead of ours.

    The clocks that more than half of them agree on are right. Where there is no such half, ours is what the others are
    measured by.
    """
    all_ahead = {**ahead_s, myself: 0.0}
    right_s = _agreed(sorted(all_ahead.values()))
    found = {}
    for host, ahead in sorted(all_ahead.items()):
        off_s = ahead - right_s
        if abs(off_s) > OFF_LIMIT_S:
            whose = "most others'" if right_s or host == myself else "this host's"
            side = "ahead of" if off_s > 0 else "behind"
            found[host] = f"its clock is {_long(abs(off_s))} {side} {whose}"
    return found


def _agreed(all_ahead_s: list[float]) -> float:
    """What most of them agree on: ours (0) where it is among those, or where no most agree.

    `all_ahead_s`: sorted.
    """
    most = [
        each
        for each in all_ahead_s
        if 2 * sum(abs(other - each) <= OFF_LIMIT_S for other in all_ahead_s) > len(all_ahead_s)
    ]
    return 0.0 if 0.0 in most or not most else most[len(most) // 2]


def _long(seconds: float) -> str:
    minutes = round(seconds / 60)
    for unit_minutes, name in ((1440, "d"), (60, "h")):
        if minutes >= unit_minutes:
            return f"{round(minutes / unit_minutes, 1):g} {name}"
    return f"{minutes} min"
