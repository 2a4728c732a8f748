"""The live migrations in flight from this host: how far they are, and calling them back.

Decides when the hypervisor is asked: about once a second, and only while something is in flight. What it tells is kept
in memory, for people. Must not decide which migration should end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from xsm.edge.hypervisor import Hypervisor, HypervisorError
from xsm.peer.converging import CONVERGE_LIMIT_S, TRY_AGAIN_S, Course, course, why_given_up
from xsm.peer.events import Finished, Way
from xsm.plan.actions import Action
from xsm.plan.observed import Job, Transfer

LOOK_EVERY_S = 1.0
ABORT_AGAIN_S = 0.2
"""How soon an abort is tried again that came before libvirt had begun the job."""


SWITCHED = "switched to post-copy: the guest runs on the target, and needs this host until the rest has come"


class Call(Protocol):
    """Runs a question to the hypervisor in a thread. Raises `HypervisorError`."""

    def __call__(self, what: Callable[[Hypervisor], Any]) -> Awaitable[Any]: ...


@dataclass
class _Flight:
    uuid: str
    shown: Transfer
    post_copy: bool  # its VM's entry allows it
    ends: str = ""  # why it was told to end
    gives_up: bool = False  # because it would never be done
    told: bool = False  # the hypervisor has taken the abort
    copied_at_s: float | None = None  # its age when all memory had been sent once

    @property
    def must_be_told(self) -> bool:
        """In post-copy there is no way back."""
        return bool(self.ends) and not self.told and not self.shown.job.post_copy


class Transfers:
    """To be used from the event loop."""

    def __init__(self, host: str, call: Call, converge_limit_s: float = CONVERGE_LIMIT_S) -> None:
        self._host = host
        self._call = call
        self._converge_limit_s = converge_limit_s
        self._flights: dict[str, _Flight] = {}  # UUID -> its flight
        self._news = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def now(self) -> tuple[Transfer, ...]:
        """All that are in flight, by VM."""
        return tuple(sorted((f.shown for f in self._flights.values()), key=lambda t: t.vm))

    def begin(self, action: Action, way: Way) -> None:
        shown = Transfer(action.vm, self._host, action.target)
        self._flights[action.uuid] = _Flight(action.uuid, shown, way.post_copy)
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look_on())

    def end(self, finished: Finished) -> Finished:
        """It is over, well or not; its outcome, where it was told to end in those words."""
        action = finished.action
        flight = self._flights.pop(action.uuid)
        if not self._flights and self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if not finished.error or not flight.told:
            return finished
        if flight.gives_up:
            return Finished(action, "", flight.ends, TRY_AGAIN_S)
        return Finished(action, f"ended on the way to {action.target}, it runs on here")

    def call_back(self, action: Action, why: str) -> None:
        """End it as soon as the hypervisor takes the word; one that is over meanwhile needs none."""
        flight = self._flights.get(action.uuid)
        if flight is not None and not flight.ends:
            flight.ends = why
            flight.shown = replace(flight.shown, note=f"called back: {why}")
            self._news.set()

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def _look_on(self) -> None:
        while True:
            wants = any(f.must_be_told for f in self._flights.values())
            # No news is the rule: then it is time to look.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ABORT_AGAIN_S if wants else LOOK_EVERY_S):
                    await self._news.wait()
            self._news.clear()
            for flight in list(self._flights.values()):
                await self._look(flight)

    async def _look(self, flight: _Flight) -> None:
        uuid = flight.uuid
        try:
            if flight.must_be_told:
                await self._call(lambda hypervisor: hypervisor.abort(uuid))
                flight.told = True
            job: Job | None = await self._call(lambda hypervisor: hypervisor.job(uuid))
            if job is not None:
                await self._steer(flight, job)
        except HypervisorError:
            return  # it has not begun, or is just over: the call that migrates tells how it ends

    async def _steer(self, flight: _Flight, job: Job) -> None:
        """Note how far it is; one that doesn't come to an end goes on in another way, or not at all."""
        if job.iteration > 1 and flight.copied_at_s is None:
            flight.copied_at_s = job.elapsed_s
        flight.shown = replace(flight.shown, job=job)
        if flight.ends:
            return
        next_course = course(job, flight.copied_at_s, self._converge_limit_s, flight.post_copy)
        if next_course is Course.POST_COPY:
            await self._call(lambda hypervisor: hypervisor.post_copy(flight.uuid))
            flight.shown = replace(flight.shown, job=replace(job, post_copy=True), note=SWITCHED)
        elif next_course is Course.GIVE_UP:
            flight.ends = why_given_up(job, self._converge_limit_s)
            flight.gives_up = True
            flight.shown = replace(flight.shown, note=f"given up: {flight.ends}")
            self._news.set()
