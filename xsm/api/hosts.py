"""Hosts that leave the site: forgotten, or fenced; and that come back to it after that.

Decides the order of what is done: votes, then (for a fencing) the fence agent, then the commit. What changes is
`peer/commands.py`'s and `peer/fencing.py`'s, how many have to agree `peer/membership.py`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from xsm.api import fencing, membership
from xsm.api.editing import Ready, ready_command, ready_document, ready_head, refused
from xsm.api.types import Applied, Command, Verb
from xsm.peer.commands import CommandRefused
from xsm.peer.edit import Surroundings
from xsm.peer.fencing import readmit
from xsm.site.problems import Invalid

if TYPE_CHECKING:
    from xsm.daemon import Daemon


class ReadyCommand(Protocol):
    """A command's edit, checked: `Answers._ready_command`."""

    def __call__(
        self, command: Command, number: int = 0
    ) -> Awaitable[tuple[Ready, Surroundings]]: ...


class Commit(Protocol):
    """An edit that is ready becomes the head: `Answers._commit`."""

    def __call__(self, ready: Ready, expect: str, author: str) -> Awaitable[Applied]: ...


class Hosts:
    """One edit at a time: `lock` is held while `forget` and `fence` are called, and taken by the others."""

    def __init__(
        self, daemon: Daemon, lock: asyncio.Lock, ready: ReadyCommand, commit: Commit
    ) -> None:
        self._daemon = daemon
        self._lock = lock
        self._ready = ready
        self._commit = commit

    async def forget(self, command: Command, author: str, again: bool = False) -> Applied:
        """Raises `Invalid`, `Refused`."""
        ready, around = await self._ready(command)
        revision = ready.head.revision
        present, after = (
            ready_head(self._daemon.revisions.head)[1].state.members,
            ready.edited.document.state.members,
        )
        off = present.keys() - after.keys() - around.reports.keys()
        try:
            async with membership.agreed(self._daemon, present, after, off) as number:
                numbered, _ = await self._ready(command, number)
                return await self._commit(numbered, command.expect or revision, author)
        except membership.Stuck:
            if again or command.expect not in ("", revision):
                raise
        numbered_anew = await membership.number_anew(self._daemon, ready.head)
        command = replace(command, expect=numbered_anew if command.expect else "")
        return await self.forget(command, author, again=True)

    async def fence(self, command: Command, author: str, unasked: bool = False) -> Applied:
        """Raises `Invalid`, `Refused`."""
        ready, _ = await self._ready(command)
        document = ready_head(self._daemon.revisions.head)[1]
        host = document.host_name(command.host)
        if command.expect not in ("", ready.head.revision):
            raise refused(409, "moved", "the site has moved on since the plan was made")
        fencing.check_agent(document, host)
        present, after = document.state.members, ready.edited.document.state.members

        async def commit() -> Applied:
            ready, _ = await self._ready(command, number)
            if ready_document(ready.head).state.members_number != document.state.members_number:
                # The votes were for a change of that list, and `number` may be below that of the present one.
                why = f"{host} is off, and the members changed meanwhile"
                raise refused(409, "conflict", why, "have it fenced again")
            return await self._commit(ready, "", author)

        async with membership.agreed(
            self._daemon, present, after, fenced=(host,), unasked=unasked
        ) as number:
            await fencing.power_off(self._daemon, document, host)
            return await fencing.until_it_holds(commit)

    async def fence_unasked(self, host: str) -> Applied:
        """Have a silent host fenced. Raises `Refused`."""
        async with self._lock:
            name = self._daemon.peer.name
            command = Command(Verb.FENCE, host=host, message=f"Fence {host}: it is silent")
            try:
                return await self.fence(command, f"{name} <xsmd@{name}>", unasked=True)
            except Invalid as error:
                raise refused(409, "conflict", str(error), problems=error.problems) from error

    async def take_back(self, host: str) -> Applied:
        """A host that was fenced is back and runs nothing. Raises `Refused`."""
        async with self._lock:
            head, document = ready_head(self._daemon.revisions.head)
            files = await self._daemon.revisions.files(head.revision)
            around = Surroundings({}, {}, time.time())
            try:
                intent = readmit(files, document, host)
                present, after = document.state.members, intent.state.members
                async with membership.agreed(self._daemon, present, after) as number:
                    intent = replace(intent, state=replace(intent.state, members_number=number))
                    ready = ready_command(Command(Verb.FENCE), intent, head, files, around)
                    return await self._commit(ready, head.revision, f"{host} <xsmd@{host}>")
            except CommandRefused as error:
                raise refused(409, "conflict", str(error), error.hint) from error
            except Invalid as error:
                raise refused(409, "conflict", str(error), problems=error.problems) from error

    async def end_change(self) -> None:
        """End a change of members that this host made and that came to nothing. Raises `Refused`."""
        async with self._lock:
            head, _ = ready_head(self._daemon.revisions.head)
            if self._daemon.peer.has_unended_change:
                await membership.number_anew(self._daemon, head)
