"""An edit, from the user's yes to the last member's disk.

From the call that `xsm apply` makes after the yes to the moment at which the last member has the edit on disk.
N real daemons on loopback. Each edit changes one VM's memory and is made on another host, when the one before is
everywhere and done. Times are those that each host notes in its own journal when it has taken up a revision.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial

from tests.bench import floor
from tests.bench.bench_site import BenchSite, host_names, pause, running, site_files, wait_for
from tests.bench.report import Row, Table, ms, quantile

SIZES = (4, 16, 32)
SIZES_NAME = "XSM_BENCH_PEERS"
"""Environment: other sizes, as "4,16"."""
EDITS = 50
QUIET_S = 0.3
"""After an edit is done everywhere, the checkouts' following included, which is not part of the next one."""
GOALS = {16: 0.120, 32: 0.240}


def run() -> Table:
    written = os.environ.get(SIZES_NAME, "")
    sizes = tuple(int(part) for part in written.split(",")) if written else SIZES
    rows: list[Row] = []
    for count in sizes:
        rows += _with(count)
    return Table(
        "An edit, until all members have it", tuple(rows), __doc__.partition("\n\n")[2].strip()
    )


def _with(count: int) -> list[Row]:
    names = host_names(count)
    vms = {f"vm-{name}": (name, 64) for name in names}
    size = f"{count} members, {EDITS} edits"
    with running(names, site_files(vms)) as site:
        took, answered, used = _edits(site, vms)
    with floor.running(count) as simplest:
        least = [simplest.edit(number) for number in range(EDITS)]
    goal = GOALS.get(count)
    return [
        Row(
            "apply -> on disk at all members: median, p99",
            size,
            f"{ms(quantile(took, 0.5))}, {ms(quantile(took, 0.99))}",
            f"{ms(goal)}" if goal else "",
        ),
        Row(
            "... of which until it is committed here and answered",
            size,
            ms(quantile(answered, 0.5)),
        ),
        Row("... CPU of all daemons until it is everywhere, an edit", size, ms(used)),
        Row(
            "floor: git commit, N-1 posts over open TLS, fsync each",
            size,
            f"{ms(quantile(least, 0.5))}, {ms(quantile(least, 0.99))}",
        ),
    ]


def _edits(
    site: BenchSite, vms: dict[str, tuple[str, int]]
) -> tuple[list[float], list[float], float]:
    took, answered, used = [], [], 0.0
    for number in range(EDITS):
        name = site.names[number % len(site.names)]
        host, mib = vms[f"vm-{name}"]
        vms[f"vm-{name}"] = (host, mib + 1)
        client, proposal = site.hosts[name].client, site.proposal(site_files(vms))
        expect = client.preview(proposal).head  # as `xsm apply` does, before it asks the user
        before = sum(site.cpu_s().values())
        began_at, started = time.time(), time.perf_counter()
        revision = client.apply(replace(proposal, expect=expect)).revision
        answered.append(time.perf_counter() - started)
        waiting = set(site.names)

        def everywhere(waiting: set[str] = waiting, revision: str = revision) -> bool:
            waiting -= {n for n in waiting if site.taken_at(n, revision) is not None}
            return not waiting

        wait_for(f"{revision[:10]} is on all hosts", everywhere)
        used += sum(site.cpu_s().values()) - before
        times = [site.taken_at(n, revision) for n in site.names]
        took.append(max(at for at in times if at is not None) - began_at)
        wait_for("all checkouts followed", partial(site.followed, revision))
        pause(QUIET_S)
    return took, answered, used / EDITS
