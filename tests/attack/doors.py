"""Ways into a running xsmd for somebody who means harm: bytes in, what came back out.

Decides how a request gets to the daemon, by which door and with which certificate. Must not know what is asked.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.site.running_site import Site
from xsm.edge import ca
from xsm.edge.tls import client_context, pinned_context

ANSWER_LIMIT_S = 60.0
"""Longer than any limit of the daemon's own: what takes longer hangs."""
LINGER_S = 0.02
"""How long broken HTTP waits for an answer, which it need not get, before the client hangs up."""
ROLES = ("anybody", "viewer", "operator", "admin", "peer", "local")


@dataclass(frozen=True)
class Request:
    """One request in whole HTTP/1.1; `headers` in the order and number in which they are sent."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)

    def raw(self) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: xsmd"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body or self.method == "POST":
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + self.body


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Door:
    """One way in; its connection is kept open as long as the daemon keeps it."""

    def __init__(
        self, role: str, address: str | tuple[str, int], tls: ssl.SSLContext | None
    ) -> None:
        self.role = role
        self._address = address
        self._tls = tls
        self._kept: socket.socket | None = None

    def connect(self) -> socket.socket:
        family = socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET
        plain = socket.socket(family, socket.SOCK_STREAM)
        plain.settimeout(ANSWER_LIMIT_S)
        plain.connect(self._address)
        if self._tls is None:
            return plain
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._tls.wrap_socket(plain, server_hostname=ca.server_name("dmz01"))

    def ask(self, request: Request) -> Answer | None:
        """The answer; None where the daemon hung up without one, twice: a kept connection may have been too old."""
        raw = request.raw()
        for _ in range(2):
            if self._kept is None or select.select([self._kept], [], [], 0)[0]:
                self.close()
                self._kept = self.connect()
            answer = self._try(self._kept, raw, request.method)
            if answer is not None:
                return answer
            self.close()
        return None

    def _try(self, kept: socket.socket, raw: bytes, method: str) -> Answer | None:
        # Refused before all of it was sent? The answer may be there all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            kept.sendall(raw)
        try:
            return self._read(kept, method)
        except (http.client.HTTPException, ConnectionError, ssl.SSLError):
            return None

    def _read(self, kept: socket.socket, method: str) -> Answer:
        response = http.client.HTTPResponse(kept, method=method)
        try:
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, headers, response.read())
            if response.will_close:
                self.close()
            return answer
        finally:
            response.close()

    def send(self, raw: bytes) -> bytes:
        """Any bytes on a connection of their own; what came back before this side hung up."""
        connection = self.connect()
        with connection:
            try:
                connection.sendall(raw)
                if select.select([connection], [], [], LINGER_S)[0]:
                    return connection.recv(65536)
            except (ConnectionError, ssl.SSLError):
                return b""
        return b""

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None


class Target:
    """The first host of a site, as its attacker sees it, and as its owner does."""

    def __init__(self, site: Site, host: str, other: str) -> None:
        """`other`: a member; the doors have its certificate, too."""
        self.site = site
        self.name = host
        self.host = site.stage.hosts[host]
        place = self.host.place
        self.address = (place.ip, place.listen_port)
        self.data = self.host.folder / "data"
        self.authority = ca.load_ca(self.data / "tls")
        other_tls = site.stage.hosts[other].folder / "data" / "tls"
        self.peer_files = ca.peer_files(other_tls)
        self.doors = {role: self.door(role) for role in ROLES}

    def files(self, name: str, role: str, now: float | None = None) -> ca.TlsFiles:
        """A certificate of the site's CA, as of `now`."""
        now = time.time() if now is None else now
        folder = self.site.stage.folder / "tls" / f"{name}-{role}-{int(now)}"
        folder.mkdir(parents=True, exist_ok=True)
        files = ca.peer_files(folder)
        ca.create_key(files.key)
        csr = ca.create_csr(files.key, name)
        if role == "peer":
            pem = self.authority.issue_peer(csr, name, self.address[0], now)
        else:
            pem = self.authority.issue_client(csr, name, role, now)
        ca.install(files, self.authority.pem, pem)
        return files

    def door(self, role: str) -> Door:
        if role == "local":
            return Door(role, str(self.host.folder / "xsmd.sock"), None)
        if role == "anybody":
            return Door(role, self.address, pinned_context(self.authority.pem))
        files = self.peer_files if role == "peer" else self.files(role, role)
        return Door(role, self.address, client_context(files))

    def head(self) -> str:
        """What main shows, by the files of git: asking the daemon for each request would be slow."""
        ref = self.data / "site.git" / "refs" / "heads" / "main"
        return ref.read_text().strip() if ref.exists() else ""

    def log(self) -> Path:
        return self.host.folder / "xsmd.log"

    def resident_kib(self) -> int:
        assert self.host.xsmd is not None
        status = Path(f"/proc/{self.host.xsmd.pid}/status").read_text()
        return next(
            int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")
        )
