"""An idle xsmd: memory, CPU time and wakeups, in a site of 4 and of 16 members with one running VM each.

Measured over 20 s, from /proc; the greatest and the median of all members. Its long-lived git processes are counted
apart. Pss counts pages that several processes share by their share.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench.bench_site import BenchSite, host_names, pause, running, site_files
from tests.bench.processes import exact_cpu_s, memory_bytes, wakeups
from tests.bench.report import Row, Table, mib, quantile

SIZES = (4, 16)
WATCH_S = 20.0
SETTLE_S = 3.0


def run() -> Table:
    rows = [row for count in SIZES for row in _with(count)]
    return Table("An idle xsmd", tuple(rows), (__doc__ or "").partition("\n\n")[2].strip())


def _with(count: int) -> list[Row]:
    names = host_names(count)
    with running(names, site_files({f"vm-{name}": (name, 64) for name in names})) as site:
        pause(SETTLE_S)
        before, began = _seen(site), time.monotonic()
        pause(WATCH_S)
        after, took = _seen(site), time.monotonic() - began
        memory = [memory_bytes(host.pid) for host in site.hosts.values()]
        git = [
            sum(memory_bytes(child)["Pss"] for child in _children(host.pid))
            for host in site.hosts.values()
        ]
    size = f"{count} members"
    cpu = [100 * (a[0] - b[0]) / took for a, b in zip(after, before, strict=True)]
    woken = [(a[1] - b[1]) / took for a, b in zip(after, before, strict=True)]
    rss, pss = [m["Rss"] for m in memory], [m["Pss"] for m in memory]
    return [
        Row("CPU: median, most", size, f"{quantile(cpu, 0.5):.2f} %, {max(cpu):.2f} %", "0.5 %"),
        Row("wakeups a second: median", size, f"{quantile(woken, 0.5):.1f}"),
        Row(
            "memory, Rss: median, most",
            size,
            f"{mib(quantile(rss, 0.5))}, {mib(max(rss))}",
            "60 MiB",
        ),
        Row("memory, Pss: median", size, mib(quantile(pss, 0.5))),
        Row("memory of its git processes, Pss: median", size, mib(quantile(git, 0.5))),
    ]


def _seen(site: BenchSite) -> list[tuple[float, int]]:
    return [(exact_cpu_s(host.pid), wakeups(host.pid)) for host in site.hosts.values()]


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found
