"""Whose turn it is: how many requests of a kind are answered at once, and that nobody takes all the turns.

Decides who waits and who is told to come again. Must not know what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from xsm.api.access import GATE_LIMITS, Gate
from xsm.api.asking import refused


@dataclass
class _Share:
    """What one caller may have of one gate: half, so that there is room for others."""

    turns: asyncio.Semaphore
    users: int = field(default=0)


class Turns:
    """The turns at one door."""

    def __init__(self, wait_s: float, *, shared: bool) -> None:
        """`wait_s`: how long a request waits. `shared`: no caller may have more than half of a kind."""
        self._wait_s = wait_s
        self._shared = shared
        self._gates = {gate: asyncio.Semaphore(n) for gate, n in GATE_LIMITS.items()}
        self._shares: dict[tuple[Gate, str], _Share] = {}

    @asynccontextmanager
    async def turn(self, gate: Gate, who: str) -> AsyncIterator[None]:
        """Raises `Refused` (503) when it doesn't come in time. `who`: a caller's name, or a stranger's address."""
        key = (gate, who if self._shared else "")
        most = max(1, GATE_LIMITS[gate] // 2) if self._shared else GATE_LIMITS[gate]
        share = self._shares.setdefault(key, _Share(asyncio.Semaphore(most)))
        share.users += 1
        try:
            await self._wait(share.turns, self._gates[gate])
            try:
                yield
            finally:
                self._gates[gate].release()
                share.turns.release()
        finally:
            share.users -= 1
            if not share.users:
                del self._shares[key]

    async def _wait(self, own: asyncio.Semaphore, gate: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await own.acquire()
                try:
                    await gate.acquire()
                except BaseException:
                    own.release()
                    raise
        except TimeoutError:
            raise refused(503, "busy", "too many requests at once", "try again later") from None
