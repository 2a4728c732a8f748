"""Looking at all of a host's domains without asking libvirt about each of them every time.

Decides which domains are asked about anew: those of which an event came, whose state, run or kind changed in
libvirt's lists, that are neither running nor off, and a share of the others in turn, because drivers don't announce
every change. Which domains there are, which are on, and which are transient is libvirt's own word at every look.
Must not know what a domain is to be.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import libvirt

from xsm.plan.observed import Domain, DomainState

SWEEP = 64
"""Domains asked about anew at every look whatever the lists say; hosts with fewer are looked at in full."""

Look = Callable[[libvirt.virDomain, str, bool, bool], Domain | None]
"""Asks about one domain, given its UUID, whether it is persistent and starts by itself; None: gone meanwhile."""


@dataclass(frozen=True)
class _Mark:
    """What libvirt's lists say of a domain. While it stays the same, and no event came, so does the rest."""

    run: int  # libvirt's number of this run, -1 while off
    state: DomainState | None  # None: neither running nor off
    persistent: bool
    autostart: bool


@dataclass(frozen=True)
class _Known:
    mark: _Mark
    domain: Domain

    def holds(self, mark: _Mark) -> bool:
        return self.mark == mark and mark.state is self.domain.state


class Listing:
    """What is known of the domains of one connection."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._looking = threading.Lock()  # a slower look must not overwrite what a later one found
        self._known: dict[str, _Known] = {}
        self._changed: set[str] = set()
        self._swept = ""  # the last UUID that had its turn

    def changed(self, uuid: str) -> None:
        """Ask about this domain anew at the next look. From any thread."""
        with self._lock:
            self._changed.add(uuid)

    def last(self) -> tuple[Domain, ...] | None:
        """What the last look found; None when there was none, or something has changed since."""
        with self._lock:
            if not self._known or self._changed:
                return None
            return tuple(known.domain for known in self._known.values())

    def domains(self, conn: libvirt.virConnect) -> tuple[Domain, ...]:
        """All domains as they are now, by name. Raises `libvirtError`, and what the look raises."""
        with self._looking:
            return self._domains(conn)

    def _domains(self, conn: libvirt.virConnect) -> tuple[Domain, ...]:
        with self._lock:
            # What changes from here on is marked for the next look: an event comes after its change.
            changed, self._changed = self._changed, set()
            before = self._known
        try:
            found = self._find(conn, before, changed)
        except BaseException:
            with self._lock:
                self._changed |= changed
            raise
        with self._lock:
            self._known = found
        domains = (known.domain for known in found.values())
        return tuple(sorted(domains, key=lambda d: (d.name, d.uuid)))

    def _find(
        self, conn: libvirt.virConnect, before: dict[str, _Known], changed: set[str]
    ) -> dict[str, _Known]:
        listed = {dom.UUIDString(): dom for dom in conn.listAllDomains(0)}
        # After the list: what changes in between then shows as it is by now, and an event follows.
        marks = _marks(conn, listed)
        anew = changed | self._turn(sorted(listed))
        found: dict[str, _Known] = {}
        for uuid, dom in listed.items():
            mark = marks[uuid]
            known = before.get(uuid)
            if known is not None and uuid not in anew and known.holds(mark):
                found[uuid] = known
                continue
            seen = self._look(dom, uuid, mark.persistent, mark.autostart)
            if seen is not None:
                found[uuid] = _Known(mark, seen)
        return found

    def _turn(self, uuids: list[str]) -> set[str]:
        """Whose turn it is: the next `SWEEP` in order, from the start again after the last."""
        after = [uuid for uuid in uuids if uuid > self._swept]
        turn = (after + uuids)[:SWEEP]
        self._swept = turn[-1] if turn else ""
        return set(turn)


def _marks(conn: libvirt.virConnect, listed: dict[str, libvirt.virDomain]) -> dict[str, _Mark]:
    transient = _uuids(conn, libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)
    autostart = _uuids(conn, libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)
    running = _uuids(conn, libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING)
    off = _uuids(conn, libvirt.VIR_CONNECT_LIST_DOMAINS_SHUTOFF)

    def state(uuid: str) -> DomainState | None:
        if (uuid in running) == (uuid in off):  # neither, or it changed between the two lists
            return None
        return DomainState.RUNNING if uuid in running else DomainState.SHUTOFF

    return {
        uuid: _Mark(dom.ID(), state(uuid), uuid not in transient, uuid in autostart)
        for uuid, dom in listed.items()
    }


def _uuids(conn: libvirt.virConnect, flag: int) -> frozenset[str]:
    return frozenset(dom.UUIDString() for dom in conn.listAllDomains(flag))
