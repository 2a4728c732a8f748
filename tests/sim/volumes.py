"""The storage pools of a simulated hypervisor: volumes that are a size and whether a guest ever ran on them.

A pool is a host's own, or shared by all hosts of a switch. Who boots on a volume on which nothing ran before is noted,
for the checker that no blank disk takes the place of data.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from lxml import etree

from tests.sim.switch import SimSwitch
from xsm.edge.hypervisor import HypervisorError
from xsm.plan.observed import FoundDisk
from xsm.site.disk import Volume, size_text


@dataclass
class SimVolume:
    size_mib: int
    format: str = "qcow2"
    used: bool = False  # a guest ran on it


Pool = dict[str, SimVolume]


@dataclass
class Storage:
    """`away`: pools that aren't mounted: their directory is there, and empty."""

    own: dict[str, Pool] = field(default_factory=dict)
    away: dict[str, Pool] = field(default_factory=dict)


class Volumes:
    """A part of `hypervisor.SimHypervisor`."""

    name: str
    storage: Storage
    _switch: SimSwitch
    _call: Callable[..., AbstractContextManager[None]]

    def pool(self, name: str) -> Pool | None:
        for pools in (self.storage.away, self._switch.pools, self.storage.own):
            if name in pools:
                return pools[name]
        return None

    def disks(self, wanted: tuple[Volume, ...]) -> tuple[FoundDisk, ...]:
        found = []
        for volume in wanted:
            pool = self.pool(volume.pool)
            if pool is None:
                why = f"disk {volume.disk}: {self.name} has no storage pool {volume.pool}"
                found.append(FoundDisk(volume.disk, trouble=why))
            else:
                there = pool.get(volume.name)
                found.append(FoundDisk(volume.disk, there.size_mib if there else None))
        return tuple(found)

    def make_disk(self, volume: Volume) -> None:
        with self._call("make_disk"):
            pool = self._there(volume)
            if volume.name in pool:
                raise HypervisorError(f"volume {volume.name} is there already")
            if volume.origin:
                origin = pool.get(volume.origin)
                if origin is None:
                    raise HypervisorError(
                        f"from={volume.origin}: no such volume in pool {volume.pool}"
                    )
                if origin.size_mib > volume.size_mib:
                    raise HypervisorError(
                        f"from={volume.origin} is {size_text(origin.size_mib)}, "
                        f"more than {size_text(volume.size_mib)}"
                    )
            pool[volume.name] = SimVolume(volume.size_mib, volume.format)

    def grow_disk(self, uuid: str, volume: Volume) -> None:
        with self._call("grow_disk", uuid):
            there = self._there(volume).get(volume.name)
            if there is None:
                raise HypervisorError(f"no volume {volume.name} in pool {volume.pool}")
            if there.size_mib > volume.size_mib:
                raise HypervisorError(f"volume {volume.name} is bigger already")
            there.size_mib = volume.size_mib

    def unmount(self, pool: str) -> None:
        self.storage.away[pool] = {}

    def mount(self, pool: str) -> None:
        del self.storage.away[pool]

    def _there(self, volume: Volume) -> Pool:
        pool = self.pool(volume.pool)
        if pool is None:
            raise HypervisorError(f"Storage pool not found: {volume.pool}")
        return pool

    def _attach(self, vm: str, xml: str) -> None:
        """A guest begins to run here: its volumes have to be there."""
        volumes = []
        for source in etree.fromstring(xml.encode()).iterfind("devices/disk/source[@volume]"):
            name = source.get("volume", "")
            pool = self.pool(source.get("pool", ""))
            there = pool.get(name) if pool is not None else None
            if there is None:
                raise HypervisorError(f"Storage volume not found: no volume {name}")
            volumes.append((name, there))
        for name, there in volumes:
            if not there.used:
                self._switch.fresh_boots.append((vm, name, self.name, there))
            there.used = True
