"""A hypervisor in memory: the same promises as libvirt's, faults on demand, hands that meddle.

No threads and no clock: a call takes no time; `slow_s` only tells a simulation how long it should let it take. Where
nothing else is said it behaves as libvirt's test driver does, and tests/contract holds it to that.
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from tests.sim.definitions import Fault, SimDomain, checked, open_seed, written
from tests.sim.flight import Flights
from tests.sim.hands import Hands
from tests.sim.hanging import Hanging
from tests.sim.io_limits import Limited
from tests.sim.switch import SimSwitch, uri
from tests.sim.volumes import Along, Storage, Volumes, volumes_in
from xsm.edge.domain_facts import DomainFacts
from xsm.edge.hypervisor import HypervisorError, OnChange
from xsm.edge.hypervisors import NoHypervisor
from xsm.peer.events import Way
from xsm.plan.observed import Domain, DomainState, HypervisorFacts, Moved
from xsm.site.model import HypervisorKind
from xsm.site.needs import Needs
from xsm.site.tag import Tag

MEMORY_MIB = 65536
CPUS = 16
DEFAULT_WEIGHT = 256
__all__ = ["LOOKING", "SimHypervisor", "SimSwitch", "uri"]
LOOKING = frozenset({"facts", "domains", "find", "domain_xml"})


class SimHypervisor(Hands, Flights, Hanging, Limited, Volumes):
    """`xsm.edge.hypervisor.Hypervisor` without libvirt.

    `keeps_definitions`: a crash leaves persistent domains defined (a real host); False: nothing (the test driver's
    stand-in). `heeds_paused`: a paused guest heeds a shutdown request, as the test driver has it.
    """

    def __init__(
        self,
        name: str = "host",
        *,
        switch: SimSwitch | None = None,
        on_change: OnChange | None = None,
        kind: HypervisorKind = HypervisorKind.TEST,
        memory_mib: int = MEMORY_MIB,
        keeps_definitions: bool = True,
        heeds_paused: bool = True,
    ) -> None:
        self.name = name
        self.kind = kind
        self.memory_mib = memory_mib
        self.keeps_definitions = keeps_definitions
        self.heeds_paused = heeds_paused
        self.lost = ""  # why the connection is gone
        self.deaf: set[str] = set()  # names of guests that ignore shutdown requests
        self.lingering: set[str] = set()  # names of guests that shut down only at `finish_shutdown`
        self.slow_s: dict[str, float] = {}  # call -> how long a simulation should let it take
        self.calls: list[tuple[str, str]] = []  # what was asked to change: (call, UUID)
        self.generation = 0  # counts the changes of its domains
        self._hangs: list[str] = []
        self._hanging: list[Callable[[bool], None]] = []
        self._seen_at = (-1, kind)
        self._shown: tuple[Domain, ...] = ()
        self._switch = switch or SimSwitch()
        self._on_change = on_change
        self._faults: list[Fault] = []
        self._domains: dict[str, SimDomain] = {}
        self.missing: set[str] = set()  # paths, bridges and networks that this host hasn't got
        self.seeds: dict[str, str] = {}  # UUID -> digest of the image for cloud-init
        self.io_limits = {}
        self.flying = {}
        self.storage = Storage({"default": {}, "local": {}})
        self._switch.plug(self)

    # -- Hypervisor: looking -----------------------------------------------------

    def facts(self) -> HypervisorFacts:
        with self._call("facts"):
            if self.kind is HypervisorKind.NONE:
                return NoHypervisor().facts()
            return HypervisorFacts(
                kind=self.kind,
                version=f"{self.kind} simulated",
                arch="x86_64",
                cpus=CPUS,
                memory_mib=self.memory_mib,
                free_memory_mib=max(0, self.memory_mib - self._used_mib()),
                cold_only="" if self._switch.live else "libvirt's test driver can't migrate",
                migrate_uri=uri(self.name) if self._switch.live else "",
            )

    def domains(self) -> tuple[Domain, ...]:
        with self._call("domains"):
            return self.domains_unchecked()

    def domains_unchecked(self) -> tuple[Domain, ...]:
        """The truth, for checkers: no fault and no lost connection hides it."""
        if self._seen_at != (self.generation, self.kind):
            seen = (self._seen(d) for d in self._domains.values())
            self._shown = tuple(sorted(seen, key=lambda d: (d.name, d.uuid)))
            self._seen_at = (self.generation, self.kind)
        return self._shown

    def find(self, uuid: str, name: str) -> tuple[Domain, ...]:
        with self._call("find"):
            found = (d for d in self._domains.values() if d.uuid == uuid or d.name == name)
            return tuple(sorted((self._seen(d) for d in found), key=lambda d: (d.name, d.uuid)))

    def lacking(self, needs: Needs) -> str:
        """And makes the seed, as `edge.preflight` does before it asks."""
        if needs.seed is not None:
            self.seeds[needs.seed.uuid] = needs.seed.digest
        gone = sorted(self.missing.intersection((*needs.paths, *needs.bridges, *needs.networks)))
        return ", ".join(f"{what} is not on {self.name}" for what in gone)

    def stays_on(self, uuid: str) -> frozenset[tuple[str, str]]:
        there = next((d for d in self.find(uuid, "") if d.uuid == uuid), None)
        if there is None or not there.is_guest or uuid in self.flying:
            return frozenset()
        return frozenset(volumes_in(self.live_xml(uuid)))

    def domain_xml(self, uuid: str) -> str:
        with self._call("domain_xml", uuid):
            domain = self._get(uuid)
            part = "live" if domain.config is None else "config"
            facts = domain.config or domain.live
            assert facts is not None
            return written(domain.xml[part], facts, domain.uuid)

    def alive(self) -> bool:
        return not self.lost

    def close(self) -> None:
        """Nothing is kept open."""

    # -- Hypervisor: acting -----------------------------------------------------

    def define(self, xml: str) -> None:
        with self._call("define"):
            self._define(xml)

    def start(self, uuid: str) -> None:
        with self._call("start", uuid):
            domain = self._get(uuid)
            if domain.active:
                raise HypervisorError(f"internal error: Domain '{domain.name}' is already running")
            if domain.managed_save:
                raise HypervisorError(f"{domain.name} has a managed save image")
            open_seed(domain.config or domain.shown(), uuid, self.seeds, booting=True)
            self._boot(domain)

    def shutdown(self, uuid: str) -> None:
        with self._call("shutdown", uuid):
            domain = self._active(uuid)
            if domain.name in self.deaf:
                return
            if domain.state is DomainState.PAUSED and not self.heeds_paused:
                return
            if domain.name in self.lingering:
                domain.state = DomainState.SHUTDOWN
                self._changed(uuid)
            else:
                self._off(domain)

    def destroy(self, uuid: str) -> None:
        with self._call("destroy", uuid):
            self._off(self._active(uuid))

    def undefine(self, uuid: str) -> None:
        with self._call("undefine", uuid):
            domain = self._get(uuid)
            if domain.config is None:
                raise HypervisorError(f"{domain.name} is transient: it has no definition")
            if domain.managed_save:
                raise HypervisorError(f"{domain.name} has a managed save image that would be lost")
            if domain.snapshots and not domain.active:
                raise HypervisorError(
                    f"libvirt would forget the {domain.snapshots} snapshots of {domain.name}"
                )
            self._forget(domain)

    def suspend(self, uuid: str) -> None:
        with self._call("suspend", uuid):
            domain = self._get(uuid)
            if domain.state is not DomainState.RUNNING:
                raise HypervisorError(f"internal error: domain '{domain.name}' not running")
            self._to(domain, DomainState.PAUSED)

    def resume(self, uuid: str) -> None:
        with self._call("resume", uuid):
            domain = self._get(uuid)
            if domain.state is not DomainState.PAUSED:
                raise HypervisorError(f"internal error: domain '{domain.name}' not paused")
            self._to(domain, DomainState.RUNNING)

    def set_memory(self, uuid: str, mib: int) -> None:
        def change(facts: DomainFacts) -> DomainFacts:
            if mib < 1:
                raise HypervisorError("memory must not be zero")
            if mib > facts.max_memory_mib:
                raise HypervisorError("invalid argument: cannot set memory higher than max memory")
            return replace(facts, memory_mib=mib)

        with self._call("set_memory", uuid):
            self._set(uuid, change, tell=False)

    def set_vcpus(self, uuid: str, n: int) -> None:
        def change(facts: DomainFacts) -> DomainFacts:
            if n < 1:
                raise HypervisorError("nvcpus must not be zero")
            if n > facts.max_vcpus:
                raise HypervisorError(
                    "invalid argument: requested cpu amount exceeds maximum "
                    f"({n} > {facts.max_vcpus})"
                )
            return replace(facts, vcpus=n)

        with self._call("set_vcpus", uuid):
            self._set(uuid, change, tell=False)

    def set_weight(self, uuid: str, weight: int) -> None:
        with self._call("set_weight", uuid):
            if self.kind is HypervisorKind.TEST:
                raise HypervisorError("libvirt's test driver has no CPU weight")
            self._set(uuid, lambda facts: replace(facts, shares=weight))

    def set_tag(self, uuid: str, tag: Tag) -> None:
        with self._call("set_tag", uuid):
            self._set(uuid, lambda facts: replace(facts, tag=tag))

    def migrate(self, uuid: str, way: Way) -> Moved | None:
        with self._call("migrate", uuid):
            domain = self._active(uuid)
            if not self._switch.live:
                raise HypervisorError("p2p migration is not supported by the source host")
            target = self._switch.reach(self.name, way.uri)
            if target is self:
                raise HypervisorError("attempt to migrate guest to the same host")
            open_seed(domain.shown(), uuid, target.seeds, booting=False)
            along = self.along(domain.xml["live"], way.disks)
            target.begin_copies(along)
            self._hand_over(domain, target, along)
        return None

    def _hand_over(self, domain: SimDomain, target: SimHypervisor, along: Along = ()) -> None:
        target.receive(domain, along)
        del self._domains[domain.uuid]
        self._changed(domain.uuid)
        target._changed(domain.uuid)

    def receive(self, domain: SimDomain, along: Along = ()) -> None:
        """The target's part of a migration; it refuses before the source gives anything up."""
        there = self._domains.get(domain.uuid)
        if there is not None and there.active:
            raise HypervisorError(f"domain '{domain.name}' is already active on {self.name}")
        if any(d.name == domain.name and d.uuid != domain.uuid for d in self._domains.values()):
            raise HypervisorError(f"domain '{domain.name}' already exists on {self.name}")
        live = domain.live
        assert live is not None
        self._room_for(live)
        if self.kind is HypervisorKind.XEN:
            live = replace(live, shares=None)  # libxl forgets it
        text = domain.xml["live"]
        self.end_copies(along)
        self._attach(domain.name, text)
        config = domain.config or live
        self._domains[domain.uuid] = SimDomain(
            domain.name, domain.uuid, config, live, domain.state, xml={"config": text, "live": text}
        )
        self._touch()

    def take_incoming(self, source: SimHypervisor, uuid: str) -> bool:
        """A live migration of the source's domain to this host begins: it is here, and does not run yet."""
        live, there = source._domains[uuid].live, self._domains.get(uuid)
        if live is None or (there is not None and there.active):
            return False
        if any(d.name == live.name and d.uuid != uuid for d in self._domains.values()):
            return False
        if live.memory_mib > self.memory_mib - self._used_mib():
            return False
        if there is None:
            there = self._domains[uuid] = SimDomain(live.name, uuid, None)
            there.xml["live"] = source._domains[uuid].xml["live"]
        there.live, there.state, there.incoming = live, DomainState.PAUSED, True
        self._changed(uuid)
        return True

    def drop_incoming(self, uuid: str) -> bool:
        """The migration that `take_incoming` began ends, well or not. False: the domain is gone meanwhile."""
        domain = self._domains.get(uuid)
        if domain is None or not domain.incoming:
            return False
        self._off(domain)
        return True

    def used_mib(self) -> int:
        """Memory that guests have now."""
        return self._used_mib()

    def no_more_faults(self) -> None:
        """What was told to fail, to hang, to be slow or to be deaf no longer is."""
        self._faults.clear()
        self.release()
        self.slow_s = {}
        self.deaf = set()
        self.storage.away.clear()

    def running(self) -> list[str]:
        """Which guests may write to their disks here now, for checkers: a VM's name, else a domain's UUID."""
        return sorted(
            d.live.tag.vm if d.live.tag is not None else d.uuid
            for d in self._domains.values()
            if d.live is not None and d.active and not d.incoming and not d.cut_off
        )

    # -- faults -----------------------------------------------------

    def fail_next(
        self, call: str, reason: str, *, times: int = 1, lost: bool = False, after: bool = False
    ) -> None:
        """Let the next calls of `call` ("" for any) fail; `after` they took effect all the same."""
        self._faults.append(Fault(call, reason, times, lost, after))

    def lose(self, reason: str = "the connection to libvirtd is gone") -> None:
        """libvirtd is gone, the guests run on."""
        self.lost = reason
        self._changed("")

    def restore(self) -> None:
        self.lost = ""

    def crash(self) -> None:
        """Power off without warning, and boot. Nobody is told: who listened is gone too."""
        for domain in list(self._domains.values()):
            domain.live, domain.state = None, DomainState.SHUTOFF
            domain.incoming = domain.cut_off = False
            if domain.config is None or not self.keeps_definitions:
                del self._domains[domain.uuid]
        self.lost = ""
        self._faults.clear()
        self._hangs.clear()
        self.flying.clear()
        self.give_up_hanging()
        self._touch()

    # -- within -----------------------------------------------------

    @contextmanager
    def _call(self, call: str, uuid: str = "") -> Iterator[None]:
        if self.lost:
            raise HypervisorError(self.lost, lost=True)
        if call not in LOOKING:
            self.calls.append((call, uuid))
            self._touch()
        fault = next((f for f in self._faults if f.call in ("", call)), None)
        if fault is not None:
            fault.times -= 1
            if fault.times < 1:
                self._faults.remove(fault)
            if not fault.after:
                raise HypervisorError(fault.reason, lost=fault.lost)
        yield
        if fault is not None:
            raise HypervisorError(fault.reason, lost=fault.lost)

    def _touch(self) -> None:
        self.generation += 1
        self._switch.generation += 1

    def _changed(self, uuid: str) -> None:
        self._touch()
        if self._on_change is not None and (not self.lost or not uuid):
            self._on_change(uuid)

    def _get(self, uuid: str) -> SimDomain:
        domain = self._domains.get(uuid)
        if domain is None:
            raise HypervisorError("Domain not found", absent=True)
        return domain

    def _active(self, uuid: str) -> SimDomain:
        domain = self._get(uuid)
        if not domain.active:
            raise HypervisorError("Requested operation is not valid: domain is not running")
        return domain

    def _used_mib(self) -> int:
        return sum(d.live.memory_mib for d in self._domains.values() if d.live is not None)

    def _room_for(self, facts: DomainFacts) -> None:
        free_mib = self.memory_mib - self._used_mib()
        if facts.memory_mib > free_mib:
            raise HypervisorError(
                f"not enough memory for {facts.name}: {facts.memory_mib} MiB, {free_mib} free"
            )

    def _define(self, xml: str) -> SimDomain:
        facts = checked(xml)
        uuid = facts.uuid or str(uuids.uuid5(uuids.NAMESPACE_URL, f"{self.name}/{facts.name}"))
        for other in self._domains.values():
            if other.name == facts.name and other.uuid != uuid:
                raise HypervisorError(
                    f"operation failed: domain '{other.name}' already exists with uuid {other.uuid}"
                )
            if other.name != facts.name and other.uuid == uuid:
                raise HypervisorError(
                    f"operation failed: domain '{other.name}' is already defined with uuid {uuid}"
                )
        domain = self._domains.setdefault(uuid, SimDomain(facts.name, uuid, facts))
        domain.config, domain.xml["config"] = facts, xml
        domain.autostart = False
        self._changed(uuid)
        return domain

    def _boot(self, domain: SimDomain) -> None:
        assert domain.config is not None
        self._room_for(domain.config)
        self._attach(domain.name, domain.xml["config"])
        domain.live, domain.xml["live"] = domain.config, domain.xml["config"]
        self._to(domain, DomainState.RUNNING)

    def _off(self, domain: SimDomain, state: DomainState = DomainState.SHUTOFF) -> None:
        domain.live, domain.state = None, state
        domain.incoming = domain.cut_off = False
        if domain.config is None:
            del self._domains[domain.uuid]
        self._changed(domain.uuid)

    def _to(self, domain: SimDomain, state: DomainState) -> None:
        domain.state, domain.cut_off = state, False
        self._changed(domain.uuid)

    def _forget(self, domain: SimDomain) -> None:
        domain.config, domain.autostart = None, False
        if not domain.active:
            del self._domains[domain.uuid]
        self._changed(domain.uuid)

    def _set(
        self, uuid: str, change: Callable[[DomainFacts], DomainFacts], tell: bool = True
    ) -> None:
        """For now when active, and for the next boot when persistent.

        The test driver tells nobody of sizes: `tell`.
        """
        domain = self._get(uuid)
        if domain.live is not None:
            domain.live = change(domain.live)
            self._touch()
        if domain.config is not None:
            try:
                domain.config = change(domain.config)
            except HypervisorError as error:
                if domain.live is None:
                    raise
                raise HypervisorError(
                    f"changed for now, but not for the next boot: {error.reason}"
                ) from error
        self._touch()
        if tell:
            self._changed(uuid)

    def _seen(self, domain: SimDomain) -> Domain:
        facts = domain.shown()
        weight = None
        if self.kind is not HypervisorKind.TEST:
            weight = facts.shares or (DEFAULT_WEIGHT if domain.active else None)
        return Domain(
            name=domain.name,
            uuid=domain.uuid,
            state=domain.state,
            memory_mib=facts.memory_mib,
            max_memory_mib=facts.max_memory_mib,
            vcpus=facts.vcpus,
            max_vcpus=facts.max_vcpus,
            cpu_weight=weight,
            persistent=domain.config is not None,
            autostart=domain.autostart,
            mac=facts.mac,
            tag=facts.tag,
            incoming=domain.incoming,
            cut_off=domain.cut_off,
        )
