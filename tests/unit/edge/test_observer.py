"""When the observer looks, and what it says of a hypervisor that hangs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time

from tests.sim.hypervisor import SimHypervisor
from xsm.edge.observer import LOOK_PAUSE_S, Observer
from xsm.plan.observed import Domain, DomainState, HostReport

DOMAIN = """<domain type="test"><name>vm1</name><memory unit="MiB">64</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""
LIMIT_S = 0.05
LONG_S = 60.0
"""No wait of the test is longer, however busy the machine."""


class Hanging(SimHypervisor):
    """Has looked at its domains, and does not come back with them before `go_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.has_seen = threading.Event()
        self.go_on = threading.Event()

    def domains(self) -> tuple[Domain, ...]:
        seen = super().domains()
        self.has_seen.set()
        self.go_on.wait(LONG_S)
        return seen


def test_what_a_hanging_look_saw_is_as_old_as_its_beginning() -> None:
    """Else a VM that was started while it hung would count as off: this host would let go of it though it runs."""

    async def look() -> tuple[HostReport, HostReport, float, float]:
        hypervisor, looks = Hanging(), asyncio.Queue[tuple[HostReport, float]]()
        hypervisor.by_hand_define(DOMAIN)
        observer = Observer("dmz01", lambda changed: hypervisor, time.monotonic, time.time, LIMIT_S)
        task = asyncio.create_task(observer.run(lambda *seen: looks.put_nowait(seen)))
        observer.request()
        silent, _ = await looks.get()
        # On a busy machine the thread may not even have begun within the limit.
        assert await asyncio.to_thread(hypervisor.has_seen.wait, LONG_S)
        hypervisor.by_hand_start("vm1")
        started_at = time.monotonic()
        observer.request()
        await looks.get()  # a second one that waits for the same answer
        observer.request()
        hypervisor.go_on.set()
        while (seen := await looks.get())[0].facts is None:
            observer.request()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        observer.close()
        return silent, seen[0], seen[1], started_at

    silent, late, began_at, started_at = asyncio.run(asyncio.wait_for(look(), LONG_S))
    assert silent.error
    assert [d.state for d in late.domains] == [DomainState.SHUTOFF]
    assert began_at < started_at


def test_looks_that_are_asked_for_all_the_time_leave_a_pause_between() -> None:
    """A storm of libvirt's events must not become a storm of looks."""

    async def look() -> list[float]:
        hypervisor, began = SimHypervisor(), asyncio.Queue[float]()

        def took(_report: HostReport, at: float) -> None:
            began.put_nowait(at)
            observer.request()

        observer = Observer("dmz01", lambda changed: hypervisor, time.monotonic, time.time)
        task = asyncio.create_task(observer.run(took))
        observer.request()
        seen = [await began.get() for _ in range(4)]
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        observer.close()
        return seen

    began = asyncio.run(asyncio.wait_for(look(), LONG_S))
    assert all(b - a >= LOOK_PAUSE_S for a, b in itertools.pairwise(began))
