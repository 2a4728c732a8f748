"""Whose turn it is to be migrated live to this host: so many at a time.

Decides by what arrives here already and by whom it was told to come. A turn that nobody takes passes on, so that a VM
that its source can't send just now holds up no other one. Must not know claims; a turn is no right to anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xsm.peer.work import MIGRATIONS_LIMIT
from xsm.plan.observed import HostReport

ARRIVALS_LIMIT = 2
"""Live migrations to this host at once, unless its settings say otherwise. As for those away from it."""
TURN_S = 3.0
"""How long a turn waits for the VM to be announced by this host's hypervisor, and how long who asked counts as waiting:
questions come each second (`claims.ASK_AGAIN_S`)."""


@dataclass(frozen=True)
class Limits:
    """How many live migrations a host has at once, by its settings."""

    migrations: int = MIGRATIONS_LIMIT  # away from it
    arrivals: int = ARRIVALS_LIMIT


LIMITS = Limits()


class Receiving:
    def __init__(self, limit: int = ARRIVALS_LIMIT) -> None:
        self._limit = limit
        self._turns: dict[str, float] = {}  # VM -> when it was told to come, or last seen arriving
        self._waits: dict[str, float] = {}  # VM -> when it asked last, in vain
        self._passed: dict[str, float] = {}  # VM -> when its turn passed without it

    def turn(self, vm: str, report: HostReport | None, claimed: Iterable[str], now: float) -> str:
        """Why `vm` is to wait, "" when it may come. `claimed`: the VMs that this host is about to get."""
        arriving = {d.name for d in report.domains if d.incoming} if report else set()
        self._expire(arriving, set(claimed), now)
        if vm in self._turns:
            return ""
        busy = sorted(arriving | self._turns.keys())
        self._waits[vm] = now
        queue = sorted(self._waits, key=lambda each: (self._passed.get(each, 0.0), each))
        if vm in queue[: max(0, self._limit - len(busy))]:
            del self._waits[vm]
            self._turns[vm] = now
            return ""
        return f"after {', '.join(busy or queue[:1])}"

    def _expire(self, arriving: set[str], claimed: set[str], now: float) -> None:
        for vm, since in sorted(self._turns.items()):
            if vm in arriving:
                self._turns[vm] = now
            elif vm not in claimed:
                del self._turns[vm]
            elif now > since + TURN_S:
                del self._turns[vm]
                self._passed[vm] = now
        self._waits = {vm: at for vm, at in self._waits.items() if now <= at + TURN_S}
        self._passed = {vm: at for vm, at in self._passed.items() if vm in claimed}
