"""A live migration in the air on a simulated site: from its announcement at the target to its end, or its abort."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.sim.switch import uri
from xsm.peer.events import Perform
from xsm.plan.observed import ACTIVE

if TYPE_CHECKING:
    from tests.sim.host import SimHost


class Flight:
    def __init__(self, source: SimHost, effect: Perform, aborted: Callable[[], None]) -> None:
        """`aborted` is called when it was ended on the way."""
        self.source = source
        self.uuid = effect.action.uuid
        self.target_uri = effect.way.uri
        self.is_aborted = False
        self._aborted = aborted
        self._boot = source.boot
        self._told: list[SimHost] = []  # the target, once it has been announced there
        source.hypervisor.flying[self.uuid] = self.abort

    def announce(self) -> None:
        """Its target has the domain as "incoming" from now on."""
        source = self.source
        if self.is_aborted or source.boot != self._boot:
            return
        hosts = source.world.hosts.values()
        target = next((h for h in hosts if uri(h.name) == self.target_uri), None)
        if target is None or target is source or not source.world.linked(source.name, target.name):
            return
        domains = source.hypervisor.domains_unchecked()
        there = next((d for d in domains if d.uuid == self.uuid), None)
        if there is None or there.state not in ACTIVE or target.hypervisor.lost:
            return
        if target.hypervisor.take_incoming(source.hypervisor, self.uuid):
            self._told.append(target)

    def abort(self) -> None:
        """The guest runs on at the source; the target drops what it has."""
        self.is_aborted = True
        for target in self._told:
            target.hypervisor.drop_incoming(self.uuid)
        self._aborted()

    def land(self) -> bool:
        """The end of the copying, before the guest changes hosts. False: the target has lost it meanwhile."""
        if self.source.hypervisor.flying.get(self.uuid) == self.abort:
            del self.source.hypervisor.flying[self.uuid]
        return all(target.hypervisor.drop_incoming(self.uuid) for target in self._told)
