"""Hands that meddle, and guests' own doing: what `virsh` on the host could do behind XSM's back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.sim.definitions import SimDomain, checked
from xsm.plan.observed import DomainState


class Hands:
    """A part of `hypervisor.SimHypervisor`, which has the domains and says how they change."""

    _domains: dict[str, SimDomain]
    _boot: Callable[[SimDomain], None]
    _changed: Callable[[str], None]
    _touch: Callable[[], None]
    _define: Callable[[str], SimDomain]
    _forget: Callable[[SimDomain], None]
    _hand_over: Callable[[SimDomain, Any], None]
    _off: Callable[..., None]
    _set: Callable[..., None]
    receive: Callable[[SimDomain], None]
    _to: Callable[[SimDomain, DomainState], None]

    lingering: set[str]

    def named(self, name: str) -> SimDomain:
        return next(d for d in self._domains.values() if d.name == name)

    def by_hand_start(self, name: str) -> None:
        self._boot(self.named(name))

    def by_hand_destroy(self, name: str) -> None:
        self._off(self.named(name))

    guest_shuts_down = by_hand_destroy

    def guest_crashes(self, name: str, preserve: bool = False) -> None:
        """libvirt's default is on_crash=destroy; `preserve` keeps it as CRASHED."""
        self._off(self.named(name), DomainState.CRASHED if preserve else DomainState.SHUTOFF)

    def finish_shutdown(self, name: str) -> None:
        self.lingering.discard(name)
        self._off(self.named(name))

    def by_hand_suspend(self, name: str) -> None:
        self._to(self.named(name), DomainState.PAUSED)

    def by_hand_resume(self, name: str) -> None:
        self._to(self.named(name), DomainState.RUNNING)

    def by_hand_set_memory(self, name: str, mib: int) -> None:
        self._set(self.named(name).uuid, lambda f: replace(f, memory_mib=mib), tell=False)

    def by_hand_set_vcpus(self, name: str, n: int) -> None:
        self._set(self.named(name).uuid, lambda f: replace(f, vcpus=n), tell=False)

    def by_hand_set_weight(self, name: str, weight: int) -> None:
        self._set(self.named(name).uuid, lambda f: replace(f, shares=weight))

    def by_hand_migrate(self, name: str, target: Hands) -> None:
        """`virsh migrate --live --persistent --undefinesource`."""
        self._hand_over(self.named(name), target)

    def by_hand_cut_off(self, name: str, target: Hands | None = None) -> None:
        """libvirtd dies at the very end of a live migration: what it leaves here is paused, and the guest goes on at
        the target, or nowhere (None)."""
        domain = self.named(name)
        if target is not None:
            target.receive(domain)
            target._changed(domain.uuid)
        domain.state, domain.cut_off = DomainState.PAUSED, True
        self._changed(domain.uuid)

    def by_hand_undefine(self, name: str) -> None:
        self._forget(self.named(name))

    def by_hand_untag(self, name: str) -> None:
        self._set(self.named(name).uuid, lambda f: replace(f, tag=None))

    def by_hand_autostart(self, name: str) -> None:
        self.named(name).autostart = True  # no event: libvirt has none for it
        self._touch()

    def by_hand_define(self, xml: str, *, start: bool = False) -> str:
        """`virsh define` (and `start`); gives the UUID."""
        domain = self._define(xml)
        if start:
            self._boot(domain)
        return domain.uuid

    def by_hand_managed_save(self, name: str) -> None:
        domain = self.named(name)
        domain.managed_save = True
        self._off(domain)

    def by_hand_drop_managed_save(self, name: str) -> None:
        self.named(name).managed_save = False
        self._touch()

    def by_hand_snapshot(self, name: str) -> None:
        self.named(name).snapshots += 1
        self._touch()

    def husk(self, xml: str) -> str:
        """What a migration that was cut off leaves on its target: paused, transient, incoming."""
        facts = checked(xml)
        domain = SimDomain(facts.name, facts.uuid, None, facts, DomainState.PAUSED, incoming=True)
        domain.xml["live"] = xml
        self._domains[facts.uuid] = domain
        self._changed(facts.uuid)
        return facts.uuid
