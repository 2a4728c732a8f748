"""A host's hypervisor through libvirt: Xen (libxl), KVM and QEMU, and libvirt's test driver.

Decides which libvirt calls keep the promises of `hypervisor.Hypervisor` on which driver. Must not
know the site, nor when a call is right.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import libvirt

from xsm.edge import (
    domain_facts,
    libvirt_disks,
    libvirt_events,
    libvirt_jobs,
    libvirt_limits,
    libvirt_migration,
    libvirt_needs,
)
from xsm.edge.domain_facts import DomainFacts
from xsm.edge.hypervisor import HypervisorError, OnChange
from xsm.edge.libvirt_errors import (
    CONNECTION_ERRORS,
    is_absent,
    message,
    optional,
    tidy,
    unless_absent,
    why_no_connection,
)
from xsm.edge.libvirt_facts import (
    EMULATED,
    KIB_PER_MIB,
    NO_ABORT,
    STATES,
    Paused,
    arrives,
    fixed_facts,
    free_memory_mib,
    kept,
    paused_now,
    weight_of,
)
from xsm.edge.libvirt_listing import Listing
from xsm.edge.migrating import SILENT, Announces
from xsm.edge.xen_domains import Unshown
from xsm.peer.events import Way
from xsm.plan.observed import (
    ACTIVE,
    Domain,
    DomainState,
    FoundDisk,
    HypervisorFacts,
    Job,
    Moved,
)
from xsm.site import tag as tags
from xsm.site import tag_xml
from xsm.site.disk import Volume
from xsm.site.model import HypervisorKind
from xsm.site.needs import Needs
from xsm.site.tag import Tag

KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_COUNT = 3
"""A libvirtd that is silent for interval x (count + 1) counts as gone; calls to it then end."""

EVENTS = (
    "REBOOT",
    "BALLOON_CHANGE",
    "METADATA_CHANGE",
    "DEVICE_ADDED",
    "DEVICE_REMOVED",
    "TUNABLE",
    "CONTROL_ERROR",
)
"""Besides LIFECYCLE: heard where the driver has them."""

KEEP_STATE = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM
GONE = "the connection to libvirtd is gone"
CLOSED = "the connection was closed"

LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG

T = TypeVar("T")


class LibvirtHypervisor:
    """`Hypervisor` over a libvirt connection that the constructor opens; after a loss make another.

    Raises `HypervisorError` (lost) that says why there is no connection and what to do.
    `announces`: what this host's settings say of migrations, passed on in the facts.
    libvirt's connections are thread-safe; what this object adds is guarded by a lock.
    """

    def __init__(
        self,
        uri: str,
        on_change: OnChange | None = None,
        announces: Announces = SILENT,
    ) -> None:
        self.uri = uri
        self._on_change = on_change
        self._announces = announces
        self._lock = threading.Lock()
        self._callbacks: list[int] = []
        self._gone = ""  # why the connection is gone, "" while it isn't
        # UUID -> (XML, what it says). Used again only for the very same text, so it can't be stale.
        self._read: dict[str, tuple[str, DomainFacts]] = {}
        self._listing = Listing(self._look)
        self._unshown = Unshown()
        self._jobs = libvirt_jobs.Completed()
        libvirt_events.start()
        try:
            self._conn = libvirt.open(uri)
        except libvirt.libvirtError as error:
            raise HypervisorError(why_no_connection(uri, error), lost=True) from error
        try:
            self._fixed = fixed_facts(self._conn)
            self._listen()
        except libvirt.libvirtError as error:
            self.close()
            why = f"can't connect to {uri}: {message(error)}"
            raise HypervisorError(why, lost=True) from error
        except HypervisorError:
            self.close()
            raise

    # -- the connection -----------------------------------------------------

    def _listen(self) -> None:
        conn = self._conn
        optional(lambda: conn.setKeepAlive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT))
        optional(lambda: conn.registerCloseCallback(self._closed, None))
        ids = [
            conn.domainEventRegisterAny(
                None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._changed, None
            )
        ]
        completed = libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED
        heard = optional(lambda: conn.domainEventRegisterAny(None, completed, self._job_done, None))
        self._jobs.told = heard is not None and self._fixed.kind in EMULATED
        ids += [] if heard is None else [heard]
        for name in EVENTS:
            event = getattr(libvirt, f"VIR_DOMAIN_EVENT_ID_{name}")
            heard = optional(partial(conn.domainEventRegisterAny, None, event, self._changed, None))
            if heard is not None:
                ids.append(heard)
        self._callbacks = ids

    def _changed(self, _conn: libvirt.virConnect, domain: libvirt.virDomain, *_: object) -> None:
        """Any domain event; its details don't matter, since the daemon looks for itself."""
        self._listing.changed(domain.UUIDString())
        if self._on_change is not None and not self._gone:
            self._on_change(domain.UUIDString())

    def _job_done(
        self, conn: libvirt.virConnect, domain: libvirt.virDomain, stats: dict[str, int], _: object
    ) -> None:
        self._jobs.completed(domain.UUIDString(), stats)
        self._changed(conn, domain)

    def _closed(self, _conn: libvirt.virConnect, _reason: int, _opaque: object) -> None:
        told, self._gone = bool(self._gone), self._gone or GONE
        if self._on_change is not None and not told:
            self._on_change("")

    def alive(self) -> bool:
        """Asks libvirtd: libvirt's own isAlive still says yes after the connection was reset."""
        if self._gone:
            return False
        try:
            self._conn.getLibVersion()
        except libvirt.libvirtError:
            self._gone = self._gone or GONE
            return False
        return True

    def close(self) -> None:
        """Leave; domains run on (the test driver's only while somebody else stays connected)."""
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
            if self._gone == CLOSED:
                return
            self._gone = CLOSED
        for callback in callbacks:
            tidy(partial(self._conn.domainEventDeregisterAny, callback))
        tidy(self._conn.unregisterCloseCallback)
        tidy(self._conn.close)

    # -- looking -----------------------------------------------------

    def facts(self) -> HypervisorFacts:
        return self._call(self._facts)

    def _facts(self, conn: libvirt.virConnect) -> HypervisorFacts:
        fixed = self._fixed
        info = conn.getInfo()
        memory_mib = int(info[1])
        return HypervisorFacts(
            kind=fixed.kind,
            version=fixed.version,
            arch=fixed.arch,
            cpus=int(info[2]),
            memory_mib=memory_mib,
            free_memory_mib=self._free_memory_mib(conn, memory_mib),
            cpu_model=fixed.cpu_model,
            cold_only="libvirt's test driver can't migrate"
            if fixed.kind is HypervisorKind.TEST
            else "",
            migrate_uri=self._announces.migrate_uri,
            migrate_tls=self._announces.tls() and fixed.kind in EMULATED,
            locks=fixed.locks,
            seeds_dir=self._announces.seeds_dir,
            no_abort=NO_ABORT.get(fixed.kind, ""),
        )

    def _free_memory_mib(self, conn: libvirt.virConnect, memory_mib: int) -> int:
        if self._fixed.kind is not HypervisorKind.TEST:
            return free_memory_mib(conn, self._fixed.kind)
        # The test driver's own answer is a constant.
        domains = self._listing.last()
        found = self._listing.domains(conn) if domains is None else domains
        return max(0, memory_mib - sum(d.memory_mib for d in found if d.state in ACTIVE))

    def domains(self) -> tuple[Domain, ...]:
        return self._call(self._domains)

    def _domains(self, conn: libvirt.virConnect) -> tuple[Domain, ...]:
        found = self._listing.domains(conn)
        here = {d.uuid for d in found}
        with self._lock:
            self._read = {uuid: entry for uuid, entry in self._read.items() if uuid in here}
        if self._fixed.kind is not HypervisorKind.XEN:
            return found
        return tuple(sorted((*found, *self._unshown.domains(here)), key=lambda d: (d.name, d.uuid)))

    def find(self, uuid: str, name: str) -> tuple[Domain, ...]:
        return self._call(lambda conn: self._find(conn, uuid, name))

    def _find(self, conn: libvirt.virConnect, uuid: str, name: str) -> tuple[Domain, ...]:
        found: dict[str, Domain] = {}
        for lookup, key in ((conn.lookupByUUIDString, uuid), (conn.lookupByName, name)):
            dom = unless_absent(partial(lookup, key)) if key else None
            if dom is None:
                continue
            stays = unless_absent(partial(kept, dom))
            seen = self._look(dom, dom.UUIDString(), *stays) if stays else None
            if seen is not None:
                found[seen.uuid] = seen
        return tuple(sorted(found.values(), key=lambda d: (d.name, d.uuid)))

    def _look(
        self, dom: libvirt.virDomain, uuid: str, persistent: bool, autostart: bool
    ) -> Domain | None:
        """One domain, or None when it has gone since it was listed."""
        return unless_absent(lambda: self._domain(dom, uuid, persistent, autostart))

    def _domain(
        self, dom: libvirt.virDomain, uuid: str, persistent: bool, autostart: bool
    ) -> Domain:
        info = dom.info()
        xml = self._facts_of(uuid, dom.XMLDesc(0))
        paused = Paused(STATES.get(info[0], DomainState.RUNNING))
        if paused.state is DomainState.PAUSED:
            paused = paused_now(dom, persistent)
        elif arrives(self._fixed.kind, paused.state, persistent):
            paused = Paused(incoming=True)
        return Domain(
            name=xml.name,
            uuid=uuid,
            state=paused.state,
            memory_mib=int(info[2]) // KIB_PER_MIB,
            max_memory_mib=int(info[1]) // KIB_PER_MIB,
            vcpus=int(info[3]),
            max_vcpus=xml.max_vcpus,
            cpu_weight=weight_of(self._fixed.kind, dom, xml, paused.state in ACTIVE),
            started_weight=xml.shares,
            persistent=persistent,
            autostart=autostart,
            mac=xml.mac,
            tag=xml.tag,
            incoming=paused.incoming,
            cut_off=paused.cut_off,
            stopped=paused.stopped,
        )

    def _facts_of(self, uuid: str, xml: str) -> DomainFacts:
        known = self._read.get(uuid)
        if known is not None and known[0] == xml:
            return known[1]
        try:
            facts = domain_facts.read(xml)
        except ValueError as error:
            raise HypervisorError(f"libvirt's XML of {uuid} can't be read: {error}") from error
        with self._lock:
            self._read[uuid] = (xml, facts)
        return facts

    def domain_xml(self, uuid: str) -> str:
        return self._on(uuid, lambda dom: str(dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)))

    def lacking(self, needs: Needs) -> str:
        return self._call(lambda conn: libvirt_needs.lacking(conn, self._fixed.kind, needs))

    def disks(self, wanted: tuple[Volume, ...]) -> tuple[FoundDisk, ...]:
        return self._call(lambda conn: libvirt_disks.find(conn, self._fixed.kind, wanted))

    def stays_on(self, uuid: str) -> frozenset[tuple[str, str]]:
        if self.job(uuid) is not None:
            return frozenset()
        has = self._call(lambda conn: libvirt_disks.volumes_of(conn, uuid))
        # Only now: a job that was over a moment ago may have ended with the guest elsewhere.
        stays = any(d.uuid == uuid and d.is_guest for d in self.find(uuid, ""))
        return has if stays else frozenset()

    # -- acting -----------------------------------------------------

    def define(self, xml: str) -> None:
        def call(conn: libvirt.virConnect) -> None:
            dom = conn.defineXML(xml)
            self._listing.changed(dom.UUIDString())
            if dom.autostart():
                dom.setAutostart(0)

        self._call(call)

    def start(self, uuid: str) -> None:
        def call(dom: libvirt.virDomain) -> None:
            if not dom.isActive() and optional(lambda: dom.hasManagedSaveImage(0)):
                raise HypervisorError(
                    f"{dom.name()} has a managed save image, and its disks may have changed since; "
                    "`virsh start` resumes it, `virsh managedsave-remove` drops it"
                )
            dom.create()

        self._on(uuid, call)

    def shutdown(self, uuid: str) -> None:
        self._on(uuid, lambda dom: dom.shutdown())

    def destroy(self, uuid: str) -> None:
        self._on(uuid, lambda dom: dom.destroy())

    def undefine(self, uuid: str) -> None:
        def call(dom: libvirt.virDomain) -> None:
            if not dom.isPersistent():
                raise HypervisorError(f"{dom.name()} is transient: it has no definition")
            if optional(lambda: dom.hasManagedSaveImage(0)):
                raise HypervisorError(
                    f"{dom.name()} has a managed save image that would be lost; "
                    "`virsh start` resumes it, `virsh managedsave-remove` drops it"
                )
            snapshots = optional(lambda: dom.snapshotNum(0)) or 0
            if snapshots and not dom.isActive():
                raise HypervisorError(
                    f"libvirt would forget the {snapshots} snapshots of {dom.name()}; "
                    "`virsh snapshot-delete --metadata` does so on purpose"
                )
            dom.undefineFlags(KEEP_STATE if self._fixed.kind in EMULATED else 0)

        self._on(uuid, call)

    def suspend(self, uuid: str) -> None:
        self._on(uuid, lambda dom: dom.suspend())

    def resume(self, uuid: str) -> None:
        self._on(uuid, lambda dom: dom.resume())

    def set_memory(self, uuid: str, mib: int) -> None:
        self._set(uuid, lambda dom, flags: dom.setMemoryFlags(mib * KIB_PER_MIB, flags))

    def set_vcpus(self, uuid: str, n: int) -> None:
        def change(dom: libvirt.virDomain, flags: int) -> None:
            if flags == LIVE and self._fixed.kind in EMULATED and n < int(dom.info()[3]):
                # Unplugging a vCPU that the guest uses crashed QEMU 7.2 three times out of three.
                raise HypervisorError(
                    f"QEMU can't take vCPUs away from {dom.name()} while it runs; restart it"
                )
            dom.setVcpusFlags(n, flags)

        self._set(uuid, change)

    def set_weight(self, uuid: str, weight: int) -> None:
        kind = self._fixed.kind

        def change(dom: libvirt.virDomain, flags: int) -> None:
            if kind is HypervisorKind.XEN:
                if flags == LIVE:  # libxl knows no weight of a domain that is off
                    dom.setSchedulerParameters({"weight": weight})
                return
            dom.setSchedulerParametersFlags({"cpu_shares": weight}, flags)

        if kind is HypervisorKind.TEST:
            raise HypervisorError("libvirt's test driver has no CPU weight")
        self._set(uuid, change)

    def set_limits(self, uuid: str, xml: str) -> None:
        self._set(uuid, lambda dom, flags: libvirt_limits.apply(dom, xml, flags))

    def make_disk(self, volume: Volume) -> None:
        self._call(lambda conn: libvirt_disks.make(conn, volume))

    def set_aside(self, volume: Volume, name: str) -> str:
        return self._call(lambda conn: libvirt_disks.set_aside(conn, volume, name))

    def grow_disk(self, uuid: str, volume: Volume) -> None:
        self._call(lambda conn: libvirt_disks.grow(conn, uuid, volume))

    def set_tag(self, uuid: str, tag: Tag) -> None:
        text = tag_xml.to_metadata(tag)
        self._set(
            uuid,
            lambda dom, flags: dom.setMetadata(
                libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, tags.PREFIX, tags.NAMESPACE, flags
            ),
        )

    def migrate(self, uuid: str, way: Way) -> Moved | None:
        about = (self._fixed.kind, self._announces, way)
        with self._jobs.awaited(uuid) as took:
            self._on(uuid, lambda dom: libvirt_migration.migrate(dom, *about))
            return took()

    def post_copy(self, uuid: str) -> None:
        self._on(uuid, lambda dom: dom.migrateStartPostCopy(0))

    def job(self, uuid: str) -> Job | None:
        return self._call(lambda conn: libvirt_jobs.progress(conn, uuid))

    def abort(self, uuid: str) -> None:
        self._on(uuid, libvirt_jobs.abort)

    def _set(self, uuid: str, change: Callable[[libvirt.virDomain, int], object]) -> None:
        """Make a change now when active, and for the next boot when persistent.

        Two calls: the test driver refuses both flags at once.
        """

        def call(dom: libvirt.virDomain) -> None:
            active = bool(dom.isActive())
            if active:
                change(dom, LIVE)
            if not dom.isPersistent():
                return
            try:
                change(dom, CONFIG)
            except libvirt.libvirtError as error:
                if not active or self._is_lost(error):
                    raise
                raise HypervisorError(
                    f"changed for now, but not for the next boot: {message(error)}"
                ) from error

        self._on(uuid, call)

    # -- errors -----------------------------------------------------

    def _call(self, what: Callable[[libvirt.virConnect], T]) -> T:
        if self._gone:
            raise HypervisorError(self._gone, lost=True)
        try:
            return what(self._conn)
        except libvirt.libvirtError as error:
            raise self._explain(error) from error

    def _on(self, uuid: str, what: Callable[[libvirt.virDomain], T]) -> T:
        try:
            return self._call(lambda conn: what(conn.lookupByUUIDString(uuid)))
        finally:  # also after a failure: part of it may have been done
            self._listing.changed(uuid)

    def _explain(self, error: libvirt.libvirtError) -> HypervisorError:
        if self._is_lost(error):
            return HypervisorError(f"{GONE}: {message(error)}", lost=True)
        return HypervisorError(message(error), absent=is_absent(error))

    def _is_lost(self, error: libvirt.libvirtError) -> bool:
        """libvirtd passes on errors of its own connections (migrations): does ours live?"""
        if error.get_error_code() == libvirt.VIR_ERR_INVALID_CONN:
            return True
        remote = error.get_error_domain() in CONNECTION_ERRORS
        return remote and not self.alive()
