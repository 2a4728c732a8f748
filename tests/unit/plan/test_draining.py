"""The order in which a host is emptied: every step fits, in whatever order hosts take it up, and a way is found where
there is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planned_site import (
    QEMU,
    XEN,
    document,
    facts,
    made,
    report,
    vm,
)

from xsm.plan.draining import order
from xsm.plan.observed import HostReport, HypervisorFacts
from xsm.plan.order import Move, Order, Pace
from xsm.site.document import Document
from xsm.site.model import VM, Host, HypervisorKind, Migration, Power

PACE = Pace(100.0, measured=True, out=2, into=2)


def site(capacities: dict[str, int], *vms: tuple[VM, str], **values: object) -> Document:
    """Hosts with so much memory for VMs, and floating VMs on them."""
    placement = {v.name: host for v, host in vms if v.host is None}
    listed = [Host(name, memory_mib=mib) for name, mib in capacities.items()]
    return document(
        *(v for v, _ in vms), hosts=capacities, listed=listed, placement=placement, **values
    )


def seen(doc: Document, of: dict[str, HypervisorFacts] | None = None) -> dict[str, HostReport]:
    """All VMs run where they belong."""
    domains = made(doc)
    return {
        host: report(
            host,
            *(
                domains[v.name]
                for v in doc.site.vms()
                if doc.host_of(v) == host and v.power is not Power.STOPPED
            ),
            of=(of or {}).get(host) or facts(memory_mib=1 << 20),
        )
        for host in doc.state.members
    }


def drained(doc: Document, host: str = "h1", **values: object) -> Order:
    return order(doc, seen(doc, **values), {}, host, PACE)


def way(found: Order) -> list[tuple[str, str, str]]:
    return [(move.vm, move.source, move.target) for move in found.moves]


def test_with_room_everywhere_it_is_one_step_and_the_emptiest_get_them() -> None:
    doc = site(
        {"h1": 1000, "h2": 1000, "h3": 1000},
        (vm("a", memory_mib=300), "h1"),
        (vm("b", memory_mib=200), "h1"),
        (vm("c", memory_mib=100), "h3"),
    )
    found = drained(doc)
    assert way(found) == [("a", "h1", "h2"), ("b", "h1", "h3")]
    assert [move.step for move in found.moves] == [1, 1]
    assert (len(found.stages), found.stays, found.total_s) == (1, {}, 4.0)


def test_a_vm_of_a_third_host_makes_room_only_where_it_must() -> None:
    """h3 has 300 MiB left and h2 200: `b` has to leave h2 before `a` may come."""
    doc = site(
        {"h1": 1000, "h2": 600, "h3": 500},
        (vm("a", memory_mib=400), "h1"),
        (vm("b", memory_mib=300), "h2"),
        (vm("c", "h3", memory_mib=200), "h3"),
    )
    found = drained(doc)
    assert way(found) == [("b", "h2", "h3"), ("a", "h1", "h2")]
    assert [(m.step, m.makes_room) for m in found.moves] == [(1, True), (2, False)]
    assert len(found.stages) == 1
    found = drained(replace(doc, state=replace(doc.state, chosen=frozenset({"b"}))))
    assert not found.moves
    assert "h2 has 300 MiB left for VMs, 400 MiB are needed" in found.stays["a"]


def test_of_a_swap_over_anti_affinity_the_other_leaves_first() -> None:
    doc = site(
        {"h1": 1000, "h2": 1000, "h3": 1000},
        (vm("a", memory_mib=100, apart=("web",)), "h1"),
        (vm("b", memory_mib=100, apart=("web", "db")), "h2"),
        (vm("c", memory_mib=100, apart=("web",)), "h3"),
        (vm("d", memory_mib=100), "h1"),
    )
    found = drained(doc)
    assert [move.vm for move in found.moves] == ["d"]
    assert "h2 has b, which is to be apart from it" in found.stays["a"]
    more = site(
        {"h1": 1000, "h2": 1000, "h3": 50, "h4": 150},
        (vm("a", memory_mib=300, apart=("web",)), "h1"),
        (vm("b", memory_mib=100, apart=("web",)), "h2"),
    )
    assert way(drained(more)) == [("b", "h2", "h4"), ("a", "h1", "h2")]


def test_what_can_not_leave_is_said_with_its_reason() -> None:
    doc = site(
        {"h1": 2000, "h2": 1000},
        (vm("pinned", "h1", memory_mib=100), "h1"),
        (vm("never", memory_mib=100, migration=Migration.NEVER), "h1"),
        (vm("big", memory_mib=1500), "h1"),
        (vm("xen", memory_mib=100, config="pv"), "h1"),
        (vm("off", memory_mib=100, power=Power.STOPPED), "h1"),
    )
    found = drained(doc, of={"h1": facts(XEN), "h2": facts(QEMU)})
    assert {name: why.split(":")[0] for name, why in found.stays.items()} == {
        "pinned": "its DOM0 pins it there",
        "never": "MIGRATION never keeps it there while it runs; `xsm stop never` lets it move",
        "big": "h2",
        "xen": "h2",
    }
    assert "live migration is not possible: h1 runs xen and h2 qemu" in found.stays["big"]
    assert "can't run its config" in found.stays["xen"]
    assert [(m.vm, m.off, m.takes_s) for m in found.moves] == [("off", True, 0.0)]


def test_a_vm_is_stopped_for_it_only_where_it_can_not_go_live() -> None:
    doc = site(
        {"h1": 2000, "h2": 2000, "h3": 500},
        (vm("a", memory_mib=300, migration=Migration.COLD), "h1"),
        (vm("b", memory_mib=300, migration=Migration.COLD), "h1"),
    )
    kinds = {"h1": facts(QEMU), "h2": facts(XEN), "h3": facts(QEMU)}
    found = drained(doc, of=kinds)
    told = [(m.vm, m.target, m.stopped_for) for m in found.moves]
    assert told == [("b", "h3", ""), ("a", "h2", "h1 runs qemu and h2 xen")]


def test_hosts_that_do_not_answer_or_are_drained_or_witnesses_get_nothing() -> None:
    doc = site(
        {"h1": 1000, "h2": 1000, "h3": 1000}, (vm("a", memory_mib=300), "h1"), drained=["h3"]
    )
    found = order(doc, seen(doc), {"h2": "connection refused"}, "h1", PACE)
    assert found.stays == {"a": "no other host answers that could have it"}
    witness = order(
        doc, {**seen(doc), "h2": report("h2", of=facts(HypervisorKind.NONE))}, {}, "h1", PACE
    )
    assert witness.stays == found.stays


@pytest.mark.parametrize(("out", "into", "total_s"), [(1, 1, 16.0), (2, 2, 8.0), (4, 2, 8.0)])
def test_the_time_counts_how_many_go_at_once(out: int, into: int, total_s: float) -> None:
    doc = site({"h1": 2000, "h2": 2000}, *((vm(f"a{i}", memory_mib=300), "h1") for i in range(4)))
    found = order(doc, seen(doc), {}, "h1", Pace(100.0, True, out, into))
    assert found.total_s == total_s


def test_a_hundred_hosts_with_a_thousand_vms_leave_one_after_another_for_the_crowd() -> None:
    """Nearly full, so that the straight way does not do: room is made, and each step still fits."""
    sizes = [100, 300, 200, 500, 100, 200, 400, 100, 300, 200]
    hosts = {f"h{i:03}": 2560 for i in range(100)}
    vms = [(vm(f"v{h}-{i}", memory_mib=size), h) for h in hosts for i, size in enumerate(sizes)]
    vms[5] = (vm("v-big", memory_mib=460), "h000")
    doc = site(hosts, *vms)
    found = drained(doc, "h000")
    assert {m.vm for m in found.moves if not m.makes_room} <= {
        v.name for v, h in vms if h == "h000"
    }
    _play(doc, found, Random(1))


# -- every small site -----------------------------------------------------

SIZES = st.sampled_from([100, 200, 300])
TAGS = st.sampled_from([(), (), ("a",), ("a", "b")])


@st.composite
def small_sites(draw: st.DrawFn) -> Document:
    hosts = {f"h{i}": draw(st.sampled_from([200, 300, 400, 600])) for i in (1, 2, 3)}
    vms: list[tuple[VM, str]] = []
    for i in range(draw(st.integers(1, 6))):
        pinned = draw(st.integers(0, 5)) == 0
        home = draw(st.sampled_from([h for h in hosts for _ in range(2 if h == "h1" else 1)]))
        made_vm = vm(f"v{i}", home if pinned else None, memory_mib=draw(SIZES), apart=draw(TAGS))
        there = [v for v, h in vms if h == home]
        if sum(v.memory_mib for v in (*there, made_vm)) > hosts[home]:
            continue
        if any({*v.apart} & {*made_vm.apart} for v in there):
            continue
        vms.append((made_vm, home))
    return site(hosts, *vms)


def _fits(doc: Document, on: dict[str, str], name: str, target: str) -> bool:
    """Whether `name` may come to `target`, where all others are as in `on`: written apart from what is tested."""
    one = doc.site.vm(name)
    assert one is not None
    others = [v for v in doc.site.vms() if on.get(v.name) == target and v.name != name]
    entry = doc.host_entry(target)
    assert entry is not None
    assert entry.memory_mib is not None
    if sum(v.memory_mib for v in others) + one.memory_mib > entry.memory_mib:
        return False
    return not any({*v.apart} & {*one.apart} for v in others)


def _homes(doc: Document) -> dict[str, str]:
    return {v.name: doc.host_of(v) or "" for v in doc.site.vms()}


def _play(doc: Document, found: Order, chance: Random) -> dict[str, str]:
    """The moves as hosts make them: of one stage in any order, each as soon as it fits. Where they end."""
    on = _homes(doc)
    for stage in found.stages:
        todo: list[Move] = list(stage)
        while todo:
            ready = [m for m in todo if on[m.vm] == m.source and _fits(doc, on, m.vm, m.target)]
            assert ready, f"all of {todo} wait for one another"
            move = chance.choice(ready)
            todo.remove(move)
            on[move.vm] = move.target
    return on


def _reachable(doc: Document, host: str) -> Iterator[dict[str, str]]:
    """Every state that moves can lead to, none of them to `host`."""
    first = _homes(doc)
    floating = [v.name for v in doc.site.vms() if v.host is None]
    known, queue = {tuple(sorted(first.items()))}, [first]
    while queue:
        on = queue.pop()
        yield on
        for name, target in product(floating, sorted(doc.state.members)):
            if target in (host, on[name]) or not _fits(doc, on, name, target):
                continue
            after = {**on, name: target}
            key = tuple(sorted(after.items()))
            if key not in known:
                known.add(key)
                queue.append(after)


@settings(max_examples=150)
@given(small_sites(), st.randoms(use_true_random=False))
def test_every_step_fits_and_a_way_is_found_where_there_is_one(
    doc: Document, chance: Random
) -> None:
    found = drained(doc)
    on = _play(doc, found, chance)
    left = {name for name, host in on.items() if host == "h1"}
    assert left == found.stays.keys()
    fewest = min(sum(host == "h1" for host in state.values()) for state in _reachable(doc, "h1"))
    assert len(left) == fewest, f"{fewest} have to stay, {sorted(left)} do"


@settings(max_examples=100)
@given(small_sites(), st.randoms(use_true_random=False))
def test_moves_of_one_step_fit_together_before_any_has_left(doc: Document, chance: Random) -> None:
    on = _homes(doc)
    steps: dict[int, list[Move]] = {}
    for move in drained(doc).moves:
        steps.setdefault(move.step, []).append(move)
    for number in sorted(steps):
        chance.shuffle(steps[number])
        arrived: dict[str, str] = {}
        for move in steps[number]:
            there = {
                **on,
                **{f"{name}": host for name, host in arrived.items() if host == move.target},
            }
            assert _fits(doc, {**there, move.vm: ""}, move.vm, move.target)
            arrived[move.vm] = move.target
        on.update(arrived)


@settings(max_examples=50)
@given(small_sites())
def test_it_is_the_same_whatever_the_order_of_the_input(doc: Document) -> None:
    reports = seen(doc)
    backwards = {host: reports[host] for host in reversed(reports)}
    assert order(doc, reports, {}, "h1", PACE) == order(doc, backwards, {}, "h1", PACE)
