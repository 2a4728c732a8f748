"""`git clone`, `pull` and `push` against xsmd: git's own http-backend as a CGI process.

Decides what the process is told and when it is ended. A push is judged by git's hooks, which ask the
daemon (`edge.hook`; the repository has them). Must not know what is in a commit.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from asyncio.subprocess import PIPE, Process
from http import HTTPStatus

from aiohttp import web

from xsm.api.access import GIT_PREFIX
from xsm.api.asking import Ask, refused
from xsm.api.control import Refused

HEAD_LIMIT_BYTES = 16 * 1024
STDERR_LIMIT_BYTES = 8 * 1024
DISCARD_LIMIT_BYTES = 512 * 1024 * 1024
"""Of a push that is too large, read only so that its sender gets to see why; then the connection is cut."""
SIDE_BAND_BYTES = 1000
CHUNK_BYTES = 64 * 1024
SERVICES = ("git-upload-pack", "git-receive-pack")

PROTOCOL = re.compile(r"version=[0-9]")
COMPRESSED = ("gzip", "x-gzip")
"""What http-backend unpacks by itself, within its own limits."""
PASSED_ON = ("Content-Type", "Cache-Control", "Expires", "Pragma")
"""Headers of http-backend that reach the client."""

log = logging.getLogger(__name__)


async def serve(ask: Ask) -> web.StreamResponse:
    """Answer one of git's requests."""
    service = ask.request.path.rpartition("/")[2]
    if service == "refs":
        service = ask.query("service")
        if service not in SERVICES or len(ask.request.query.getall("service")) > 1:
            raise refused(
                403, "forbidden", "only git's smart HTTP protocol is spoken", "git 1.6.6 or newer"
            )
    push = service == "git-receive-pack"
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=environment(ask, service),
        cwd="/",
        start_new_session=True,
        limit=HEAD_LIMIT_BYTES,
    )
    complaints = asyncio.ensure_future(_complaints(process))
    feeding = _Feeding(ask, process)
    try:
        async with asyncio.timeout(ask.limits.git_s):
            response = await _answer(ask, process, feeding)
            await process.wait()
        _report(process, await complaints)
        return response
    finally:
        fed = feeding.whole
        feeding.task.cancel()
        if process.returncode is None and push and fed and not ask.stopping.is_set():
            # git may be storing what it got in full: the client's going away must not stop it
            # there.
            ask.background(_see_out(ask, process, complaints))
        else:
            await _end(process, complaints)
        await asyncio.gather(feeding.task, return_exceptions=True)


def environment(ask: Ask, service: str) -> dict[str, str]:
    """All that the process and its hooks know: nothing of the daemon's own environment."""
    request, caller = ask.request, ask.known
    path = request.path.removeprefix(GIT_PREFIX)
    config = {
        "http.receivepack": "true",
        "http.getanyfile": "false",
        "receive.maxInputSize": str(ask.rule.body_bytes or 0),
        "receive.denyDeletes": "true",
        "receive.denyNonFastForwards": "true",
        "receive.fsckObjects": "true",
        "core.hooksPath": str(ask.settings.repository_dir / "hooks"),
        "safe.directory": str(ask.settings.repository_dir),
        "gc.auto": "0",
        "core.fsync": "committed",
    }
    environ = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(ask.settings.data_dir),
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_COUNT": str(len(config)),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_PROJECT_ROOT": str(ask.settings.data_dir),
        "PATH_INFO": f"/{ask.settings.repository_dir.name}{path}",
        # Not the client's own words: what was checked is what git is told.
        "QUERY_STRING": f"service={service}" if request.path.endswith("/info/refs") else "",
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "REMOTE_USER": caller.name,
        "REMOTE_ADDR": caller.host,
        "XSM_ROLE": str(caller.role),
    }
    if request.headers.get("Content-Encoding", "").lower() in COMPRESSED:
        environ["HTTP_CONTENT_ENCODING"] = "gzip"
    for number, (key, value) in enumerate(sorted(config.items())):
        environ[f"GIT_CONFIG_KEY_{number}"] = key
        environ[f"GIT_CONFIG_VALUE_{number}"] = value
    protocol = request.headers.get("Git-Protocol", "")
    if PROTOCOL.fullmatch(protocol):
        environ["GIT_PROTOCOL"] = protocol
    return environ


class _Feeding:
    """The request's body as it came to the process, which unpacks it where git compressed it.

    `refused`: why it stopped, where the client is to blame.
    """

    def __init__(self, ask: Ask, process: Process) -> None:
        self.refused: Refused | None = None
        self.task = asyncio.ensure_future(self._feed(ask, process))

    @property
    def whole(self) -> bool:
        """Everything has reached the process."""
        task = self.task
        ended = task.done() and not task.cancelled() and task.exception() is None
        return ended and self.refused is None

    async def _feed(self, ask: Ask, process: Process) -> None:
        stdin = process.stdin
        assert stdin is not None
        try:
            if ask.request.method == "POST":
                async for chunk in ask.chunks():
                    stdin.write(chunk)
                    await stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            # It has ended early and its answer says why; or the client went, and then nobody asks.
            return
        except Refused as refused:
            self.refused = refused
            _kill(process)
            # git shows an answer only to a request that it could send to its end.
            await _discard(ask)
        finally:
            stdin.close()


async def _discard(ask: Ask) -> None:
    """Read what is left of a body that is too large, and forget it."""
    left = DISCARD_LIMIT_BYTES
    while left > 0 and (chunk := await ask.request.content.read(CHUNK_BYTES)):
        left -= len(chunk)


async def _answer(ask: Ask, process: Process, feeding: _Feeding) -> web.StreamResponse:
    stdout = process.stdout
    assert stdout is not None
    try:
        head = await stdout.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        if feeding.refused is not None:
            raise feeding.refused from None
        raise refused(500, "failed", "git gave no answer", "see xsmd's log") from None
    status, headers = parse_head(head)
    if status >= 400:
        raise refused(status, "bad-request", f"git's answer: {HTTPStatus(status).phrase}")
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(ask.request)
    while chunk := await stdout.read(CHUNK_BYTES):
        await response.write(chunk)
    if feeding.refused is not None:
        await asyncio.gather(feeding.task, return_exceptions=True)
        await response.write(told_by_git(feeding.refused))
    await response.write_eof()
    return response


def told_by_git(error: Refused) -> bytes:
    """A refusal that comes when git's answer has begun, as a push shows it: on the side band, then the end."""
    text = f"xsm: {error}\n".encode()[:SIDE_BAND_BYTES]
    lines = [b"\x02" + text, b"\x03" + b"the push was refused\n"]
    return b"".join(b"%04x" % (len(line) + 4) + line for line in lines) + b"0000"


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of a CGI answer."""
    status = 200
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n"):
        key, colon, value = line.partition(":")
        value = value.strip()
        if not colon:
            continue
        if key.lower() == "status" and value[:3].isdigit():
            status = int(value[:3])
        for known in PASSED_ON:
            if key.lower() == known.lower():
                headers[known] = value
    return status, headers


async def _complaints(process: Process) -> bytes:
    """The first of what it says on stderr; the rest is read and forgotten, so that it never
    blocks."""
    stderr = process.stderr
    assert stderr is not None
    kept = b""
    while chunk := await stderr.read(CHUNK_BYTES):
        kept += chunk[: STDERR_LIMIT_BYTES - len(kept)]
    return kept


async def _see_out(ask: Ask, process: Process, complaints: asyncio.Future[bytes]) -> None:
    stdout = process.stdout
    assert stdout is not None
    try:
        async with asyncio.timeout(ask.limits.git_s):
            while await stdout.read(CHUNK_BYTES):
                pass
            await process.wait()
    except TimeoutError:
        log.warning("a push did not end in %s s", ask.limits.git_s)
    finally:
        await _end(process, complaints)


async def _end(process: Process, complaints: asyncio.Future[bytes]) -> None:
    _kill(process)
    await process.wait()
    _report(process, await complaints)


def _kill(process: Process) -> None:
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            log.debug("git had ended already")


def _report(process: Process, complaints: bytes) -> None:
    text = complaints.decode("utf-8", "replace").strip()
    if text:
        log.info("git http-backend: %s", text, extra={"exit_code": process.returncode})
