"""Whose host key is believed, and how one logs in: against an SSH server of paramiko's on loopback."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from xsm.edge.ssh import LoginRefused, Session, SshFailed, Target, UnknownKey, fingerprint

PASSWORD = "open sesame"
LIMIT_S = 20.0


class Door(paramiko.ServerInterface):
    """Lets root in by a password, and runs what it says with sh."""

    def check_auth_password(self, username: str, password: str) -> int:
        fine = (username, password) == ("root", PASSWORD)
        return paramiko.AUTH_SUCCESSFUL if fine else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey,password"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=carry_out, args=(channel, command), daemon=True).start()
        return True


def carry_out(channel: paramiko.Channel, command: bytes) -> None:
    sent = b""
    while more := channel.recv(65536):
        sent += more
    done = subprocess.run(["sh", "-c", command], input=sent, capture_output=True, check=False)
    channel.sendall(done.stdout)
    channel.sendall_stderr(done.stderr)
    channel.send_exit_status(done.returncode)
    channel.close()


class Server:
    """One host: every connection gets a `Door`."""

    def __init__(self) -> None:
        self.key = paramiko.ECDSAKey.generate()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.target = Target("127.0.0.1", "root", self.listening.getsockname()[1])
        self.transports: list[paramiko.Transport] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return  # closed: the test is over
            transport = paramiko.Transport(connection)
            transport.add_server_key(self.key)
            self.transports.append(transport)
            transport.start_server(event=threading.Event(), server=Door())

    def close(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for transport in self.transports:
            transport.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def known_by(server: Server, path: Path) -> Path:
    key = server.key
    path.write_text(f"{server.target.known_as} {key.get_name()} {key.get_base64()}\n")
    return path


def test_an_unknown_key_is_shown_and_taken_only_when_accepted(
    server: Server, tmp_path: Path
) -> None:
    known = tmp_path / "ssh/known_hosts"
    with pytest.raises(UnknownKey) as caught:
        Session(server.target, password=PASSWORD, known_hosts=known)
    shown = caught.value.fingerprint
    assert shown == fingerprint(server.key) and shown in str(caught.value)
    assert shown.startswith("SHA256:") and not shown.endswith("=")
    with pytest.raises(SshFailed, match="not SHA256:other") as other:
        Session(server.target, password=PASSWORD, accept_key="SHA256:other", known_hosts=known)
    assert not isinstance(other.value, UnknownKey) and not known.exists()
    for accepted in (shown, ""):  # it is known from then on
        with Session(server.target, password=PASSWORD, accept_key=accepted, known_hosts=known):
            assert known.read_text().split()[0] == server.target.known_as


def test_a_key_that_has_changed_is_refused_whatever_is_accepted(
    server: Server, tmp_path: Path
) -> None:
    known = known_by(server, tmp_path / "known_hosts")
    before = known.read_text()
    server.key = paramiko.ECDSAKey.generate()
    accepted = fingerprint(server.key)
    with pytest.raises(SshFailed, match="HAS CHANGED") as caught:
        Session(server.target, password=PASSWORD, accept_key=accepted, known_hosts=known)
    assert f"ssh-keygen -R '{server.target.known_as}'" in caught.value.hint
    assert known.read_text() == before


def test_a_wrong_password(server: Server, tmp_path: Path) -> None:
    known = known_by(server, tmp_path / "known_hosts")
    with pytest.raises(LoginRefused, match="doesn't take that password"):
        Session(server.target, password="sesame", known_hosts=known)


def test_what_is_run(server: Server, tmp_path: Path) -> None:
    known = known_by(server, tmp_path / "known_hosts")
    with Session(server.target, password=PASSWORD, known_hosts=known) as session:
        assert session.address == "127.0.0.1"
        done = session.run("cat; echo 'it''s' >&2; exit 3", LIMIT_S, b"given")
        assert (done.code, done.out, done.err) == (3, "given", "its\n")
        big = b"x" * 3_000_000
        counted = session.run("wc -c", LIMIT_S, lambda send: send(big))
        assert counted.out.strip() == str(len(big))


def test_nobody_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SshFailed, match="can't be reached by SSH: connection refused"):
        Session(Target("127.0.0.1", "root", port), known_hosts=tmp_path / "known_hosts")
