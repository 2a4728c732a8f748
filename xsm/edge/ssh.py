"""One SSH connection to a host that is to be enrolled: whose key is believed, and commands run there.

Decides which host keys are taken (those in known_hosts, or the one that somebody has just confirmed) and how failures
are told. Must not know what is run.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko

CONNECT_TIMEOUT_S = 10.0
LOGIN_TIMEOUT_S = 30.0
OUTPUT_LIMIT_BYTES = 1024 * 1024
"""Of what a command says; the rest is read and dropped."""
CHUNK_BYTES = 64 * 1024
SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
DEFAULT_PORT = 22


class SshFailed(Exception):
    """No session, or it broke; the text says why. `hint`: what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


class UnknownKey(SshFailed):
    """The host showed a key that no known_hosts file has: somebody has to compare its fingerprint."""

    def __init__(self, target: Target, kind: str, fingerprint: str) -> None:
        self.kind, self.fingerprint = kind, fingerprint
        super().__init__(
            f"the host key of {target} is not known: {kind} {fingerprint}",
            f"compare it with `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` on {target.host}; --accept-key takes it",
        )


class LoginRefused(SshFailed):
    """The host takes none of our keys, or not this password."""


@dataclass(frozen=True)
class Target:
    """Where to log in, as the user named it."""

    host: str
    user: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        port = "" if self.port == DEFAULT_PORT else f" port {self.port}"
        return f"{self.user}@{self.host}{port}"

    @property
    def known_as(self) -> str:
        """As in known_hosts."""
        return self.host if self.port == DEFAULT_PORT else f"[{self.host}]:{self.port}"


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


def fingerprint(key: paramiko.PKey) -> str:
    """As `ssh-keygen -l` shows it."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"


class _Policy(paramiko.MissingHostKeyPolicy):
    """A key that is in no known_hosts file is taken only if its fingerprint is the accepted one; it is written down."""

    def __init__(self, target: Target, accepted: str, known_hosts: Path) -> None:
        self._target, self._accepted, self._known_hosts = target, accepted, known_hosts

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        found = fingerprint(key)
        if not self._accepted:
            raise UnknownKey(self._target, key.get_name(), found)
        if found.rstrip("=") != self._accepted.rstrip("="):
            raise SshFailed(
                f"{self._target} shows the host key {key.get_name()} {found}, not {self._accepted}",
                "is it the right host? Nothing was sent to it",
            )
        line = f"{self._target.known_as} {key.get_name()} {key.get_base64()}\n"
        self._known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._known_hosts.open("a") as stream:
            stream.write(line)


class Session:
    """A connection on which commands are run. Use as a context manager."""

    def __init__(
        self,
        target: Target,
        *,
        password: str = "",
        accept_key: str = "",
        known_hosts: Path | None = None,
    ) -> None:
        """`accept_key`: the fingerprint of a host key that may be believed though it is in no known_hosts file.
        `known_hosts`: the user's own, which that key is then added to.

        Raises `UnknownKey`, `LoginRefused`, `SshFailed`.
        """
        self.target = target
        self._client = paramiko.SSHClient()
        known_hosts = known_hosts or Path.home() / ".ssh/known_hosts"
        try:
            for path in (SYSTEM_KNOWN_HOSTS, known_hosts):
                if path.exists():
                    self._client.load_system_host_keys(str(path))
            self._client.set_missing_host_key_policy(_Policy(target, accept_key, known_hosts))
            self._connect(password)
        except BaseException:
            self._client.close()
            raise
        transport = self._client.get_transport()
        assert transport is not None
        self.address: str = transport.getpeername()[0]

    def _connect(self, password: str) -> None:
        target = self.target
        try:
            self._client.connect(
                target.host,
                target.port,
                target.user,
                password=password or None,
                allow_agent=not password,
                look_for_keys=not password,
                timeout=CONNECT_TIMEOUT_S,
                banner_timeout=CONNECT_TIMEOUT_S,
                auth_timeout=LOGIN_TIMEOUT_S,
            )
        except paramiko.BadHostKeyException as error:
            raise SshFailed(
                f"THE HOST KEY OF {target} HAS CHANGED: it shows {fingerprint(error.key)}, known_hosts has "
                f"{fingerprint(error.expected_key)}. Nothing was sent to it",
                f"if the host was installed anew: `ssh-keygen -R '{target.known_as}'`, then give the command again",
            ) from error
        except (paramiko.AuthenticationException, paramiko.PasswordRequiredException) as error:
            raise LoginRefused(
                f"{target} lets {target.user} in with none of the keys here"
                if not password
                else f"{target} doesn't take that password",
                "`ssh-copy-id` puts your key there",
            ) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise SshFailed(f"{target} can't be reached by SSH: {_why(error)}") from error

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._client.close()

    def run(
        self,
        script: str,
        limit_s: float,
        stdin: bytes | Callable[[Callable[[bytes], Any]], None] = b"",
    ) -> Done:
        """Run a shell script as root. `stdin`: what it reads, or a function that is given where to write it.

        `limit_s`: how long it may be silent. Raises `SshFailed` when the connection breaks.
        """
        command = f"sh -c {shlex.quote(script)}"
        if self.target.user != "root":
            command = f"sudo -n {command}"
        try:
            return self._run(command, limit_s, stdin)
        except TimeoutError as error:
            raise SshFailed(f"{self.target} did not answer within {limit_s:.0f} s") from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise SshFailed(f"the connection to {self.target} broke: {_why(error)}") from error

    def _run(
        self, command: str, limit_s: float, stdin: bytes | Callable[[Callable[[bytes], Any]], None]
    ) -> Done:
        transport = self._client.get_transport()
        if transport is None:
            raise EOFError("closed")
        channel = transport.open_session(timeout=CONNECT_TIMEOUT_S)
        try:
            channel.settimeout(limit_s)
            channel.exec_command(command)
            if callable(stdin):
                stdin(channel.sendall)
            else:
                channel.sendall(stdin)
            channel.shutdown_write()
            out = _read(channel.recv)
            err = _read(channel.recv_stderr)
            return Done(channel.recv_exit_status(), out, err)
        finally:
            channel.close()


def _read(receive: Callable[[int], bytes]) -> str:
    kept = b""
    while more := receive(CHUNK_BYTES):
        kept += more[: OUTPUT_LIMIT_BYTES - len(kept)]
    return kept.decode("utf-8", "replace")


def _why(error: BaseException) -> str:
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        found = {cause.strerror or str(cause) for cause in error.errors.values()}
        return ", ".join(sorted(found)).lower()
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or "it hung up"
