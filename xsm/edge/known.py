"""Objects that were read or written lately, kept in memory: most of what a new revision holds was in the one before.

Decides what is kept. An object's name is the hash of its content, so that nothing kept ever goes stale. Each question
to git's process costs a host two switches between processes, of which an edit made a dozen.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from xsm.edge.git import Objects
from xsm.edge.loose import Object

MAX_KEPT_BYTES = 64 << 20
ENTRY_BYTES = 400
"""What an object costs beside its content, about."""


class KnownObjects:
    """A repository's objects. Safe for several threads."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        self._bytes = 0

    def kind(self, oid: str) -> str | None:
        """The object's type, None when it isn't there."""
        found = self._known(oid)
        return found[0] if found else self._objects.kind(oid)

    def read(self, oid: str) -> tuple[str, bytes] | None:
        """An object's type and content, None when it isn't there. Raises `GitFailed` (damaged, too big, too slow)."""
        found = self._known(oid)
        if found is None:
            found = self._objects.read(oid)
            # Commits are read by the thousand when a daemon starts, and who reads them keeps what they say.
            if found is not None and found[0] != "commit":
                self._keep(oid, found)
        return found

    def keep(self, stored: Iterable[Object]) -> None:
        """Note objects that are on disk now."""
        for item in stored:
            self._keep(item.oid, (item.kind, item.content))

    def close(self) -> None:
        self._objects.close()

    def _known(self, oid: str) -> tuple[str, bytes] | None:
        with self._lock:
            found = self._kept.get(oid)
            if found is not None:
                self._kept.move_to_end(oid)
            return found

    def _keep(self, oid: str, found: tuple[str, bytes]) -> None:
        with self._lock:
            if oid in self._kept:
                return
            self._kept[oid] = found
            self._bytes += len(found[1]) + ENTRY_BYTES
            while self._bytes > MAX_KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1][1]) + ENTRY_BYTES
