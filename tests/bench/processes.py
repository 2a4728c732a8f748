"""What /proc tells of a process: CPU time, memory, threads' wakeups."""

from __future__ import annotations

import os
from pathlib import Path

TICK_HZ = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of a process and of its children that it has waited for. Resolution: 1 / TICK_HZ."""
    # The name, in brackets, may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(value) for value in fields[11:15]) / TICK_HZ


def exact_cpu_s(pid: int) -> float:
    """The process's own time by the scheduler's clock (nanoseconds), all threads, without children."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def wakeups(pid: int) -> int:
    """How often the process's threads gave up the processor by themselves: each is a wakeup."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                count += int(line.split()[1])
    return count


def memory_bytes(pid: int) -> dict[str, int]:
    """Rss, Pss, Private_Dirty and the like of a process, from smaps_rollup."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, _, value = line.partition(":")
        if value.strip().endswith("kB"):
            found[key] = int(value.split()[0]) * 1024
    return found
