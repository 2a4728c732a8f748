"""The whole lab: hosts and switch up, a site made by the documented commands, everything gone again.

Decides the order of things, and what is left of a lab that was killed. Must not know the cases.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab import cgroups, guest, processes
from tests.lab.hosts import LabHost, all_hosts
from tests.lab.places import HOSTS, PROJECT, ROOT, SWITCH_PID_FILE, workers_roots
from tests.lab.processes import LabFailed, wait_for

WHOLE_LIMIT_S = 180.0
"""For four daemons that start on two busy cores, with room for a claim or a fetch that is tried again."""
COMMAND_LIMIT_S = 30.0
BY_HAND, BY_SUITE = "by hand", "by the suite"
TOOLS = (
    "qemu-system-x86_64",
    "libvirtd",
    "virsh",
    "bindfs",
    "busybox",
    "unshare",
    "nsenter",
    "ip",
    "qemu-img",
)


class Lab:
    """The lab on this machine. What it knows is on disk and in /proc: any process may make one."""

    def __init__(self) -> None:
        self.hosts = {host.name: host for host in all_hosts()}

    def __getitem__(self, name: str) -> LabHost:
        return self.hosts[name]

    # -- up and down -----------------------------------------------------

    def up(self, purpose: str = BY_HAND, say: Callable[[str], None] = lambda _text: None) -> None:
        """Hosts with libvirt, no site yet. Raises `LabFailed`; then nothing is left."""
        _check_machine()
        guest.ensure()
        if ROOT.exists():
            if self.purpose() == BY_HAND:
                raise LabFailed(f"the lab at {ROOT} is up already; `make lab-down` ends it")
            say("a lab was left behind by a suite that was killed; ending it first")
            self.down()
        try:
            with processes.turn(ROOT):
                self._begin(purpose)
            for host in self.hosts.values():
                host.power_on()
            self._each(LabHost.wait_up)
        except BaseException:
            self.down()
            raise

    def _begin(self, purpose: str) -> None:
        for folder in ("pids", "hosts", "shared/disks"):
            (ROOT / folder).mkdir(parents=True)
        (ROOT / "purpose").write_text(purpose)
        cgroups.prepare()
        for host in self.hosts.values():
            host.place.folder.mkdir()
            host.write_files()
        command = [
            "unshare",
            "--net",
            "sh",
            "-c",
            "ip link add lab0 type bridge && ip link set lab0 up && exec sleep infinity",
        ]
        processes.start(SWITCH_PID_FILE, command, ROOT / "switch.log")
        wait_for(
            "the switch is up",
            lambda: _in_switch("ip", "link", "show", "up", "lab0"),
            COMMAND_LIMIT_S,
        )

    def down(self) -> bool:
        """Everything gone: processes, namespaces with their mounts and bridges, control groups, files. Again and again
        the same; tells whether there was anything."""
        if not ROOT.exists():
            return False
        with processes.turn(ROOT):
            for host in self.hosts.values():
                processes.end(host.place.pid_file)
            processes.end(SWITCH_PID_FILE)
            cgroups.remove()
            mounts = Path("/proc/mounts").read_text().splitlines()
            left = [line for line in mounts if line.split()[1].startswith(f"{ROOT}/")]
            if left:
                raise LabFailed(f"still mounted, nothing removed: {'; '.join(left)}")
            shutil.rmtree(ROOT)
        return True

    def is_up(self) -> bool:
        return ROOT.exists() and all(host.pid for host in self.hosts.values())

    @staticmethod
    def purpose() -> str:
        path = ROOT / "purpose"
        return path.read_text() if path.exists() else BY_SUITE

    def _each(self, what: Callable[[LabHost], object]) -> None:
        """On all hosts at once; the first failure is raised when all have ended."""
        with ThreadPoolExecutor(len(self.hosts)) as pool:
            for future in [pool.submit(what, host) for host in self.hosts.values()]:
                future.result()

    # -- the network -----------------------------------------------------

    def cut(self, name: str) -> None:
        """Pull the host's cable."""
        _switch("ip", "link", "set", HOSTS[name].port, "down")

    def plug(self, name: str) -> None:
        _switch("ip", "link", "set", HOSTS[name].port, "up")

    @contextmanager
    def split(self, *names: str) -> Iterator[None]:
        """These hosts reach one another, and the others one another, and nobody the other half."""
        _switch("ip", "link", "add", "lab1", "type", "bridge")
        _switch("ip", "link", "set", "lab1", "up")
        try:
            for name in names:
                _switch("ip", "link", "set", HOSTS[name].port, "master", "lab1")
            yield
        finally:
            for name in names:
                _in_switch("ip", "link", "set", HOSTS[name].port, "master", "lab0")
            _in_switch("ip", "link", "del", "lab1")

    @contextmanager
    def slow(self, name: str, mbit: int = 60) -> Iterator[None]:
        """What the host receives comes no faster than that: a migration to it lasts. QEMU's own limit is not used for
        it: with that, QEMU 7.2 under TCG lost pages of guests that write."""
        port = HOSTS[name].port
        rate = ("rate", f"{mbit}mbit", "burst", "64k", "latency", "50ms")
        _switch("tc", "qdisc", "add", "dev", port, "root", "tbf", *rate)
        try:
            yield
        finally:
            # A host that crashed meanwhile has taken its cable's end along, and has a new one.
            _in_switch("tc", "qdisc", "del", "dev", port, "root")

    # -- a site -----------------------------------------------------

    def make_site(self) -> None:
        """By the documented commands: `xsm init` on the first host, `xsm invite` there and `xsm join` on the others;
        libvirt's TLS on each."""
        first, *others = self.hosts.values()
        first.xsm("init", *own_options(first))
        first.set_up_libvirt_tls()
        first.start_xsmd()
        for host in others:
            token = json.loads(first.run("xsm", "invite", host.name, "-o", "json").stdout)["token"]
            host.xsm("join", token, *own_options(host))
            host.set_up_libvirt_tls()
            host.start_xsmd()
        self.wait_whole()

    def wait_whole(self, names: tuple[str, ...] = tuple(HOSTS)) -> float:
        """Until each of these hosts sees all of them alive, on one revision; gives the seconds."""
        return wait_for(
            f"{', '.join(names)} see each other, on one revision",
            lambda: self._whole(names),
            WHOLE_LIMIT_S,
        )

    def _whole(self, names: tuple[str, ...]) -> bool:
        seen = [self.status(name) for name in names]
        if not all(seen):
            return False
        alive = all(
            m["reach"] == "alive"
            for status in seen
            for m in status["members"]
            if m["name"] in names
        )
        return alive and len({status["revision"] for status in seen}) == 1

    def status(self, name: str) -> dict[str, Any]:
        """`xsm status` of a host; empty while its xsmd doesn't answer."""
        done = self.hosts[name].run("xsm", "status", "-o", "json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else {}


def end_workers_labs() -> bool:
    """Those of pytest's workers, which Ctrl-C kills; tells whether there was any."""
    roots = workers_roots()
    for root in roots:
        command = [sys.executable, "-m", "tests.lab", "down"]
        done = subprocess.run(
            command, env=os.environ | {"XSM_LAB": str(root)}, cwd=PROJECT, capture_output=True,
            text=True, check=False, timeout=WHOLE_LIMIT_S,
        )  # fmt: skip
        if done.returncode != 0:
            raise LabFailed(f"{root}: {done.stderr.strip()}")
    return bool(roots)


def own_options(host: LabHost) -> list[str]:
    """What `xsm init` and `xsm join` are told of the host."""
    return ["--name", host.name, "--address", host.place.address, "--uri", "qemu:///system"]


def _in_switch(*command: str) -> bool:
    pid = processes.pid_of(SWITCH_PID_FILE)
    if not pid or processes.namespace(pid, "net") == processes.namespace(os.getpid(), "net"):
        return False
    full = ["nsenter", "-t", str(pid), "-n", *command]
    done = subprocess.run(full, capture_output=True, check=False, timeout=COMMAND_LIMIT_S)
    return done.returncode == 0 and (b"lab0" in done.stdout or "show" not in command)


def _switch(*command: str) -> None:
    if not _in_switch(*command):
        raise LabFailed(f"the switch refused `{' '.join(command)}`")


def why_not() -> str:
    """Why this machine lets nobody make hosts of namespaces, "" when it does: some containers don't."""
    try:
        _check_machine()
    except LabFailed as error:
        return str(error)
    tries = (
        "ip link add lab0 type bridge && mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && "
        "mknod /mnt/fuse c 10 229 && exec 3<>/mnt/fuse && mkdir /mnt/l /mnt/u /mnt/w /mnt/o && "
        "mount -t overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w overlay /mnt/o"
    )
    command = [
        "unshare",
        *["--net", "--mount", "--uts", "--ipc", "--cgroup", "--pid", "--fork", "sh", "-ec"],
        tries,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=COMMAND_LIMIT_S
    )
    return "" if done.returncode == 0 else done.stderr.strip() or "no namespaces"


def _check_machine() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise LabFailed("the lab needs root, for namespaces and mounts")
    missing = [
        tool
        for tool in TOOLS
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None
    ]
    if missing:
        raise LabFailed(
            f"missing: {', '.join(missing)}; `make lab-setup` installs what the lab needs"
        )
