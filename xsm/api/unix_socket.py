"""The unix socket of the local CLI: made, guarded against a second daemon, and taken away again.

Decides whether a socket file that is there belongs to somebody alive. Its file permissions say
who is
an admin of this host's xsmd. Must not know what is spoken over it.
"""

from __future__ import annotations

import fcntl
import grp
import logging
import os
import pwd
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

GROUP = "xsm"
"""Members of this group, where it exists, may use the socket too."""
MODE = 0o660
BACKLOG = 64
PROBE_TIMEOUT_S = 1.0

log = logging.getLogger(__name__)


class StartRefused(Exception):
    """xsmd can't serve; the text is a sentence for people."""


@dataclass(frozen=True)
class Listening:
    """A socket that is ours until `close`."""

    socket: socket.socket
    path: Path
    inode: int
    lock: int

    def close(self) -> None:
        self.socket.close()
        if _inode(self.path) == self.inode:
            self.path.unlink(missing_ok=True)
        os.close(self.lock)


def listen(path: Path) -> Listening:
    """Raises `StartRefused`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
    except OSError as error:
        raise StartRefused(f"{path} can't be made: {error.strerror}") from error
    try:
        _clear(path)
        bound = _bound(path)
    except OSError as error:
        os.close(lock)
        raise StartRefused(f"{path} can't be made: {error.strerror or error}") from error
    except BaseException:
        os.close(lock)
        raise
    return Listening(bound, path, _inode(path), lock)


def _lock(path: Path) -> int:
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock, 32).decode("ascii", "replace").strip()
        os.close(lock)
        raise StartRefused(
            f"another xsmd (process {owner or 'unknown'}) serves {path} already"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    return lock


def _clear(path: Path) -> None:
    """Take away what a dead daemon left."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartRefused(f"{path} is there and is not a socket; move it away")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise StartRefused(f"something that is alive serves {path} already")


def _bound(path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        # Nobody can connect before listen(), so nobody gets in under the wrong permissions.
        os.chmod(path, MODE)
        _give_to_group(path)
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def _give_to_group(path: Path) -> None:
    try:
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)
    except KeyError:
        return
    except OSError as error:
        log.info("the group %s gets no access to %s: %s", GROUP, path, error.strerror)


def _inode(path: Path) -> int:
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return -1


def user_of(connection: socket.socket) -> str:
    """The name of the user at the other end, "uid N" when it has none."""
    size = struct.calcsize("3i")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    uid = struct.unpack("3i", raw)[1]
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
