"""The lab's power switch: what a fence agent of the hosts talks to, whatever their network is like.

Decides nothing: a host that is to be off is crashed, all its processes at once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType

from tests.lab.lab import Lab
from tests.lab.places import HOSTS, SHARED, SHARED_OUTSIDE

POLL_S = 0.05
FENCE = f"fence_lab plug={{}} folder={SHARED}/fence"
"""FENCE of the host of that name."""


def fenced_hosts(after_s: int, names: Sequence[str] = tuple(HOSTS)) -> str:
    """<Host> entries for these hosts, which are fenced unasked after so many seconds of silence."""
    return "".join(
        f'  <Host name="{place.name}"><ADDRESS>{place.address}</ADDRESS><FENCE>{FENCE.format(place.name)}</FENCE>'
        f"<FENCE_AFTER>{after_s}</FENCE_AFTER></Host>\n"
        for place in map(HOSTS.__getitem__, names)
    )


class PowerSwitch:
    """Works while it is entered. `asked`: what it was told, in order."""

    def __init__(self, lab: Lab) -> None:
        self.asked: list[str] = []
        self._lab = lab
        self._folder = SHARED_OUTSIDE / "fence"
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> PowerSwitch:
        self._folder.mkdir(exist_ok=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _serve(self) -> None:
        while not self._ending.wait(POLL_S):
            for request in sorted(self._folder.glob("request-*")):
                action, plug = request.read_text().split()
                self.asked.append(f"{action} {plug}")
                request.unlink()
                draft = request.with_name(request.name.replace("request", "written"))
                draft.write_text(self._switch(action, plug))
                draft.rename(request.with_name(request.name.replace("request", "answer")))

    def _switch(self, action: str, plug: str) -> str:
        host = self._lab[plug]
        if action == "off":
            host.crash()
        return "0 done" if action == "off" or host.pid else "2 off"
