"""What the guests said of themselves: from the consoles that Xen's own daemon wrote down on each host.

Decides where a guest ran, and whether it ran on, was started anew, or ran twice. Must not ask XSM or libvirt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.lab.processes import LabFailed, wait_for
from tests.labxen.lab import XenLab
from tests.labxen.places import CONSOLES

TICK = re.compile(r"TICK n=(\d+) boot=(\S+) memory=(\d+) cpus=(\d+)\s")
TICK_LIMIT_S = 240.0
"""For a guest's boot and its counting, emulated within the emulated, on a machine that does much else."""


@dataclass(frozen=True)
class Tick:
    """One line that a guest counted, twice a second."""

    boot: str
    n: int
    host: str
    memory_kib: int
    cpus: int


class Guests:
    def __init__(self, lab: XenLab) -> None:
        self.lab = lab

    def ticks(self, vm: str, host: str = "") -> list[Tick]:
        """All of `host`, or of all hosts, by boot as they were seen and number."""
        found = []
        for name, one in self.lab.hosts.items():
            if host in ("", name) and one.is_on:
                files = f"cat {CONSOLES}/guest-{vm}.log {CONSOLES}/guest-{vm}--*.log 2>/dev/null || true"
                text = one.run("sh", "-c", files).stdout
                found += [
                    Tick(boot, int(n), name, int(memory), int(cpus))
                    for n, boot, memory, cpus in TICK.findall(text)
                ]
        return found

    def last(self, vm: str, host: str = "") -> Tick | None:
        return max(self.ticks(vm, host), key=lambda t: t.n, default=None)

    def wait_ticks(self, vm: str, count: int, host: str) -> Tick:
        """Until the guest has counted that many numbers more on `host`; gives the last. Raises `LabFailed`."""
        began = len(self.ticks(vm, host))
        wait_for(
            f"{vm} counts on {host}",
            lambda: len(self.ticks(vm, host)) >= began + count,
            TICK_LIMIT_S,
        )
        return self.ticks(vm, host)[-1]

    def one_life(self, vm: str) -> list[str]:
        """The hosts on which the guest counted in its only boot, in order. Raises `LabFailed` when a number is missing,
        or was counted twice, or there was another boot.

        A line that a migration cuts in two is on neither host: so one number may be missing between two hosts.
        """
        ticks = self.ticks(vm)
        boots = {tick.boot for tick in ticks}
        if len(boots) != 1:
            raise LabFailed(f"{vm} booted {len(boots)} times: {sorted(boots)}")
        ordered = sorted(ticks, key=lambda t: t.n)
        hosts: list[str] = []
        before: Tick | None = None
        for tick in ordered:
            if before is not None and tick.n == before.n:
                raise LabFailed(f"{vm} counted n={tick.n} on {before.host} and on {tick.host}")
            if before is not None and tick.n != before.n + 1:
                cut = tick.n == before.n + 2 and tick.host != before.host
                if not cut:
                    raise LabFailed(f"{vm} left out what is between {before} and {tick}")
            if before is None or tick.host != before.host:
                hosts.append(tick.host)
            before = tick
        return hosts
