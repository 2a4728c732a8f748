"""The demo's network: every host is reached through a relay on loopback that can be cut for chosen others.

Who connects is told by the source address (each host of the demo has a loopback address of its own), so that a cut
between two hosts leaves both in touch with the rest. Bytes are passed on as they are; TLS goes from end to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

START_LIMIT_S = 5.0
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Place:
    """One host of the demo: where it listens, and where its relay does."""

    name: str
    ip: str
    listen_port: int
    relay_port: int


class Relays:
    """All relays, in a thread with an event loop of its own."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self._by_ip = {place.ip: name for name, place in places.items()}
        self._cut: frozenset[frozenset[str]] = frozenset()
        self._open: dict[asyncio.Task[None], frozenset[str]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays", daemon=True)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(START_LIMIT_S)

    def stop(self) -> None:
        async def end() -> None:
            for task in [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]:
                task.cancel()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(START_LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_LIMIT_S)

    def cut(self, one: tuple[str, ...], other: tuple[str, ...]) -> None:
        """No host of `one` reaches a host of `other`, nor the other way round; connections between them end."""
        self._set(frozenset(frozenset({a, b}) for a in one for b in other))

    def heal(self) -> None:
        self._set(frozenset())

    def _set(self, cut: frozenset[frozenset[str]]) -> None:
        async def change() -> None:
            self._cut = cut
            for task, pair in list(self._open.items()):
                if pair in cut:
                    task.cancel()

        asyncio.run_coroutine_threadsafe(change(), self._loop).result(START_LIMIT_S)

    async def _listen(self) -> None:
        for place in self._places.values():
            await asyncio.start_server(partial(self._accept, place), place.ip, place.relay_port)

    async def _accept(
        self, place: Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        source = self._by_ip.get(writer.get_extra_info("peername")[0], "")
        pair = frozenset({source, place.name})
        task = asyncio.current_task()
        assert task is not None
        if pair in self._cut:
            writer.close()
            return
        self._open[task] = pair
        onward: asyncio.StreamWriter | None = None
        try:
            answer, onward = await asyncio.open_connection(place.ip, place.listen_port)
            await asyncio.gather(_pass_on(reader, onward), _pass_on(answer, writer))
        except (OSError, asyncio.CancelledError):
            return  # the host is down, or the cut came: both ends see a closed connection
        finally:
            del self._open[task]
            for end in (writer, onward):
                if end is not None:
                    end.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
