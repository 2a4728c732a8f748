"""A live migration in the air on a simulated site: from its announcement at the target to its end, or its abort."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from tests.sim.switch import uri
from xsm.edge.hypervisor import HypervisorError
from xsm.peer.events import Perform
from xsm.plan.observed import ACTIVE, Job

if TYPE_CHECKING:
    from tests.sim.host import SimHost


class Flights:
    """A part of `hypervisor.SimHypervisor`: what it says and does of migrations away from it."""

    flying: dict[str, Callable[[], None]]  # UUID of a domain on its way -> ends that
    _call: Callable[..., AbstractContextManager[None]]

    def post_copy(self, uuid: str) -> None:
        raise HypervisorError("post-copy is not simulated")

    def job(self, uuid: str) -> Job | None:
        return Job() if uuid in self.flying else None

    def abort(self, uuid: str) -> None:
        with self._call("abort", uuid):
            end = self.flying.pop(uuid, None)
            if end is None:
                raise HypervisorError(f"{uuid} is not being migrated away from here")
            end()


class Flight:
    def __init__(self, source: SimHost, effect: Perform, aborted: Callable[[], None]) -> None:
        """`aborted` is called when it was ended on the way."""
        self.source = source
        self.uuid = effect.action.uuid
        self.target_uri = effect.way.uri
        self._disks = effect.way.disks
        self.is_aborted = False
        self._aborted = aborted
        self._boot = source.boot
        hosts = source.world.hosts.values()
        self._target = next((h for h in hosts if uri(h.name) == self.target_uri), None)
        self._target_boot = self._target.boot if self._target is not None else 0
        self._told: list[SimHost] = []  # the target, once it has been announced there
        source.hypervisor.flying[self.uuid] = self.abort

    def _is_target_up(self) -> bool:
        """Whether the target had power all the time."""
        return self._target is None or self._target.boot == self._target_boot

    def announce(self) -> None:
        """Its target has the domain as "incoming" from now on."""
        source = self.source
        if self.is_aborted or source.boot != self._boot:
            return
        target = self._target
        if (
            target is None
            or not self._is_target_up()
            or target is source
            or not source.world.linked(source.name, target.name)
        ):
            return
        domains = source.hypervisor.domains_unchecked()
        there = next((d for d in domains if d.uuid == self.uuid), None)
        if there is None or there.state not in ACTIVE or target.hypervisor.lost:
            return
        if target.hypervisor.take_incoming(source.hypervisor, self.uuid):
            self._told.append(target)
            # What the source can't copy fails at the end.
            with contextlib.suppress(HypervisorError):
                xml = source.hypervisor.live_xml(self.uuid)
                along = source.hypervisor.along(xml, self._disks)
                target.hypervisor.begin_copies(along)

    def abort(self) -> None:
        """The guest runs on at the source; the target drops what it has."""
        self.is_aborted = True
        for target in self._told:
            target.hypervisor.drop_incoming(self.uuid)
        self._aborted()

    def land(self) -> bool:
        """The end of the copying, before the guest changes hosts. False: the target has lost it meanwhile, with its
        power or only that."""
        if self.source.hypervisor.flying.get(self.uuid) == self.abort:
            del self.source.hypervisor.flying[self.uuid]
        return self._is_target_up() and all(
            target.hypervisor.drop_incoming(self.uuid) for target in self._told
        )
