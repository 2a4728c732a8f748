"""Domains of a Xen host that libvirt doesn't show: made by `xl`, or left over by it.

libvirt's Xen driver knows only the domains that it made itself. The others hold memory all the same, and one of them
may have the name of a VM. Decides which of xl's rows are such domains, and how often xl is asked. They are only told
of: nothing that XSM does goes past libvirt. Must not know the site.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from xsm.plan.observed import Domain, DomainState

XL = "xl"
LOOK_EVERY_S = 10.0
"""xl is a process of its own, and such domains are seldom."""
XL_LIMIT_S = 5.0
"""xl waits for nobody while it lists; where it hangs all the same, the look goes without it."""
ROWS_LIMIT = 4096
"""More domains than Xen can have at once."""

# `xl list -v`: name, ID, MiB, vCPUs online, state, seconds, UUID, and what doesn't matter here (xl_list.c of Xen 4.17).
_ROW = re.compile(
    r"(?P<name>\S.*?)\s+(?P<id>\d+)\s+(?P<mib>\d+)\s+(?P<vcpus>\d+)\s+(?P<state>[r-][b-][p-][s-].[d-])"
    r"\s+[\d.]+\s+(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b.*"
)


@dataclass(frozen=True)
class Row:
    """One domain, as xl lists it."""

    domid: int
    name: str
    uuid: str
    memory_mib: int
    vcpus: int
    state: DomainState


def rows(text: str) -> tuple[Row, ...]:
    """What `xl list -v` printed, without Domain-0. Lines that are no row are left out: its head, warnings."""
    found = (_ROW.fullmatch(line.rstrip()) for line in text.splitlines()[:ROWS_LIMIT])
    return tuple(
        Row(int(m["id"]), m["name"], m["uuid"], int(m["mib"]), int(m["vcpus"]), _state(m["state"]))
        for m in found
        if m is not None and m["id"] != "0"
    )


def _state(letters: str) -> DomainState:
    """xl's six letters: running, blocked, paused, shut down, its reason ("c": crashed), dying."""
    if letters[3] == "s":
        return DomainState.CRASHED if letters[4] == "c" else DomainState.SHUTDOWN
    if letters[5] == "d":
        return DomainState.SHUTDOWN
    return DomainState.PAUSED if letters[2] == "p" else DomainState.RUNNING


def ask_xl() -> str:
    """What `xl list -v` prints; "" where there is no xl, or it fails."""
    path = shutil.which(XL, path="/usr/sbin:/usr/local/sbin:/sbin:/usr/bin")
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, "list", "-v"], capture_output=True, text=True, errors="replace", timeout=XL_LIMIT_S,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


@dataclass
class Unshown:
    """The domains that libvirt doesn't show, looked for now and then."""

    ask: Callable[[], str] = ask_xl
    clock: Callable[[], float] = time.monotonic
    _asked_at: float = float("-inf")
    _suspects: frozenset[tuple[int, str]] = frozenset()
    _found: tuple[Domain, ...] = field(default=())

    def domains(self, shown: Iterable[str]) -> tuple[Domain, ...]:
        """`shown`: UUIDs of libvirt's. One that libvirt is just making, or receiving, is there before libvirt shows it:
        so a domain counts when two looks have found it."""
        known = frozenset(shown)
        if self.clock() - self._asked_at >= LOOK_EVERY_S:
            self._asked_at = self.clock()
            unknown = [row for row in rows(self.ask()) if row.uuid not in known]
            self._found = tuple(
                _domain(row) for row in unknown if (row.domid, row.uuid) in self._suspects
            )
            self._suspects = frozenset((row.domid, row.uuid) for row in unknown)
        return tuple(domain for domain in self._found if domain.uuid not in known)


def _domain(row: Row) -> Domain:
    return Domain(
        name=row.name,
        uuid=row.uuid,
        state=row.state,
        memory_mib=row.memory_mib,
        max_memory_mib=row.memory_mib,
        vcpus=row.vcpus,
        max_vcpus=row.vcpus,
        persistent=False,
        unshown=True,
    )
