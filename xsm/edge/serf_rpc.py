"""Serf's RPC: what is said to the agent on this host, and what it says.

Decides how values are written as bytes: MessagePack as it was before it told text from bytes, which is all that
Debian's Serf reads and writes. So text that comes is bytes here (addresses among it are no UTF-8), and a codec of newer
kinds (msgspec's) can't be used. Must not know what the events mean. Source: https://www.serf.io/docs/agent/rpc.html
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RPC_VERSION = 1
LIMIT_BYTES = 16 * 1024 * 1024
"""Of one value: a list of some 10,000 members has 3 MB. More comes from no agent."""
DEPTH_LIMIT = 16
ANSWER_TIMEOUT_S = 10.0
"""A join of hosts that are off takes Serf some seconds."""
READ_BYTES = 64 * 1024
EVENTS_LIMIT = 10_000
"""Events that nobody has read yet; a site's members may all join at once."""

Value = Any
"""None, bool, int, float, bytes, list or dict with bytes as keys."""


class RpcError(Exception):
    """The agent refused, does not answer, or says what can't be understood."""


class Truncated(Exception):
    """There is not all of a value yet."""


# -- bytes -----------------------------------------------------


def packed(value: object) -> bytes:
    """A value of text, bytes, whole numbers, bool, sequences and mappings. Raises `ValueError`, `TypeError`."""
    if value is None or isinstance(value, bool):
        return b"\xc0" if value is None else b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return struct.pack(">B", value) if 0 <= value < 0x80 else struct.pack(">Bq", 0xD3, value)
    if isinstance(value, str | bytes):
        raw = value.encode() if isinstance(value, str) else value
        return _head(len(raw), 0xA0, 32, 0xDA) + raw
    if isinstance(value, Mapping):
        pairs = (packed(k) + packed(v) for k, v in value.items())
        return _head(len(value), 0x80, 16, 0xDE) + b"".join(pairs)
    if isinstance(value, list | tuple):
        return _head(len(value), 0x90, 16, 0xDC) + b"".join(map(packed, value))
    raise TypeError(f"{type(value).__name__} can't be sent")


def _head(size: int, short: int, limit: int, long: int) -> bytes:
    if size < limit:
        return bytes([short | size])
    return struct.pack(">BH", long, size) if size < 1 << 16 else struct.pack(">BI", long + 1, size)


_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_SIZES = {
    0xC4: ("raw", ">B"), 0xC5: ("raw", ">H"), 0xC6: ("raw", ">I"),
    0xD9: ("raw", ">B"), 0xDA: ("raw", ">H"), 0xDB: ("raw", ">I"),
    0xDC: ("list", ">H"), 0xDD: ("list", ">I"), 0xDE: ("dict", ">H"), 0xDF: ("dict", ">I"),
}  # fmt: skip


def unpacked(content: bytes, at: int = 0, depth: int = 0) -> tuple[Value, int]:
    """The value that begins at `at`, and where the next one does. Raises `Truncated`, `RpcError`."""
    if depth > DEPTH_LIMIT:
        raise RpcError(f"values within values, more than {DEPTH_LIMIT} deep")
    (code,), at = _take(content, at, ">B")
    if code < 0x80 or code >= 0xE0:
        return (code if code < 0x80 else code - 0x100), at
    if code in _CONSTANTS:
        return _CONSTANTS[code], at
    if code in _NUMBERS:
        (number,), at = _take(content, at, _NUMBERS[code])
        return number, at
    if code < 0x90:
        kind, size = "dict", code & 0x0F
    elif code < 0xC0:
        kind, size = ("list", code & 0x0F) if code < 0xA0 else ("raw", code & 0x1F)
    elif code in _SIZES:
        kind, layout = _SIZES[code]
        (size,), at = _take(content, at, layout)
    else:
        raise RpcError(f"no value begins with the byte {code:#x}")
    if size > LIMIT_BYTES:
        raise RpcError(f"a value of {size} parts, at most {LIMIT_BYTES}")
    if kind == "raw":
        if at + size > len(content):
            raise Truncated
        return content[at : at + size], at + size
    items = []
    for _ in range(size * (2 if kind == "dict" else 1)):
        item, at = unpacked(content, at, depth + 1)
        items.append(item)
    if kind == "list":
        return items, at
    try:
        return dict(zip(items[::2], items[1::2], strict=True)), at
    except TypeError:
        raise RpcError("the key of a mapping is a list or a mapping") from None


def _take(content: bytes, at: int, layout: str) -> tuple[tuple[Any, ...], int]:
    size = struct.calcsize(layout)
    if at + size > len(content):
        raise Truncated
    return struct.unpack_from(layout, content, at), at + size


class Unpacker:
    """Values out of a stream of bytes."""

    def __init__(self) -> None:
        self._content = b""

    def feed(self, content: bytes) -> list[Value]:
        """The values that are complete with this. Raises `RpcError`."""
        self._content += content
        values, at = [], 0
        while at < len(self._content):
            try:
                value, at = unpacked(self._content, at)
            except Truncated:
                break
            values.append(value)
        self._content = self._content[at:]
        if len(self._content) > LIMIT_BYTES:
            raise RpcError(f"a value of more than {LIMIT_BYTES} bytes")
        return values


# -- the connection -----------------------------------------------------


@dataclass(frozen=True)
class SerfEvent:
    """One record of the stream. `members`: whom it is about; `payload`: of a user event."""

    kind: str  # "member-join", "member-leave", "member-failed", "member-update", "member-reap", "user", "query"
    name: str  # of a user event
    members: tuple[str, ...]
    payload: bytes


@dataclass(frozen=True)
class SerfMember:
    name: str
    status: str  # "alive", "leaving", "left", "failed"


BODIED = frozenset({"members", "join"})
"""Commands whose answer has a body. A `join` that fails has one as well."""


class RpcClient:
    """One connection to the agent; made by `connect`. Methods raise `RpcError`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._seq = itertools.count(1)
        self._waiting: dict[int, tuple[bool, asyncio.Future[tuple[str, Value]]]] = {}
        self._stream_seq = 0
        self.events: asyncio.Queue[SerfEvent] = asyncio.Queue(EVENTS_LIMIT)
        """What the stream brings, as far as there is room: all of it are hints."""
        self.ended = asyncio.create_task(self._read())
        """Done when the connection has ended."""

    @classmethod
    async def connect(cls, host: str, port: int, auth_key: str) -> RpcClient:
        """Raises `RpcError`."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            raise RpcError(f"no connection to {host}:{port}: {error}") from error
        client = cls(reader, writer)
        try:
            await client.ask("handshake", {"Version": RPC_VERSION})
            await client.ask("auth", {"AuthKey": auth_key})
        except BaseException:
            await client.close()
            raise
        return client

    async def close(self) -> None:
        self._writer.close()
        self.ended.cancel()
        await asyncio.gather(self.ended, return_exceptions=True)

    async def stream(self) -> None:
        """From now on `events` has what happens."""
        await self.ask("stream", {"Type": "*"})

    async def members(self) -> tuple[SerfMember, ...]:
        body = await self.ask("members")
        found = body.get(b"Members") if isinstance(body, dict) else None
        return tuple(
            SerfMember(_text(m.get(b"Name")), _text(m.get(b"Status")))
            for m in found or ()
            if isinstance(m, dict)
        )

    async def join(self, addresses: tuple[str, ...]) -> int:
        """How many of the hosts could be reached: those have all of the others' members then."""
        body = await self.ask("join", {"Existing": list(addresses), "Replay": False})
        joined = body.get(b"Num") if isinstance(body, dict) else None
        return joined if isinstance(joined, int) else 0

    async def event(self, name: str, payload: bytes) -> None:
        await self.ask("event", {"Name": name, "Payload": payload, "Coalesce": False})

    async def leave(self) -> None:
        """Tell all others that this host leaves; the agent ends then."""
        await self.ask("leave")

    async def ask(self, command: str, body: object = None) -> Value:
        """The body of the answer, None where there is none."""
        seq = next(self._seq)
        coming: asyncio.Future[tuple[str, Value]] = asyncio.get_running_loop().create_future()
        if self.ended.done():
            raise RpcError("the agent has hung up")
        self._waiting[seq] = command in BODIED, coming
        if command == "stream":
            self._stream_seq = seq
        message = packed({"Command": command, "Seq": seq})
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                self._writer.write(message if body is None else message + packed(body))
                await self._writer.drain()
                error, answer = await coming
        except ConnectionError as why:
            raise RpcError(f"the agent has hung up: {why}") from why
        except TimeoutError:
            raise RpcError(f"no answer to {command} within {ANSWER_TIMEOUT_S:.0f} s") from None
        finally:
            self._waiting.pop(seq, None)
        if error:
            raise RpcError(f"{command}: {error}")
        return answer

    async def _read(self) -> None:
        unpacker, why = Unpacker(), "the agent has hung up"
        header: Value = None
        try:
            while content := await self._reader.read(READ_BYTES):
                for value in unpacker.feed(content):
                    header = self._take(header, value)
        except (OSError, RpcError) as error:
            why = str(error)
        finally:
            for _, answer in self._waiting.values():
                if not answer.done():
                    answer.set_result((why, None))

    def _take(self, header: Value, value: Value) -> Value:
        """Headers and bodies come in turn, where there is a body. Gives the header whose body comes next."""
        if header is not None:
            self._answer(header, value)
            return None
        if not isinstance(value, dict) or not isinstance(value.get(b"Seq"), int):
            raise RpcError("an answer without a header")
        seq = value[b"Seq"]
        if seq in self._waiting:
            if self._waiting[seq][0]:
                return value
            self._answer(value, None)
            return None
        # Else a record of the stream, or an answer that nobody waits for any more: those have no body that matters.
        return value if seq == self._stream_seq else None

    def _answer(self, header: dict[bytes, Value], body: Value) -> None:
        _, answer = self._waiting.pop(header[b"Seq"], (False, None))
        if answer is None:
            if isinstance(body, dict) and not self.events.full():
                self.events.put_nowait(_event(body))
        elif not answer.done():
            answer.set_result((_text(header.get(b"Error")), body))


def _event(body: dict[bytes, Value]) -> SerfEvent:
    members = body.get(b"Members")
    payload = body.get(b"Payload")
    return SerfEvent(
        _text(body.get(b"Event")),
        _text(body.get(b"Name")),
        tuple(_text(m.get(b"Name")) for m in members or () if isinstance(m, dict))
        if isinstance(members, list)
        else (),
        payload if isinstance(payload, bytes) else b"",
    )


def _text(value: Value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
