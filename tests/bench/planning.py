"""Planning on one core: CPU time by the size of the site and by what there is to do.

The sizes are planned one after another in one run, so that the last column shows the growth for each VM.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from tests.bench import paper
from tests.bench.report import Row, Table, ms
from xsm.daemon import COLLECT_GARBAGE_AFTER
from xsm.plan.place import place
from xsm.plan.planner import plan, plan_host
from xsm.plan.view import View
from xsm.plan.wanted import Wanted, wanted
from xsm.site.document import Document

SIZES = (1_000, 10_000, 100_000)
GOAL_VMS = 10_000
GOAL = "< 0.5 s"
CHANGED_EVERY = 50  # 2 %


@dataclass(frozen=True)
class Case:
    """One thing to measure: `work` gives how much it found."""

    what: str
    work: Callable[[], int]


def cases(size: int) -> Iterator[Case]:
    """All of one size. What is built before the measured work is not measured."""
    document = paper.document(size)
    want = wanted(document)
    hosts = sorted(document.state.members)
    full, empty = paper.view(want, hosts), paper.view(want, hosts, empty=True)
    yield Case("what the revision wants", lambda: len(wanted(document).by_name))
    yield Case("plan, nothing to do", lambda: actions(document, want, full))
    changed = changed_document(document)
    want_changed = wanted(changed)
    yield Case("plan, 2 % of the VMs changed", lambda: actions(changed, want_changed, full))
    yield Case("plan, all VMs to create", lambda: actions(document, want, empty))
    crowded, want_crowded = one_host_only(document, hosts[0])
    crowd = paper.view(want_crowded, hosts)
    drained = replace(crowded.state, drained=frozenset({hosts[0]}))
    leaving = replace(crowded, state=drained)
    yield Case(
        "place: a host with a tenth of all VMs drained", lambda: moved(leaving, crowd.reports)
    )
    yield Case("place: all kept", lambda: moved(document, full.reports))
    floating = replace(document, state=replace(document.state, placement={}))
    yield Case("place: all floating VMs anew", lambda: moved(floating, empty.reports))
    alone = replace(full, reports={hosts[0]: full.reports[hosts[0]]}, handovers={})
    yield Case(
        "plan of one host, its own report",
        lambda: len(plan_host(want, document, alone, hosts[0]).actions),
    )


def actions(document: Document, want: Wanted, view: View) -> int:
    return len(plan(want, document, view).actions)


def moved(document: Document, reports: Mapping) -> int:
    return len(place(document, reports, {}, paper.NOW).reasons)


def changed_document(document: Document) -> Document:
    """Every fiftieth VM has another size, another host, or is gone."""
    hosts = sorted(document.state.members)
    found = []
    for i, vm in enumerate(document.site.vms()):
        turn = i // CHANGED_EVERY % 3 if i % CHANGED_EVERY == 0 else None
        if turn == 0:
            found.append(replace(vm, memory_mib=vm.memory_mib + 64))
        elif turn == 1:
            found.append(replace(vm, host=hosts[i % len(hosts) - 1]))
        elif turn is None:
            found.append(vm)
    return paper.with_vms(document, found)


def one_host_only(document: Document, host: str) -> tuple[Document, Wanted]:
    """A tenth of all VMs floats and is on one host."""
    found = [
        replace(vm, host=None, apart=(), memory_mib=8, max_memory_mib=None) if i % 10 == 0 else vm
        for i, vm in enumerate(document.site.vms())
    ]
    there = {vm.name: host for i, vm in enumerate(found) if i % 10 == 0}
    placement = {**document.state.placement, **there}
    crowded = replace(
        paper.with_vms(document, found), state=replace(document.state, placement=placement)
    )
    return crowded, wanted(crowded)


def run() -> Table:
    rows: list[Row] = []
    per_vm: dict[str, float] = {}
    gc.set_threshold(COLLECT_GARBAGE_AFTER)  # as xsmd does
    for size in SIZES:
        gc.collect()
        for case in cases(size):
            seconds, found = paper.cpu_s(case.work, 3 if size <= GOAL_VMS else 1)
            each = seconds / size
            growth = f"{each / per_vm[case.what]:.2f} x a VM" if case.what in per_vm else ""
            per_vm.setdefault(case.what, each)
            told = f"{ms(seconds)}, {found:,} found" + (f"; {growth}" if growth else "")
            goal = GOAL if size == GOAL_VMS else ""
            rows.append(
                Row(case.what, f"{size:,} VMs, {size // paper.VMS_PER_HOST:,} hosts", told, goal)
            )
    return Table(
        "Planning",
        tuple(rows),
        f"CPU time of one core; `x a VM`: time for each VM against that at {SIZES[0]:,} VMs.",
    )
