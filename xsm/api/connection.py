"""One connection, below its requests: broken HTTP is refused in our form, and told once a minute, not each time.

Decides what becomes of bytes that are no request, and of a client that doesn't read its answer. Must not know routes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from xsm.api.asking import json_answer
from xsm.api.types import API_VERSION, Refusal

VERSION_HEADER = "X-XSM-Version"
TELL_EVERY_S = 60.0
"""What strangers do wrong is told at most so often, with its number: whoever can connect must not fill the disk."""
REASON_CHARS = 200
KINDS_LIMIT = 20
"""Different complaints that are told apart."""

log = logging.getLogger(__name__)


class Complaints:
    """What came in that is no request, gathered. `clock`: seconds, ever growing."""

    def __init__(self, clock: Callable[[], float], every_s: float = TELL_EVERY_S) -> None:
        self._clock = clock
        self._every_s = every_s
        self._kinds: dict[
            str, list[float]
        ] = {}  # what -> how often since, and when it was last told

    def add(self, what: str, where: str) -> None:
        """`what` is told when it was not lately; else it is counted until then."""
        what = what[:REASON_CHARS]
        if what not in self._kinds and len(self._kinds) >= KINDS_LIMIT:
            what = "something else that is no request"
        kind = self._kinds.setdefault(what, [0, float("-inf")])
        kind[0] += 1
        if self._clock() - kind[1] < self._every_s:
            return
        more = f" (and {kind[0] - 1:.0f} more since the last of these lines)" if kind[0] > 1 else ""
        log.warning("refused from %s: %s%s", where or "a local user", what, more)
        kind[:] = [0, self._clock()]


class Connection(web.RequestHandler):
    """aiohttp's part of a connection, with our words and two limits more."""

    def __init__(
        self,
        server: web.Server,
        *,
        complaints: Complaints,
        write_s: float,
        closed: Callable[[], None],
        **options: Any,
    ) -> None:
        """`write_s`: how long a client may read nothing of an answer that waits for it. `closed`: called at the end."""
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._complaints = complaints
        self._write_s = write_s
        self._closed = closed
        self._stuck: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: BaseException | None) -> None:
        self._unstick()
        super().connection_lost(exc)
        self._closed()

    def pause_writing(self) -> None:
        super().pause_writing()
        loop = asyncio.get_running_loop()
        self._stuck = loop.call_later(self._write_s, self._give_up)

    def resume_writing(self) -> None:
        self._unstick()
        super().resume_writing()

    def _unstick(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _give_up(self) -> None:
        if self.transport is not None:
            self._complaints.add(
                f"it read nothing of its answer for {self._write_s:.0f} s", self._where()
            )
            self.transport.abort()

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """What aiohttp makes of a body that breaks off is no fault of ours."""
        if isinstance(kw.get("exc_info"), web.RequestPayloadError):
            self._complaints.add("a body that is not what its header says", self._where())
        else:
            log.error(*args, **kw)

    def _where(self) -> str:
        name = self.transport.get_extra_info("peername") if self.transport else None
        return str(name[0]) if isinstance(name, tuple) and name else ""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP, or what aiohttp stumbled over. Closes the connection."""
        if isinstance(exc, HttpProcessingError) or status < 500:
            # aiohttp quotes what was sent in further lines.
            reason = (message or "no HTTP").strip().split("\n")[0][:REASON_CHARS]
            self._complaints.add(f"malformed HTTP: {reason}", self._where())
            answer = json_answer(Refusal("bad-request", f"a malformed request: {reason}"), status)
        else:
            log.error("a connection failed", exc_info=exc)
            refusal = Refusal("failed", "xsmd failed at this request", "its log says more")
            answer = json_answer(refusal, status)
        if request.writer.output_size > 0:
            raise ConnectionError("half an answer is out already")
        answer.headers[VERSION_HEADER] = str(API_VERSION)
        answer.headers["Server"] = "xsmd"
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """aiohttp's own refusals in our form."""
        if isinstance(resp, web.HTTPException) and resp.status >= 400:
            resp = in_our_words(request, resp)
        return await super().finish_response(request, resp, start_time)


def in_our_words(request: web.BaseRequest, error: web.HTTPException) -> web.Response:
    path = request.path[:200]
    if error.status == 404:
        refusal = Refusal("unknown", f"there is no {path} here", "docs/ lists the routes")
    elif error.status == 405:
        refusal = Refusal("bad-request", f"{path} can't be asked with {request.method}")
    elif error.status == 417:
        refusal = Refusal("bad-request", "the header Expect can only say 100-continue")
    else:
        refusal = Refusal("bad-request", error.reason or f"HTTP status {error.status}")
    answer = json_answer(refusal, error.status)
    answer.headers[VERSION_HEADER] = str(API_VERSION)
    if error.status == 405 and "Allow" in error.headers:
        answer.headers["Allow"] = error.headers["Allow"]
    if error.status == 417:
        answer.force_close()
    return answer
