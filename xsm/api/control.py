"""What the routes ask and xsmd answers: the contract between `xsm.api.server` and the daemon.

Decides nothing. Every method may raise `Refused`, which becomes the answer; any other exception is
a fault of ours and becomes 500.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from xsm.api.access import Caller, Role
from xsm.api.types import (
    Applied,
    CaKey,
    CertificateAnswer,
    CertificateRequest,
    Command,
    Event,
    Handed,
    Invitation,
    JoinAnswer,
    JoinRequest,
    PlanAnswer,
    Preview,
    Proposal,
    Refusal,
    RevisionInfo,
    RevocationAnswer,
    RevocationQuery,
    SerfPeer,
    SignerRequest,
    Status,
    VmStatus,
    Why,
)
from xsm.edge.transport import Registers
from xsm.plan.observed import HostReport

__all__ = ["Caller", "Control", "Refused", "Role"]


class Refused(Exception):
    """The answer is no: an HTTP status and its body."""

    def __init__(self, status: int, refusal: Refusal) -> None:
        self.status = status
        self.refusal = refusal
        super().__init__(f"{refusal.message} ({refusal.hint})" if refusal.hint else refusal.message)


class Control(Protocol):
    """One host's xsmd."""

    async def status(self) -> Status: ...

    async def report(self) -> HostReport:
        """This host's own."""
        ...

    async def reports(self, fresh: bool) -> Mapping[str, HostReport]:
        """All members' that can be had; `fresh`: asked for anew."""
        ...

    async def plan(self) -> PlanAnswer: ...

    async def preview(self, proposal: Proposal, caller: Caller) -> Preview: ...

    async def apply(self, proposal: Proposal, caller: Caller) -> Applied: ...

    async def preview_command(self, command: Command, caller: Caller) -> Preview: ...

    async def command(self, command: Command, caller: Caller) -> Applied: ...

    async def vms(self) -> tuple[VmStatus, ...]: ...

    async def history(self, limit: int, vm: str | None) -> tuple[RevisionInfo, ...]: ...

    async def revision(self, revision: str) -> RevisionInfo: ...

    async def why(self, vm: str) -> Why: ...

    async def files(self, revision: str) -> Mapping[str, str]:
        """Path -> content in base64; "" is the present head."""
        ...

    def events(self, since: int, follow: bool) -> AsyncIterator[Event]: ...

    async def invite(self, name: str, again: bool) -> Invitation:
        """`again`: for a member whose certificate has ended."""
        ...

    async def join(self, request: JoinRequest) -> JoinAnswer:
        """Check the request first and redeem the token last: it is good only once."""
        ...

    async def certify(self, name: str, request: CertificateRequest) -> CertificateAnswer:
        """New certificates for the member `name`, of a host that holds the CA's key."""
        ...

    async def hand_over(self, request: SignerRequest) -> Handed:
        """Give the CA's key to another member."""
        ...

    async def take_key(self, sender: str, key: CaKey) -> Handed: ...

    async def revocations(self, query: RevocationQuery) -> RevocationAnswer:
        """Which certificates are revoked, of a host that holds the CA's key."""
        ...

    async def meet_serf(self, theirs: SerfPeer) -> SerfPeer:
        """A member tells of its Serf agent and key; this host's own."""
        ...

    async def hook_pre_receive(
        self, old: str, new: str, ref: str, environ: Mapping[str, str]
    ) -> None:
        """Raise `Refused` to refuse a push. `environ`: where git keeps the pushed objects for now
        (GIT_OBJECT_DIRECTORY, GIT_ALTERNATE_OBJECT_DIRECTORIES, GIT_QUARANTINE_PATH), and
        REMOTE_USER."""
        ...

    async def hook_post_receive(self, old: str, new: str, ref: str) -> Applied:
        """What the push changed; its revision may be a later one that places what floats."""
        ...

    async def receive_messages(self, sender: str, body: bytes) -> int:
        """The number of this host's own newest event: by it the sender sees that there is news."""
        ...

    async def registers(self) -> Registers:
        """What this host knows of claims: VM -> entry of its vote file."""
        ...

    async def learn_registers(self, registers: Registers) -> None:
        """Take over what another host knows. On disk when this returns."""
        ...

    async def own_events(self, since: int) -> tuple[Event, ...]:
        """Events that happened on this host after its own number `since`, oldest first."""
        ...

    async def receive_pack(
        self, sender: str, heads: tuple[str, ...], pack: bytes
    ) -> tuple[str, ...]:
        """The heads that are here afterwards."""
        ...

    async def send_pack(
        self, sender: str, want: tuple[str, ...], have: tuple[str, ...]
    ) -> bytes: ...

    async def heads(self) -> tuple[str, ...]: ...

    async def take_back(self, host: str) -> Applied:
        """A fenced host has started anew and runs nothing: it becomes a member again."""
        ...
