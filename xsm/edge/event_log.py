"""What happened, as events: a bounded ring in memory and a journal on disk that is rotated.

Decides how much is kept. Events are for people; nothing is ever decided from them, so a journal
that
can't be written costs history and nothing else. To be used from one thread, the event loop's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from xsm.api.types import Event

RING_LIMIT = 4096
JOURNAL_LIMIT_BYTES = 8 * 1024 * 1024
"""Of one journal file; one older file is kept beside it."""
MESSAGE_LIMIT_CHARS = 4096
COPY_LIMIT = 200
"""Most events that one host takes from another at a time; older ones are left to where they happened."""

log = logging.getLogger(__name__)


class EventLog:
    """The events of one host, and copies of the other hosts'. Sequence numbers go on after a restart."""

    def __init__(
        self,
        path: Path,
        host: str,
        ring_limit: int = RING_LIMIT,
        journal_limit_bytes: int = JOURNAL_LIMIT_BYTES,
    ) -> None:
        """Reads what the journal still has. Raises `OSError` when it can't be opened."""
        self._path = path
        self._host = host
        self._limit_bytes = journal_limit_bytes
        self._ring: deque[Event] = deque(maxlen=ring_limit)
        self._news = asyncio.Event()
        self._closed = False
        self._broken = False
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in (self._older, path):
            self._ring.extend(_read(old))
        self._last = self._ring[-1].seq if self._ring else 0
        self._copied = {e.host: e.origin or e.seq for e in self._ring}  # host -> its newest number
        self._file: BinaryIO = _open(path)

    @property
    def last(self) -> int:
        """Number of the newest event, 0 when there was none."""
        return self._last

    def add(self, kind: str, vm: str, message: str, at: float) -> Event:
        """Note an event. `at`: wall clock, seconds since the epoch; kinds: see
        `api.types.Event`."""
        return self._note(self._host, self.last_own + 1, kind, vm, message, at)

    def _note(self, host: str, origin: int, kind: str, vm: str, message: str, at: float) -> Event:
        self._last += 1
        text = message[:MESSAGE_LIMIT_CHARS]
        event = Event(self._last, at, host, kind, vm, text, origin)
        self._copied[host] = origin
        self._ring.append(event)
        self._journal(msgspec.json.encode(event) + b"\n")
        # Whoever waits gets a reference to this very Event object, and finds it set.
        self._news.set()
        self._news = asyncio.Event()
        return event

    def copied(self, host: str) -> int:
        """The number, on `host`, of the newest of its events that is here."""
        return self._copied.get(host, 0)

    def copy(self, events: Iterable[Event]) -> None:
        """Take in events that happened on other hosts, oldest first; those that are here already are left out."""
        for event in events:
            origin = event.origin or event.seq
            if event.host == self._host or origin <= self.copied(event.host):
                continue
            self._note(event.host, origin, event.kind, event.vm, event.message, event.at)

    def own_since(self, origin: int) -> tuple[Event, ...]:
        """Events of this host itself after its own number `origin`: the newest `COPY_LIMIT` of them."""
        own = [e for e in self._ring if e.host == self._host and (e.origin or e.seq) > origin]
        return tuple(own[-COPY_LIMIT:])

    @property
    def last_own(self) -> int:
        return self.copied(self._host)

    def since(self, seq: int) -> tuple[Event, ...]:
        """What is still known of the events after number `seq`, oldest first."""
        if seq >= self._last:
            return ()
        return tuple(event for event in self._ring if event.seq > seq)

    async def follow(self, since: int) -> AsyncIterator[Event]:
        """Events after number `since`, those to come included, until `close`.

        A reader that is slower than the ring's turnover misses events, and is told so by an event
        of kind "daemon"; it never holds anything up, and nothing is queued for it.
        """
        seq = min(since, self._last)
        while True:
            news = self._news
            for event in self.since(seq):
                if event.seq > seq + 1 and self._missed(seq, event.seq):
                    yield self._gap(event, event.seq - seq - 1)
                seq = event.seq
                yield event
            if self._closed and seq >= self._last:
                return
            if seq >= self._last:
                await news.wait()

    async def stream(self, since: int, follow: bool) -> AsyncIterator[Event]:
        """`since` or `follow`, as GET /v1/events asks."""
        if follow:
            async for event in self.follow(since):
                yield event
        else:
            for event in self.since(since):
                yield event

    def close(self) -> None:
        """Ends all who follow, and the journal."""
        self._closed = True
        self._news.set()
        self._file.close()

    @property
    def _older(self) -> Path:
        return self._path.with_name(self._path.name + ".1")

    def _missed(self, seq: int, next_seq: int) -> bool:
        # seq 0 means "all there is": what was rotated away long ago is not missed.
        return seq > 0 and next_seq > seq + 1

    def _gap(self, before: Event, count: int) -> Event:
        message = f"{count} events are not shown: the reader was too slow, or away for long"
        return Event(before.seq - 1, before.at, self._host, "daemon", "", message)

    def _journal(self, line: bytes) -> None:
        try:
            if self._file.closed:
                return
            if self._file.tell() + len(line) > self._limit_bytes and self._file.tell():
                self._file.close()
                self._path.replace(self._older)
                self._file = _open(self._path)
            self._file.write(line)
            self._file.flush()
            self._broken = False
        except OSError as error:
            if not self._broken:
                log.warning("the event journal can't be written: %s", error)
            self._broken = True
            if self._file.closed:
                self._reopen()

    def _reopen(self) -> None:
        try:
            self._file = _open(self._path)
        except OSError as error:
            log.warning("the event journal can't be opened again: %s", error)


def _open(path: Path) -> BinaryIO:
    # Unbuffered: a failed write leaves nothing behind that close would trip over.
    stream = open(path, "ab", buffering=0)  # noqa: SIM115
    stream.seek(0, 2)
    if stream.tell() and not _ends_with_newline(path):
        stream.write(b"\n")
    return stream


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) == b"\n"


def _read(path: Path) -> list[Event]:
    """A journal's events in order; lines that are not whole are left out."""
    events: list[Event] = []
    if not path.exists():
        return events
    decoder = msgspec.json.Decoder(Event)
    with path.open("rb") as stream:
        for line in stream:
            try:
                event = decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            if not events or event.seq > events[-1].seq:
                events.append(event)
    return events
