"""This host's copy of the site's history, for the daemon: one thing at a time, never blocking the event loop.

Decides the order of repository work. The rules of heads and merging are `peer.derive`'s and `site.merge`'s; how git
stores them is `repository.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from xsm.edge.git import RepositoryError
from xsm.edge.repository import MainMoved, PackRefused, Repository
from xsm.peer.derive import Views, commit_date, derive
from xsm.peer.events import Head
from xsm.site.document import Files, load
from xsm.site.problems import Invalid

Result = TypeVar("Result")

QUEUE_LIMIT = 256
"""Repository jobs that may wait at once; more are refused, so that a flood can't pile up."""


MAIN_MOVED_TRIES = 5
"""Times that the heads are derived anew because somebody pushed meanwhile."""


class Busy(Exception):
    """Too much repository work is waiting."""


class Moved(Exception):
    """The head is no longer the one that the edit was checked against."""


class Revisions:
    """All methods run in one thread of their own, in the order of their calls."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._views = Views(repository)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="repository")
        self._waiting = 0
        self._news: tuple[tuple[str, ...], bytes] = ((), b"")  # heads, their last step as a pack
        self.head: Head | None = None

    async def call(self, what: Callable[[Repository], Result]) -> Result:
        """Run one job. Raises what it raises, or `Busy`."""
        if self._waiting >= QUEUE_LIMIT:
            raise Busy(f"{QUEUE_LIMIT} repository jobs are waiting")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, what, self.repository
            )
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=True)
        self.repository.close()

    async def start(self) -> Head:
        """What main shows when the daemon starts, derived anew from the heads: a crash may have come between them."""
        head = await self.call(lambda repository: self._derive(repository, ()))
        self.head = head
        return head

    async def take(self, heads: Iterable[str]) -> Head | None:
        """Add heads whose commits are here. The new head, or None when they were known already."""
        new = tuple(heads)
        if self.head is not None and set(new) <= set(self.head.heads):
            return None  # as most greetings say: no thread has to wake for it

        return await self.call(lambda repository: self._take(repository, new))

    def _take(self, repository: Repository, new: tuple[str, ...]) -> Head | None:
        before = self.head
        if before is not None and set(new) <= set(before.heads):
            return None
        head = self._derive(repository, new)
        if before is not None and head.revision == before.revision and head.heads == before.heads:
            return None
        self.head = head
        return head

    async def store(self, pack: bytes, heads: Iterable[str]) -> Head | None:
        """Unpack what a peer sent and add its heads. Raises `repository.PackRefused`."""
        new = tuple(heads)

        def job(repository: Repository) -> Head | None:
            if pack:
                repository.store_pack(pack)
            missing = repository.missing(new)
            if missing:
                raise PackRefused(f"the head {missing[0][:10]} was neither in the pack nor here")
            return self._take(repository, new)

        return await self.call(job)

    async def commit(self, files: Files, parent: str, author: str, message: str, now: int) -> Head:
        """Commit an edit that was made from `parent`. Raises `Moved` when main shows something else by now."""

        def job(repository: Repository) -> Head:
            if self.head is None or self.head.revision != parent:
                raise Moved(
                    f"the site has moved on to {self.head.revision[:10] if self.head else 'nothing'}"
                )
            date = commit_date(now, (repository.commit(parent),))
            commit = repository.write_commit(files, (parent,), author, date, message)
            self.head = self._derive(repository, (commit.id,))
            return self.head

        return await self.call(job)

    async def files(self, revision: str) -> Files:
        return await self.call(lambda repository: repository.files(revision))

    async def missing(self, ids: Iterable[str]) -> tuple[str, ...]:
        wanted = tuple(ids)
        if self.head is not None and set(wanted) <= {*self.head.heads}:
            return ()
        return await self.call(lambda repository: repository.missing(wanted))

    async def pack(self, want: tuple[str, ...], have: tuple[str, ...]) -> bytes:
        """A thin pack of `want` for somebody who has `have` (of which we may not know all)."""

        def job(repository: Repository) -> bytes:
            unknown = set(repository.missing(have))
            return repository.pack(want, tuple(h for h in have if h not in unknown))

        return await self.call(job)

    async def news(self, heads: tuple[str, ...]) -> bytes:
        """A thin pack of these heads' last step alone, for members that were up to date before: the same for all of
        them, so it is made once."""

        def job(repository: Repository) -> bytes:
            if self._news[0] != heads:
                parents = {p for head in heads for p in repository.commit(head).parents}
                self._news = heads, repository.pack(heads, parents)
            return self._news[1]

        return await self.call(job)

    def _derive(self, repository: Repository, new: tuple[str, ...]) -> Head:
        """The one revision that all heads together make, written down as main. Raises `RepositoryError`."""
        for _ in range(MAIN_MOVED_TRIES):
            heads = repository.ancestry.maximal({*repository.heads(), *new})
            if not heads:
                raise RepositoryError(
                    f"{repository.path} has no revision yet; `xsm init` or `xsm join` gets one"
                )
            revision = heads[0]
            if len(heads) > 1:
                revision = repository.write_derived(derive(heads, repository, self._views))
            try:
                repository.set_heads(heads, revision)
            except MainMoved:
                continue
            return _head(repository, revision, heads)
        raise RepositoryError("main is pushed to faster than its heads can be derived")


def _head(repository: Repository, revision: str, heads: tuple[str, ...]) -> Head:
    try:
        return Head(revision, heads, load(repository.files(revision)))
    except Invalid as invalid:
        return Head(revision, heads, None, str(invalid))
