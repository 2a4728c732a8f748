"""Asking other members over HTTPS: one session, kept-open connections, limits on everything.

Decides how a failure is told: which host, and in plain words why. Knows a member by the name in its
certificate, never by its address. Must not know what the bytes mean.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import aiohttp
import msgspec

from xsm.api.types import API_VERSION, Event, Refusal
from xsm.edge.certificate import moment, server_name
from xsm.edge.tls import ClientContext, own_trouble, reload
from xsm.plan.observed import HostReport
from xsm.site.state import Member

CONNECT_TIMEOUT_S = 2.0
TOTAL_TIMEOUT_S = 10.0
BULK_TIMEOUT_S = 120.0
"""For packs: the first one of a joining host holds the site's whole history."""
KEEP_OPEN_S = 20.0
"""Less than the server's (`server.IDLE_S`), so that the two don't cross."""
PARALLEL_LIMIT = 4
"""Requests to one member at once; connections too."""
WAITING_LIMIT = 64
"""Requests that may wait for their turn at one member."""
ANSWER_LIMIT_BYTES = 4 * 1024 * 1024
REGISTERS_LIMIT_BYTES = 16 * 1024 * 1024
PACK_LIMIT_BYTES = 64 * 1024 * 1024
HEADS_LIMIT = 256
REFUSAL_LIMIT_BYTES = 1024 * 1024

VERSION_HEADER = "X-XSM-Version"
HEADS_HEADER = "X-XSM-Heads"

HUNG_UP = ": it was stopped just then, or doesn't accept this host's certificate (are both clocks right? its log says)"
"""A server that runs on asyncio can't tell why; it hangs up."""

T = TypeVar("T")

# OpenSSL's X509_V_ERR codes.
_EXPIRED, _NOT_YET_VALID, _WRONG_NAMES = 10, 9, frozenset({62, 63, 64})
_UNTRUSTED = frozenset({2, 18, 19, 20, 21, 7})


class PeerUnreachable(Exception):
    """No answer from a member. `reason` says why in plain words."""

    def __init__(self, member: str, reason: str) -> None:
        self.member = member
        self.reason = reason
        super().__init__(f"{member}: {reason}")


class PeerRefused(Exception):
    """A member answered, and the answer was no."""

    def __init__(self, member: str, status: int, refusal: Refusal) -> None:
        self.member = member
        self.status = status
        self.refusal = refusal
        hint = f" ({refusal.hint})" if refusal.hint else ""
        super().__init__(f"{member}: {refusal.message}{hint}")


@dataclass(frozen=True)
class Heads:
    """The answer to a delivery, and to GET /v1/peer/heads."""

    heads: tuple[str, ...]


Registers = dict[str, dict[str, Any]]
"""Vote file entries by VM, as `register.to_entry` makes them."""


@dataclass(frozen=True)
class Heard:
    """The answer to a post of messages. `last_event`: the number of the member's own newest event."""

    last_event: int = 0
    signs: bool = False  # it holds the site's CA key


@dataclass(frozen=True)
class Fetch:
    """The body of POST /v1/peer/fetch."""

    want: tuple[str, ...]
    have: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Request:
    """`again`: a connection that breaks may have been closed for its age, so it is sent once
    more."""

    method: str
    path: str
    body: bytes = b""
    heads: tuple[str, ...] = ()
    limit_bytes: int = ANSWER_LIMIT_BYTES
    again: bool = True
    bulk: bool = False  # a pack: it may take longer


@dataclass
class _Lane:
    """The queue to one member."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARALLEL_LIMIT))
    waiting: int = 0


class PeerClient:
    """All that this host asks of others. Methods raise `PeerUnreachable` and `PeerRefused`."""

    def __init__(
        self,
        tls: ssl.SSLContext,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        total_timeout_s: float = TOTAL_TIMEOUT_S,
        source: str = "",
    ) -> None:
        """`tls`: from `tls.client_context`. `source`: the address to connect from, "": the system
        chooses.
        The session is opened by the first request."""
        self._tls = tls
        self._source = source
        self._connect_timeout_s = connect_timeout_s
        self._total_timeout_s = total_timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._retired: list[aiohttp.ClientSession] = []  # with connections of an older certificate
        self._busy: Counter[int] = Counter()  # session, by id() -> requests under way
        self.signs: dict[str, bool] = {}
        """Member -> whether it said last that it holds the site's CA key."""
        self._lanes: dict[str, _Lane] = {}
        self._dated: dict[str, tuple[str, float]] = {}  # member -> its last answer's date; when

    def clock_ahead_s(self, member: str) -> float | None:
        """By how much the member's wall clock is ahead of ours, by its last answer; None when it never gave one.

        Counted on from that answer by a clock that nobody sets: ours may have jumped since.
        """
        said, at = self._dated.get(member, ("", 0.0))
        try:
            theirs = parsedate_to_datetime(said).timestamp() + time.monotonic() - at
            return theirs - time.time()
        except (ValueError, OverflowError):
            return None

    async def close(self) -> None:
        for session in (*self._retired, *([self._session] if self._session else [])):
            await session.close()
        self._session = None
        self._retired.clear()

    async def renewed(self) -> None:
        """Show this host's new certificate from now on. Raises `CertificateRefused`.

        Connections that are open were made with the old one, and would be good only until that ends: no further
        request goes over them.
        """
        if isinstance(self._tls, ClientContext) and self._tls.files is not None:
            reload(self._tls, self._tls.files)
        if self._session is not None:
            self._retired.append(self._session)
            self._session = None
        await self._close_retired()

    async def _close_retired(self) -> None:
        idle = [session for session in self._retired if not self._busy[id(session)]]
        self._retired = [session for session in self._retired if session not in idle]
        for session in idle:
            await session.close()

    async def post_messages(self, member: Member, messages: bytes) -> int:
        """The number of the member's newest event, 0 when it doesn't say."""
        body = await self._ask(member, _Request("POST", "/v1/peer/messages", messages))
        if not body:
            return 0
        heard = _decoded(member, body, Heard)
        self.signs[member.name] = heard.signs
        return heard.last_event

    async def get_registers(self, member: Member) -> Registers:
        """What the member knows of claims."""
        body = await self._ask(
            member, _Request("GET", "/v1/peer/registers", limit_bytes=REGISTERS_LIMIT_BYTES)
        )
        return _decoded(member, body, Registers)

    async def post_registers(self, member: Member, registers: Registers) -> None:
        """Let the member know of these claims; on its disk when this returns."""
        body = msgspec.json.encode(registers)
        await self._ask(member, _Request("POST", "/v1/peer/registers", body))

    async def get_events(self, member: Member, since: int) -> tuple[Event, ...]:
        """What happened on the member after its own event number `since`."""
        return await self.get(member, f"/v1/peer/events?since={since}", tuple[Event, ...])

    async def post_pack(self, member: Member, heads: Sequence[str], pack: bytes) -> tuple[str, ...]:
        """Deliver revisions; the member's heads afterwards. `heads` must not be more than
        HEADS_LIMIT."""
        if len(heads) > HEADS_LIMIT or len(pack) > PACK_LIMIT_BYTES:
            raise ValueError(f"too much for one delivery: {len(heads)} heads, {len(pack)} bytes")
        request = _Request("POST", "/v1/peer/pack", pack, heads=tuple(heads), bulk=True)
        body = await self._ask(member, request)
        return _decoded(member, body, Heads).heads

    async def fetch(self, member: Member, want: Sequence[str], have: Sequence[str]) -> bytes:
        """A pack with `want`, thin against `have`."""
        body = msgspec.json.encode(Fetch(tuple(want), tuple(have)))
        request = _Request("POST", "/v1/peer/fetch", body, limit_bytes=PACK_LIMIT_BYTES, bulk=True)
        return await self._ask(member, request)

    async def get_heads(self, member: Member) -> tuple[str, ...]:
        return (await self.get(member, "/v1/peer/heads", Heads)).heads

    async def get_report(self, member: Member) -> HostReport:
        return await self.get(member, "/v1/peer/report", HostReport)

    async def get(self, member: Member, path: str, answer: type[T]) -> T:
        """GET `path` (with its query) of a member."""
        return _decoded(member, await self._ask(member, _Request("GET", path)), answer)

    async def post(self, member: Member, path: str, body: object, answer: type[T]) -> T:
        """POST a value as JSON: a command that is another host's to carry out.

        Never sent twice: when the connection breaks, nobody knows whether it was done.
        """
        raw = msgspec.json.encode(body)
        request = _Request("POST", path, raw, again=False)
        return _decoded(member, await self._ask(member, request), answer)

    async def _ask(self, member: Member, request: _Request) -> bytes:
        try:
            longest_s = BULK_TIMEOUT_S if request.bulk else 0.0
            limit_s = max(self._total_timeout_s, longest_s)
            async with asyncio.timeout(limit_s), self._turn(member):
                try:
                    return await self._send(member, request)
                except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                    if not request.again:
                        raise
                    return await self._send(member, request)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            reason = why(error, member.url)
            if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
                trouble = own_trouble(self._tls, time.time())
                reason += (
                    f"; this host's own certificate is no good: {trouble}" if trouble else HUNG_UP
                )
            raise PeerUnreachable(member.name, reason) from error

    @asynccontextmanager
    async def _turn(self, member: Member) -> AsyncIterator[None]:
        lane = self._lanes.setdefault(member.name, _Lane())
        if lane.waiting >= WAITING_LIMIT:
            raise PeerUnreachable(member.name, f"{WAITING_LIMIT} requests to it wait already")
        lane.waiting += 1
        try:
            await lane.turns.acquire()
        finally:
            lane.waiting -= 1
        try:
            yield
        finally:
            lane.turns.release()

    async def _send(self, member: Member, request: _Request) -> bytes:
        headers = {VERSION_HEADER: str(API_VERSION)}
        if request.heads:
            headers[HEADS_HEADER] = ",".join(request.heads)
        session = self._opened()
        self._busy[id(session)] += 1
        try:
            return await self._exchange(session, member, request, headers)
        finally:
            self._busy[id(session)] -= 1
            if self._retired:
                await self._close_retired()

    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        member: Member,
        request: _Request,
        headers: dict[str, str],
    ) -> bytes:
        answer = session.request(
            request.method,
            member.url + request.path,
            data=request.body or None,
            headers=headers,
            server_hostname=server_name(member.name),
            allow_redirects=False,
        )
        async with answer as response:
            self._dated[member.name] = response.headers.get("Date", ""), time.monotonic()
            fine = 200 <= response.status < 300
            limit_bytes = request.limit_bytes if fine else REFUSAL_LIMIT_BYTES
            content = await _read(response, limit_bytes)
            if not fine:
                raise PeerRefused(member.name, response.status, _refusal(response.status, content))
            return content

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                ssl=self._tls,
                limit=0,
                limit_per_host=PARALLEL_LIMIT,
                keepalive_timeout=KEEP_OPEN_S,
                local_addr=(self._source, 0) if self._source else None,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept-Encoding"),
                trust_env=False,
            )
        return self._session


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(256 * 1024):
        size += len(chunk)
        if size > limit_bytes:
            response.close()
            raise aiohttp.ClientPayloadError(f"its answer is larger than {limit_bytes} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _decoded(member: Member, body: bytes, answer: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=answer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = f"its answer can't be understood ({error}); does it run another version of XSM?"
        raise PeerUnreachable(member.name, reason) from error


def _refusal(status: int, body: bytes) -> Refusal:
    try:
        return msgspec.json.decode(body, type=Refusal)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Refusal("failed", f"answered with HTTP status {status}, and not as an xsmd does")


def why(error: BaseException, url: str) -> str:
    """In plain words why a request failed; the URL names the address that was tried."""
    certificate = _find(error, ssl.SSLCertVerificationError)
    if certificate is not None:
        return _why_certificate(certificate, url)
    tls = _find(error, ssl.SSLError)
    if tls is not None:
        return _why_tls(tls, url)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name in {url} is not known to DNS"
    if isinstance(error, aiohttp.InvalidURL):
        return f"{url} is not a URL that can be asked"
    if isinstance(error, TimeoutError):
        what = "connect" if isinstance(error, aiohttp.ConnectionTimeoutError) else "answer"
        return f"{url} did not {what} in time"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientResponseError):
        return f"{url} gave no proper answer ({error})"
    return _why_system(error, url)


def _why_certificate(error: ssl.SSLCertVerificationError, url: str) -> str:
    code = error.verify_code
    by = f"by this host's clock ({moment(time.time())})"
    if code == _EXPIRED:
        return f"its certificate at {url} has expired {by}: renew it, or check the clocks of both"
    if code == _NOT_YET_VALID:
        return f"its certificate at {url} is not valid yet {by}: check the clocks of both"
    if code in _WRONG_NAMES or "ostname mismatch" in str(error):
        return f"not the right host: another one answers at {url}"
    if code in _UNTRUSTED:
        return f"the certificate at {url} is not from this site's CA"
    return f"its certificate at {url} is wrong ({error.verify_message})"


def _why_tls(error: ssl.SSLError, url: str) -> str:
    """TLS 1.3 tells a client only after the handshake that its certificate was refused."""
    reason = (error.reason or str(error)).upper().replace(" ", "_")
    if "CERTIFICATE_EXPIRED" in reason:
        return f"it says that this host's own certificate has expired ({url})"
    if "UNKNOWN_CA" in reason or "BAD_CERTIFICATE" in reason or "DECRYPT_ERROR" in reason:
        return f"it does not accept this host's certificate: not from its site's CA ({url})"
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason:
        return f"what answers at {url} does not speak TLS"
    return f"TLS with {url} failed ({error.reason or error})"


def _why_system(error: BaseException, url: str) -> str:
    found = _find(error, OSError)
    code = found.errno if found is not None else getattr(error, "errno", None)
    if code == errno.ECONNREFUSED:
        return f"nobody listens at {url} (xsmd is not running there)"
    if code in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN):
        return f"the network has no way to {url}"
    if code == errno.ETIMEDOUT:
        return f"{url} did not connect in time"
    # asyncio raises these without a code where TLS was still being agreed.
    broken = isinstance(found, ConnectionResetError | ConnectionAbortedError | BrokenPipeError)
    if broken or isinstance(error, aiohttp.ServerDisconnectedError):
        return f"{url} broke the connection off"
    return f"{url} can't be asked ({error or type(error).__name__})"


K = TypeVar("K", bound=BaseException)


def _find(error: BaseException | None, kind: type[K]) -> K | None:
    """The first exception of a kind among `error` and what it came from."""
    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or current in seen:
            continue
        # aiohttp's own kinds inherit from these too, but don't say what is wrong.
        if isinstance(current, kind) and not isinstance(current, aiohttp.ClientError):
            return current
        seen.append(current)
        waiting += [
            getattr(current, "certificate_error", None),
            getattr(current, "os_error", None),
            current.__cause__,
            current.__context__,
        ]
    return None
