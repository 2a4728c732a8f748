"""A real HTTP server on a real unix socket, with canned answers, for the commands to talk to."""

from __future__ import annotations

import contextlib
import io
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import msgspec

from xsm.api.types import Refusal

STATUS = {"invalid": 422, "moved": 409, "conflict": 409, "unknown": 404, "forbidden": 403}


@dataclass(frozen=True)
class Raw:
    """An answer as bytes, for answers that xsmd would never give."""

    body: bytes
    status: int = 200


@dataclass
class Asked:
    """One request that the server got."""

    method: str
    path: str
    body: bytes = b""

    def read(self, kind: type) -> object:
        return msgspec.json.decode(self.body, type=kind)


@dataclass
class Site:
    """The canned answers: "GET /v1/status" -> a value, or a list of values, used one after the
    other (the last stays).
    """

    answers: dict[str, object] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def paths(self, method: str = "") -> list[str]:
        return [a.path for a in self.asked if method in ("", a.method)]

    def bodies(self, path: str, kind: type) -> list[object]:
        return [a.read(kind) for a in self.asked if a.path == path]

    def answer(self, asked: Asked) -> object:
        self.asked.append(asked)
        for key in (f"{asked.method} {asked.path}", f"{asked.method} {asked.path.split('?')[0]}"):
            if key in self.answers:
                found = self.answers[key]
                if isinstance(found, list):
                    found = found.pop(0) if len(found) > 1 else found[0]
                return found(asked) if callable(found) else found
        return Refusal("unknown", f"nothing is canned for {asked.method} {asked.path}")


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    site: Site


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer(Asked("GET", self.path))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(Asked("POST", self.path, body))

    def _answer(self, asked: Asked) -> None:
        value = self.server.site.answer(asked)
        if isinstance(value, Raw):
            status, body = value.status, value.body
        elif isinstance(value, Refusal):
            status, body = STATUS.get(value.code, 500), msgspec.json.encode(value)
        else:
            status, body = 200, msgspec.json.encode(value)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def serving(path: Path, site: Site) -> Iterator[None]:
    """Serve the site at the socket `path` until the block ends."""
    server = _Server(str(path), _Answering)
    server.site = site
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass(frozen=True)
class Ran:
    """What one run of `xsm` gave."""

    code: int
    out: str
    err: str

    def json(self) -> object:
        return msgspec.json.decode(self.out)


Runner = Callable[..., Ran]


def run_xsm(*args: str) -> Ran:
    """Run the real command line in this process, its output into strings (no terminal)."""
    from xsm.cli.main import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(args))
    return Ran(code, out.getvalue(), err.getvalue())
