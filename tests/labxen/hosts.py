"""One Xen host of the lab: a machine that QEMU emulates, with Xen, a Domain-0 and libvirtd in it.

Decides how it comes up and how one works on it: by ssh, through a port of this machine's loopback. Must not know the
site, nor what the cases want.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab import processes
from tests.lab.processes import LabFailed, wait_for
from tests.labxen.image import Image
from tests.labxen.places import HOSTS, ROOT, HostPlace

UP_LIMIT_S = 300.0
"""For Xen, Domain-0 and libvirtd to come up: 35 s on two idle cores, with both hosts at once and much else many times
that."""
COMMAND_LIMIT_S = 180.0
MEMORY_MIB, DOM0_MIB, CPUS = 1536, 768, 2
CPU = "max,-smap,-smep,-la57,-xsave,-avx,-avx2,-fma,-f16c,-pku,-mpx,-vaes,-rdtscp"
"""What Xen runs on under emulation: SMAP crashes Domain-0, AVX with Xen's lazy FPU corrupts data silently, RDTSCP
crashes PVH guests."""
XEN_ARGUMENTS = (
    f"dom0_mem={DOM0_MIB}M,max:{DOM0_MIB}M dom0_max_vcpus=1 console=com1 com1=115200,8n1 noreboot sched=credit "
    "loglvl=info guest_loglvl=warning spec-ctrl=no,eager-fpu xpti=no pv-l1tf=no pcid=no tsx=no watchdog=0"
)
LINUX_ARGUMENTS = (
    "console=hvc0 loglevel=4 mitigations=off nokaslr random.trust_cpu=on audit=0 selinux=0 apparmor=0 nmi_watchdog=0 "
    "tsc=nowatchdog xsm.name={name} xsm.address={address}"
)
READY = "READY"
XSMD_SOCKET = "/run/xsm/xsmd.sock"
LIBVIRT_SOCKET = "/run/libvirt/libvirt-sock"
BIN = Path(sys.executable).parent
PANICS = ("Panic on CPU", "Kernel panic")
ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 COLUMNS=110"
)


class XenHost:
    """One host. What it knows is on disk and in /proc, so that any process of this machine may make one."""

    def __init__(self, place: HostPlace, image: Image) -> None:
        self.place = place
        self.image = image
        self.name = place.name

    # -- power -----------------------------------------------------

    @property
    def is_on(self) -> bool:
        return processes.pid_of(self.place.pid_file) != 0

    def make_disk(self) -> None:
        """A disk of its own, which it keeps over crashes."""
        self.place.folder.mkdir(parents=True)
        subprocess.run(
            ["cp", "--sparse=always", "--reflink=auto", str(self.image.disk), str(self.place.disk)],
            check=True,
            timeout=COMMAND_LIMIT_S,
        )

    def power_on(self) -> None:
        """Begin to come up; `wait_up` waits for it."""
        if self.is_on:
            raise LabFailed(f"{self.name} is on already")
        self.place.log.unlink(missing_ok=True)
        self._socket("link").unlink(missing_ok=True)
        processes.start(self.place.pid_file, self._command(), self.place.folder / "qemu.log")

    def _socket(self, what: str) -> Path:
        return self.place.folder / what

    def _command(self) -> list[str]:
        place, image = self.place, self.image
        linux = LINUX_ARGUMENTS.format(name=place.name, address=place.address).replace(",", ",,")
        (other,) = (each for each in HOSTS.values() if each.name != place.name)
        nic = "virtio-net-pci,romfile=,netdev={},mac=52:54:00:00:{:02x}:{:02x}"
        return [
            "qemu-system-x86_64", "-M", "pc,accel=tcg", "-cpu", CPU, "-smp", str(CPUS), "-m", str(MEMORY_MIB),
            "-nodefaults", "-display", "none", "-no-reboot", "-uuid", place.uuid, "-name", place.name,
            "-kernel", str(image.xen), "-append", XEN_ARGUMENTS,
            "-initrd", f"{image.kernel} {linux},{image.initrd}",
            "-serial", f"file:{place.log}",
            "-drive", f"file={place.disk},format=raw,if=none,id=d0,cache=unsafe", "-device", "virtio-blk-pci,drive=d0",
            "-drive", f"file={ROOT / 'xsm.ext4'},format=raw,if=none,id=d1,readonly=on",
            "-device", "virtio-blk-pci,drive=d1",
            "-netdev", f"user,id=way,restrict=on,hostfwd=tcp:127.0.0.1:{place.ssh_port}-:22",
            "-device", nic.format("way", 0, place.number),
            "-netdev", f"dgram,id=link,local.type=unix,local.path={self._socket('link')},"
            f"remote.type=unix,remote.path={other.folder / 'link'}",
            "-device", nic.format("link", 1, place.number),
            "-device", "virtio-rng-pci",
            "-qmp", f"unix:{self._socket('qmp')},server=on,wait=off",
        ]  # fmt: skip

    def wait_up(self) -> float:
        """Until its libvirtd answers; gives the seconds."""

        def up() -> bool:
            said = self.log()
            trouble = [word for word in PANICS if word in said]
            if trouble or not self.is_on:
                raise LabFailed(
                    f"{self.name}: {trouble[0] if trouble else 'QEMU ended'}\n{said[-3000:]}"
                )
            return READY in said

        try:
            took = wait_for(f"{self.name} is up", up, UP_LIMIT_S)
        except LabFailed as error:
            raise LabFailed(f"{error}\n{self.log()[-3000:]}") from None
        self._connect()
        return took

    def crash(self) -> None:
        """Its power is gone. What it had written to its disk is there at the next `power_on`."""
        self._disconnect()
        processes.end(self.place.pid_file)

    def log(self) -> str:
        return self.place.log.read_text(errors="replace") if self.place.log.exists() else ""

    def remove(self) -> None:
        """Off, and its disk gone."""
        self.crash()
        shutil.rmtree(self.place.folder, ignore_errors=True)

    # -- its cable -----------------------------------------------------

    def cut(self) -> None:
        """Pull its cable to the other host."""
        self._tell_qemu("set_link", name="link", up=False)

    def plug(self) -> None:
        self._tell_qemu("set_link", name="link", up=True)

    def _tell_qemu(self, command: str, **arguments: Any) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(COMMAND_LIMIT_S)
            connection.connect(str(self._socket("qmp")))
            stream = connection.makefile("rw")
            stream.readline()  # its greeting
            for each in (
                {"execute": "qmp_capabilities"},
                {"execute": command, "arguments": arguments},
            ):
                stream.write(json.dumps(each) + "\n")
                stream.flush()
                while "return" not in (answer := json.loads(stream.readline())):
                    if "error" in answer:
                        raise LabFailed(f"QEMU of {self.name} refused {command}: {answer['error']}")

    # -- working on it -----------------------------------------------------

    def ssh(self, *more: str) -> list[str]:
        """How one gets in; all commands share one connection."""
        return [
            "ssh", "-i", str(self.image.key), "-p", str(self.place.ssh_port), "-S", str(self._socket("ssh")),
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "ConnectTimeout=60", "-o", "BatchMode=yes", *more, "root@127.0.0.1",
        ]  # fmt: skip

    def _connect(self) -> None:
        self._disconnect()
        log = self.place.folder / "ssh.log"
        ways = []
        for name, path in (("xsmd", XSMD_SOCKET), ("libvirt", LIBVIRT_SOCKET)):
            self._socket(name).unlink(missing_ok=True)
            ways += ["-L", f"{self._socket(name)}:{path}"]
        processes.start(self._socket("ssh.pid"), self.ssh("-N", "-M", *ways), log)

        def connected() -> bool:
            if not processes.pid_of(self._socket("ssh.pid")):
                raise LabFailed(f"ssh to {self.name} ended: {log.read_text()[-1000:]}")
            return self._socket("ssh").exists()

        wait_for(f"{self.name} lets us in", connected, COMMAND_LIMIT_S)

    def _disconnect(self) -> None:
        processes.end(self._socket("ssh.pid"))
        self._socket("ssh").unlink(missing_ok=True)

    def run(
        self,
        *command: str,
        check: bool = True,
        limit_s: float = COMMAND_LIMIT_S,
        stdin: bytes = b"",
    ) -> subprocess.CompletedProcess[str]:
        """A command in Domain-0, as root in /root. Raises `LabFailed` when it fails and `check` is set."""
        if not self.is_on:
            raise LabFailed(f"{self.name} is off")
        line = f"env {ENVIRONMENT} {shlex.join(command)}"
        done = subprocess.run(
            [*self.ssh("-o", "ControlMaster=no"), line], input=stdin, capture_output=True, check=False,
            timeout=limit_s, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        said = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check and done.returncode != 0:
            told = f"`{' '.join(command)}` on {self.name} ended with {done.returncode}"
            raise LabFailed(f"{told}:\n{said[0]}{said[1]}")
        return subprocess.CompletedProcess(command, done.returncode, *said)

    def ask_xsm(
        self, *args: str, limit_s: float = COMMAND_LIMIT_S
    ) -> subprocess.CompletedProcess[str]:
        """`xsm ARGS`, on this machine: it speaks with the host's xsmd through its socket, by way of ssh. Emulated, each
        command would take ten seconds to begin."""
        command = [str(BIN / "xsm"), "--socket", str(self._socket("xsmd")), *args]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=limit_s, stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": str(self.place.folder), "COLUMNS": "110"},
        )  # fmt: skip

    def xsm(self, *args: str, limit_s: float = COMMAND_LIMIT_S) -> str:
        """`xsm ARGS` as above; both outputs. Raises `LabFailed` when it fails."""
        done = self.ask_xsm(*args, limit_s=limit_s)
        if done.returncode != 0:
            told = f"`xsm {' '.join(args)}` for {self.name} ended with {done.returncode}"
            raise LabFailed(f"{told}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def json(self, *args: str) -> Any:
        done = self.ask_xsm(*args, "-o", "json")
        if done.returncode != 0:
            raise LabFailed(f"`xsm {' '.join(args)}` for {self.name}: {done.stderr}")
        return json.loads(done.stdout)

    def clone(self) -> Path:
        """A fresh clone of the site, on this machine."""
        folder = self.place.folder / "site"
        shutil.rmtree(folder, ignore_errors=True)
        shell = shlex.join(self.ssh("-o", "ControlMaster=no")[:-1])
        url = f"ssh://root@127.0.0.1:{self.place.ssh_port}/var/lib/xsm/site.git"
        subprocess.run(
            ["git", "clone", "-q", url, str(folder)], check=True, timeout=COMMAND_LIMIT_S,
            env={"PATH": os.environ["PATH"], "GIT_SSH_COMMAND": shell, "HOME": str(self.place.folder)},
        )  # fmt: skip
        return folder

    def virsh(self, *args: str, check: bool = True) -> str:
        return self.run("virsh", "-q", *args, check=check).stdout.strip()

    def xl(self, *args: str, check: bool = True) -> str:
        """Xen's own word, past libvirt and XSM."""
        return self.run("xl", *args, check=check).stdout

    # -- its daemons -----------------------------------------------------

    @property
    def libvirt_uri(self) -> str:
        """Its libvirtd, from this machine."""
        return f"xen+unix:///system?socket={self._socket('libvirt')}"

    def start_libvirtd(self, *more: str) -> None:
        self.run("libvirtd", "--listen", "--daemon", "--pid-file", "/run/libvirtd.pid", *more)
        self._until(f"test -S {LIBVIRT_SOCKET} && virsh -q uri >/dev/null")

    def stop_libvirtd(self) -> None:
        pid = self.run("cat", "/run/libvirtd.pid").stdout.strip()
        self._until(f"! kill {pid} 2>/dev/null")

    def _until(self, condition: str) -> None:
        """Until the shell there says that it is so. It looks by itself: each command from outside costs a second."""
        self.run(
            "timeout",
            str(UP_LIMIT_S),
            "sh",
            "-c",
            f"until {condition}; do sleep 1; done",
            limit_s=2 * UP_LIMIT_S,
        )

    def set_up_libvirt_tls(self) -> None:
        """As a user does on a host without systemd."""
        self.run("xsm", "host", "libvirt-tls", "--yes")
        self.stop_libvirtd()
        self.start_libvirtd()

    def start_xsmd(self) -> None:
        """As docs/operations.md says for hosts without systemd."""
        log = ">>/var/log/xsmd.log 2>&1 </dev/null"
        self.run("rm", "-f", XSMD_SOCKET)
        self.run("sh", "-c", f"setsid xsmd {log} & echo $! >/run/xsmd.pid")

        self._until(f"test -S {XSMD_SOCKET} || ! kill -0 $(cat /run/xsmd.pid)")
        wait_for(f"xsmd on {self.name} answers", self._xsmd_answers, UP_LIMIT_S)

    def _xsmd_answers(self) -> bool:
        if self.run("sh", "-c", "kill -0 $(cat /run/xsmd.pid)", check=False).returncode != 0:
            raise LabFailed(f"xsmd on {self.name} ended: {self.xsmd_log()[-3000:]}")
        return self.ask_xsm("status", "-o", "json").returncode == 0

    def kill_xsmd(self) -> None:
        self.run("sh", "-c", "kill -9 $(cat /run/xsmd.pid)")

    def xsmd_log(self) -> str:
        return self.run("cat", "/var/log/xsmd.log", check=False).stdout


def all_hosts(image: Image, names: Sequence[str] = tuple(HOSTS)) -> list[XenHost]:
    return [XenHost(HOSTS[name], image) for name in names]
