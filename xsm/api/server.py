"""xsmd's two doors: a unix socket for this host's users, HTTPS with mutual TLS for everybody else.

Decides who the caller is, whether it may (by `access.py`), when it must wait, and how a failure is
answered. Must not know what the routes do.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import lru_cache, partial
from typing import Any

import aiohttp
from aiohttp import web

from xsm.api.access import RULES, Caller, Role, Rule, allowed
from xsm.api.access import git_least as least_of
from xsm.api.asking import Ask, Limits, json_answer, refused
from xsm.api.connection import VERSION_HEADER, Complaints, Connection
from xsm.api.control import Control, Refused
from xsm.api.doorway import Doorway, Places
from xsm.api.doorway import listen as listen_tcp
from xsm.api.routes import ROUTES
from xsm.api.turns import Turns
from xsm.api.types import API_VERSION, Refusal
from xsm.api.unix_socket import Listening, StartRefused, listen, user_of
from xsm.edge import certificate
from xsm.edge.certificate import moment
from xsm.edge.git import RepositoryError
from xsm.edge.revisions import Busy
from xsm.edge.settings import Settings
from xsm.edge.tls import reload as reload_context
from xsm.edge.tls import server_context
from xsm.peer.messages import not_understood, understood
from xsm.site.problems import Invalid

__all__ = ["ApiServer", "Limits", "StartRefused"]

MAX_FIELD_BYTES = 16 * 1024
"""Of a request's line and of each header: 256 heads fit."""
MAX_HEADERS = 64
LINGER_S = 2.0
"""How long what is left of a refused body is read, so that the client gets to see the refusal."""
BACKLOG = 128
EXPIRIES_LIMIT = 1024
"""Dates of certificates that are kept as numbers: more than there are members and people at once."""

VERSION = re.compile("[0-9]{1,6}")

STARTED = web.RequestKey("started", bool)

log = logging.getLogger(__name__)


def admit_all(_caller: Caller, _path: str) -> bool:
    return True


class ApiServer:
    """Serves `control` while it is entered: `async with ApiServer(settings, control): ...`."""

    def __init__(
        self,
        settings: Settings,
        control: Control,
        *,
        admits: Callable[[Caller, str], bool] = admit_all,
        limits: Limits | None = None,
        places: Places | None = None,
    ) -> None:
        """`admits`: asked about every caller with a certificate; a host that the site forgot
        still has one."""
        if {rule.key for rule in RULES} != set(ROUTES):
            raise AssertionError("the tables of rules and routes differ")
        self._settings = settings
        self._control = control
        self._admits = admits
        self._limits = limits or Limits()
        # Each door has turns of its own: whoever is let in by HTTPS never keeps this host's people waiting.
        self._turns = {
            local: Turns(self._limits.gate_wait_s, shared=not local) for local in (True, False)
        }
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._runners: list[web.AppRunner] = []
        self._listeners: list[asyncio.Server] = []
        self._local: Listening | None = None
        self._tls: ssl.SSLContext | None = None
        self._complaints = Complaints(time.monotonic)
        self._places = places or Places()
        self._doorway: Doorway | None = None

    async def __aenter__(self) -> ApiServer:
        """Raises `StartRefused`."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    def reload_certificate(self) -> None:
        """Take up a renewed certificate for new connections. Raises `certificate.CertificateRefused`."""
        assert self._tls is not None
        reload_context(self._tls, certificate.peer_files(self._settings.tls_dir))

    async def _start(self) -> None:
        settings = self._settings
        try:
            self._tls = server_context(certificate.peer_files(settings.tls_dir))
        except certificate.CertificateRefused as error:
            raise StartRefused(str(error)) from error
        # The socket first: it is what keeps a second daemon out.
        self._local = listen(settings.socket)
        loop = asyncio.get_running_loop()
        local = await self._http(local=True)

        def connection() -> asyncio.BaseProtocol:
            if len(local.connections) >= self._limits.connections:
                return _Full()
            return self._connection(local, lambda: None)

        self._listeners.append(
            await loop.create_unix_server(connection, sock=self._local.socket, backlog=BACKLOG)
        )
        server = await self._http(local=False)
        self._doorway = Doorway(
            self._tls,
            partial(self._connection, server),
            self._complaints,
            self._places,
            self._limits.handshake_s,
        )
        try:
            self._doorway.open(listen_tcp(settings.listen_host, settings.listen_port, BACKLOG))
        except OSError as error:
            raise StartRefused(_why_not(error, settings.listen)) from error

    async def stop(self) -> None:
        """Take no more requests, let those under way end for a while, then cut them off."""
        self._stopping.set()
        for listener in self._listeners:
            listener.close()
        if self._doorway is not None:
            await self._doorway.close()
            self._doorway = None
        pending = {task for task in self._tasks if not task.done()}
        if pending:
            await asyncio.wait(pending, timeout=self._limits.stop_s)
        for runner in self._runners:
            await runner.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._local is not None:
            self._local.close()
            self._local = None
        self._listeners.clear()
        self._runners.clear()

    async def _http(self, local: bool) -> web.Server:
        """The routes as one door shows them."""
        application = web.Application(middlewares=[_malformed])
        application.on_response_prepare.append(_stamp)
        for rule in RULES:
            application.router.add_route(
                rule.method, rule.path, partial(self._serve, rule, ROUTES[rule.key], local)
            )
        runner = web.AppRunner(
            application,
            handle_signals=False,
            handler_cancellation=True,
            shutdown_timeout=self._limits.stop_s,
        )
        await runner.setup()
        self._runners.append(runner)
        server = runner.server
        assert server is not None
        return server

    def _connection(self, server: web.Server, closed: Callable[[], None]) -> Connection:
        return Connection(
            server,
            complaints=self._complaints,
            write_s=self._limits.write_s,
            closed=closed,
            access_log=None,
            # aiohttp's keep-alive time also limits how long a request's header may take.
            keepalive_timeout=self._limits.idle_s,
            lingering_time=LINGER_S,
            max_line_size=MAX_FIELD_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
            # Only git compresses, and unpacks itself: a small body never becomes a large one in here.
            auto_decompress=False,
        )

    # -- one request
    # --------------------------------------------------------------------------------

    async def _serve(
        self,
        rule: Rule,
        route: Callable[[Ask], Awaitable[web.StreamResponse]],
        local: bool,
        request: web.Request,
    ) -> web.StreamResponse:
        try:
            caller = self._caller(request, local)
            self._check(caller, rule, request.query.get("service", ""))
            _check_version(request)
            ask = Ask(
                request=request,
                rule=rule,
                caller=caller,
                control=self._control,
                settings=self._settings,
                limits=self._limits,
                stopping=self._stopping,
                background=self._background,
            )
            if rule.finish:
                return await self._finish(ask, route)
            return await self._timed(ask, route)
        except Exception as error:
            route_name = f"{rule.method} {rule.path}"
            answer = _expected(error, route_name, request)
            if answer is None:
                log.exception("a request failed", extra={"route": route_name})
                refusal = Refusal("failed", "xsmd failed at this request", "its log says more")
                answer = json_answer(refusal, 500)
            return answer

    async def _timed(
        self, ask: Ask, route: Callable[[Ask], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        async with self._turn(ask):
            if not ask.rule.time_s:
                return await route(ask)
            try:
                async with asyncio.timeout(ask.rule.time_s):
                    return await route(ask)
            except TimeoutError:
                raise refused(503, "busy", "no answer in time", "try again") from None

    async def _finish(
        self, ask: Ask, route: Callable[[Ask], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Runs to its end even when nobody waits any more: half a change is worse than an unseen
        one."""

        async def work() -> web.StreamResponse:
            async with self._turn(ask):
                return await route(ask)

        task = self._keep(asyncio.ensure_future(work()))
        done, _ = await asyncio.wait({task}, timeout=ask.rule.time_s)
        if not done:
            raise refused(503, "busy", "it takes longer, and goes on", "`xsm status` shows how")
        return task.result()

    def _turn(self, ask: Ask) -> AbstractAsyncContextManager[None]:
        caller = ask.caller
        who = caller.name if caller is not None else str(ask.request.remote or "")
        return self._turns[caller is not None and caller.local].turn(ask.rule.gate, who)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        self._keep(asyncio.ensure_future(work))

    def _keep(self, task: asyncio.Task[Any]) -> asyncio.Task[Any]:
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # Retrieved here too, for nobody may be waiting; `_serve` logs what it gets.
        if not task.cancelled() and task.exception() is not None:
            log.debug("a request ended with %r", task.exception())

    # -- callers
    # ------------------------------------------------------------------------------------

    def _caller(self, request: web.Request, local: bool) -> Caller | None:
        transport = request.transport
        if transport is None:
            raise refused(400, "bad-request", "the connection is gone")
        if local:
            user = user_of(transport.get_extra_info("socket"))
            return Caller(user, Role.ADMIN, self._settings.name, local=True)
        certificate = transport.get_extra_info("peercert")
        if not certificate:
            return None
        return caller_of(certificate, str(request.remote or ""), time.time())

    def _check(self, caller: Caller | None, rule: Rule, service: str) -> None:
        least = least_of(rule, service)
        if not allowed(caller, least):
            if caller is None:
                raise refused(
                    403,
                    "forbidden",
                    "this needs a certificate of this site",
                    "use the unix socket on a host, or `xsm` with a client certificate",
                )
            who = f"{caller.name} is {caller.role}"
            raise refused(403, "forbidden", f"{who}; this is for: {least}")
        if caller is not None and not caller.local and not self._admits(caller, rule.path):
            raise refused(403, "forbidden", f"{caller.name} is not of this site any more")


def _check_version(request: web.Request) -> None:
    """Raises `Refused` (409) for a client that is too new or too old; one that doesn't say is let through."""
    said = request.headers.get(VERSION_HEADER, "")
    if VERSION.fullmatch(said) and not understood(int(said)):
        raise refused(409, "version", not_understood(int(said)))


def caller_of(certificate: dict[str, Any], host: str, now: float) -> Caller:
    """Whom a verified certificate (as `ssl` shows it) speaks for. Raises `Refused` (403)."""
    names = [value for rdn in certificate["subject"] for key, value in rdn if key == "commonName"]
    roles = [
        value
        for rdn in certificate["subject"]
        for key, value in rdn
        if key == "organizationalUnitName"
    ]
    if len(names) != 1 or len(roles) != 1 or roles[0] not in list(Role):
        raise refused(403, "forbidden", "the certificate names no role of XSM's")
    # A connection can live longer than the certificate that opened it.
    if _expires_at(certificate["notAfter"]) < now:
        by = f"by the clock of the host that was asked ({moment(now)})"
        raise refused(403, "forbidden", f"the certificate of {names[0]} has expired {by}")
    return Caller(names[0], Role(roles[0]), host, local=False)


@lru_cache(EXPIRIES_LIMIT)
def _expires_at(not_after: str) -> int:
    """Kept, since a member shows the same certificate with each greeting, and reading a date is a tenth of the work
    that a greeting makes."""
    return ssl.cert_time_to_seconds(not_after)


class _Full(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _expected(error: Exception, route: str, request: web.Request) -> web.StreamResponse | None:
    """The answer to what is no fault of xsmd's own; None for the rest."""
    if request.transport is None or request.transport.is_closing():
        log.debug("a client went away: %r", error, extra={"route": route})
        return web.Response(status=499)
    if request.get(STARTED):
        # Half an answer is out: breaking off is the only way left to say that it isn't whole.
        log.warning("an answer was broken off: %r", error, extra={"route": route})
        request.transport.abort()
        return web.Response(status=500)
    if isinstance(error, Refused):
        return _refusal(error, request)
    if isinstance(error, Invalid):
        refusal = Refusal("invalid", "the site can't be like that", problems=error.problems)
        return json_answer(refusal, 422)
    if isinstance(error, RepositoryError | Busy):
        # A full disk, a lock of another git, a damaged object: the text says which.
        log.warning("the repository did not do it: %s", error, extra={"route": route})
        message = f"this host's repository did not do it: {error}"
        return json_answer(Refusal("failed", message, "nothing was changed; try again"), 503)
    return None


def _refusal(error: Refused, request: web.Request) -> web.Response:
    response = json_answer(error.refusal, error.status)
    if error.status == 503:
        response.headers["Retry-After"] = "2"
    if not request.content.is_eof():
        # The rest of the body is not worth reading.
        response.force_close()
    return response


async def _stamp(request: web.Request, response: web.StreamResponse) -> None:
    request[STARTED] = True
    response.headers[VERSION_HEADER] = str(API_VERSION)
    response.headers["Server"] = "xsmd"


@web.middleware
async def _malformed(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """What aiohttp finds wrong with a request while we read it."""
    try:
        return await handler(request)
    except (aiohttp.ClientError, ValueError) as error:
        return json_answer(Refusal("bad-request", f"a malformed request: {error}"), 400)


def _why_not(error: OSError, listen_text: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"something else listens at {listen_text} already"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this host has no address as in listen = {listen_text!r}"
    return f"can't listen at {listen_text}: {error.strerror or error}"
