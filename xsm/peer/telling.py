"""What a host still has to do, in words; and what is held, told once: a reason that was logged is logged again only
when it is another one.

Decides what is news. Must not know why anything is held.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from xsm.peer.events import Log

COUNTS = re.compile(r" \(\d+ of \d+ hosts agree\)|, \d+ times|; again in \d+ s")


@dataclass(frozen=True)
class ToDo:
    """What the last round found, in words. `revision` is the one that it planned for: a newer head
    may have come since, and then this says nothing about it. `frozen`: why nothing was planned."""

    revision: str = ""
    pending: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    frozen: str = ""


class Told:
    """What was logged last of each VM."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def news(self, held: Mapping[str, str | None]) -> list[Log]:
        """Log lines for what is held and why, where that is news. None: nothing to tell of the VM now, but what was
        told of it may only have been put off (by a new revision, say), and is no news when it comes back."""
        told: dict[str, str] = {}
        lines: list[Log] = []
        for vm, text in sorted(held.items()):
            before = self._told.get(vm, "")
            if text is not None and _news(text) != _news(before):
                lines.append(Log("held", vm, f"held: {text}"))
            told[vm] = before if text is None else text
        self._told = told
        return lines


def _news(text: str) -> str:
    """What of a reason is worth another line in the log: counts and countdowns change all the time."""
    return COUNTS.sub("", text)
