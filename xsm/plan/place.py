"""Where floating VMs go: kept where they are, else where they run, else where most memory is free.

One that runs keeps its place even where room is short: others wait for room, it isn't moved for them.

Decides at the time of an edit; the result is committed with it (state/placement), so that all hosts
agree without asking each other. Must not know how a VM gets there.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from xsm.plan.capacity import capacity_mib
from xsm.plan.observed import ACTIVE, HostReport
from xsm.plan.view import REPORT_OLD_S
from xsm.plan.wanted import config_refusal
from xsm.plan.witness import contradiction, is_witness, why_no_vms
from xsm.site.document import Document
from xsm.site.model import VM

REASONS_LIMIT = 3
"""Hosts that an "unplaced" reason names before it only counts the others."""


@dataclass(frozen=True)
class Placement:
    """Where every floating VM goes. Invariant: each is in exactly one of `placements` and
    `unplaced`."""

    placements: Mapping[str, str]  # VM -> member
    unplaced: Mapping[str, str]  # VM -> why no member can have it
    reasons: Mapping[str, str]  # VM -> why it goes there, of those that are new or go elsewhere
    refused: Mapping[str, str] = field(
        default_factory=dict
    )  # VM of `moving` -> why it can't go there


@dataclass
class _Host:
    """A member, filling up."""

    name: str
    capacity: int | None  # MiB; None: nobody knows
    used: int = 0
    apart: dict[str, str] = field(default_factory=dict)  # anti-affinity tag -> VM that has it here
    failed: bool = False

    def key(self) -> tuple[bool, bool, float, str]:
        """Best first: those that answer, those whose size is known, the largest free share, the
        name."""
        free = (self.capacity - self.used) / self.capacity if self.capacity else 0.0
        return (self.failed, self.capacity is None, -free, self.name)

    def take(self, vm: VM) -> None:
        self.used += vm.memory_mib
        for tag in vm.apart:
            self.apart.setdefault(tag, vm.name)


class _Floor:
    """The members with what is on them. VMs that are stopped count too: they may be started any
    time."""

    def __init__(
        self, document: Document, reports: Mapping[str, HostReport], unreachable: Mapping[str, str]
    ) -> None:
        self.document = document
        self.reports = reports
        self.hosts = {
            name: _Host(
                name,
                capacity_mib(document, reports.get(name), name),
                failed=name in unreachable,
            )
            for name in sorted(document.state.members)
        }
        self.ranked: list[tuple[tuple[bool, bool, float, str], str]] = []

    def rank(self) -> None:
        """Drained hosts are left out: nothing goes there, and, empty, they would be tried first for every VM."""
        drained = self.document.state.drained
        self.ranked = sorted(
            (h.key(), h.name) for h in self.hosts.values() if h.name not in drained
        )

    def take(self, vm: VM, name: str) -> None:
        """Put `vm` on host `name`, and rank that anew."""
        host = self.hosts.get(name)
        if host is None:
            return
        at = bisect_left(self.ranked, (host.key(), name))
        ranked = at < len(self.ranked) and self.ranked[at][1] == name
        if ranked:
            del self.ranked[at]
        host.take(vm)
        if ranked:
            insort(self.ranked, (host.key(), name))

    def ban(self, vm: VM, name: str) -> str:
        """Why somebody wants `vm` not to be on host `name`, "" when nobody does."""
        host = self.hosts.get(name)
        if host is None:
            return f"{name} is not a member"
        report = self.reports.get(name)
        if is_witness(self.document.state.members[name], report):
            return why_no_vms(self.document.state, name, report)
        if name in self.document.state.drained:
            return f"{name} is drained"
        for tag in vm.apart:
            if tag in host.apart:
                return f"{name} has {host.apart[tag]}, which is to be apart from it ({tag!r})"
        return ""

    def obstacle(self, vm: VM, name: str) -> str:
        """Why `vm` can't be on host `name`, "" when it can."""
        ban = self.ban(vm, name)
        if ban:
            return ban
        host = self.hosts[name]
        report = self.reports.get(name)
        never = why_no_vms(self.document.state, name, report)
        if never:
            return never
        if report is not None and report.facts is not None:
            refusal = config_refusal(self.document.configs[vm.config], report.facts.kind)
            if refusal:
                return f"{name} can't run its config: {refusal}"
        if host.capacity is not None and host.used + vm.memory_mib > host.capacity:
            left = max(0, host.capacity - host.used)
            return f"{name} has {left} MiB left for VMs, {vm.memory_mib} MiB are needed"
        return ""


def place(
    document: Document,
    reports: Mapping[str, HostReport],
    unreachable: Mapping[str, str],
    now: float,
    moving: Mapping[str, str] | None = None,
    planned: Mapping[str, str] | None = None,
) -> Placement:
    """Find a host for every floating VM.

    `moving`: VM -> member where somebody wants it (`xsm migrate`); when that can't be, the VM is in
    `refused` and keeps its place. `planned`: likewise where the site itself wants it (`draining.order`); when that
    can't be, it is placed as any other. `now` and the reports' times are seconds on one clock.
    """
    floor = _Floor(document, reports, unreachable)
    floating: dict[str, VM] = {}
    for vm in sorted(document.site.vms(), key=lambda each: each.name):
        if vm.host is None:
            floating[vm.name] = vm
        else:
            floor.take(vm, document.host_name(vm.host))
    asked = moving or {}
    moving = {**(planned or {}), **asked}
    placements: dict[str, str] = {}
    left: dict[str, str] = {}  # VM -> why it can't stay
    staying = _may_run_in_place(document, floating, reports, unreachable, now)
    _keep(floor, floating, placements, left, staying - moving.keys(), floor.ban)
    reasons: dict[str, str] = {}
    refused: dict[str, str] = {}
    for name, host in sorted(moving.items()):
        moved = floating.get(name)
        why_not = floor.obstacle(moved, host) if moved else f"{name} is not a floating VM"
        if moved is None or why_not:
            refused[name] = why_not
            continue
        floor.take(moved, host)
        placements[name] = host
        reasons[name] = f"moved to {host} as {'asked' if name in asked else 'planned'}"
    _keep(floor, floating, placements, left, staying & refused.keys(), floor.ban)
    rest = floating.keys() - placements.keys() - left.keys()
    _keep(floor, floating, placements, left, rest, floor.obstacle)
    unplaced = _find(
        floor,
        floating,
        placements,
        left=left,
        reasons=reasons,
        active=_where_active(document, reports, now),
    )
    return Placement(
        dict(sorted(placements.items())),
        dict(sorted(unplaced.items())),
        dict(sorted(reasons.items())),
        {name: why for name, why in sorted(refused.items()) if name in asked},
    )


def _may_run_in_place(
    document: Document,
    floating: Mapping[str, VM],
    reports: Mapping[str, HostReport],
    unreachable: Mapping[str, str],
    now: float,
) -> frozenset[str]:
    """Floating VMs that run where they are placed, or may: their host's word on it is missing or old, or it says that
    it has no hypervisor and had one when it joined."""
    active = set(_active(document, reports))
    members = document.state.members
    known = {
        host
        for host, report in reports.items()
        if host not in unreachable and report.facts and now - report.at <= REPORT_OLD_S
        if host not in members or not contradiction(members[host], report)
    }
    return frozenset(
        vm
        for vm, host in document.state.placement.items()
        if vm in floating and (host not in known or (host, vm) in active)
    )


def _keep(
    floor: _Floor,
    floating: Mapping[str, VM],
    placements: dict[str, str],
    left: dict[str, str],
    names: Iterable[str],
    hindrance: Callable[[VM, str], str],
) -> None:
    """Those of `names` that have a place keep it, unless there is a hindrance."""
    for name in sorted(names):
        host = floor.document.state.placement.get(name)
        if host is None:
            continue
        why_not = hindrance(floating[name], host)
        if why_not:
            left[name] = why_not
        else:
            floor.take(floating[name], host)
            placements[name] = host


def _find(
    floor: _Floor,
    floating: Mapping[str, VM],
    placements: dict[str, str],
    *,
    left: Mapping[str, str],
    reasons: dict[str, str],
    active: Mapping[str, str],
) -> dict[str, str]:
    """Place the rest: those that run already, then the largest (they are the hardest to fit), then
    by name."""
    floor.rank()
    unplaced: dict[str, str] = {}
    nowhere: set[tuple[int, str, tuple[str, ...]]] = (
        set()
    )  # hosts only fill up: what fits nowhere won't later
    rest = [floating[name] for name in floating.keys() - placements.keys()]
    for vm in sorted(rest, key=lambda v: (v.name not in active, -v.memory_mib, v.name)):
        like = (vm.memory_mib, vm.config, vm.apart)
        found = None if like in nowhere else _best(floor, vm, active.get(vm.name))
        if found is None:
            nowhere.add(like)
            unplaced[vm.name] = _why_nowhere(floor, vm)
            continue
        host, reason = found
        floor.take(vm, host)
        placements[vm.name] = host
        was = floor.document.state.placement.get(vm.name)
        reasons[vm.name] = f"{left[vm.name]}; {reason}" if was and vm.name in left else reason
    return unplaced


def _best(floor: _Floor, vm: VM, active_on: str | None) -> tuple[str, str] | None:
    if (
        active_on is not None
        and not floor.hosts[active_on].failed
        and not floor.obstacle(vm, active_on)
    ):
        return active_on, f"it runs on {active_on} already"
    for _, name in floor.ranked:
        if not floor.obstacle(vm, name):
            host = floor.hosts[name]
            if host.failed:
                return name, f"only {name} could have it, though it does not answer now"
            if host.capacity is None:
                return name, f"{name} can have it as far as is known"
            return (
                name,
                f"{name} has most free memory ({host.capacity - host.used} of {host.capacity} MiB)",
            )
    return None


def _why_nowhere(floor: _Floor, vm: VM) -> str:
    if not floor.hosts:
        return "no host has joined the site yet"
    why_not = [floor.obstacle(vm, name) for name in islice(floor.hosts, REASONS_LIMIT)]
    more = len(floor.hosts) - REASONS_LIMIT
    others = f"; and {more} more host{'s' * (more != 1)}" if more > 0 else ""
    return "; ".join(why_not) + others


def _where_active(
    document: Document, reports: Mapping[str, HostReport], now: float
) -> Mapping[str, str]:
    """VM -> member where a domain of it is active by a report that isn't old; the first by name if
    several."""
    fresh = {host: r for host, r in reports.items() if now - r.at <= REPORT_OLD_S}
    return {vm: host for host, vm in sorted(_active(document, fresh), reverse=True)}


def _active(document: Document, reports: Mapping[str, HostReport]) -> Iterator[tuple[str, str]]:
    """(member, VM) of the site's active domains."""
    for host, report in reports.items():
        if host not in document.state.members or report.facts is None:
            continue
        for domain in report.domains:
            tag = domain.tag
            if tag is not None and tag.site_id == document.state.site_id and domain.state in ACTIVE:
                yield host, tag.vm
