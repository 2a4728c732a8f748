"""What this host sends to the other members: posts of messages, deliveries of revisions, fetches.

Decides how posts to one member are gathered, and what is done when a pack doesn't fit what the member has. A member
that doesn't answer costs only itself time. What to send is the peer's decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from xsm.api.types import NOT_A_MEMBER, Refusal
from xsm.edge.event_log import EventLog
from xsm.edge.repository import RepositoryError
from xsm.edge.revisions import Busy, Revisions
from xsm.edge.transport import PeerClient, PeerRefused, PeerUnreachable
from xsm.peer.events import Contact, Event, Head
from xsm.peer.messages import Message, encode
from xsm.site.state import Member

WAITING_LIMIT = 2000
"""Messages that may wait for one member; the oldest go first: they are asked again by then."""

Feed = Callable[[Event], None]


class Peers:
    """Outgoing traffic. `feed` gets what the peer learns from it."""

    def __init__(
        self,
        client: PeerClient,
        revisions: Revisions,
        members: Callable[[], Mapping[str, Member]],
        feed: Feed,
        events: EventLog,
        took_head: Callable[[Head], None],
    ) -> None:
        """`took_head`: told of a new head that a fetch brought."""
        self._client = client
        self._revisions = revisions
        self._members = members
        self._feed = feed
        self._events = events
        self._took_head = took_head
        self._waiting: dict[str, list[Message]] = {}
        self._posting: set[str] = set()
        self._fetching: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def post(self, to: str, messages: list[Message]) -> None:
        """Send messages; those that come while a post is under way go together in the next one."""
        queue = self._waiting.setdefault(to, [])
        queue += messages
        del queue[:-WAITING_LIMIT]
        if to not in self._posting:
            self._posting.add(to)
            self._start(self._post(to))

    def deliver(self, members: tuple[str, ...]) -> None:
        """Give each of these members the present heads."""
        for member in members:
            self._start(self._deliver(member))

    def fetch(self, member: str, heads: tuple[str, ...]) -> None:
        """Get heads from a member; one fetch from a member at a time."""
        if member not in self._fetching:
            self._fetching.add(member)
            self._start(self._fetch(member, heads))

    # -- tasks -----------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try(self, to: str, work: Callable[[Member], Awaitable[None]]) -> bool:
        """Do something with a member; the peer learns whether it answered."""
        member = self._members().get(to)
        if member is None:
            return False
        try:
            await work(member)
        except PeerUnreachable as error:
            self._feed(Contact(to, error.reason))
            return False
        except PeerRefused as error:
            expels = await self._expels(to, error.refusal)
            self._feed(Contact(to, f"it refused: {error.refusal.message}", expels))
            return False
        except (RepositoryError, Busy) as error:  # refused, or this host's own repository fails
            self._feed(Contact(to, str(error)))
            return False
        self._feed(Contact(to))
        return True

    async def _expels(self, to: str, refusal: Refusal) -> str:
        """Why this host is of the site no more, by a refusal; "" when it doesn't prove that.

        A member whose revisions are all here has not heard yet that this host joined.
        """
        if refusal.code != NOT_A_MEMBER:
            return ""
        try:
            news = await self._revisions.missing(refusal.heads)
        except Busy:
            return ""
        return (refusal.hint or f"{to} says so") if news else ""

    async def _post(self, to: str) -> None:
        try:
            while self._waiting.get(to):
                messages, self._waiting[to] = self._waiting[to], []
                if not await self._try(to, partial(self._say, messages=messages)):
                    self._waiting[to] = []  # all of them are asked again while they matter
        finally:
            self._posting.discard(to)

    async def _say(self, member: Member, messages: list[Message]) -> None:
        """Post messages; where the answer tells of events that aren't here yet, get them."""
        last = await self._client.post_messages(member, encode(messages))
        known = self._events.copied(member.name)
        if last > known:
            self._events.copy(await self._client.get_events(member, known))

    async def _deliver(self, to: str) -> None:
        async def work(member: Member) -> None:
            head = self._revisions.head
            if head is None:
                return
            news = await self._revisions.news(head.heads)
            try:
                await self._client.post_pack(member, head.heads, news)
            except PeerRefused:
                # It lacks what the thin pack builds on: ask what it has, and send what is missing from that.
                have = await self._client.get_heads(member)
                pack = await self._revisions.pack(head.heads, have)
                await self._client.post_pack(member, head.heads, pack)

        await self._try(to, work)

    async def _fetch(self, to: str, heads: tuple[str, ...]) -> None:
        async def work(member: Member) -> None:
            mine = self._revisions.head.heads if self._revisions.head else ()
            pack = await self._client.fetch(member, heads, mine)
            head = await self._revisions.store(pack, heads)
            if head is not None:
                self._took_head(head)

        try:
            await self._try(to, work)
        finally:
            self._fetching.discard(to)
