"""Limits of disks and cards of simulated domains: what each kind of hypervisor takes while a guest runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from xsm.edge.hypervisor import HypervisorError
from xsm.site import io_limits
from xsm.site.io_limits import IoLimits
from xsm.site.model import HypervisorKind


class Limited:
    """A part of `hypervisor.SimHypervisor`."""

    kind: HypervisorKind
    io_limits: dict[str, IoLimits]  # UUID -> what was set last
    _call: Callable[..., AbstractContextManager[None]]
    _get: Callable[[str], Any]

    def set_limits(self, uuid: str, xml: str) -> None:
        with self._call("set_limits", uuid):
            self._get(uuid)
            wanted = io_limits.of(xml)
            if self.kind is HypervisorKind.XEN:
                raise HypervisorError("this function is not supported: virDomainSetBlockIoTune")
            if self.kind is HypervisorKind.TEST and any(wanted.disks.values()):
                # libvirt 9.0 takes a missing maximum for 0 there.
                raise HypervisorError("invalid argument: cannot be set higher than its maximum")
            self.io_limits[uuid] = wanted
