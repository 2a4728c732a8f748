"""One round of planning: the inputs side by side, and answers about hosts that several VMs need,
worked out once.

Decides whether a VM may come to a host. Must not know which step a VM needs.
"""

from __future__ import annotations

from xsm.plan import copying, disks
from xsm.plan.capacity import Shortage, leaving_from, shortage
from xsm.plan.observed import Domain
from xsm.plan.sightings import Seen, Sorted
from xsm.plan.view import View, owner_trouble, target_trouble
from xsm.plan.wanted import Wanted, WantedVM
from xsm.site.document import Document
from xsm.site.fields import spelled
from xsm.site.model import HypervisorKind

BY_FILE = "the site file says so"
BY_SITE = "the site placed it there"
BY_CHOICE = "`xsm migrate` placed it there"


def why_there(wanted: WantedVM) -> str:
    """Who says that the VM belongs on its host."""
    if wanted.pinned:
        return BY_FILE
    return BY_CHOICE if wanted.chosen else BY_SITE


class Round:
    """Inputs of one call of the planner. Its answers are functions of them alone; keeping them only
    saves time."""

    def __init__(self, wanted: Wanted, document: Document, view: View, found: Sorted) -> None:
        self.wanted = wanted
        self.document = document
        self.view = view
        self.found = found
        self._owners: dict[str, str] = {}
        self._targets: dict[str, str] = {}
        self._shortages: dict[str, Shortage] = {}

    def owner_trouble(self, host: str) -> str:
        if host not in self._owners:
            self._owners[host] = owner_trouble(self.document, self.view, host)
        return self._owners[host]

    def target_trouble(self, host: str) -> str:
        if host not in self._targets:
            self._targets[host] = target_trouble(self.document, self.view, host)
        return self._targets[host]

    def shortage(self, host: str) -> Shortage:
        if host not in self._shortages:
            self._shortages[host] = shortage(self.wanted, self.document, self.view, host)
        return self._shortages[host]

    def turn(self, w: WantedVM, home: str) -> str:
        """Why `home`, which has claimed `w`, can't receive it live just now."""
        handover = (self.view.handovers or {}).get(w.name)
        return handover.wait if handover is not None and handover.target == home else ""

    def kind(self, host: str) -> HypervisorKind | None:
        facts = self.view.facts(host)
        return facts.kind if facts else None

    def obstacle(self, w: WantedVM, host: str, kind: HypervisorKind | None) -> str:
        """Why `w` can't come to or start on `host`, "" when it can. `kind`: the host's, None when
        unknown."""
        found = self.target_trouble(host) or self._unfit(w, host, kind) or self._lack(w, host)
        if found or not w.is_on:
            return found
        return self._not_apart_yet(w, host) or self.shortage(host).too_big.get(w.name, "")

    def return_obstacle(self, w: WantedVM, host: str) -> str:
        """Why `w`, which runs on `host`, could not start there again as it is wanted now, "" when it
        could."""
        unfit = self._unfit(w, host, self.kind(host))
        return (
            unfit
            or disks.obstacle(self.view, w, host)
            or self.shortage(host).no_growth.get(w.name, "")
        )

    def _lack(self, w: WantedVM, host: str) -> str:
        """What `host` itself found missing when it looked for what `w` needs there."""
        report = self.view.reports.get(host)
        if report is None or not w.is_on:
            return ""
        lacks = report.lacks.get(w.name, "")
        if lacks:
            return lacks
        seen_on = [s.host for s in self.found.seen[w.name].running()]
        if copying.comes_live(self.view, w, host, seen_on):
            return disks.obstacle(self.view, w, host, coming=True) or copying.obstacle(
                self.view, w, host
            )
        why = disks.obstacle(self.view, w, host)
        away = any(d and d.refused for _, d in disks.pairs(self.view, w, host))
        return f"{why}; {self._how_copied(w)}" if why and away else why

    def _how_copied(self, w: WantedVM) -> str:
        how = "" if w.vm.copies_disks else f" with {self.written('COPY_DISKS', 'yes')}"
        return f"a live move from where it runs copies it{how}"

    def _not_apart_yet(self, w: WantedVM, host: str) -> str:
        """When acting: which VM that leaves `host` is to be apart from `w`, which waits for it. One that belongs there,
        too, is no obstacle: who wrote both down wants them so."""
        report = self.view.reports.get(host)
        if self.view.foresees or report is None or not w.vm.apart:
            return ""
        for domain in leaving_from(self.wanted, report):
            other = self.wanted.by_name.get(domain.tag.vm) if domain.tag else None
            shared = sorted({*other.vm.apart} & {*w.vm.apart}) if other and other is not w else []
            if shared:
                return f"{domain.name}, which is to be apart from it ({shared[0]!r}), is still on {host}"
        return ""

    def _unfit(self, w: WantedVM, host: str, kind: HypervisorKind | None) -> str:
        refusal = w.refusal(kind) if kind is not None else ""
        if refusal:
            return f"its config {w.vm.config!r} can't run on {host}: {refusal}"
        return rivalry(w, self.found.seen[w.name], host, self.wanted.site_id)

    def written(self, tag: str, value: str) -> str:
        """An element as the site file spells it."""
        return written(self.document.site_path, tag, value)


def written(site_path: str, tag: str, value: str) -> str:
    """An element as that site file spells it: `<MIGRATION>cold</MIGRATION>` or `migration: cold`."""
    if site_path.endswith(".xml"):
        return f"`<{tag}>{value}</{tag}>`"
    return f"`{spelled(site_path, tag)}: {value}`"


def rivalry(w: WantedVM, seen: Seen, host: str, site_id: str) -> str:
    """Why another domain with the VM's name or UUID forbids to define it on `host`, "" when none
    does."""
    for rival in seen.rivals:
        # libvirt refuses a second name or UUID on one host. On another host it could be the very
        # same guest, which XSM has not been told to take in: starting ours beside it might run it
        # twice. That host says so itself when it is asked for its vote (`Sight.may_run`).
        if rival.host == host or rival.active:
            return why_rival(w, rival.host, rival.domain, site_id)
    return ""


def why_rival(w: WantedVM, host: str, domain: Domain, site_id: str) -> str:
    """What to do about a domain on `host` that has the VM's name or UUID and is not the VM's."""
    alike = (
        f"with its UUID ({domain.name})"
        if domain.uuid == w.uuid and domain.name != w.name
        else f"named {domain.name}"
    )
    if domain.tag is not None and domain.tag.site_id == site_id:
        return f"a domain {alike} is still on {host}, made for {domain.tag.vm}: it has to go first"
    if domain.unshown:
        return (
            f"a domain {alike} that was made by xl is on {host}, and libvirt doesn't show it; "
            "shut it down with xl, or rename one of them"
        )
    return (
        f"a domain {alike} that XSM did not create is on {host}; "
        "`xsm adopt` takes it in, or rename one of them"
    )
