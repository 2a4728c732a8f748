"""The connection to this host's hypervisor: looking at it, acting on it, finding it again after it was gone.

Decides when to look (one look at a time, requests meanwhile make one more follow) and when a call counts as hanging.
Must not decide what to do: it turns libvirt's state into reports and planned steps into outcomes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from xsm.edge.act import perform
from xsm.edge.hypervisor import Hypervisor, HypervisorError
from xsm.edge.preflight import Preflight
from xsm.edge.seeds import Seeds
from xsm.edge.transfers import Transfers
from xsm.peer.converging import CONVERGE_LIMIT_S
from xsm.peer.events import Finished, Perform
from xsm.peer.work import ACTIONS_LIMIT
from xsm.plan.actions import Action, Step
from xsm.plan.observed import Domain, HostReport
from xsm.site.needs import Needs

LOOK_LIMIT_S = 30.0
"""A hypervisor that takes longer to list its domains counts as not answering."""
LOOK_PAUSE_S = 0.02
"""Least time between two looks: a storm of libvirt events costs a bounded number of them."""
RECONNECT_S = (0.5, 1.0, 2.0, 5.0)
"""Pause before the first, second, ... try to connect again; the last one repeats."""
CLOSE_LIMIT_S = 1.0
"""How long a hypervisor may take to let go of us."""

Result = TypeVar("Result")

Connect = Callable[[Callable[[str], None]], Hypervisor]
"""Connects to the hypervisor; what it is given is called, from any thread, when a domain changed."""


class Observer:
    def __init__(
        self,
        host: str,
        connect: Connect,
        clock: Callable[[], float],
        wall: Callable[[], float],
        look_limit_s: float = LOOK_LIMIT_S,
        converge_limit_s: float = CONVERGE_LIMIT_S,
        seeds: Seeds | None = None,
    ) -> None:
        self._host = host
        self._connect = connect
        self._clock = clock
        self._wall = wall
        self._look_limit_s = look_limit_s
        # Threads for looking, for migrations' progress and for what VMs lack: all that goes on while all actions hang.
        self._pool = ThreadPoolExecutor(ACTIONS_LIMIT + 3, thread_name_prefix="hypervisor")
        self._seeds = seeds
        self._preflight = Preflight(self.call, clock, seeds=seeds)
        self._needs: Mapping[str, Needs] = {}
        self.transfers = Transfers(host, self.call, converge_limit_s)
        self._wanted = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hypervisor: Hypervisor | None = None
        self._hanging: asyncio.Future[HostReport] | None = None
        self._began_at = float("-inf")
        self._connecting = threading.Lock()
        self._tries = 0
        self._try_at = float("-inf")
        self._last_error = "not connected yet"

    def request(self, needs: Mapping[str, Needs] | None = None) -> None:
        """Look soon. Safe to call often. `needs`: what these and later looks are to find out about VMs that are to
        start here; None: as before."""
        self._needs = self._needs if needs is None else needs
        self._wanted.set()

    async def run(self, took: Callable[[HostReport, float], None]) -> None:
        """Look whenever asked to; `took` gets each report and the time at which that look began. What it shows may be
        as old as that: one that hangs has seen what was so before it hung."""
        self._loop = asyncio.get_running_loop()
        looked_at = float("-inf")
        while True:
            await self._wanted.wait()
            # Only where one look follows another at once: a pause after each would wake an idle host for nothing.
            pause_s = looked_at + LOOK_PAUSE_S - self._clock()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            self._wanted.clear()
            report = await self._look()
            looked_at = self._clock()
            took(report, self._began_at)

    async def perform(self, effect: Perform) -> Finished:
        """Carry out one step in a thread of its own."""
        if effect.action.step is Step.MIGRATE:
            return await self._migrate(effect)
        return await self._carry_out(effect)

    async def _migrate(self, effect: Perform) -> Finished:
        action = effect.action
        self.transfers.begin(action, effect.way)
        finished = Finished(action, "", "cut short")
        try:
            finished = await self._carry_out(effect)
        finally:
            finished = self.transfers.end(finished)
        return finished

    def abort(self, action: Action, why: str) -> None:
        """End a live migration that is in flight; its `perform` gives the outcome."""
        self.transfers.call_back(action, why)

    async def _carry_out(self, effect: Perform) -> Finished:
        try:
            outcome = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._perform, effect
            )
        except HypervisorError as error:
            return Finished(effect.action, "", error.reason)
        finally:
            self._preflight.acted()
        return Finished(effect.action, outcome)

    async def call(self, what: Callable[[Hypervisor], Result]) -> Result:
        """Run any other question to the hypervisor in a thread. Raises `HypervisorError`."""
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, lambda: what(self._connected())
        )

    def close(self) -> None:
        """Leave the hypervisor; its domains run on. One that hangs is left without a word."""
        self.transfers.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        hypervisor, self._hypervisor = self._hypervisor, None
        if hypervisor is not None:
            leaving = threading.Thread(target=hypervisor.close, name="leaving", daemon=True)
            leaving.start()
            leaving.join(CLOSE_LIMIT_S)

    # -- in the event loop -----------------------------------------------------

    async def _look(self) -> HostReport:
        assert self._loop is not None
        if self._hanging is None:
            self._began_at = self._clock()
            self._hanging = self._loop.run_in_executor(self._pool, self._report)
        done, _ = await asyncio.wait({self._hanging}, timeout=self._look_limit_s)
        if not done:
            return self._silent(f"no answer within {self._look_limit_s:.0f} s")
        report, self._hanging = self._hanging.result(), None
        if self._needs and report.facts is not None:
            found = await self._preflight.find(self._needs)
            lacks = {vm: answer.lacks for vm, answer in found.items()}
            disks = {vm: answer.disks for vm, answer in found.items() if answer.disks}
            report = replace(report, lacks=lacks, disks=disks)
        return report

    def _silent(self, why: str) -> HostReport:
        return HostReport(self._host, self._wall(), "", error=why)

    # -- in a thread -----------------------------------------------------

    def _report(self) -> HostReport:
        at = self._wall()
        try:
            hypervisor = self._connected()
            domains = hypervisor.domains()
            self._sweep(domains)
            return HostReport(self._host, at, "", hypervisor.facts(), domains)
        except HypervisorError as error:
            if error.lost:
                self._drop()
            return self._silent(error.reason)

    def _sweep(self, domains: tuple[Domain, ...]) -> None:
        """Seeds are kept of VMs that are here, in whatever state, and of those that are about to come."""
        if self._seeds is not None:
            coming = {needs.seed.uuid for needs in self._needs.values() if needs.seed}
            self._seeds.sweep({domain.uuid for domain in domains} | coming)

    def _perform(self, effect: Perform) -> str:
        return perform(
            self._connected(),
            effect.action,
            xml=effect.xml,
            way=effect.way,
            tag=effect.tag,
        )

    def _connected(self) -> Hypervisor:
        """The connection, made anew when it was lost; not more often than `RECONNECT_S` allows."""
        with self._connecting:
            return self._connected_alone()

    def _connected_alone(self) -> Hypervisor:
        hypervisor = self._hypervisor
        if hypervisor is not None and hypervisor.alive():
            return hypervisor
        if hypervisor is not None:
            self._drop()
        if self._clock() < self._try_at:
            raise HypervisorError(self._last_error, lost=True)
        try:
            self._hypervisor = self._connect(self._changed)
        except HypervisorError as error:
            self._last_error = error.reason
            self._try_at = self._clock() + RECONNECT_S[min(self._tries, len(RECONNECT_S) - 1)]
            self._tries += 1
            raise
        self._tries = 0
        return self._hypervisor

    def _drop(self) -> None:
        hypervisor, self._hypervisor = self._hypervisor, None
        if hypervisor is not None:
            hypervisor.close()

    def _changed(self, _uuid: str) -> None:
        """libvirt's event thread says that a domain changed."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wanted.set)
