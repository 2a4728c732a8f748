"""What connects the hypervisors of a simulated site: over it a domain gets from one host to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from xsm.edge.hypervisor import HypervisorError

if TYPE_CHECKING:
    from tests.sim.hypervisor import SimHypervisor
    from tests.sim.volumes import Pool, SimVolume


class SimSwitch:
    """What connects the hosts' hypervisors. `live`: they can migrate live over it. `linked`: whether two hosts reach
    each other. `generation` counts all changes of any domain on any of them, and all calls that might make one."""

    def __init__(
        self, live: bool = False, linked: Callable[[str, str], bool] = lambda one, other: True
    ) -> None:
        self.live = live
        self.linked = linked
        self.generation = 0
        self.pools: dict[str, Pool] = {}  # storage that all hosts share
        self.fresh_boots: list[
            tuple[str, str, str, SimVolume]
        ] = []  # VM, volume, host; nothing ran on it before
        self.newest: dict[tuple[str, str], int] = {}  # pool, volume -> version of its newest data
        self.old_boots: list[tuple[str, str, str, str]] = []  # VM, volume, host; why it is none
        self._hypervisors: dict[str, SimHypervisor] = {}

    def plug(self, hypervisor: SimHypervisor) -> None:
        self._hypervisors[uri(hypervisor.name)] = hypervisor

    def reach(self, source: str, target_uri: str) -> SimHypervisor:
        target = self._hypervisors.get(target_uri)
        if target is None or target.lost or not self.linked(source, target.name):
            raise HypervisorError(f"unable to connect to server at {target_uri!r}")
        return target


def uri(name: str) -> str:
    """The libvirt URI by which other hosts would reach this one."""
    return f"sim://{name}"
