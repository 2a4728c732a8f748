"""What members ask of each other: messages, revisions, claims, events.

Decides nothing about them: the repository and the peer's machine do. Must not know how people are answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xsm.api import membership
from xsm.api.editing import refused
from xsm.api.types import Event
from xsm.edge.repository import PackRefused
from xsm.edge.transport import Registers
from xsm.peer.events import Learned, Received
from xsm.peer.messages import Hello, Malformed, OtherVersion, decode

if TYPE_CHECKING:
    from xsm.daemon import Daemon


class Exchanging:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    async def registers(self) -> Registers:
        return membership.entries(self._daemon.peer.ballots.known())

    async def learn_registers(self, registers: Registers) -> None:
        await self._daemon.take(Learned(membership.read(registers)))

    async def own_events(self, since: int) -> tuple[Event, ...]:
        return self._daemon.events.own_since(since)

    async def receive_messages(self, sender: str, body: bytes) -> int:
        try:
            messages = decode(body)
        except Malformed as error:
            status, code = (
                (409, "version") if isinstance(error, OtherVersion) else (400, "bad-request")
            )
            raise refused(status, code, str(error)) from error
        hellos = [m for m in messages if isinstance(m, Hello)]
        heads = sorted({h for hello in hellos for h in hello.heads})
        missing = await self._daemon.revisions.missing(heads) if heads else ()
        if heads and not missing:
            # Their commits are here, but a crash may have come before they counted as heads.
            head = await self._daemon.revisions.take(heads)
            if head is not None:
                self._daemon.took_head(head, local=False)
        # Answered when they are taken: a member that floods waits for itself, and the machine's queue stays short.
        await self._daemon.take(Received(sender, messages, missing))
        return self._daemon.events.last_own

    async def receive_pack(
        self, sender: str, heads: tuple[str, ...], pack: bytes
    ) -> tuple[str, ...]:
        try:
            head = await self._daemon.revisions.store(pack, heads)
        except PackRefused as error:
            raise refused(409, "conflict", str(error)) from error
        if head is not None:
            self._daemon.took_head(head, local=False)
        return await self.heads()

    async def send_pack(self, sender: str, want: tuple[str, ...], have: tuple[str, ...]) -> bytes:
        missing = await self._daemon.revisions.missing(want)
        if missing:
            raise refused(404, "unknown", f"no revision {missing[0][:10]} here")
        return await self._daemon.revisions.pack(want, have)

    async def heads(self) -> tuple[str, ...]:
        head = self._daemon.revisions.head
        return head.heads if head else ()
