"""Hosts as simple as can be: they do what a step says; so a test can see where a plan leads."""

from __future__ import annotations

from dataclasses import replace

from planned_site import domain_of, facts

from xsm.plan.actions import STARTS, Action, Step
from xsm.plan.observed import ACTIVE, Domain, DomainState, HostReport
from xsm.plan.planner import View, going_off, plan
from xsm.plan.tags import after, limited, refused
from xsm.plan.wanted import Wanted, WantedVM
from xsm.site.document import Document
from xsm.site.model import HypervisorKind

ROUND_S = 25.0
"""Time that goes by between two rounds: a guest that ignores its shutdown request is powered off in
the third."""


class ToyHosts:
    def __init__(self, kinds: dict[str, HypervisorKind], stubborn: bool = False) -> None:
        self.kinds = kinds
        self.stubborn = stubborn  # guests don't heed shutdown requests
        self.domains: dict[str, dict[str, Domain]] = {host: {} for host in kinds}
        self.now = 1_000_000.0
        self.shutdowns: dict[tuple[str, str], float] = {}

    def put(self, host: str, domain: Domain) -> None:
        self.domains[host][domain.uuid] = domain

    def active_on(self, uuid: str) -> list[str]:
        return [h for h, ds in self.domains.items() if uuid in ds and ds[uuid].state in ACTIVE]

    def view(self) -> View:
        reports = {
            h: HostReport(h, self.now, "r1", facts(self.kinds[h]), tuple(ds.values()))
            for h, ds in self.domains.items()
        }
        return View(reports, {}, self.now, dict(self.shutdowns))

    def round(self, wanted: Wanted, document: Document) -> list[Action]:
        """Plan once, do every step that may go, and let time go by. Returns what was done."""
        found = plan(wanted, document, self.view())
        done = [a for a in found.actions if a.step is not Step.NONE and not a.held]
        for action in done:
            self.perform(action, wanted)
        clocks = going_off(found)
        self.shutdowns = {k: t for k, t in self.shutdowns.items() if k in clocks}
        self.now += ROUND_S
        return done

    def perform(self, action: Action, wanted: Wanted) -> None:
        here = self.domains[action.host]
        kind = self.kinds[action.host]
        if action.step in STARTS or action.step is Step.DEFINE:
            w = wanted.by_name[action.vm]
            there = here.get(w.uuid)
            if action.step in STARTS:
                assert not self.active_on(w.uuid), f"{action} while it runs"
                here[w.uuid] = domain_of(w, kind=kind)
            elif there is not None and there.state in ACTIVE:
                here[w.uuid] = replace(there, persistent=True, autostart=False)
            else:
                here[w.uuid] = domain_of(w, DomainState.SHUTOFF, kind)
            return
        domain = here[action.uuid]
        assert domain.tag is not None, f"{action} of a foreign domain"
        tagged = replace(domain, tag=after(domain.tag, action))
        if action.step is Step.UNDEFINE:
            assert domain.state not in ACTIVE, f"{action} of an active domain"
            del here[action.uuid]
        elif action.step is Step.MIGRATE:
            assert domain.state in ACTIVE
            del here[action.uuid]
            self.domains[action.target][action.uuid] = replace(domain, autostart=False)
        elif action.step is Step.DESTROY or (action.step is Step.SHUTDOWN and not self.stubborn):
            self._off(here, tagged)
        elif action.step is Step.SHUTDOWN:
            here[action.uuid] = tagged
            self.shutdowns.setdefault((action.host, action.uuid), self.now)
        else:
            here[action.uuid] = {
                Step.SUSPEND: lambda: replace(tagged, state=DomainState.PAUSED),
                Step.RESUME: lambda: replace(tagged, state=DomainState.RUNNING),
                Step.SET_MEMORY: lambda: replace(tagged, memory_mib=action.value),
                Step.SET_VCPUS: lambda: replace(tagged, vcpus=action.value),
                Step.SET_WEIGHT: lambda: replace(tagged, cpu_weight=action.value),
                Step.SET_LIMITS: lambda: self._limited(domain, wanted.by_name[action.vm]),
            }[action.step]()

    def _limited(self, domain: Domain, w: WantedVM) -> Domain:
        """Stubborn guests' hosts don't take them."""
        assert domain.tag is not None
        tag = (
            refused(domain.tag, w.limits, "no") if self.stubborn else limited(domain.tag, w.limits)
        )
        return replace(domain, tag=tag)

    def _off(self, here: dict[str, Domain], domain: Domain) -> None:
        if domain.persistent:
            here[domain.uuid] = replace(domain, state=DomainState.SHUTOFF)
        else:
            del here[domain.uuid]
