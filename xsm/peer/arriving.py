"""VMs that are to come here live with their disks: who offers them, and which disks this host asks for.

Decides how long an offer counts, and writes down what is about to be copied before anybody is asked to copy it. An
offer is no right to anything: the VM comes by a claim, as any other. Without one no claim is made for a VM whose disks
are not here: won, it would only keep others from starting it.
"""

from __future__ import annotations

from xsm.peer import disks
from xsm.peer.ballots import Ballots
from xsm.plan.actions import Plan, Step
from xsm.plan.observed import HostReport

OFFER_LIFE_S = 5.0
"""A source says each second that it has the VM, until it is claimed."""


class Arriving:
    def __init__(self, ballots: Ballots) -> None:
        self._ballots = ballots
        self._offers: dict[str, float] = {}  # VM -> when it was offered last
        self._copies: dict[str, tuple[str, ...]] = {}  # VM -> its disks that this host lacks

    def offered(self, vm: str, now: float) -> None:
        if self._ballots.has_room(vm):
            self._offers[vm] = now

    def offers(self, now: float) -> frozenset[str]:
        self._offers = {vm: at for vm, at in self._offers.items() if now <= at + OFFER_LIFE_S}
        return frozenset(self._offers)

    def plan(self, plan: Plan, report: HostReport) -> None:
        """What the plan says now. Of one that is just coming it says nothing, and what was asked for still counts."""
        coming = {d.tag.vm for d in report.domains if d.incoming and d.tag is not None}
        received = (a for a in plan.actions if a.step is Step.RECEIVE and not a.held)
        self._copies = {
            **{vm: copies for vm, copies in self._copies.items() if vm in coming},
            **{a.vm: a.copies for a in received},
        }

    def wait(self, vm: str, report: HostReport | None) -> str:
        """Why its source should not send it just now: what is here of its disks is in the way, or not known."""
        found = {d.disk: d for d in report.disks.get(vm, ())} if report else {}
        for disk in self._copies.get(vm, ()):
            if disk not in found or found[disk].size_mib is not None:
                return "what is there of its disks is looked at first"
        return ""

    def asked(self, vm: str, report: HostReport | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The disks that its source is asked to copy here, noted before; and those that are here and shared."""
        copies = self._copies.get(vm, ())
        for disk in copies:
            self._ballots.begin_copy(vm, disk)
        return copies, disks.shared(report, vm)
