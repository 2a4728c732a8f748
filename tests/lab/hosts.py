"""One host of the lab: its namespaces, its files, its libvirtd and xsmd; power on, power off, crash.

Decides how a host comes up and how one works on it. Must not know the site, nor what the cases want.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab import cgroups, processes
from tests.lab.places import (
    CONSOLES,
    GUEST_IMAGES,
    HERE,
    HOSTS,
    IMAGES,
    LOCKS,
    ROOT,
    SHARED,
    SWITCH_PID_FILE,
    HostPlace,
)  # fmt: skip
from tests.lab.processes import LabFailed, wait_for

UP_LIMIT_S = 120.0
"""For a host's file systems and libvirtd, with all four coming up at once on a busy machine."""
COMMAND_LIMIT_S = 120.0
BIN = Path(sys.executable).parent

LIBVIRTD_CONF = """\
host_uuid = "{uuid}"
listen_addr = "{address}"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
keepalive_interval = 5
keepalive_count = 3
"""
QEMU_CONF = """\
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
namespaces = [ ]
stdio_handler = "file"
{controllers}
migration_address = "{address}"
migration_host = "{address}"
keepalive_interval = 5
keepalive_count = 3
"""


class LabHost:
    """One host. What it knows is on disk and in /proc, so that any process of this machine may make one."""

    def __init__(self, place: HostPlace) -> None:
        self.place = place
        self.name = place.name

    # -- power -----------------------------------------------------

    @property
    def pid(self) -> int:
        """The host's first process as this machine numbers it, 0 while the host is off."""
        outer = processes.pid_of(self.place.pid_file)
        return processes.child_of(outer) if outer else 0

    def write_files(self) -> None:
        """What the host finds in its /etc."""
        folder = self.place.folder / "files"
        (folder / "libvirt").mkdir(parents=True, exist_ok=True)
        # Its own name must not stand for 127.x: a migration would be told to come there.
        lines = ["127.0.0.1 localhost", *(f"{h.address} {h.name}" for h in HOSTS.values())]
        (folder / "hosts").write_text("\n".join(lines) + "\n")
        (folder / "hostname").write_text(self.name + "\n")
        (folder / "machine-id").write_text(self.place.machine_id + "\n")
        values = {"uuid": self.place.host_uuid, "address": self.place.address}
        (folder / "libvirt/libvirtd.conf").write_text(LIBVIRTD_CONF.format(**values))
        found = ", ".join(f'"{name}"' for name in cgroups.for_libvirt())
        controllers = f"cgroup_controllers = [ {found} ]"
        (folder / "libvirt/qemu.conf").write_text(
            QEMU_CONF.format(controllers=controllers, **values)
        )

    def power_on(self) -> None:
        """Begin to come up; `wait_up` waits for it. What the host had on its disk is there again."""
        place = self.place
        if self.pid:
            raise LabFailed(f"{self.name} is on already")
        (place.folder / "up").unlink(missing_ok=True)
        joins = cgroups.make(self.name)
        script = (
            # /sys is still the machine's, which may have an eth0 of its own.
            "until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done; "
            f'exec bash "{HERE}/host_init.sh"'
        )
        command = [
            *(
                "bash",
                "-c",
                joins + 'exec "$@"',
                "join",
                "unshare",
                "--net",
                "--mount",
                "--uts",
                "--ipc",
                "--cgroup",
            ),
            *("--pid", "--fork", "--kill-child=KILL", "bash", "-c", script),
        ]
        processes.start(place.pid_file, command, place.folder / "host.log", self._environ())
        wait_for(f"{self.name} has namespaces", self._apart, UP_LIMIT_S)
        self._plug()

    def _environ(self) -> dict[str, str]:
        return self.environ() | {
            "HOST": str(self.place.folder), "LAB": str(ROOT), "IMAGES": str(IMAGES), "SHARED": SHARED,
            "LOCKS": LOCKS,
            "GUEST": GUEST_IMAGES, "CONSOLES": CONSOLES, "ADDRESS": self.place.address, "NAME": self.name,
        }  # fmt: skip

    def _apart(self) -> bool:
        if not processes.pid_of(self.place.pid_file):
            raise LabFailed(f"{self.name} ended: {self.log()}")
        pid = self.pid
        return bool(pid) and processes.namespace(pid, "net") not in (
            "",
            processes.namespace(os.getpid(), "net"),
        )

    def _plug(self) -> None:
        """A cable from the switch to the host's eth0."""
        switch = ["nsenter", "-t", str(processes.pid_of(SWITCH_PID_FILE)), "-n", "ip", "link"]
        port = self.place.port
        subprocess.run(
            [*switch, "del", port], capture_output=True, check=False, timeout=COMMAND_LIMIT_S
        )
        for args in (
            ["add", port, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid)],
            ["set", port, "master", "lab0", "up"],
        ):
            subprocess.run([*switch, *args], check=True, timeout=COMMAND_LIMIT_S)

    def wait_up(self) -> None:
        def up() -> bool:
            if not self.pid:
                raise LabFailed(f"{self.name} ended while coming up: {self.log()}")
            # First its network: until then its files are not its own yet.
            if not (self.place.folder / "up").exists():
                return False
            return self.run("virsh", "-q", "uri", check=False).returncode == 0

        try:
            wait_for(f"libvirtd of {self.name} answers", up, UP_LIMIT_S)
        except LabFailed as error:
            raise LabFailed(f"{error}\n{self.log()}\n{self.libvirtd_log()[-3000:]}") from None

    def crash(self) -> None:
        """All its processes are gone at once; what it had written to its disk is there at the next `power_on`."""
        if processes.end(self.place.pid_file):
            cgroups.remove(self.name)

    def log(self) -> str:
        return _text(self.place.folder / "host.log")[-2000:]

    def libvirtd_log(self) -> str:
        return _text(self.place.folder / "own/var/log/libvirt/libvirtd.log")

    # -- working on it -----------------------------------------------------

    @staticmethod
    def environ() -> dict[str, str]:
        """What a shell on the host has; its PATH has this project's xsm and xsmd."""
        keep = {key: os.environ[key] for key in ("TERM", "XSM_CI_RUN", "CI") if key in os.environ}
        path = f"{BIN}:{HERE}/agents:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return keep | {
            "PATH": path,
            "HOME": "/root",
            "TMPDIR": "/var/tmp",
            "LANG": "C.UTF-8",
            "COLUMNS": "110",
        }

    def command(self, *command: str) -> list[str]:
        """The command, to be run on the host: in its namespaces and control groups, as root in /root."""
        pid = self.pid
        if not pid:
            raise LabFailed(f"{self.name} is off")
        inside = ["sh", "-c", 'cd /root && exec "$@"', "sh", *command]
        return [
            *("bash", "-c", cgroups.joins(self.name) + 'exec "$@"', "join"),
            *("nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "-C", "--", *inside),
        ]

    def run(
        self, *command: str, check: bool = True, limit_s: float = COMMAND_LIMIT_S,
        env: Mapping[str, str] | None = None, stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Raises `LabFailed` when it fails and `check` is set."""
        more: dict[str, object] = (
            {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        )
        done = subprocess.run(
            self.command(*command), env=self.environ() | dict(env or {}), capture_output=True, text=True,
            check=False, timeout=limit_s, **more,  # type: ignore[call-overload]
        )  # fmt: skip
        if check and done.returncode != 0:
            said = f"{done.stdout}{done.stderr}"
            raise LabFailed(
                f"`{' '.join(command)}` on {self.name} ended with {done.returncode}:\n{said}"
            )
        return done

    def xsm(self, *args: str, check: bool = True, limit_s: float = COMMAND_LIMIT_S) -> str:
        """`xsm ARGS`; both outputs."""
        done = self.run("xsm", *args, check=check, limit_s=limit_s)
        return done.stdout + done.stderr

    def virsh(self, *args: str, check: bool = True) -> str:
        return self.run("virsh", "-q", *args, check=check).stdout.strip()

    # -- its daemons -----------------------------------------------------

    def daemon_pid(self, daemon: str) -> int:
        """Of `xsmd`, `libvirtd`: as this machine numbers it; 0 when there is none."""
        pid_file = Path(f"/proc/{self.pid}/root/run/{daemon}.pid")
        if not self.pid or not pid_file.exists():
            return 0
        inner = pid_file.read_text().strip()
        return next(
            (p for p in processes.in_namespace_of(self.pid) if _number_inside(p) == inner), 0
        )

    def kill_daemon(self, daemon: str) -> None:
        """kill -9 of `xsmd` or `libvirtd`."""
        self._end_daemon(daemon, signal.SIGKILL)

    def stop_daemon(self, daemon: str) -> None:
        """What a supervisor's stop does: SIGTERM."""
        self._end_daemon(daemon, signal.SIGTERM)

    def _end_daemon(self, daemon: str, sig: signal.Signals) -> None:
        pid = self.daemon_pid(daemon)
        started = processes.start_time(pid) if pid else ""
        if not started:
            raise LabFailed(f"no {daemon} runs on {self.name}")
        processes.kill(pid, started, sig)

    def start_libvirtd(self) -> None:
        self.run("libvirtd", "--listen", "--daemon", "--pid-file", "/run/libvirtd.pid")
        self.wait_up()

    def set_up_libvirt_tls(self) -> None:
        """As a user does on a host without systemd."""
        self.xsm("host", "libvirt-tls", "--yes")
        self.stop_daemon("libvirtd")
        wait_for(
            f"libvirtd of {self.name} ends", lambda: not self.daemon_pid("libvirtd"), UP_LIMIT_S
        )
        self.start_libvirtd()

    def start_xsmd(self, more: str = "") -> None:
        """As docs/operations.md says for hosts without systemd. `more`: shell assignments for its environment."""
        log = ">>/var/log/xsmd.log 2>&1 </dev/null"
        self.run("sh", "-c", f"{more}setsid xsmd {log} & echo $! >/run/xsmd.pid")

        def answers() -> bool:
            if not self.daemon_pid("xsmd"):
                raise LabFailed(f"xsmd on {self.name} ended: {self.xsmd_log()[-3000:]}")
            return self.run("xsm", "status", "-o", "json", check=False).returncode == 0

        wait_for(f"xsmd on {self.name} answers", answers, UP_LIMIT_S)

    def xsmd_log(self) -> str:
        return _text(self.place.inside("/var/log/xsmd.log"))

    def remove(self) -> None:
        """Off, and its disk gone."""
        self.crash()
        shutil.rmtree(self.place.folder, ignore_errors=True)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _number_inside(pid: int) -> str:
    """The process's number in the innermost namespace; "" when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return next(line.split()[-1] for line in text.splitlines() if line.startswith("NSpid:"))


def host(name: str) -> LabHost:
    if name not in HOSTS:
        raise LabFailed(f"there is no host {name}; hosts: {', '.join(HOSTS)}")
    return LabHost(HOSTS[name])


def all_hosts(names: Sequence[str] = tuple(HOSTS)) -> list[LabHost]:
    return [host(name) for name in names]
