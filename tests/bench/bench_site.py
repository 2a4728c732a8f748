"""A site of N xsmd processes on loopback, made in seconds: certificates and history are written, not negotiated.

Decides how a bench's site is made, started, asked and ended. A host's hypervisor is libvirt's test driver inside its
xsmd (a `test:///FILE` URI), so that no libvirtd takes part in what is measured; a bench that wants one names its URI.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.bench.processes import cpu_s
from xsm.api.types import Event, Proposal
from xsm.cli.client import Client
from xsm.cli.failures import Failure
from xsm.demo.stage import free_ports
from xsm.edge import ca
from xsm.edge.register_file import RegisterFile
from xsm.edge.repository import Repository
from xsm.edge.settings import Settings, write_settings
from xsm.peer.edit import Surroundings, edit
from xsm.site.document import Files
from xsm.site.state import Member, State

BIN = Path(sys.executable).parent
START_LIMIT_S = 90.0
"""32 daemons on two busy cores, and greetings that go round all of them."""
STOP_LIMIT_S = 20.0
POLL_S = 0.02
AUTHOR = "Bench <bench@xsm.invalid>"

CONFIG = b"""\
type = "pv"
kernel = "/boot/vmlinuz-xen"
maxmem = 4096
maxvcpus = 4
disk = ["/srv/xen/web.img,raw,xvda,r"]
"""
EMPTY_NODE = """\
<node>
  <memory>67108864</memory>
  <cpu><nodes>2</nodes><sockets>2</sockets><cores>8</cores><threads>2</threads><active>64</active><mhz>2000</mhz></cpu>
  <domain type='test'><name>not-ours</name><memory>65536</memory><os><type>hvm</type></os></domain>
</node>
"""


class BenchFailed(Exception):
    """A bench can't be run; the text says what was expected."""


@dataclass
class BenchHost:
    settings: Settings
    config: Path
    xsmd: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def client(self) -> Client:
        return Client(str(self.settings.socket))

    @property
    def pid(self) -> int:
        assert self.xsmd is not None
        return self.xsmd.pid


def wait_for(what: str, condition: Callable[[], bool], limit_s: float = START_LIMIT_S) -> float:
    """Until something is so; the seconds that it took. Raises `BenchFailed` after the limit."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > limit_s:
            raise BenchFailed(f"not within {limit_s:.0f} s: {what}")
        time.sleep(POLL_S)
    return time.monotonic() - started


def pause(seconds: float) -> None:
    """Nothing is done for a while: what is measured is what the daemons do by themselves."""
    time.sleep(seconds)


def vm_entry(name: str, host: str, memory_mib: int = 64) -> str:
    return (
        f'    <VM name="{name}" config="web"><DOM0>{host}</DOM0><VCPUS>1</VCPUS><IP>DHCP</IP>'
        f"<MEM>{memory_mib}</MEM></VM>\n"
    )


def site_files(vms: Mapping[str, tuple[str, int]]) -> Files:
    """A site of one set. `vms`: name -> (host, MiB)."""
    entries = "".join(vm_entry(name, host, mib) for name, (host, mib) in sorted(vms.items()))
    text = (
        '<XSMConfig>\n  <Set name="web">\n    <Owner>root@domain.com</Owner>\n'
        + entries
        + "  </Set>\n</XSMConfig>\n"
    )
    return {"site.xml": text.encode(), "configs/web.cfg": CONFIG}


class BenchSite:
    """`uris`: host -> libvirt URI, for those that aren't to have their hypervisor inside."""

    def __init__(
        self, names: Sequence[str], files: Files, uris: Mapping[str, str] | None = None
    ) -> None:
        # Short: socket paths may have about 100 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="xsm-bench-", dir="/tmp"))
        self.names = tuple(names)
        self.hosts: dict[str, BenchHost] = {}
        self._make(files, uris or {})

    # -- making -----------------------------------------------------

    def _make(self, files: Files, uris: Mapping[str, str]) -> None:
        for number, name in enumerate(self.names, start=1):
            self.hosts[name] = self._host(name, f"127.77.0.{number}", uris.get(name, ""))
        members = {
            h.name: Member(h.name, h.settings.address, h.settings.url) for h in self.hosts.values()
        }
        state = State(site_id=str(uuid.uuid4()), members=members)
        self._certify(state.site_id)
        now = time.time()
        edited = edit(files, "", files, "", files, Surroundings({}, {}, now), state)
        first, *others = self.hosts.values()
        repository = Repository.create(first.settings.repository_dir, first.settings.socket)
        try:
            commit = repository.write_commit(edited.files, (), AUTHOR, int(now), "A bench's site")
            repository.set_heads((commit.id,), commit.id)
        finally:
            repository.close()
        for host in others:
            shutil.copytree(first.settings.repository_dir, host.settings.repository_dir)
        for host in self.hosts.values():
            RegisterFile.create(host.settings.votes_path).close()
            write_settings(host.settings, host.config)

    def _host(self, name: str, ip: str, uri: str) -> BenchHost:
        folder = self.folder / name
        (folder / "data" / "tls").mkdir(parents=True, mode=0o700)
        if not uri:
            node = folder / "hypervisor.xml"
            node.write_text(EMPTY_NODE)
            uri = f"test://{node}"
        port = free_ports(ip, 1)[0]
        settings = Settings(
            name=name,
            address=ip,
            listen=f"{ip}:{port}",
            url=f"https://{ip}:{port}",
            libvirt_uri=uri,
            data_dir=folder / "data",
            checkout_dir=folder / "site",
            socket=folder / "xsmd.sock",
            serf="off",
        )
        return BenchHost(settings, folder / "xsmd.toml")

    def _certify(self, site_id: str) -> None:
        authority, now = None, time.time()
        for host in self.hosts.values():
            if authority is None:
                authority = ca.create_ca(host.settings.tls_dir, site_id, now)
            files = ca.peer_files(host.settings.tls_dir)
            ca.create_key(files.key)
            csr_pem = ca.create_csr(files.key, host.name)
            pem = authority.issue_peer(csr_pem, host.name, host.settings.address, now)
            ca.install(files, authority.pem, pem)

    # -- life -----------------------------------------------------

    def start(self) -> None:
        """Start all daemons; returns when all see all alive and nothing is left to do."""
        for name in self.names:
            self.start_xsmd(name)
        self.wait_settled()

    def start_xsmd(self, name: str) -> None:
        host = self.hosts[name]
        with (self.folder / name / "xsmd.log").open("ab") as log:
            host.xsmd = subprocess.Popen(
                [str(BIN / "xsmd"), "--config", str(host.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop_xsmd(self, name: str) -> None:
        host = self.hosts[name]
        if host.xsmd is not None:
            host.xsmd.send_signal(signal.SIGTERM)
            _end(host.xsmd)
            host.xsmd = None

    def close(self) -> None:
        running = [host for host in self.hosts.values() if host.xsmd is not None]
        for host in running:
            assert host.xsmd is not None
            host.xsmd.send_signal(signal.SIGTERM)
        for host in running:
            assert host.xsmd is not None
            _end(host.xsmd)
            host.xsmd = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_settled(self) -> None:
        for name in self.names:
            wait_for(f"{name} sees a settled site", lambda name=name: self.settled(name))  # type: ignore[misc]

    def settled(self, name: str) -> bool:
        host = self.hosts[name]
        if host.xsmd is not None and host.xsmd.poll() is not None:
            log = (self.folder / name / "xsmd.log").read_text()[-2000:]
            raise BenchFailed(f"xsmd on {name} ended: {log}")
        try:
            status = host.client.status()
        except Failure:
            return False
        return status.converged and all(m.reach == "alive" for m in status.members)

    # -- edits -----------------------------------------------------

    def proposal(self, files: Files) -> Proposal:
        return Proposal({"site.xml": base64.b64encode(files["site.xml"]).decode()}, message="Edit")

    def taken_at(self, name: str, revision: str) -> float | None:
        """When a host had taken up a revision, by its own journal (wall clock, after it was on disk); None: not yet.

        Reading the journal asks nothing of the host, so that measuring does not disturb.
        """
        path = self.hosts[name].settings.events_path
        mark = f"=> {revision[:10]}"
        for line in reversed(_tail(path)):
            event = msgspec.json.decode(line, type=Event)
            if event.host == name and event.kind == "revision" and mark in event.message:
                return event.at
        return None

    def followed(self, revision: str) -> bool:
        """Whether all checkouts are on a revision, by their files."""
        heads = (h.settings.checkout_dir / ".git/refs/heads/main" for h in self.hosts.values())
        return all(head.exists() and head.read_text().strip() == revision for head in heads)

    def cpu_s(self) -> dict[str, float]:
        """CPU time that each daemon has used so far, its ended children's included."""
        return {name: cpu_s(host.pid) for name, host in self.hosts.items() if host.xsmd}


TAIL_BYTES = 16_384


def _tail(path: Path) -> list[bytes]:
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - TAIL_BYTES))
        lines = stream.read().split(b"\n")
    return [line for line in lines if line.startswith(b"{") and line.endswith(b"}")]


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def running(
    names: Sequence[str], files: Files, uris: Mapping[str, str] | None = None
) -> Iterator[BenchSite]:
    site = BenchSite(names, files, uris)
    try:
        site.start()
        yield site
    finally:
        site.close()


def host_names(count: int) -> tuple[str, ...]:
    return tuple(f"h{number:02d}" for number in range(1, count + 1))
