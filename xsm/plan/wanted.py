"""What one revision wants of every VM, with names, identities and limits worked out.

Computed once per revision and kept: the planner runs often, revisions come seldom. Must not know
what is running anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from xsm.site import domain, identity
from xsm.site.config import Config
from xsm.site.conflicts import active_conflicts
from xsm.site.document import Document
from xsm.site.model import VM, HypervisorKind, Power
from xsm.site.seed import Seed, seed_of
from xsm.site.state import Conflict, DiskWord

NO_SITE_ID = "00000000-0000-0000-0000-000000000000"
"""Stands in for the id of a site that was not founded yet (`xsm plan` on a mere folder): identities
are previews."""


@dataclass(frozen=True)
class WantedVM:
    """One VM of the site file as its hosts should make it.

    Invariant: `uuid` and `mac` are the same for the life of the VM, wherever it runs.
    """

    vm: VM
    uuid: str
    mac: str
    host: str | None  # canonical name; None: floating and not placed yet
    pinned: bool  # the site file says where it runs
    chosen: bool  # it floats, and a person chose where it runs
    config: Config
    max_memory_mib: int
    max_vcpus: int
    cpu_weight: int | None
    restart_token: str  # "" when no restart was ever asked for
    disk_words: Mapping[str, DiskWord]  # disk -> somebody's word that an empty one may be made
    conflicts: tuple[Conflict, ...] = ()
    seed: Seed | None = None  # for cloud-init; None: it gets none

    @property
    def name(self) -> str:
        return self.vm.name

    @property
    def limits(self) -> str:
        """Of its disks and network cards, for people; "" for none."""
        return domain.limits_text(self.config)

    @property
    def is_on(self) -> bool:
        """It should have a running (or paused) domain."""
        return self.vm.power is not Power.STOPPED

    def fingerprint(self, kind: HypervisorKind) -> Mapping[str, str]:
        """What of its definition changes only at a boot, for a hypervisor of that kind."""
        parts = domain.fingerprint(self.vm, self.config, uuid=self.uuid, mac=self.mac, kind=kind)
        return parts if self.seed is None else {**parts, "user_data": self.seed.digest}

    def refusal(self, kind: HypervisorKind) -> str:
        """Why its config can't run on a hypervisor of that kind, "" when it can."""
        return config_refusal(self.config, kind)


@dataclass(frozen=True)
class Wanted:
    """All VMs of one revision. Invariant: the indexes hold the VMs of `by_name`, names sorted."""

    site_id: str
    by_name: Mapping[str, WantedVM]
    by_uuid: Mapping[str, str]  # -> name
    by_host: Mapping[str, tuple[str, ...]]  # -> names; VMs that aren't placed are under ""


def wanted(document: Document) -> Wanted:
    """Work out one revision. Its cost grows with the site; keep the result as long as the revision
    is the head."""
    conflicts: dict[str, list[Conflict]] = {}
    for conflict in active_conflicts(document.site, document.state):
        conflicts.setdefault(conflict.vm, []).append(conflict)
    hosts: dict[str, str] = {}  # as written -> canonical: sites name few hosts many times
    by_name: dict[str, WantedVM] = {}
    by_host: dict[str, list[str]] = {}
    for vm in sorted(document.site.vms(), key=lambda each: each.name):
        if vm.host is None:
            host = document.host_of(vm)
        else:
            if vm.host not in hosts:
                hosts[vm.host] = document.host_name(vm.host)
            host = hosts[vm.host]
        by_name[vm.name] = _wanted_vm(document, vm, host, tuple(conflicts.get(vm.name, ())))
        by_host.setdefault(host or "", []).append(vm.name)
    return Wanted(
        document.state.site_id,
        by_name,
        {w.uuid: name for name, w in by_name.items()},
        {host: tuple(names) for host, names in sorted(by_host.items())},
    )


def _wanted_vm(
    document: Document, vm: VM, host: str | None, conflicts: tuple[Conflict, ...]
) -> WantedVM:
    config = document.configs[vm.config]
    limits = domain.limits(vm, config)
    uuid = identity.uuid_of(document.state.site_id or NO_SITE_ID, vm)
    return WantedVM(
        vm=vm,
        uuid=uuid,
        mac=identity.mac_of(vm, uuid),
        host=host,
        pinned=vm.host is not None,
        chosen=vm.host is None and vm.name in document.state.chosen,
        config=config,
        max_memory_mib=limits.max_memory_mib,
        max_vcpus=limits.max_vcpus,
        cpu_weight=domain.cpu_weight(vm, config),
        restart_token=document.state.restarts.get(vm.name, ""),
        disk_words=document.state.disk_words.get(vm.name, {}),
        conflicts=conflicts,
        seed=seed_of(vm, uuid, document.user_data[vm.user_data]) if vm.user_data else None,
    )


@lru_cache(maxsize=1024)
def config_refusal(config: Config, kind: HypervisorKind) -> str:
    """`domain.runs_on`, remembered: many VMs share one config."""
    return domain.runs_on(config, kind)
