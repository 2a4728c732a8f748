"""The floor of an edit: what the simplest code needs for one commit, N-1 posts over kept-open TLS, and their fsyncs.

N-1 processes each take a post, write it to a file, fsync it, and answer. The sender commits with git (fsynced), then
posts to all at once and waits for all.
"""

from __future__ import annotations

import os
import selectors
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xsm.edge import ca

PAYLOAD = os.urandom(700)
"""About what a thin pack of one small edit has."""
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Floor:
    """N processes, the sender (this one) among them."""

    def __init__(self, count: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="xsm-floor-", dir="/tmp"))
        tls = self.folder / "tls"
        tls.mkdir()
        now = time.time()
        authority = ca.create_ca(tls, "floor", now)
        files = ca.peer_files(tls)
        ca.create_key(files.key)
        pem = authority.issue_peer(ca.create_csr(files.key, "host"), "host", "127.0.0.1", now)
        ca.install(files, authority.pem, pem)
        self._children: list[int] = []
        self._connections: list[ssl.SSLSocket] = []
        self._git("init", "-q", str(self.folder / "r"))
        for number in range(1, count):
            self._connections.append(self._receiver(number, files))

    def _git(self, *args: str) -> None:
        config = ("-c", "core.fsync=all", "-c", "user.name=A", "-c", "user.email=a@b.c")
        subprocess.run(["git", *config, *args], cwd=self.folder, check=True, capture_output=True)

    def _receiver(self, number: int, files: ca.TlsFiles) -> ssl.SSLSocket:
        listener = socket.create_server((f"127.78.0.{number}", 0))
        pid = os.fork()
        if pid == 0:
            try:
                _receive(listener, files, self.folder / f"f{number}")
            finally:
                os._exit(0)
        self._children.append(pid)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(files.ca)
        context.load_cert_chain(files.certificate, files.key)
        context.check_hostname = False
        raw = socket.create_connection(listener.getsockname())
        listener.close()
        return context.wrap_socket(raw)

    def edit(self, number: int) -> float:
        """One edit; the seconds until the last process has it on disk."""
        path = self.folder / "r" / "site.xml"
        path.write_text(f"{number}\n" * 100)
        started = time.perf_counter()
        self._git("-C", "r", "add", "site.xml")
        self._git("-C", "r", "commit", "-q", "-m", "An edit")
        head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(PAYLOAD)
        with selectors.DefaultSelector() as waiting:
            for connection in self._connections:
                connection.sendall(head + PAYLOAD)
                waiting.register(connection, selectors.EVENT_READ)
            left = len(self._connections)
            while left:
                for key, _ in waiting.select():
                    assert isinstance(key.fileobj, ssl.SSLSocket)
                    if key.fileobj.recv(4096).endswith(b"{}"):
                        waiting.unregister(key.fileobj)
                        left -= 1
        return time.perf_counter() - started

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        for pid in self._children:
            os.waitpid(pid, 0)  # it ends with its connection
        shutil.rmtree(self.folder, ignore_errors=True)


def _receive(listener: socket.socket, files: ca.TlsFiles, path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(files.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    raw, _ = listener.accept()
    connection = context.wrap_socket(raw, server_side=True)
    while True:
        data = b""
        while not data.endswith(PAYLOAD):
            piece = connection.recv(65536)
            if not piece:
                return
            data += piece
        with path.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        connection.sendall(ANSWER)


@contextmanager
def running(count: int) -> Iterator[Floor]:
    floor = Floor(count)
    try:
        yield floor
    finally:
        floor.close()
