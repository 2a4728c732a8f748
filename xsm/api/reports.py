"""What all members report of themselves, asked for at once and not again and again.

Decides how old a report may be that answers a question, and what stands for one that doesn't answer: the last one,
and why. Must not know what the reports are for.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from xsm.edge.transport import PeerRefused, PeerUnreachable
from xsm.plan.observed import HostReport

if TYPE_CHECKING:
    from xsm.daemon import Daemon

REPORT_LIMIT_S = 2.0
"""How long a question waits for another host's report; it goes on without."""
REPORT_AGE_S = 1.0
"""A report that is no older is used again, so that many questions at once ask each host only once."""


def own_report(daemon: Daemon) -> HostReport | None:
    """This host's word on itself, with what its hypervisor tells of migrations in flight, and what is wrong with its
    certificates and its Serf."""
    own = daemon.peer.own_report()
    if own is None:
        return None
    answers = daemon.answers
    troubles = (
        answers.renewing.trouble,
        answers.revoking.trouble,
        daemon.hinting.lasting_trouble,
    )
    notes = (*own.notes, *(f"{own.host}: {trouble}" for trouble in troubles if trouble))
    return replace(own, transfers=daemon.observer.transfers.now(), notes=notes)


class Reports:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._last: dict[str, tuple[float, HostReport]] = {}  # host -> when it came

    def forget(self) -> None:
        """Ask everybody anew next time."""
        self._last.clear()

    def clocks_ahead_s(self) -> dict[str, float]:
        """By how much the other members' wall clocks are ahead of ours, of those that are heard of."""
        found = {m: self._daemon.client.clock_ahead_s(m) for m in self._daemon.members()}
        return {m: ahead for m, ahead in found.items() if ahead is not None}

    async def gather(
        self, age_s: float = REPORT_AGE_S
    ) -> tuple[dict[str, HostReport], dict[str, str]]:
        """All members' reports, asked for at once where they are older; and why some are missing."""
        own = own_report(self._daemon)
        reports = {self._daemon.peer.name: own} if own else {}
        unreachable: dict[str, str] = (
            {} if own else {self._daemon.peer.name: "has not looked at its hypervisor yet"}
        )
        others = sorted(m for m in self._daemon.members() if m != self._daemon.peer.name)
        results = await asyncio.gather(
            *(self._report(m, age_s) for m in others), return_exceptions=True
        )
        for member, result in zip(others, results, strict=True):
            if isinstance(result, HostReport):
                reports[member] = result
            elif isinstance(result, PeerUnreachable | PeerRefused | TimeoutError):
                unreachable[member] = _why_silent(result)
                last = self._last.get(member)
                if last is not None:
                    reports[member] = last[1]
                    self._last[member] = float("-inf"), last[1]
            elif isinstance(result, BaseException):
                raise result
        return reports, unreachable

    async def _report(self, member: str, age_s: float) -> HostReport:
        """Raises `PeerUnreachable`, `PeerRefused`, `TimeoutError`."""
        last = self._last.get(member)
        if last is not None and self._daemon.clock() - last[0] < age_s:
            return last[1]
        async with asyncio.timeout(REPORT_LIMIT_S):
            report = await self._daemon.client.get_report(self._daemon.members()[member])
        # By our clock, as all others: one that is behind would always look old.
        report = replace(report, at=report.at - (self._daemon.client.clock_ahead_s(member) or 0.0))
        self._last[member] = (self._daemon.clock(), report)
        return report


def _why_silent(error: BaseException) -> str:
    """Why a member's report is missing; who it is stands beside it already."""
    if isinstance(error, PeerUnreachable):
        return error.reason
    if isinstance(error, PeerRefused):
        return f"it refuses to say: {error.refusal.message}"
    return f"it did not answer within {REPORT_LIMIT_S:.0f} s"
