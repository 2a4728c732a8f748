"""Planning a site that is four times as large does about four times the work: counted, not timed.

What is counted: calls of Python and C functions, and every comparison and hashing of a name, for the names are strings
that count. So a list that is searched for each VM shows as much as a loop in Python does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from planned_site import NOW, document, domain_of, facts, report, view, vm

from xsm.peer.edit import Surroundings, edit
from xsm.plan.draining import order
from xsm.plan.order import Pace
from xsm.plan.place import place
from xsm.plan.planner import plan, plan_host
from xsm.plan.view import View
from xsm.plan.wanted import wanted
from xsm.site import changes
from xsm.site.document import Document, load
from xsm.site.merge import merge
from xsm.site.model import Host, Site, VMSet
from xsm.site.state import State
from xsm.site.state_file import write as write_state
from xsm.site.xml_file import write as write_site

SMALL, TIMES = 100, 4
SLACK = 1.35
"""Sorting and bisection grow a little faster than the size; a quadratic step would give about `TIMES` ** 2."""


class Counting(str):
    """A name of which every comparison and hashing is a call that the profiler sees."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)  # type: ignore[arg-type]

    def __lt__(self, other: str) -> bool:
        return str.__lt__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


def calls(work: Callable[[], object]) -> int:
    """How many calls `work` takes."""
    count = 0

    def seen(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def site(size: int) -> Document:
    """Half of the VMs pinned, half floating, of these some apart; ten VMs a host."""
    hosts = [Counting(f"h{i:04}") for i in range(size // 10)]
    found = [
        vm(
            Counting(f"vm{i:05}"),
            hosts[i % len(hosts)] if i % 2 else None,
            memory_mib=32,
            apart=(Counting(f"tag{i // 40}"),) if i % 8 == 0 else (),
        )
        for i in range(size)
    ]
    placed = {v.name: hosts[i % len(hosts)] for i, v in enumerate(found) if v.host is None}
    return document(*found, hosts=hosts, placement=placed)


def full(of: Document) -> View:
    w = wanted(of)
    return view(
        *(
            report(h, *(domain_of(w.by_name[n]) for n in w.by_host.get(h, ())))
            for h in of.state.members
        )
    )


def empty(of: Document) -> View:
    return view(*(report(h) for h in of.state.members))


def changed(of: Document) -> Document:
    vms = [replace(v, memory_mib=48) if i % 50 == 0 else v for i, v in enumerate(of.site.vms())]
    return replace(of, site=Site((replace(of.site.sets[0], vms=tuple(vms)),)))


def nothing_to_do(of: Document) -> Callable[[], object]:
    w, seen = wanted(of), full(of)
    return lambda: plan(w, of, seen)


def some_changed(of: Document) -> Callable[[], object]:
    new, seen = changed(of), full(of)
    w = wanted(new)
    return lambda: plan(w, new, seen)


def all_new(of: Document) -> Callable[[], object]:
    w, seen = wanted(of), empty(of)
    return lambda: plan(w, of, seen)


def what_is_wanted(of: Document) -> Callable[[], object]:
    return lambda: wanted(of)


def placed_anew(of: Document) -> Callable[[], object]:
    nowhere, seen = replace(of, state=replace(of.state, placement={})), empty(of)
    return lambda: place(nowhere, seen.reports, {}, NOW)


def half_of_the_hosts_drained(of: Document) -> Callable[[], object]:
    drained = frozenset(sorted(of.state.members)[::2])
    leaving = replace(of, state=replace(of.state, drained=drained))
    seen = full(of)
    return lambda: place(leaving, seen.reports, {}, NOW)


def one_host_emptied(of: Document) -> Callable[[], object]:
    seen, host = full(of), sorted(of.state.members)[0]
    return lambda: order(of, seen.reports, {}, host, Pace())


def no_room_at_all(of: Document) -> Callable[[], object]:
    nowhere = replace(of, state=replace(of.state, placement={}))
    small = [report(host, of=facts(memory_mib=64)) for host in of.state.members]
    return lambda: place(nowhere, view(*small).reports, {}, NOW)


def differences(of: Document) -> Callable[[], object]:
    new = changed(of).site
    return lambda: changes.diff(of.site, new)


CASES = (
    nothing_to_do,
    some_changed,
    all_new,
    what_is_wanted,
    placed_anew,
    half_of_the_hosts_drained,
    one_host_emptied,
    no_room_at_all,
    differences,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_work_grows_with_the_site(case: Callable[[Document], Callable[[], object]]) -> None:
    small, large = (calls(case(site(size))) for size in (SMALL, SMALL * TIMES))
    assert large < small * TIMES * SLACK


def test_one_host_plans_by_what_it_has_itself() -> None:
    counts = []
    for size in (SMALL, SMALL * TIMES):
        of = site(size)
        host = sorted(of.state.members)[0]
        seen = view(full(of).reports[host], handovers={})
        w = wanted(of)
        counts.append(calls(lambda w=w, of=of, seen=seen, host=host: plan_host(w, of, seen, host)))  # type: ignore[misc]
    assert counts[1] < counts[0] * SLACK


def tree(size: int, memory_mib: int = 32) -> dict[str, bytes]:
    of = site(size)
    vms = (replace(v, line=0, apart=()) for v in of.site.vms())
    first, *others = vms
    hosts = tuple(Host(name) for name in of.state.members)
    text = write_site(
        Site((VMSet("web", "", (replace(first, memory_mib=memory_mib, set_name="web"), *(
            replace(v, set_name="web") for v in others))),), hosts)
    )  # fmt: skip
    state = State(site_id=of.state.site_id, members=of.state.members, placement=of.state.placement)
    config = {
        f"configs/{name}.cfg": c.text.encode()
        for name, c in of.configs.items()
        if name == "apache_svr"
    }
    return {"site.xml": text, **config, **write_state(state)}


def test_an_edit_and_a_merge_grow_with_the_site() -> None:
    edits, merges = [], []
    for size in (SMALL, SMALL * TIMES):
        head, mine, theirs = tree(size), tree(size, 48), tree(size, 64)
        around = Surroundings({}, {}, NOW)
        load(head)
        edits.append(calls(lambda h=head, m=mine, a=around: edit(h, "h", h, "h", m, a)))  # type: ignore[misc]
        merges.append(calls(lambda h=head, m=mine, t=theirs: merge(h, m, t, "b", "c")))  # type: ignore[misc]
    assert edits[1] < edits[0] * TIMES * SLACK
    assert merges[1] < merges[0] * TIMES * SLACK


def test_the_count_sees_a_search_through_a_list() -> None:
    """Else a quadratic step would go unnoticed."""

    def quadratic(size: int) -> int:
        names = [Counting(f"vm{i}") for i in range(size)]
        copies = [Counting(name) for name in names]
        return calls(lambda: [name in names for name in copies])

    assert quadratic(SMALL * TIMES) > quadratic(SMALL) * TIMES * SLACK
