"""A hypervisor under test, with hands that meddle behind XSM's back and the events it told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import libvirt

from tests.sim.hypervisor import SimHypervisor
from xsm.demo.hosts import PrivateLibvirtd
from xsm.edge.hypervisor import Hypervisor
from xsm.edge.libvirt_hypervisor import LibvirtHypervisor

EVENT_LIMIT_S = 10.0


class Subject(Protocol):
    hypervisor: Hypervisor

    def heard(self, uuid: str) -> bool:
        """Whether an event for this domain came since `forget_events` (waits for it a while)."""
        ...

    def forget_events(self) -> None: ...

    def managed_save(self, uuid: str) -> None: ...

    def snapshot(self, uuid: str) -> None: ...

    def autostart(self, uuid: str) -> None: ...

    def lose(self) -> None:
        """Let the connection break."""
        ...


class Events:
    """What `on_change` was told, with a wait for what is still on its way."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._more = threading.Condition()

    def tell(self, uuid: str) -> None:
        with self._more:
            self._told.append(uuid)
            self._more.notify_all()

    def heard(self, uuid: str) -> bool:
        with self._more:
            return self._more.wait_for(lambda: uuid in self._told, EVENT_LIMIT_S)

    def forget(self) -> None:
        with self._more:
            self._told.clear()


class SimSubject:
    def __init__(self) -> None:
        self._events = Events()
        self._sim = SimHypervisor("host", on_change=self._events.tell)
        self._sim.storage.own["default-pool"] = {}  # as the test driver has it
        self.hypervisor: Hypervisor = self._sim
        self.heard = self._events.heard
        self.forget_events = self._events.forget

    def managed_save(self, uuid: str) -> None:
        self._sim.by_hand_managed_save(self._name(uuid))

    def snapshot(self, uuid: str) -> None:
        self._sim.by_hand_snapshot(self._name(uuid))

    def autostart(self, uuid: str) -> None:
        self._sim.by_hand_autostart(self._name(uuid))

    def lose(self) -> None:
        self._sim.lose()

    def _name(self, uuid: str) -> str:
        return next(d.name for d in self._sim.domains_unchecked() if d.uuid == uuid)


class LibvirtSubject:
    """Hands have a connection of their own, as virsh has."""

    def __init__(self, host: PrivateLibvirtd) -> None:
        self._host = host
        self._events = Events()
        if not host.running():
            host.start()
        self.hypervisor: Hypervisor = LibvirtHypervisor(host.uri, self._events.tell)
        self._hands = libvirt.open(host.uri)
        self.heard = self._events.heard
        self.forget_events = self._events.forget

    def managed_save(self, uuid: str) -> None:
        self._hand(uuid, lambda dom: dom.managedSave(0))

    def snapshot(self, uuid: str) -> None:
        self._hand(uuid, lambda dom: dom.snapshotCreateXML("<domainsnapshot/>", 0))

    def autostart(self, uuid: str) -> None:
        self._hand(uuid, lambda dom: dom.setAutostart(1))

    def lose(self) -> None:
        self._host.kill()

    def clear(self) -> None:
        """Leave an empty host to the next case."""
        self.hypervisor.close()
        if not self._host.running():
            return
        for dom in self._hands.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            dom.destroy()
        for dom in self._hands.listAllDomains(0):
            dom.undefineFlags(
                libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            )
        self._hands.close()

    def _hand(self, uuid: str, what: Callable[[libvirt.virDomain], object]) -> None:
        what(self._hands.lookupByUUIDString(uuid))
