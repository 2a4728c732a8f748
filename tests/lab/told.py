"""What a host's xsmd told, read from outside: its journal of events, while the host lives or after it died.

Decides when something was told since a mark. Must not ask the host: it may be dead, stopped or cut off.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab.hosts import LabHost
from tests.lab.processes import wait_for


class Told:
    """The events of one host from now on."""

    def __init__(self, host: LabHost) -> None:
        self._host = host
        self._path = Path(host.place.folder / "own/var/lib/xsm/events.jsonl")
        self._from = self._path.stat().st_size

    def lines(self) -> list[str]:
        """ "KIND VM MESSAGE" of each event that happened on the host itself, oldest first."""
        with self._path.open("rb") as stream:
            stream.seek(self._from)
            whole = stream.read().split(b"\n")[:-1]
        events = [json.loads(line) for line in whole]
        return [
            f"{event['kind']} {event['vm']} {event['message']}"
            for event in events
            if event["host"] == self._host.name
        ]

    def wait(self, words: str, limit_s: float) -> None:
        """Until an event has these words."""
        wait_for(
            f"{self._host.name} tells {words!r}",
            lambda: any(words in line for line in self.lines()),
            limit_s,
        )
