"""The storage pools of a simulated hypervisor: volumes that are a size and whether a guest ever ran on them.

A pool is a host's own, or shared by all hosts of a switch. Who boots on a volume on which nothing ran before is noted,
for the checker that no blank disk takes the place of data; and who runs on one that is incomplete, or older than what a
guest has written elsewhere. A guest that begins to run on a volume has the newest data, whatever was in it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from lxml import etree

from tests.sim.definitions import SimDomain
from tests.sim.switch import SimSwitch
from xsm.edge.hypervisor import HypervisorError
from xsm.plan.observed import FoundDisk
from xsm.site.disk import Volume, size_text


@dataclass
class SimVolume:
    size_mib: int
    format: str = "qcow2"
    used: bool = False  # a guest ran on it
    version: int = 0  # of the data: a guest that begins to run on it makes a new one
    partial: bool = False  # a copy to it has not ended


Pool = dict[str, SimVolume]


@dataclass
class Storage:
    """`away`: pools that aren't mounted: their directory is there, and empty. `free_mib`: of those that have an end."""

    own: dict[str, Pool] = field(default_factory=dict)
    away: dict[str, Pool] = field(default_factory=dict)
    free_mib: dict[str, int] = field(default_factory=dict)


Along = tuple[tuple[Volume, SimVolume], ...]
"""What is copied along in a live migration: the volume, and what its source has."""


class Volumes:
    """A part of `hypervisor.SimHypervisor`."""

    name: str
    storage: Storage
    _switch: SimSwitch
    _domains: dict[str, SimDomain]
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
                found.append(
                    FoundDisk(
                        volume.disk,
                        there.size_mib if there else None,
                        free_mib=self.storage.free_mib.get(volume.pool),
                        shared=volume.pool in self._switch.pools,
                        renames=True,
                    )
                )
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

    def set_aside(self, volume: Volume, name: str) -> str:
        with self._call("set_aside"):
            pool = self._there(volume)
            if volume.name not in pool:
                raise HypervisorError(f"no volume {volume.name} in pool {volume.pool}")
            if any((volume.pool, volume.name) in volumes_in(d.xml["live"]) for d in self._on()):
                raise HypervisorError(f"{volume.name} is in use")
            for new in (name, f"{name}-2", f"{name}-3"):
                if new not in pool:
                    pool[new] = pool.pop(volume.name)
                    return new
            raise HypervisorError(f"3 volumes like {name} are there already")

    def along(self, xml: str, disks: tuple[Volume, ...]) -> Along:
        """What the source of a live migration copies."""
        named = volumes_in(xml)
        wanted = {(v.pool, v.name): v for v in disks}
        others = [n for p, n in named if (p, n) not in wanted and p not in self._switch.pools]
        if disks and others:
            raise HypervisorError(f"the domain that runs has a disk {others[0]}")
        found = []
        for key, volume in sorted(wanted.items()):
            there = self._there(volume).get(volume.name)
            if key not in named or there is None:
                raise HypervisorError(f"the domain that runs has no disk {volume.disk}")
            found.append((volume, there))
        return tuple(found)

    def live_xml(self, uuid: str) -> str:
        return self._domains[uuid].xml["live"]

    def begin_copies(self, along: Along) -> None:
        """The target makes volumes where there are none; what is in them counts for nothing before the end."""
        for volume, source in along:
            pool = self._there(volume)
            pool.setdefault(volume.name, SimVolume(source.size_mib, source.format)).partial = True

    def end_copies(self, along: Along) -> None:
        for volume, source in along:
            self._there(volume)[volume.name] = replace(source)

    def _on(self) -> list[SimDomain]:
        return [d for d in self._domains.values() if d.active and d.live is not None]

    def _attach(self, vm: str, xml: str) -> None:
        """A guest begins to run here: its volumes have to be there."""
        volumes = []
        for pool_name, name in volumes_in(xml):
            pool = self.pool(pool_name)
            there = pool.get(name) if pool is not None else None
            if there is None:
                raise HypervisorError(f"Storage volume not found: no volume {name}")
            volumes.append((pool_name, name, there))
        newest = self._switch.newest
        for pool_name, name, there in volumes:
            last = newest.get((pool_name, name), 0)
            if not there.used and not there.partial:
                self._switch.fresh_boots.append((vm, name, self.name, there))
            elif there.partial or there.version < last:
                what = "incomplete" if there.partial else "old"
                self._switch.old_boots.append((vm, name, self.name, what))
            there.used, there.partial = True, False
            there.version = newest[(pool_name, name)] = last + 1


def volumes_in(xml: str) -> list[tuple[str, str]]:
    """The volumes that a domain has: (pool, volume)."""
    sources = etree.fromstring(xml.encode()).iterfind("devices/disk/source[@volume]")
    return [(source.get("pool", ""), source.get("volume", "")) for source in sources]
