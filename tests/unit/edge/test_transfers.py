"""Live migrations in flight as the host tells of them, and their end by its word."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import libvirt

from tests.sim.hypervisor import SimHypervisor, SimSwitch, uri
from xsm.edge import libvirt_jobs
from xsm.edge.hypervisor import HypervisorError
from xsm.edge.observer import Observer
from xsm.peer.events import Finished, Perform, Way
from xsm.plan.actions import Action, Consequence, Step
from xsm.plan.observed import Job, Moved, Transfer
from xsm.site.tag import Tag

DOMAIN = """<domain type="test"><name>vm1</name><uuid>{uuid}</uuid><memory unit="MiB">64</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""
UUID = "3f0c1a52-0000-4000-8000-000000000001"
MOVE = Action(
    "vm1", "dmz01", Consequence.MIGRATE_LIVE, Step.MIGRATE, "host", "dmz01", "dmz02",
    "the site file says so", uuid=UUID, target="dmz02",
)  # fmt: skip
LONG_S = 60.0
HALF = Job(elapsed_s=2.0, total_mib=96, sent_mib=40, remaining_mib=50, rate_mib_s=20, iteration=1)


class Migrating(SimHypervisor):
    """Its migration lasts until it is let go on, or ended."""

    def __init__(self) -> None:
        super().__init__("dmz01", switch=SimSwitch(live=True))
        SimHypervisor("dmz02", switch=self._switch)
        self.by_hand_define(DOMAIN.format(uuid=UUID), start=True)
        self._set(UUID, lambda facts: replace(facts, tag=Tag("s", "vm1", "", {})))
        self.begun, self.over = threading.Event(), threading.Event()
        self.refusals = 0

    def migrate(self, uuid: str, way: Way) -> Moved | None:
        self.flying[uuid] = self.over.set
        self.begun.set()
        assert self.over.wait(LONG_S)
        if uuid not in self.flying:
            raise HypervisorError("operation aborted: canceled by client")
        super().migrate(uuid, way)
        return Moved(4100, 35, 101)

    def job(self, uuid: str) -> Job | None:
        return HALF

    def abort(self, uuid: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise HypervisorError("no job is active")
        super().abort(uuid)


def played(story: Callable[[Migrating, Observer], Any]) -> tuple[Finished, tuple[Transfer, ...]]:
    """What the migration came to, and what was told of it afterwards; `story` happens once it has begun."""

    async def play() -> tuple[Finished, tuple[Transfer, ...]]:
        hypervisor = Migrating()
        observer = Observer("dmz01", lambda changed: hypervisor, time.monotonic, time.time)
        with contextlib.closing(observer):
            going = asyncio.create_task(observer.perform(Perform(MOVE, way=Way(uri("dmz02")))))
            assert await asyncio.to_thread(hypervisor.begun.wait, LONG_S)
            await story(hypervisor, observer)
            return await going, observer.transfers.now()

    return asyncio.run(play())


def test_a_migration_in_flight_is_told_of_until_it_ends() -> None:
    async def story(hypervisor: Migrating, observer: Observer) -> None:
        assert observer.transfers.now() == (Transfer("vm1", "dmz01", "dmz02"),)
        while observer.transfers.now()[0].job != HALF:
            await asyncio.sleep(0.01)
        (shown,) = observer.transfers.now()
        assert str(shown) == "vm1: migrating to dmz02: 46 of 96 MiB, 20 MiB/s"
        hypervisor.over.set()

    finished, left = played(story)
    assert finished.error == ""
    assert finished.outcome.endswith(
        "4.1 s, of which the guest stood still for 35 ms; 101 MiB sent"
    )
    assert left == ()


def test_one_that_is_called_back_ends_without_counting_as_failed() -> None:
    async def story(hypervisor: Migrating, observer: Observer) -> None:
        hypervisor.refusals = 2  # libvirt has not begun its job yet
        observer.abort(MOVE, "it belongs on dmz01 now")
        assert "called back" in str(observer.transfers.now()[0])

    finished, left = played(story)
    assert (finished.error, left) == ("", ())
    assert "it runs on here" in finished.outcome


def test_a_word_that_comes_too_late_does_nothing() -> None:
    async def story(hypervisor: Migrating, observer: Observer) -> None:
        hypervisor.over.set()
        while observer.transfers.now():
            await asyncio.sleep(0.01)
        observer.abort(MOVE, "it belongs on dmz01 now")

    finished, _ = played(story)
    assert "running on dmz02" in finished.outcome


def test_job_statistics_are_read_in_mib() -> None:
    mib = 1024 * 1024
    stats = {
        "type": libvirt.VIR_DOMAIN_JOB_UNBOUNDED, "time_elapsed": 2000, "data_total": 96 * mib,
        "data_processed": 40 * mib, "data_remaining": 50 * mib - 1, "memory_iteration": 1,
        "memory_dirty_rate": 512, "memory_page_size": 4096, "downtime": 300,
    }  # fmt: skip
    told = libvirt_jobs.read(stats)
    assert told == Job(2.0, 96, 40, 50, 20, 2, 1, 300)


def test_only_what_was_awaited_is_kept() -> None:
    completed = libvirt_jobs.Completed()
    completed.completed("other", {"time_elapsed": 1})
    with completed.awaited(UUID) as took:
        completed.completed(UUID, {"operation": libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP})
        stats = {"time_elapsed": 900, "downtime": 24, "data_processed": 3 << 20}
        completed.completed(UUID, stats)
        assert took() == Moved(900, 24, 3)
