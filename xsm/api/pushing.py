"""A `git push` to this host: checked like an apply before git stores it, a revision of the site afterwards.

Decides when a push is accepted, and what is told to the person who pushed. What an edit may be is `peer.edit`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from xsm.api import editing
from xsm.api.editing import Origin, refused
from xsm.api.types import Applied
from xsm.edge.repository import PackRefused
from xsm.edge.revisions import Moved
from xsm.peer.edit import Surroundings, describe_changes, edit, overlay
from xsm.peer.events import Head
from xsm.site.problems import Invalid, Problem

if TYPE_CHECKING:
    from xsm.daemon import Daemon

MAIN = "refs/heads/main"
PLACE_TRIES = 5
"""How often a push's floating VMs are placed anew because the head moved meanwhile."""


class Pushing:
    """`editing`: held by whoever edits the site here."""

    def __init__(self, daemon: Daemon, editing: asyncio.Lock) -> None:
        self._daemon = daemon
        self._editing = editing

    async def check(
        self,
        old: str,
        new: str,
        ref: str,
        environ: Mapping[str, str],
        head: Head,
        around: Surroundings,
    ) -> None:
        """Check what somebody pushes, with the same rules as an apply. Raises `Refused`."""
        if ref != MAIN:
            raise refused(409, "conflict", f"{ref} can't be pushed", "the site is the branch main")
        if old != head.revision:
            raise refused(409, "moved", "the site has moved on", "`git pull`, then push again")
        revisions = self._daemon.revisions
        try:
            pushed = await revisions.call(lambda r: r.read_quarantined(new, environ, time.time()))
        except PackRefused as error:
            raise refused(409, "conflict", str(error)) from error
        files = await revisions.files(head.revision)
        gone = tuple(sorted(set(files) - set(pushed)))
        try:
            tree = overlay(files, pushed, tuple(p for p in gone if not p.startswith("state/")))
            origin = Origin(head, files, head.revision, files)
            editing.ready_tree(origin, tree, around, "")
        except Invalid as error:
            raise refused(
                422, "invalid", "the site can't be like that", problems=error.problems
            ) from error

    async def take(
        self, old: str, new: str, around: Callable[[], Awaitable[Surroundings]]
    ) -> Applied:
        """A push was stored: it is a revision now. Floating VMs that it brings get their place in a commit that
        follows. Gives what changed, and the same warnings as an apply. Raises `Refused`."""
        revisions = self._daemon.revisions
        missing = await revisions.missing((old, new))
        if missing:
            raise refused(404, "unknown", f"nothing was pushed: no revision {missing[0][:10]} here")
        head = await revisions.take((new,))
        warnings: tuple[Problem, ...] = ()
        if head is not None:
            self._daemon.took_head(head, local=True)
            warnings = await self._place(new, around)
        shown = revisions.head.revision if revisions.head else new
        changes = describe_changes(await revisions.files(old), await revisions.files(shown))
        return Applied(shown, changes, warnings)

    async def _place(
        self, pushed: str, around: Callable[[], Awaitable[Surroundings]]
    ) -> tuple[Problem, ...]:
        """Gives what the site is warned about then. Raises `Refused`."""
        async with self._editing:
            for _ in range(PLACE_TRIES):
                try:
                    return await self._place_once(pushed, await around())
                except Moved:
                    continue  # another host's edit came in between
        raise refused(
            503, "busy", "the site changes all the time", "`xsm apply` places what floats"
        )

    async def _place_once(self, pushed: str, around: Surroundings) -> tuple[Problem, ...]:
        """Raises `Moved`."""
        revisions = self._daemon.revisions
        head = revisions.head
        if head is None or head.document is None:
            return ()
        files = await revisions.files(head.revision)
        edited = edit(files, head.revision, files, head.revision, files, around)
        if not edited.changes:
            return edited.warnings
        commit = await revisions.call(lambda r: r.commit(pushed))
        placed = await revisions.commit(
            edited.files, head.revision, commit.author, "; ".join(edited.changes), int(time.time())
        )
        self._daemon.took_head(placed, local=True)
        return edited.warnings
