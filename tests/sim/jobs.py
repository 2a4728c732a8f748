"""What a simulated host has begun and not ended: a look at its hypervisor, a write to its repository."""

from __future__ import annotations

from collections.abc import Callable

from xsm.plan.observed import HostReport


class Look:
    """One question to the hypervisor, and what it saw when it was asked."""

    def __init__(self, began_at: float, report: HostReport) -> None:
        self.began_at = began_at
        self.report = report
        self.hangs = False
        self.waits = 0


class Job:
    """Something that the repository has to write. `parent`: the revision that an edit was made from."""

    def __init__(
        self,
        heads: tuple[str, ...],
        local: bool,
        parent: str | None,
        done: Callable[[], None] | None,
    ) -> None:
        self.heads = heads
        self.local = local
        self.parent = parent
        self.done = done
