"""A live migration's job, as libvirt tells of it: how far it is, its end by hand, and what it took.

Decides how libvirt's job statistics are read, and that only a migration is ever aborted (a backup that somebody makes
is a job, too). Must not know why a domain moves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import libvirt

from xsm.edge.hypervisor import HypervisorError
from xsm.edge.libvirt_errors import is_absent
from xsm.plan.observed import Job, Moved

MIB = 1024 * 1024
PAGE_BYTES = 4096
"""Where libvirt doesn't say how large a page is."""
TOLD_LIMIT_S = 2.0
"""How long the event that tells what a migration took may come after its end."""


def progress(conn: libvirt.virConnect, uuid: str) -> Job | None:
    """How far the migration away from here is; None: there is no such domain any more, or no such job."""
    try:
        stats = conn.lookupByUUIDString(uuid).jobStats(0)
    except libvirt.libvirtError as error:
        if is_absent(error) or error.get_error_code() in NO_JOB:
            return None
        raise
    return read(stats) if _leaves(stats) else None


NO_JOB = frozenset(
    {
        libvirt.VIR_ERR_OPERATION_INVALID,
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
        libvirt.VIR_ERR_NO_SUPPORT,
    }
)
"""The domain is off meanwhile, or only being received here, or the driver (libvirt's own for tests) has no jobs."""


def _leaves(stats: dict[str, int]) -> bool:
    if stats.get("type", libvirt.VIR_DOMAIN_JOB_NONE) == libvirt.VIR_DOMAIN_JOB_NONE:
        return False
    leaving = libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
    return stats.get("operation", leaving) == leaving


def read(stats: dict[str, int]) -> Job:
    elapsed_s = stats.get("time_elapsed", 0) / 1000
    sent = stats.get("data_processed", 0)
    # QEMU tells the rate only after its first pass.
    rate = stats.get("memory_bps", 0) or (sent / elapsed_s if elapsed_s else 0)
    page = stats.get("memory_page_size", 0) or PAGE_BYTES
    return Job(
        elapsed_s=round(elapsed_s, 1),
        total_mib=stats.get("data_total", 0) // MIB,
        sent_mib=sent // MIB,
        remaining_mib=-(-stats.get("data_remaining", 0) // MIB),
        rate_mib_s=round(rate / MIB),
        dirty_mib_s=round(stats.get("memory_dirty_rate", 0) * page / MIB),
        iteration=stats.get("memory_iteration", 0),
        downtime_ms=stats.get("downtime", 0),
        disk_total_mib=stats.get("disk_total", 0) // MIB,
        disk_remaining_mib=-(-stats.get("disk_remaining", 0) // MIB),
        post_copy=bool(stats.get("memory_postcopy_requests", 0)),
    )


def abort(dom: libvirt.virDomain) -> None:
    if not _leaves(dom.jobStats(0)):
        raise HypervisorError(f"{dom.name()} is not being migrated away from here")
    dom.abortJob()


class Completed:
    """What migrations took, by the event that libvirt sends when one is done: the domain, and with it every other way
    to ask, is gone from here by then."""

    def __init__(self) -> None:
        self.told = True  # whether the driver has that event
        self._news = threading.Condition()
        self._took: dict[str, Moved | None] = {}  # UUID -> None while it is awaited

    @contextmanager
    def awaited(self, uuid: str) -> Iterator[Callable[[], Moved | None]]:
        """Around the call that migrates; gives a function to ask afterwards, with None where libvirt doesn't tell."""
        with self._news:
            self._took[uuid] = None
        try:
            yield lambda: self._wait(uuid)
        finally:
            with self._news:
                del self._took[uuid]

    def completed(self, uuid: str, stats: dict[str, int]) -> None:
        """libvirt's event thread tells of a job's end; of other jobs than migrations, too."""
        leaving = libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
        with self._news:
            if uuid in self._took and stats.get("operation", leaving) == leaving:
                sent_mib = stats.get("data_processed", 0) // MIB
                moved = Moved(stats.get("time_elapsed", 0), stats.get("downtime", 0), sent_mib)
                self._took[uuid] = moved
                self._news.notify_all()

    def _wait(self, uuid: str) -> Moved | None:
        with self._news:
            if self.told:
                self._news.wait_for(lambda: self._took[uuid] is not None, TOLD_LIMIT_S)
            return self._took[uuid]
