"""The HTTPS door before anybody is known: who may have a connection while TLS is being agreed, and afterwards.

Decides which connections there are. Strangers (no certificate shown yet) share few places, and a new one takes the
place of the oldest from the busiest address; so a flood crowds out itself. Whoever has shown a certificate of the site
is safe from strangers, and no name takes more than its share. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from xsm.api.access import Role
from xsm.api.connection import Complaints

KNOWN_LIMIT = 512
"""Connections with a certificate, in all: a site of 64 hosts needs 4 for each."""
PEOPLE_LIMIT = 256
"""Of them that are no member's."""
NAME_LIMIT = 64
"""Of them with one name: a member opens 4, a person's tools some more."""
STRANGERS_LIMIT = 256
"""Connections that have not shown a certificate: handshakes, and hosts that join. A handshake takes some ms."""
ADDRESS_LIMIT = 128
"""Of them from one address."""
ACCEPT_PAUSE_S = 0.5
"""When this process has no file descriptor left for another connection."""
OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
SHUTDOWN_S = 2.0

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Guest:
    """One connection; `name` is "" until it has shown a certificate."""

    address: str
    name: str = ""
    member: bool = False
    task: asyncio.Task[None] | None = None
    transport: asyncio.Transport | None = None

    def leave(self) -> None:
        if self.transport is not None:
            self.transport.abort()
        elif self.task is not None:
            self.task.cancel()


@dataclass
class Places:
    """Who is in, in the order of coming."""

    known_limit: int = KNOWN_LIMIT
    people_limit: int = PEOPLE_LIMIT
    strangers_limit: int = STRANGERS_LIMIT
    address_limit: int = ADDRESS_LIMIT
    name_limit: int = NAME_LIMIT
    strangers: dict[Guest, None] = field(default_factory=dict)
    known: dict[Guest, None] = field(default_factory=dict)

    def come(self, guest: Guest) -> Guest | None:
        """Let a stranger in; the one that has to leave for it, if any."""
        counts = Counter(g.address for g in self.strangers)
        self.strangers[guest] = None
        if counts[guest.address] >= self.address_limit:
            return self._oldest(guest.address)
        if len(self.strangers) <= self.strangers_limit:
            return None
        busiest = max(sorted(counts), key=lambda address: counts[address])
        return self._oldest(busiest)

    def _oldest(self, address: str) -> Guest:
        return next(g for g in self.strangers if g.address == address)

    def know(self, guest: Guest, name: str, member: bool) -> bool:
        """Whether there is a place for one that has shown a certificate of `name`."""
        same = sum(g.name == name and g.member == member for g in self.known)
        alike = sum(g.member == member for g in self.known)
        most = self.known_limit - self.people_limit if member else self.people_limit
        if same >= self.name_limit or alike >= most:
            return False
        self.strangers.pop(guest, None)
        guest.name, guest.member = name, member
        self.known[guest] = None
        return True

    def go(self, guest: Guest) -> None:
        self.strangers.pop(guest, None)
        self.known.pop(guest, None)


class Doorway:
    """Accepts connections on listening sockets and makes a protocol for each that TLS lets through."""

    def __init__(
        self,
        tls: ssl.SSLContext,
        protocol: Callable[[Callable[[], None]], asyncio.Protocol],
        complaints: Complaints,
        places: Places,
        handshake_s: float,
    ) -> None:
        """`protocol`: makes one, given what it has to call when its connection is lost."""
        self._tls = tls
        self._protocol = protocol
        self._complaints = complaints
        self._places = places
        self._handshake_s = handshake_s
        self._accepting: list[asyncio.Task[None]] = []
        self._sockets: list[socket.socket] = []

    def open(self, listening: list[socket.socket]) -> None:
        for sock in listening:
            sock.setblocking(False)
            self._sockets.append(sock)
            self._accepting.append(asyncio.create_task(self._accept(sock)))

    async def close(self) -> None:
        """Take no more connections, and end those that are still agreeing on TLS."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for sock in self._sockets:
            sock.close()
        shaking = [g.task for g in self._places.strangers if g.task is not None]
        for task in shaking:
            task.cancel()
        await asyncio.gather(*shaking, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno in OUT_OF_FILES:
                    self._complaints.add(f"no more connections: {error.strerror}", "everybody")
                    await asyncio.sleep(ACCEPT_PAUSE_S)
                continue  # else it was gone before it was accepted
            guest = Guest(str(address[0]))
            leaves = self._places.come(guest)
            guest.task = asyncio.create_task(self._welcome(guest, sock))
            if leaves is not None:
                self._complaints.add("too many connections without a certificate", leaves.address)
                self._places.go(leaves)
                leaves.leave()

    async def _welcome(self, guest: Guest, sock: socket.socket) -> None:
        """TLS, within its time; then HTTP's protocol has it."""
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: self._protocol(lambda: self._places.go(guest)),
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except (OSError, ssl.SSLError) as error:  # TimeoutError is an OSError
            self._places.go(guest)
            self._complaints.add(_why(error), guest.address)
            return
        except BaseException:
            self._places.go(guest)
            raise
        guest.transport, guest.task = transport, None
        certificate = transport.get_extra_info("peercert")
        name = _subject(certificate, "commonName")
        member = _subject(certificate, "organizationalUnitName") == Role.PEER
        if transport.is_closing():
            self._places.go(guest)
        elif name and not self._places.know(guest, name, member):
            self._complaints.add(f"too many connections of {name}", guest.address)
            self._places.go(guest)
            transport.abort()


def _subject(certificate: Any, key: str) -> str:
    """A part of the subject of a certificate that TLS has checked; "" without one."""
    subject = certificate.get("subject", ()) if certificate else ()
    return next((str(value) for rdn in subject for name, value in rdn if name == key), "")


def listen(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Sockets that listen on all addresses of `host` ("": every address of this host). Raises `OSError`."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in sorted(set(found)):
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(backlog)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


CERTIFICATE = {
    9: "the certificate that it shows is not valid yet by this host's clock: check the clocks of both",
    10: "the certificate that it shows has expired by this host's clock: renew it, or check the clocks of both",
    18: "the certificate that it shows is signed by itself, not by this site's CA",
    19: "the certificate that it shows is not from this site's CA",
    20: "the certificate that it shows is not from this site's CA",
}
"""By OpenSSL's X509_V_ERR."""


def _why(error: BaseException) -> str:
    known = CERTIFICATE.get(getattr(error, "verify_code", 0))
    if known:
        return known
    if isinstance(error, ConnectionError):
        return "it broke off before TLS was agreed (does it accept this host's certificate, are both clocks right?)"
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    return "no TLS: " + str(reason or type(error).__name__).replace("_", " ").lower()
