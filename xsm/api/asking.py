"""One request as the routes see it: who asks, the body within its limits, the answer as JSON.

Decides what is wrong with a request's form. Must not know what a route does with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from xsm.api.access import Caller, Rule
from xsm.api.control import Control, Refused
from xsm.api.types import Refusal
from xsm.edge.settings import Settings
from xsm.site.problems import Problem

BODY_SILENCE_S = 10.0
"""How long a client may send nothing of its body."""
BODY_TIME_S = 120.0
"""How long a client may take to send its body."""
STRANGER_TIME_S = 5.0
"""How long somebody without a certificate may take to send its body, which is small."""
CHUNK_BYTES = 256 * 1024

T = TypeVar("T")


def refused(
    status: int, code: str, message: str, hint: str = "", problems: tuple[Problem, ...] = ()
) -> Refused:
    return Refused(status, Refusal(code, message, hint, problems))


@dataclass(frozen=True)
class Limits:
    """What a server allows its clients; times in seconds. Tests make them short."""

    idle_s: float = 30.0  # of a connection without a request, or with one whose header isn't whole
    body_silence_s: float = BODY_SILENCE_S
    body_s: float = BODY_TIME_S
    stranger_body_s: float = STRANGER_TIME_S
    handshake_s: float = 5.0
    gate_wait_s: float = 5.0  # how long a request waits for its turn before it gets 503
    connections: int = 512  # on the unix socket; by HTTPS: `doorway.py`
    heartbeat_s: float = 15.0  # an event stream that is quiet sends an empty line
    write_s: float = 30.0  # how long a reader may take no byte of an event stream
    git_s: float = 300.0  # a whole fetch or push
    stop_s: float = 5.0  # how long requests under way may take when the server stops


@dataclass(frozen=True)
class Ask:
    """One request that may be answered: its caller was allowed to use the route."""

    request: web.Request
    rule: Rule
    caller: Caller | None  # None: somebody without a certificate
    control: Control
    settings: Settings
    limits: Limits
    stopping: asyncio.Event
    background: Callable[[Coroutine[Any, Any, None]], None] = field(repr=False)
    """Runs what must go on without the client; the server waits for it when it stops."""

    @property
    def known(self) -> Caller:
        """The caller of a route that nobody reaches without being known."""
        if self.caller is None:
            raise AssertionError(f"{self.rule.path} let somebody unknown in")
        return self.caller

    def query(self, key: str, default: str = "") -> str:
        return self.request.query.get(key, default)

    def number(self, key: str, default: int, least: int, most: int) -> int:
        """A whole number of the query. Raises `Refused` (400)."""
        text = self.query(key)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise refused(400, "bad-request", f"{key}={text[:40]!r} is not a whole number")
        number = int(text)
        if not least <= number <= most:
            raise refused(
                400, "bad-request", f"{key}={number} is out of range", f"from {least} to {most}"
            )
        return number

    def flag(self, key: str) -> bool:
        """A query's yes or no. Raises `Refused` (400)."""
        text = self.query(key, "0")
        if text not in ("0", "1"):
            raise refused(400, "bad-request", f"{key}={text[:40]!r}", f"{key}=1 or {key}=0")
        return text == "1"

    async def body(self) -> bytes:
        """The whole body, no more than the rule allows. Raises `Refused` (400, 413)."""
        if "Content-Encoding" in self.request.headers:
            raise refused(400, "bad-request", "the body is compressed", "send it as it is")
        chunks = []
        limit_s = self.limits.body_s if self.caller else self.limits.stranger_body_s
        try:
            async with asyncio.timeout(limit_s):
                async for chunk in self.chunks():
                    chunks.append(chunk)
        except TimeoutError:
            raise self._too_slow() from None
        return b"".join(chunks)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes, cut off with `Refused` (413) where it exceeds the rule's limit."""
        limit = self.rule.body_bytes
        declared = self.request.content_length
        if declared is not None and declared > limit:
            raise self._too_large()
        size = 0
        while True:
            try:
                async with asyncio.timeout(self.limits.body_silence_s):
                    chunk = await self.request.content.read(CHUNK_BYTES)
            except TimeoutError:
                raise self._too_slow() from None
            if not chunk:
                return
            size += len(chunk)
            if size > limit:
                raise self._too_large()
            yield chunk

    def _too_slow(self) -> Refused:
        return refused(408, "bad-request", "the body did not come in time", "try again")

    def _too_large(self) -> Refused:
        return refused(
            413,
            "bad-request",
            f"this is too large for {self.rule.path}",
            f"at most {self.rule.body_bytes >> 10} KiB at once",
        )

    async def decoded(self, kind: type[T]) -> T:
        """The body, which must be JSON of the type. Raises `Refused` (400)."""
        raw = await self.body()
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            name = kind.__name__
            raise refused(
                400, "bad-request", f"not a {name}: {error}", f"see {name} in xsm/api/types.py"
            ) from None


def _encodable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(f"{type(value)} can't be sent as JSON")


def json_answer(value: object, status: int = 200) -> web.Response:
    body = msgspec.json.encode(value, enc_hook=_encodable)
    return web.Response(body=body, status=status, content_type="application/json")
