"""The rules of edits, and of what is done to domains, each switched off: real code with one piece replaced."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from tests.sim import host as sim_host
from tests.sim.checkers import Checkers
from tests.sim.host import SimHost
from xsm.edge import act, revisions
from xsm.edge.hypervisor import Hypervisor
from xsm.peer import derive, edit, history, machine, standing
from xsm.peer.derive import commit_date
from xsm.peer.history import Ancestry, Commit
from xsm.peer.work import Work
from xsm.plan import capacity, moves, planner, power, round, sightings, wanted
from xsm.plan.actions import Action
from xsm.plan.observed import Domain
from xsm.plan.wanted import Wanted, WantedVM
from xsm.site import merge, merge_site, side, state_file
from xsm.site.document import Document, Files
from xsm.site.model import Drift, Migration

Patch = pytest.MonkeyPatch


# -- edits -------------------------------------------------------------------------------------------------------------


def merges_are_merged(patch: Patch) -> None:
    """Pairwise: a host's own merge commit is a head like any edit."""
    real = SimHost._take

    def take(host: SimHost, new: tuple[str, ...], local: bool, parent: str | None) -> None:
        before = host.head
        real(host, new, local, parent)
        if host.head is not before and host.head is not None and len(host.head.heads) > 1:
            host.disk.set_heads((host.head.revision,))

    patch.setattr(SimHost, "_take", take)
    patch.setattr(Ancestry, "expand", lambda self, ids: tuple(sorted(set(ids))))
    patch.setattr(Checkers, "_heads_never_go_back", lambda self, world: None)


def delete_beats_modify(patch: Patch) -> None:
    real = merge_site._merge_vm

    def merge_vm(base: Any, first: Any, second: Any, *more: Any) -> Any:
        gone = base is not None and (first is None or second is None)
        return None if gone else real(base, first, second, *more)

    patch.setattr(merge_site, "_merge_vm", merge_vm)


def a_kept_vm_is_not_marked(patch: Patch) -> None:
    """Modify beats delete, in silence."""
    _unmarked(patch, lambda what: what == "removal")


def the_later_edit_wins_in_silence(patch: Patch) -> None:
    _unmarked(patch, lambda what: what not in ("removal", "host"))


def the_later_move_wins_in_silence(patch: Patch) -> None:
    _unmarked(patch, lambda what: what == "host")


def _unmarked(patch: Patch, which: Any) -> None:
    real = merge.merge_sites

    def merge_sites(*sides: Any) -> merge_site.MergedSite:
        found = real(*sides)
        return replace(found, clashes=tuple(c for c in found.clashes if not which(c.what)))

    patch.setattr(merge, "merge_sites", merge_sites)


def entries_are_merged_as_a_whole(patch: Patch) -> None:
    """Of a VM that both sides changed the later side's entry is taken, whatever the other changed in it."""
    real = merge_site._merge_vm

    def merge_vm(base: Any, first: Any, second: Any, *more: Any) -> Any:
        merged = real(base, first, second, *more)
        return second if first is not None and second not in (None, base) else merged

    patch.setattr(merge_site, "_merge_vm", merge_vm)


def merged_without_the_base(patch: Patch) -> None:
    """A VM that only one side has is taken, whether the other removed it or never had it."""
    real = merge_site._merge_vm

    def merge_vm(base: Any, first: Any, second: Any, *more: Any) -> Any:
        return first or second if not (first and second) else real(base, first, second, *more)

    patch.setattr(merge_site, "_merge_vm", merge_vm)


def a_third_edit_settles_unseen(patch: Patch) -> None:
    """A conflict ends as soon as anybody gives the field another value, who may know nothing of it."""

    def write_conflicts(files: dict[str, bytes], sides: Any, new: Iterable[Any]) -> Any:
        was, one, two = (side.table_of(one.files, side.CONFLICTS) or {} for one in sides)
        rows = {
            key: row
            for key, row in {**one, **two}.items()
            if key not in was or (key in one and key in two)
        }
        rows.update({f"{c.vm}/{c.what}": state_file.conflict_row(c) for c in new})
        files.pop(side.CONFLICTS, None)
        if rows:
            files[side.CONFLICTS] = state_file.canonical(rows)
            left = side.side_of(files).unsettled
            files.pop(side.CONFLICTS)
            if left:
                files[side.CONFLICTS] = state_file.canonical(left)
        return tuple(new)

    patch.setattr(merge, "_write_conflicts", write_conflicts)


def any_edit_settles_all_conflicts(patch: Patch) -> None:
    patch.setattr(edit, "active_conflicts", lambda site, state: ())


def conflicts_are_acted_on(patch: Patch) -> None:
    patch.setattr(wanted, "active_conflicts", lambda site, state: ())


def an_old_base_overwrites(patch: Patch) -> None:
    """What was saved is taken as it is, whatever came since it was opened."""
    real = edit.edit

    def overwrite(head: Files, head_id: str, base: Files, base_id: str, *more: Any) -> edit.Edited:
        return real(head, head_id, base, head_id, *more)

    patch.setattr(edit, "edit", overwrite)


def committed_beside_the_head(patch: Patch) -> None:
    """A repository commits an edit on top of a revision that is not the head any more, as if it were."""
    real = revisions.Revisions.commit

    async def commit(self, files, parent, author, message, now):  # type: ignore[no-untyped-def]
        assert self.head is not None
        return await real(self, files, self.head.revision, author, message, now)

    patch.setattr(revisions.Revisions, "commit", commit)


def dates_by_the_clock_alone(patch: Patch) -> None:
    """A host whose clock is behind dates its edit before the one that it follows."""

    def date(now: float, parents: Iterable[Commit]) -> int:
        return int(now)

    for module in (derive, sim_host, revisions):
        patch.setattr(module, "commit_date", date)
    assert commit_date is not date


def heads_that_others_contain(patch: Patch) -> None:
    """A commit stays a head although another one follows it."""
    patch.setattr(history.Ancestry, "maximal", lambda self, ids: self.expand(ids))
    patch.setattr(Checkers, "_heads_never_go_back", lambda self, world: None)


def merge_version_ignored(patch: Patch) -> None:
    patch.setattr(standing, "MERGE_VERSION", 10**6)


# -- acting ------------------------------------------------------------------------------------------------------------


def trusts_its_last_answer(patch: Patch) -> None:
    """An observation from before the end of a host's own last action is as good as one from after it."""
    real = Work.end

    def end(self: Work, action: Action, error: str, now: float, pause_s: float = 0.0) -> None:
        real(self, action, error, now, pause_s)
        self.ended_at.pop(action.vm)

    patch.setattr(Work, "end", end)


def acts_unchecked(patch: Patch) -> None:
    """Whose the domain is is not looked up again right before something is done to it."""

    def ours(hypervisor: Hypervisor, action: Action, xml: str, tag: Any) -> Domain | None:
        found = hypervisor.find(action.uuid, action.vm)
        return next((d for d in found if d.uuid == action.uuid), None)

    patch.setattr(act, "_ours", ours)


def two_actions_at_once(patch: Patch) -> None:
    """Something is begun with a VM while something else is under way with it."""
    real = Work.hindrance

    def hindrance(self: Work, action: Action, observed_at: float, now: float) -> str:
        flights, self.in_flight = self.in_flight, {}
        try:
            return real(self, action, observed_at, now)
        finally:
            self.in_flight = flights

    patch.setattr(Work, "hindrance", hindrance)


def unmarked_domains_are_taken(patch: Patch) -> None:
    """A domain with the VM's name is the VM's, marked or not."""
    real = sightings.sort_domains

    def sort_domains(known: Wanted, document: Document, view: Any, *more: Any, **kw: Any) -> Any:
        reports = {h: _all_ours(r, known) for h, r in view.reports.items()}
        return real(known, document, replace(view, reports=reports), *more, **kw)

    patch.setattr(planner, "sort_domains", sort_domains)
    acts_unchecked(patch)


def _all_ours(report: Any, known: Wanted) -> Any:
    """A report in which every domain that bears no mark of this site bears one."""

    def ours(domain: Domain) -> Domain:
        if domain.tag is not None and domain.tag.site_id == known.site_id:
            return domain
        w = known.by_name.get(domain.name)
        tag = act.Tag(known.site_id, domain.name, w.restart_token if w else "", {})
        return replace(domain, tag=tag)

    return replace(report, domains=tuple(ours(d) for d in report.domains))


def another_sites_domains_are_taken(patch: Patch) -> None:
    """The mark's site is not looked at."""
    real = sightings.sort_domains

    def sort_domains(known: Wanted, document: Document, view: Any, *more: Any, **kw: Any) -> Any:
        reports = {}
        for name, report in view.reports.items():
            domains = tuple(
                replace(d, tag=replace(d.tag, site_id=known.site_id)) if d.tag else d
                for d in report.domains
            )
            reports[name] = replace(report, domains=domains)
        return real(known, document, replace(view, reports=reports), *more, **kw)

    patch.setattr(planner, "sort_domains", sort_domains)
    acts_unchecked(patch)


def copies_are_taken(patch: Patch) -> None:
    """A domain that bears the mark of a removed VM is that VM, whatever its name and UUID."""
    patch.setattr(sightings, "_was_vm", lambda site_id, domain, vm: True)


def memory_not_looked_at(patch: Patch) -> None:
    for module in (capacity, round):
        patch.setattr(module, "shortage", lambda *inputs: capacity.Shortage())


def restarts_unasked(patch: Patch) -> None:
    """A difference that takes effect at the next boot makes one."""
    real = power.restart_is_due

    def due(w: WantedVM, domain: Domain) -> bool:
        kept = domain.tag.live if domain.tag else {}
        return real(w, domain) or kept.get("vcpus", str(w.vm.vcpus)) != str(w.vm.vcpus)

    patch.setattr(power, "restart_is_due", due)


def elsewhere_means_removed(patch: Patch) -> None:
    """A host takes VMs that it is not to run for VMs that the file no longer names."""
    real = planner.plan_host

    def plan_host(known: Wanted, document: Document, view: Any, host: str) -> Any:
        here = known.by_host.get(host, ())
        mine = {n: w for n, w in known.by_name.items() if n in here}
        return real(replace(known, by_name=mine), document, view, host)

    patch.setattr(machine, "plan_host", plan_host)


def _moves_as_if(patch: Patch, allowed: Migration, instead: Migration) -> None:
    """VMs whose file says `allowed` are moved as if it said `instead`."""
    real = moves._move

    def move(r, w, s, home):  # type: ignore[no-untyped-def]
        policy = instead if w.vm.migration is allowed else w.vm.migration
        return real(r, replace(w, vm=replace(w.vm, migration=policy)), s, home)

    patch.setattr(moves, "_move", move)


def live_only_is_stopped(patch: Patch) -> None:
    """A VM that may only move live is stopped where it can't."""
    _moves_as_if(patch, Migration.LIVE, Migration.COLD)


def never_means_live(patch: Patch) -> None:
    """A VM that may not move while it runs does."""
    _moves_as_if(patch, Migration.NEVER, Migration.LIVE)


def drained_hosts_take_vms(patch: Patch) -> None:
    patch.setattr(round.Round, "target_trouble", lambda self, host: "")


def stale_shutdown_clocks(patch: Patch) -> None:
    """That a guest was asked to shut down is remembered after the stop was taken back."""
    patch.setattr(Work, "keep_shutdowns", lambda self, going_off: None)


def drift_is_repaired_always(patch: Patch) -> None:
    """What somebody did by hand to a VM whose policy is to report it is undone."""
    patch.setattr(power, "may_act", lambda w, domain, key, value: True)
    real = power.start

    def start(r, w, s):  # type: ignore[no-untyped-def]
        yield from real(r, replace(w, vm=replace(w.vm, drift=Drift.REPAIR)), s)

    patch.setattr(power, "start", start)
