"""Stand-ins for hosts on this machine: each its own libvirtd that serves libvirt's test driver.

Decides how such a host is started, crashed and stopped, as root or as an ordinary user. Must not
know XSM's daemons: a host lives on when its xsmd dies, and the other way round.

The test driver forgets all domains when its last connection closes. So each host has a second process,
the keeper, that does nothing but stay connected.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

START_LIMIT_S = 15.0
STOP_LIMIT_S = 10.0
POLL_S = 0.01
SOCKET_PATH_LIMIT = 107
"""Bytes in a unix socket's path (sun_path, without its end)."""
ALONE_LIMIT_S = 60
"""A libvirtd without any connection ends by itself after this: nobody can be using it."""
LOG_TAIL = 2000
"""Characters of libvirtd's log that an error shows."""

LINGER = "--linger"
LIBVIRTD_PLACES = ("/usr/sbin/libvirtd", "/usr/bin/libvirtd", "/usr/local/sbin/libvirtd")

READY = "ready"
"""The file by which the keeper says that it is connected."""
STALE = (
    "libvirt-sock",
    "libvirt-sock-ro",
    "libvirt-admin-sock",
    "libvirtd.pid",
    "keeper.pid",
    READY,
)
"""What a crashed host leaves in its directory and the next start would stumble over."""

CONFIG = """\
# Written by XSM for one stand-in host; serves libvirt's test driver only.
unix_sock_dir = "{directory}"
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0700"
auth_unix_rw = "none"
auth_unix_ro = "none"
host_uuid = "{host_uuid}"
log_outputs = "3:file:{directory}/libvirtd.log"
"""


class HostError(Exception):
    """A stand-in host could not be started or ended; the text says why."""


class PrivateLibvirtd:
    """One stand-in host. All of it is in `directory`, so that another process can find and end it.

    `directory` must be short: libvirt's sockets are in it, and their paths may have 107 bytes.
    `linger`: the host stays when the process that started it ends; else it goes within a minute.
    """

    def __init__(self, directory: str | Path, *, linger: bool = False) -> None:
        self.directory = Path(directory).absolute()
        self._linger = linger
        self._libvirtd: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        longest = len(os.fsencode(self.directory / "libvirt-admin-sock"))
        if longest > SOCKET_PATH_LIMIT:
            raise HostError(
                f"{self.directory} is {longest - SOCKET_PATH_LIMIT} bytes too long for libvirt's "
                "sockets; use a short directory such as /tmp/xsm"
            )
        if set(str(self.directory)) & set('"\\?#&\n'):
            raise HostError(f"{self.directory}: a directory without quotes and ?, # or & is needed")

    @property
    def socket(self) -> Path:
        return self.directory / "libvirt-sock"

    @property
    def uri(self) -> str:
        return f"test+unix:///default?socket={self.socket}"

    @property
    def log(self) -> Path:
        return self.directory / "libvirtd.log"

    def start(self) -> None:
        """Boot the host, without domains. Returns when it answers; on `HostError` nothing runs."""
        if self.running():
            raise HostError(f"a libvirtd runs in {self.directory} already")
        binary = _libvirtd()
        for part in ("", "drivers", "home", "run"):
            (self.directory / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in STALE:
            (self.directory / old).unlink(missing_ok=True)
        config = self.directory / "libvirtd.conf"
        host_uuid = uuid.uuid5(uuid.NAMESPACE_URL, f"file://{self.directory}")
        config.write_text(CONFIG.format(directory=self.directory, host_uuid=host_uuid))
        command = [binary, "-f", str(config), "-p", str(self._pid_file("libvirtd"))]
        command += ["--timeout", str(ALONE_LIMIT_S)]
        self._libvirtd = self._spawn(command, subprocess.DEVNULL)
        try:
            _wait(self._listens, START_LIMIT_S, self._why_not_started)
            self._start_keeper()
        except HostError:
            self.kill()
            raise

    def _start_keeper(self) -> None:
        command = [sys.executable, "-m", "xsm.demo.hosts", self.uri]
        if self._linger:
            self._keeper = self._spawn([*command, LINGER], subprocess.DEVNULL)
        else:  # it ends when its input does: with us, however we end
            self._keeper = self._spawn(command, subprocess.PIPE)
        self._pid_file("keeper").write_text(f"{self._keeper.pid}\n")
        _wait(self._kept, START_LIMIT_S, self._why_no_keeper)
        (self.directory / READY).unlink()

    def running(self) -> bool:
        return self._pid("libvirtd") is not None

    def kill(self) -> None:
        """Crash the host: libvirtd gets SIGKILL, its domains are gone. `start` boots it, empty."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Switch the host off in good order."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        for name, process in (("libvirtd", self._libvirtd), ("keeper", self._keeper)):
            pid = self._pid(name)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if process is not None:
                self._reap(name, process)
            if pid is not None:
                _wait(
                    lambda name=name: self._pid(name) is None,  # type: ignore[misc]
                    STOP_LIMIT_S,
                    lambda pid=pid, name=name: f"{name} (pid {pid}) did not end",  # type: ignore[misc]
                )
            self._pid_file(name).unlink(missing_ok=True)
        self._libvirtd = self._keeper = None

    def _reap(self, name: str, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise HostError(f"{name} (pid {process.pid}) had to be killed") from None

    # -- details -----------------------------------------------------

    def _spawn(self, command: list[str], stdin: int) -> subprocess.Popen[bytes]:
        """Start one of the host's processes, in its own session: ^C at the demo is no crash."""
        with (self.directory / "output.log").open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=stdin,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env=self._environment(),
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        """No drivers but the built-in ones, and a home of its own (for ordinary users).

        As root, libvirtd would otherwise take over the machine's real QEMU, networks and storage, or
        fail where another libvirtd has them.
        """
        package = Path(__file__).resolve().parents[2]
        paths = [str(package), os.environ.get("PYTHONPATH", "")]
        return {
            **os.environ,
            "LIBVIRT_DRIVER_DIR": str(self.directory / "drivers"),
            "HOME": str(self.directory / "home"),
            "XDG_RUNTIME_DIR": str(self.directory / "run"),
            "XDG_CONFIG_HOME": str(self.directory / "home" / "config"),
            "XDG_CACHE_HOME": str(self.directory / "home" / "cache"),
            "PYTHONPATH": os.pathsep.join(p for p in paths if p),
        }

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                self._still(self._libvirtd, "libvirtd")
                return False
        return True

    def _kept(self) -> bool:
        self._still(self._keeper, "the host's keeper")
        return (self.directory / READY).exists()

    def _still(self, process: subprocess.Popen[bytes] | None, name: str) -> None:
        if process is not None and process.poll() is not None:
            raise HostError(f"{name} ended with {process.returncode}: {self._tail()}")

    def _why_not_started(self) -> str:
        return f"no libvirtd listens at {self.socket} after {START_LIMIT_S:.0f} s: {self._tail()}"

    def _why_no_keeper(self) -> str:
        return f"the keeper is not connected after {START_LIMIT_S:.0f} s: {self._tail()}"

    def _tail(self) -> str:
        texts = []
        for name in ("libvirtd.log", "output.log"):
            with contextlib.suppress(OSError):
                texts.append((self.directory / name).read_text(errors="replace")[-LOG_TAIL:])
        return "\n".join(texts).strip() or "its log is empty"

    def _pid_file(self, name: str) -> Path:
        return self.directory / f"{name}.pid"

    def _pid(self, name: str) -> int | None:
        """The pid of the host's process while it runs; its command line tells a recycled pid."""
        try:
            pid = int(self._pid_file(name).read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if os.fsencode(self.directory) in command else None


def _libvirtd() -> str:
    for place in (shutil.which("libvirtd"), *LIBVIRTD_PLACES):
        if place and os.access(place, os.X_OK):
            return place
    raise HostError("there is no libvirtd; install the package libvirt-daemon (`make setup` does)")


def _wait(condition: Callable[[], bool], limit_s: float, why_not: Callable[[], str]) -> None:
    """Until the condition holds; raises `HostError` after `limit_s`."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise HostError(why_not())
        time.sleep(POLL_S)


def _keep(uri: str, linger: bool) -> int:
    """The keeper: stay connected until libvirtd goes, or our input ends, or somebody ends us.

    Removes the domain "test" that the driver starts with: it claims more memory than its host has.
    """
    import libvirt

    from xsm.edge import libvirt_events

    over = threading.Event()
    libvirt_events.start()
    connection = libvirt.open(uri)
    connection.registerCloseCallback(lambda *_: over.set(), None)
    for domain in connection.listAllDomains(0):
        if domain.isActive():
            domain.destroy()
        domain.undefine()
    Path(READY).touch()
    if not linger:
        threading.Thread(target=_until_input_ends, args=(over,), daemon=True).start()
    over.wait()
    return 0


def _until_input_ends(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


if __name__ == "__main__":
    sys.exit(_keep(sys.argv[1], LINGER in sys.argv[2:]))
