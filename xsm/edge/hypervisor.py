"""What XSM asks of a host's hypervisor, and how its answers fail.

Decides the words and the promises only: `libvirt_hypervisor` keeps them with libvirt, the
simulation in memory, and one contract suite (tests/contract) holds both to them.
Must not know why a call is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from xsm.peer.events import Way
from xsm.plan.observed import Domain, FoundDisk, HypervisorFacts, Job, Moved
from xsm.site.disk import Volume
from xsm.site.needs import Needs
from xsm.site.tag import Tag

OnChange = Callable[[str], None]
"""Told that a domain may have changed: its UUID, or "" for all (the connection is gone).

Called from a thread of the hypervisor's own; must return at once and not raise.
"""


class HypervisorError(Exception):
    """A call that did not do what it should; nothing was changed unless `reason` says so.

    `lost`: the connection is gone, so nothing is known, not even whether the call took effect.
    `absent`: there is no such domain.
    """

    def __init__(self, reason: str, *, lost: bool = False, absent: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.lost, self.absent = reason, lost, absent


class Hypervisor(Protocol):
    """One host's hypervisor. Calls block, may come from several threads, raise `HypervisorError`.

    A call that names a UUID nobody has raises with `absent`.
    """

    def facts(self) -> HypervisorFacts: ...

    def domains(self) -> tuple[Domain, ...]:
        """All domains, active and inactive, foreign ones too, sorted by name."""
        ...

    def find(self, uuid: str, name: str) -> tuple[Domain, ...]:
        """The domains that have this UUID or this name (none, one, or one each), sorted by name."""
        ...

    def lacking(self, needs: Needs) -> str:
        """What of these the host hasn't got, for people; "" when nothing is known to be lacking."""
        ...

    def disks(self, wanted: tuple[Volume, ...]) -> tuple[FoundDisk, ...]:
        """What there is of these volumes, in their order."""
        ...

    def make_disk(self, volume: Volume) -> None:
        """Make the volume, empty or as a copy of its origin, as big as wanted.

        Refused when it is there: nothing is ever overwritten.
        """
        ...

    def set_aside(self, volume: Volume, name: str) -> str:
        """Give the volume another name, `name` or one made from it where that is taken; gives the new one.

        Refused where a pool has no way to do that, and while a guest has it. Nothing is overwritten.
        """
        ...

    def grow_disk(self, uuid: str, volume: Volume) -> None:
        """Make the volume bigger: through the domain where that is active, and else the volume itself.

        Refused when it would get smaller.
        """
        ...

    def stays_on(self, uuid: str) -> frozenset[tuple[str, str]]:
        """The volumes (pool, name) that the domain's guest has, where it is here and no migration of it to elsewhere or
        from there is under way; else none."""
        ...

    def domain_xml(self, uuid: str) -> str:
        """The definition that the domain's next boot would have, without passwords."""
        ...

    def define(self, xml: str) -> None:
        """Make it persistent, or replace the definition of the same name and UUID; autostart off.

        A domain that is active goes on as it is; the definition counts from its next boot.
        """
        ...

    def start(self, uuid: str) -> None:
        """Boot a defined domain. Refused when it is active or has a managed save image."""
        ...

    def shutdown(self, uuid: str) -> None:
        """Ask the guest to shut down, and return at once."""
        ...

    def destroy(self, uuid: str) -> None:
        """Power off at once. A transient domain is gone afterwards."""
        ...

    def undefine(self, uuid: str) -> None:
        """Remove the definition; disks, NVRAM, TPM state stay. An active domain becomes transient.

        Refused when it would lose a managed save image or what libvirt knows of snapshots.
        """
        ...

    def suspend(self, uuid: str) -> None: ...

    def resume(self, uuid: str) -> None: ...

    def set_memory(self, uuid: str, mib: int) -> None:
        """Current memory: at once when active, and for the next boot when persistent.

        Refused above the maximum.
        """
        ...

    def set_vcpus(self, uuid: str, n: int) -> None:
        """Online vCPUs, as `set_memory`."""
        ...

    def set_weight(self, uuid: str, weight: int) -> None:
        """CPU weight (Xen's credit weight, else libvirt's cpu_shares), as `set_memory`."""
        ...

    def set_limits(self, uuid: str, xml: str) -> None:
        """Limits of disks and network cards, as `set_memory`: those that the domain XML `xml` says, and no others.

        Some of them may be set when this raises.
        """
        ...

    def set_tag(self, uuid: str, tag: Tag) -> None:
        """Write XSM's mark into the domain's metadata, as `set_memory`."""
        ...

    def migrate(self, uuid: str, way: Way) -> Moved | None:
        """Move the domain live, peer to peer: afterwards it is defined there and no longer here. Disks that go along
        are copied into volumes that the target makes; those here stay as they are.

        Gives what it took, None where the hypervisor doesn't tell.
        """
        ...

    def post_copy(self, uuid: str) -> None:
        """Let the domain that is migrated away from here run on the target at once; the rest of its memory follows.

        Refused unless its way allowed that.
        """
        ...

    def job(self, uuid: str) -> Job | None:
        """How far the domain's migration away from here is; None when none is in flight."""
        ...

    def abort(self, uuid: str) -> None:
        """End the domain's migration away from here; it runs on, and the call of `migrate` raises.

        Refused when none is in flight. One that is nearly done may come to its end all the same.
        """
        ...

    def alive(self) -> bool:
        """Whether the connection answers; takes up to the keepalive limit when libvirtd hangs."""
        ...

    def close(self) -> None: ...
