"""Asking the local xsmd: HTTP/1.1 over its unix socket, answers as the types of `xsm.api.types`.

Decides how a missing or silent xsmd is told to the user. Must not know what the answers mean. Only
the standard library's http.client, because every command pays for its imports.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from xsm.api.types import (
    Applied,
    Command,
    Event,
    Handed,
    Invitation,
    PlanAnswer,
    Preview,
    Proposal,
    Refusal,
    RevisionInfo,
    SignerRequest,
    Status,
    VmStatus,
    Why,
)
from xsm.cli.failures import Failure, Refused, Unreachable

ANSWER_TIMEOUT_S = 60.0  # an edit waits for fresh reports, a merge, a disk that is slow
QUESTION_TIMEOUT_S = 15.0  # fresh reports of hosts that don't answer take xsmd some seconds itself
PATIENCE_S = 3.0  # then it is said what is waited for
EVENTS_SILENCE_S = 3600.0  # a followed stream may be quiet for long
MAX_ANSWER_BYTES = 256 << 20
MAX_EVENT_BYTES = 1 << 20
MAX_REFUSAL_BYTES = 16 << 20  # a refused site may have thousands of problems
MAX_SOCKET_PATH_BYTES = 107  # sun_path of Linux, less the closing NUL

T = TypeVar("T")


class UnixConnection(http.client.HTTPConnection):
    """http.client over AF_UNIX."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self.path = path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self.path)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


def why_not_reached(
    path: str, error: OSError | http.client.HTTPException, socket: str = "", config: str = ""
) -> Unreachable:
    """The sentence and the hint for one way of not getting an answer. `socket`, `config`: as the user gave them."""
    from xsm.cli.starting import log_hint, start_hint

    start = start_hint(socket, config)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Unreachable(f"xsmd is not running on this host (no socket at {path})", start)
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(f"xsmd is not running on this host (nobody listens at {path})", start)
    if isinstance(error, PermissionError):
        hint = "become root, or join the group that owns the socket"
        return Unreachable(f"you may not talk to xsmd (no permission for {path})", hint)
    if isinstance(error, TimeoutError):
        return Unreachable(f"xsmd did not answer in time at {path}", log_hint())
    hint = f"it may have been stopped; {log_hint()}"
    return Unreachable(f"xsmd broke off the conversation at {path}: {error or 'no answer'}", hint)


class Client:
    """One xsmd, by the path of its socket. Every method raises `Failure` with a clear sentence."""

    def __init__(
        self,
        socket_path: str,
        timeout_s: float = ANSWER_TIMEOUT_S,
        socket: str = "",
        config: str = "",
        waiting: Callable[[str], None] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`timeout_s`: for edits; questions have QUESTION_TIMEOUT_S, if that is less. `socket`, `config`: what the
        user gave to name it, for hints. `waiting`: told what is waited for, once that takes longer than `patience_s`;
        it is called in another thread."""
        if len(socket_path.encode()) > MAX_SOCKET_PATH_BYTES:
            raise Unreachable(
                f"the socket path is longer than {MAX_SOCKET_PATH_BYTES} bytes: {socket_path}",
                "unix sockets can't have longer ones; use a shorter path or a symbolic link to it",
            )
        self.socket_path = socket_path
        self.timeout_s = timeout_s
        self._given = (socket, config)
        self._waiting = waiting
        self._patience_s = patience_s

    def status(self) -> Status:
        return self._get("/v1/status", Status)

    def plan(self) -> PlanAnswer:
        return self._get("/v1/plan", PlanAnswer)

    def vms(self) -> tuple[VmStatus, ...]:
        return self._get("/v1/vms", tuple[VmStatus, ...])

    def history(self, limit: int, vm: str = "") -> tuple[RevisionInfo, ...]:
        query: dict[str, str | int] = {"limit": limit}
        if vm:
            query["vm"] = vm
        return self._get("/v1/history?" + urlencode(query), tuple[RevisionInfo, ...])

    def revision(self, revision: str) -> RevisionInfo:
        return self._get("/v1/revision/" + quote(revision, safe=""), RevisionInfo)

    def files(self, revision: str = "") -> dict[str, bytes]:
        """One revision's tree; "" for the present head."""
        query = "?" + urlencode({"revision": revision}) if revision else ""
        return self._get("/v1/files" + query, dict[str, bytes])  # msgspec reads base64 into bytes

    def why(self, vm: str) -> Why:
        return self._get("/v1/why/" + quote(vm, safe=""), Why)

    def preview(self, proposal: Proposal) -> Preview:
        return self._post("/v1/preview", proposal, Preview)

    def apply(self, proposal: Proposal) -> Applied:
        return self._post("/v1/apply", proposal, Applied)

    def preview_command(self, command: Command) -> Preview:
        return self._post("/v1/preview-command", command, Preview)

    def command(self, command: Command) -> Applied:
        return self._post("/v1/command", command, Applied)

    def invite(self, name: str, again: bool = False) -> Invitation:
        more = {"again": True} if again else {}
        return self._post("/v1/invite", {"name": name, **more}, Invitation)

    def signer(self, name: str) -> Handed:
        return self._post("/v1/signer", SignerRequest(name), Handed)

    def events(self, since: int, follow: bool) -> Iterator[Event]:
        """Events after number `since`, oldest first; with `follow` until xsmd ends the stream."""
        query: dict[str, int] = {"since": since}
        if follow:
            query["follow"] = 1
        timeout_s = EVENTS_SILENCE_S if follow else self.timeout_s
        with closing(UnixConnection(self.socket_path, timeout_s)) as connection:
            try:
                answer = self._send(connection, "GET", "/v1/events?" + urlencode(query))
                while line := answer.readline(MAX_EVENT_BYTES):
                    if line.strip():
                        yield self._decode(line, Event)
            except (OSError, http.client.HTTPException) as error:
                raise why_not_reached(self.socket_path, error, *self._given) from None

    def _get(self, path: str, kind: type[T]) -> T:
        return self._ask("GET", path, None, kind)

    def _post(self, path: str, body: object, kind: type[T]) -> T:
        return self._ask("POST", path, msgspec.json.encode(body), kind)

    def _ask(self, method: str, path: str, body: bytes | None, kind: type[T]) -> T:
        limit_s = min(self.timeout_s, QUESTION_TIMEOUT_S) if method == "GET" else self.timeout_s
        with (
            closing(UnixConnection(self.socket_path, limit_s)) as connection,
            self._patience(limit_s),
        ):
            try:
                content = self._send(connection, method, path, body).read(MAX_ANSWER_BYTES + 1)
            except (OSError, http.client.HTTPException) as error:
                raise why_not_reached(self.socket_path, error, *self._given) from None
        if len(content) > MAX_ANSWER_BYTES:
            raise Failure(f"xsmd's answer to {path} is larger than {MAX_ANSWER_BYTES >> 20} MiB")
        return self._decode(content, kind)

    @contextmanager
    def _patience(self, limit_s: float) -> Iterator[None]:
        """Say what is waited for when the block takes long."""
        if self._waiting is None:
            yield
            return
        text = f"xsm: waiting for xsmd to answer at {self.socket_path}, up to {limit_s:.0f} s"
        timer = threading.Timer(self._patience_s, self._waiting, (text,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _send(
        self, connection: UnixConnection, method: str, path: str, body: bytes | None = None
    ) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        with suppress(BrokenPipeError, ConnectionResetError):
            # xsmd may refuse a body half way, which breaks the sending; its reason can be read.
            connection.request(method, path, body, headers)
        answer = connection.getresponse()
        if 200 <= answer.status < 300:
            return answer
        raise Refused(read_refusal(answer.status, answer.read(MAX_REFUSAL_BYTES)))

    def _decode(self, content: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Failure(
                f"xsmd's answer can't be understood: {error}",
                "xsm and xsmd are of different versions, or something else listens at "
                + self.socket_path,
            ) from None


def read_refusal(status: int, body: bytes) -> Refusal:
    """What xsmd gave as its reason; something readable even when the body is none of ours."""
    try:
        return msgspec.json.decode(body, type=Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        code = "unknown" if status == 404 else "failed"
        text = body[:200].decode("utf-8", "replace").strip()
        return Refusal(code, f"xsmd answered with HTTP status {status}: {json.dumps(text)}")
