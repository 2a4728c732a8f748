"""The demo's hosts: for each a private libvirtd, an xsmd, a loopback address and a folder of its own.

Decides how hosts are made, killed and brought back. What the demo shows is `story.py`'s. Everything is reached as a
user would: through the programs `xsm` and `xsmd`, and libvirt for the truth.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import libvirt

from xsm.demo.hosts import PrivateLibvirtd
from xsm.demo.relays import Place, Relays

COMMAND_LIMIT_S = 60.0
WAIT_LIMIT_S = 20.0
POLL_S = 0.05
BIN = Path(sys.executable).parent


class DemoFailed(Exception):
    """Something is not as it should be. The message says what was expected and what was seen."""


@dataclass
class DemoHost:
    """One host on the stage."""

    name: str
    address: str  # what DOM0 says
    place: Place
    folder: Path
    libvirtd: PrivateLibvirtd
    keeper: libvirt.virConnect | None = (
        None  # the test driver's domains live while a connection is open
    )
    xsmd: subprocess.Popen[bytes] | None = None
    logs: list[Path] = field(default_factory=list)
    environment: dict[str, str] = field(
        default_factory=dict
    )  # what programs get on this host alone, beside what all get

    @property
    def config(self) -> Path:
        return self.folder / "xsmd.toml"

    @property
    def checkout(self) -> Path:
        return self.folder / "site"


def free_ports(ip: str, count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    sockets = []
    for _ in range(count):
        sock = socket.socket()
        sock.bind((ip, 0))
        sockets.append(sock)
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def wait_for(what: str, condition: Callable[[], bool], limit_s: float = WAIT_LIMIT_S) -> float:
    """Wait until something is so; gives the seconds that it took. Raises `DemoFailed` after the limit."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > limit_s:
            raise DemoFailed(f"not within {limit_s:.0f} s: {what}")
        time.sleep(POLL_S)
    return time.monotonic() - started


class Stage:
    """Four hosts dmz01..dmz04, their network, and the user's own working copy of the site."""

    def __init__(
        self, names: tuple[str, ...] = ("dmz01", "dmz02", "dmz03", "dmz04"), serf: bool = False
    ) -> None:
        self.serf = serf
        # Short: socket paths may have about 100 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="xsm-demo-", dir="/tmp"))
        self.hosts: dict[str, DemoHost] = {}
        for number, name in enumerate(names, start=1):
            ip = f"127.0.5.{100 + number}"
            listen_port, relay_port = free_ports(ip, 2)
            folder = self.folder / name
            folder.mkdir()
            self.hosts[name] = DemoHost(
                name=name,
                address=f"192.168.5.{100 + number}",
                place=Place(name, ip, listen_port, relay_port),
                folder=folder,
                libvirtd=PrivateLibvirtd(folder / "v"),
            )
        self.relays = Relays({name: host.place for name, host in self.hosts.items()})

    # -- hosts -----------------------------------------------------

    def power_on(self, name: str) -> None:
        """The host's hypervisor comes up (empty: libvirt's test driver remembers nothing)."""
        host = self.hosts[name]
        host.libvirtd.start()
        host.keeper = libvirt.open(host.libvirtd.uri)

    def make_by_hand(self, name: str, domain: str) -> None:
        """`virsh create`: a running domain that is not the site's."""
        keeper = self.hosts[name].keeper
        assert keeper is not None
        keeper.createXML(
            f"<domain type='test'><name>{domain}</name><memory unit='MiB'>64</memory>"
            "<os><type>hvm</type></os></domain>"
        )

    def _say_serf(self, host: DemoHost) -> None:
        """Sites on one machine need ports of their own. And a demo's cuts are made in its relays, which Serf goes past:
        only who asks for it has it."""
        text = host.config.read_text()
        if "\nserf = " not in text:
            port = free_ports(host.place.ip, 1)[0]
            wish = f'serf = "on"\nserf_port = {port}\n' if self.serf else 'serf = "off"\n'
            host.config.write_text(text + wish)

    def start_xsmd(self, name: str) -> None:
        host = self.hosts[name]
        self._say_serf(host)
        log = host.folder / "xsmd.log"
        with log.open("ab") as stream:
            host.xsmd = subprocess.Popen(
                [str(BIN / "xsmd"), "--config", str(host.config)],
                env={**os.environ, **host.environment},
                stdout=stream,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        socket_path = host.folder / "xsmd.sock"

        def up() -> bool:
            assert host.xsmd is not None
            if host.xsmd.poll() is not None:
                raise DemoFailed(f"xsmd on {name} ended: {log.read_text()[-2000:]}")
            return (
                socket_path.exists()
                and self.run(name, "status", "-o", "json", check=False).returncode == 0
            )

        wait_for(f"xsmd on {name} answers", up)

    def kill_xsmd(self, name: str) -> None:
        """kill -9."""
        xsmd = self.hosts[name].xsmd
        if xsmd is not None:
            xsmd.kill()
            xsmd.wait()
            self.hosts[name].xsmd = None

    def power_off(self, name: str) -> None:
        """The whole host is gone at once: its hypervisor with all guests, and its xsmd."""
        host = self.hosts[name]
        self.kill_xsmd(name)
        host.libvirtd.kill()
        host.keeper = None

    def close(self) -> None:
        """End everything that this stage started."""
        for host in self.hosts.values():
            if host.xsmd is not None:
                host.xsmd.send_signal(signal.SIGTERM)
        for host in self.hosts.values():
            if host.xsmd is not None:
                try:
                    host.xsmd.wait(10)
                except subprocess.TimeoutExpired:
                    host.xsmd.kill()
                    host.xsmd.wait()
            host.keeper = None
            host.libvirtd.stop()
        self.relays.stop()

    # -- commands -----------------------------------------------------

    def environ(self, name: str) -> dict[str, str]:
        """What a shell on that host would have."""
        host = self.hosts[name]
        own = {"XSM_CONFIG": str(host.config), "COLUMNS": "110"}
        return {**os.environ, **own, **host.environment}

    def own_options(self, name: str) -> tuple[str, ...]:
        """What `xsm init` and `xsm join` are told of that host."""
        host = self.hosts[name]
        place = host.place
        return (
            "--name", name, "--address", host.address, "--listen", f"{place.ip}:{place.listen_port}",
            "--url", f"https://{place.ip}:{place.relay_port}", "--uri", host.libvirtd.uri,
            "--data", str(host.folder / "data"), "--checkout", str(host.checkout),
            "--control-socket", str(host.folder / "xsmd.sock"),
        )  # fmt: skip

    def witness_options(self, name: str) -> tuple[str, ...]:
        """The same for one that is to be a witness."""
        options = self.own_options(name)
        uri = options.index("--uri")
        return (*options[:uri], *options[uri + 2 :], "--witness")

    def run(self, name: str, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`xsm ARGS` on a host. Raises `DemoFailed` when it fails and `check` is set."""
        result = subprocess.run(
            [str(BIN / "xsm"), *args],
            env=self.environ(name),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if check and result.returncode != 0:
            raise DemoFailed(
                f"`xsm {' '.join(args)}` on {name} ended with {result.returncode}:\n{result.stdout}{result.stderr}"
            )
        return result

    # -- the truth -----------------------------------------------------

    def domains(self, name: str) -> dict[str, libvirt.virDomain]:
        """All domains of a host by libvirt's own word, through the connection that keeps it alive."""
        keeper = self.hosts[name].keeper
        if keeper is None:
            return {}
        return {d.name(): d for d in keeper.listAllDomains()}

    def running_on(self, vm: str) -> list[str]:
        """Hosts on which libvirt says that the VM is active."""
        return [
            name
            for name in self.hosts
            if (domain := self.domains(name).get(vm)) is not None and domain.isActive()
        ]

    def memory_mib(self, name: str, vm: str) -> int:
        return int(self.domains(name)[vm].info()[2]) // 1024

    def vcpus(self, name: str, vm: str) -> int:
        return int(self.domains(name)[vm].info()[3])
