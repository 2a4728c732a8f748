"""The order in which a host is emptied: each move fits the memory and the anti-affinity (APART) of that moment.

Decides which VM goes where, after which others, and in how many edits. A pure function of the document, the hosts'
reports and the pace. VMs of other hosts move only where the host can't be emptied otherwise; those that are pinned, or
that a person gave their place, never do. Must not know how a move is made, nor who asked.

Places are the document's: what is on its way already is taken for arrived. While it is not, hosts make those wait that
have no room yet (`capacity.shortage`), so that only the order in which they leave is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from xsm.plan.capacity import capacity_mib
from xsm.plan.observed import ACTIVE, HostReport, cannot_receive
from xsm.plan.order import Move, Order, Pace
from xsm.plan.order_search import Hop, Rooms, empty_host
from xsm.plan.wanted import config_refusal
from xsm.plan.witness import why_no_vms
from xsm.site.conflicts import active_conflicts
from xsm.site.document import Document
from xsm.site.model import VM, Migration, Power

SETUP_S = 1.0
"""What a live migration takes beside its memory: claim, preparation, handing over."""
COLD_S = 30.0
"""What shutting a guest down and starting it elsewhere is taken to take."""


def order(
    document: Document,
    reports: Mapping[str, HostReport],
    unreachable: Mapping[str, str],
    host: str,
    pace: Pace,
) -> Order:
    """How to empty `host`, a member. What can't leave is in `stays`, with the reason; the rest leaves all the same."""
    ways = _Ways(document, reports, unreachable, host)
    stays = dict(ways.stays)
    hops = _hops(ways)
    gone = {hop.vm for hop in hops}
    for name in sorted(ways.leaving - gone):
        stays[name] = _why_not_one(ways, name, hops)
    steps = _in_steps(ways.rooms(), hops)
    stages = _in_stages(ways.rooms(), steps)
    number, moved = 1, []
    for stage in stages:
        moves = []
        for step in stage:
            moves += [ways.move(hop, number, pace) for hop in step]
            number += 1
        moved.append(tuple(moves))
    found = Order(host, tuple(moved), dict(sorted(stays.items())), pace=pace)
    return replace(found, total_s=_total_s(found.moves, pace))


def _hops(ways: _Ways) -> list[Hop]:
    """Live as far as that goes, then stopping those that are left; all anew where live moves have filled the hosts."""
    leaving, others = sorted(ways.leaving), sorted(ways.makers_of_room)
    live = empty_host(ways.rooms(live=True), ways.host, leaving, others)
    rest = [name for name in leaving if name not in {hop.vm for hop in live}]
    if not rest or ways.rooms(live=True).allowed == ways.rooms().allowed:
        return live
    rooms = ways.rooms()
    rooms.settle(live)
    stopping = empty_host(rooms, ways.host, rest, others)
    if {*rest} <= {hop.vm for hop in stopping}:
        return live + stopping
    anew = empty_host(ways.rooms(), ways.host, leaving, others)
    return max((live + stopping, anew), key=lambda hops: len({h.vm for h in hops} & {*leaving}))


class _Ways:
    """Which VMs of the site may go where."""

    def __init__(
        self,
        document: Document,
        reports: Mapping[str, HostReport],
        unreachable: Mapping[str, str],
        host: str,
    ) -> None:
        self.document = document
        self.reports = reports
        self.host = host
        self.vms = document.vms
        self.homes = {name: document.host_of(vm) for name, vm in self.vms.items()}
        self.runs_on = where_active(document, reports)
        self.open_to = tuple(
            name
            for name in sorted(document.state.members)
            if name != host
            and name not in document.state.drained
            and name not in unreachable
            and name in reports
            and reports[name].facts is not None
            and not why_no_vms(document.state, name, reports[name])
        )
        conflicts = active_conflicts(document.site, document.state)
        self.disputed = {conflict.vm for conflict in conflicts}
        self._alike: dict[tuple[object, ...], tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self.stays: dict[str, str] = {}
        self.leaving: set[str] = set()
        self.makers_of_room: set[str] = set()
        for name, home in sorted(self.homes.items()):
            if home == host:
                self._sort(self.vms[name])
            elif home in self.open_to and self._may_make_room(self.vms[name]):
                self.makers_of_room.add(name)

    def _sort(self, vm: VM) -> None:
        why = "its DOM0 pins it there: change that" if vm.host is not None else ""
        if not why and self.is_on(vm) and vm.migration is Migration.NEVER:
            why = f"MIGRATION never keeps it there while it runs; `xsm stop {vm.name}` lets it move"
        if not why and not self.targets(vm):
            reasons = [f"{h}: {self.hindrance(vm, h)[0]}" for h in self.open_to][:REASONS_TOLD]
            why = "; ".join(reasons) or "no other host answers that could have it"
        if why:
            self.stays[vm.name] = why
        else:
            self.leaving.add(vm.name)

    def _may_make_room(self, vm: VM) -> bool:
        """Whether it may be moved for another one's sake: unnoticed, and against nobody's word."""
        if vm.host is not None or vm.name in self.document.state.chosen or vm.name in self.disputed:
            return False
        runs_on = self.runs_on.get(vm.name)
        if runs_on not in (None, self.homes[vm.name]) or vm.migration is Migration.NEVER:
            return False
        return bool(self.unnoticed(vm))

    def is_on(self, vm: VM) -> bool:
        return vm.power is not Power.STOPPED or vm.name in self.runs_on

    def targets(self, vm: VM) -> tuple[str, ...]:
        """Hosts that could have it but for their memory and its APART."""
        return self._open_to(vm)[0]

    def unnoticed(self, vm: VM) -> tuple[str, ...]:
        """Those of them to which it can go without being stopped."""
        return self._open_to(vm)[1]

    def _open_to(self, vm: VM) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Worked out once for all VMs that are alike in what counts here."""
        report = self.reports.get(self._source(vm))
        facts = report.facts if report else None
        source = (facts.kind, facts.cold_only) if facts else None
        key = (vm.config, vm.migration, self.is_on(vm), source)
        if key not in self._alike:
            found = {h: self.hindrance(vm, h) for h in self.open_to}
            targets = tuple(h for h, (never, _) in found.items() if not never)
            self._alike[key] = targets, tuple(h for h in targets if not found[h][1])
        return self._alike[key]

    def _source(self, vm: VM) -> str:
        return self.runs_on.get(vm.name) or self.homes[vm.name] or ""

    def hindrance(self, vm: VM, target: str) -> tuple[str, str]:
        """Why `vm` can't go to `target` at all; why it has to be stopped for it. "" where nothing is."""
        source = self._source(vm)
        there = self.reports[target].facts
        assert there is not None  # of `open_to`
        refusal = config_refusal(self.document.configs[vm.config], there.kind)
        if refusal:
            return f"it can't run its config: {refusal}", ""
        if not self.is_on(vm):
            return "", ""
        report = self.reports.get(source)
        here = report.facts if report else None
        not_live = cannot_receive(there)
        if here is not None and here.cold_only:
            not_live = f"{source} can't: {here.cold_only}"
        elif not not_live and here is not None and here.kind is not there.kind:
            not_live = f"{source} runs {here.kind} and {target} {there.kind}"
        if not_live and vm.migration is Migration.LIVE:
            return f"live migration is not possible: {not_live}", ""
        return "", not_live

    def rooms(self, live: bool = False) -> Rooms:
        """The hosts as the document has them. `live`: nothing is stopped that can go live to some host."""
        allowed = {}
        for name in sorted(self.leaving | self.makers_of_room):
            vm = self.vms[name]
            unnoticed = self.unnoticed(vm)
            only = name in self.makers_of_room or (live and unnoticed)
            allowed[name] = unnoticed if only else self.targets(vm)
        free = {
            name: capacity_mib(self.document, self.reports.get(name), name)
            for name in sorted(self.document.state.members)
        }
        rooms = Rooms(free, allowed)
        for name, home in sorted(self.homes.items()):
            vm = self.vms[name]
            rooms.put(name, home or "", vm.memory_mib, vm.apart)
        return rooms

    def move(self, hop: Hop, step: int, pace: Pace) -> Move:
        vm = self.vms[hop.vm]
        stopped_for = self.hindrance(vm, hop.target)[1] if hop.source == self.homes[vm.name] else ""
        off = not self.is_on(vm)
        takes_s = SETUP_S + vm.memory_mib / max(pace.rate_mib_s, 1.0)
        return Move(
            vm.name,
            hop.source,
            hop.target,
            vm.memory_mib,
            step,
            0.0 if off else COLD_S if stopped_for else round(takes_s, 1),
            stopped_for,
            off,
            self.homes[vm.name] != self.host,
        )


REASONS_TOLD = 3
"""Hosts that a reason names."""


def where_active(document: Document, reports: Mapping[str, HostReport]) -> dict[str, str]:
    """VM -> member on which a domain of it is active, and not merely being received; the first by name if several."""
    found: dict[str, str] = {}
    for host in sorted({*reports} & {*document.state.members}):
        report = reports[host]
        for domain in report.domains if report.facts else ():
            tag = domain.tag
            ours = tag is not None and tag.site_id == document.state.site_id
            if tag and ours and domain.state in ACTIVE and not domain.incoming:
                found.setdefault(tag.vm, host)
    return found


def _why_not_one(ways: _Ways, name: str, hops: Iterable[Hop]) -> str:
    rooms = ways.rooms()
    for hop in hops:
        rooms.move(hop.vm, hop.target)
    reasons = [rooms.obstacle(name, target) for target in ways.targets(ways.vms[name])]
    more = f"; and {len(reasons) - REASONS_TOLD} more" if len(reasons) > REASONS_TOLD else ""
    return "; ".join(reasons[:REASONS_TOLD]) + more


def _in_steps(rooms: Rooms, hops: Sequence[Hop]) -> list[list[Hop]]:
    """Hops that may go in any order together: each fits beside all others of its step before any of them has left."""
    steps: list[list[Hop]] = []
    for hop in hops:
        if steps and rooms.fits_unvacated(hop, steps[-1]):
            steps[-1].append(hop)
        else:
            if steps:
                rooms.settle(steps[-1])
            steps.append([hop])
    return steps


def _in_stages(rooms: Rooms, steps: Sequence[list[Hop]]) -> list[list[list[Hop]]]:
    """Steps that one edit may ask for: whatever the order in which hosts take them up, none waits for ever."""
    stages: list[list[list[Hop]]] = []
    for step in steps:
        hops = [hop for each in stages[-1] for hop in each] + step if stages else step
        if stages and rooms.ends_in_any_order(hops):
            stages[-1].append(step)
        else:
            if stages:
                rooms.settle([hop for each in stages[-1] for hop in each])
            stages.append([step])
    return stages


def _total_s(moves: Iterable[Move], pace: Pace) -> float:
    """How long the steps take one after another, when each host sends and receives as many at once as it may."""
    total, step, busy = 0.0, 0, _Busy(pace)
    for move in moves:
        if move.step != step:
            total, step, busy = total + busy.until_s, move.step, _Busy(pace)
        busy.take(move)
    return round(total + busy.until_s, 1)


class _Busy:
    """When hosts' slots are free again, in one step."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.out: dict[str, list[float]] = {}
        self.into: dict[str, list[float]] = {}
        self.until_s = 0.0

    def take(self, move: Move) -> None:
        if move.off:
            return
        out = self.out.setdefault(move.source, [0.0] * max(1, self.pace.out))
        into = self.into.setdefault(move.target, [0.0] * max(1, self.pace.into))
        start = max(min(out), min(into))
        end = start + move.takes_s
        out[out.index(min(out))] = into[into.index(min(into))] = end
        self.until_s = max(self.until_s, end)
