"""Fixtures: a site's CA, one xsmd's server on loopback, and clients with every kind of
certificate."""

import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from small_control import SmallControl

from xsm.api.server import ApiServer, Limits
from xsm.edge import ca
from xsm.edge.settings import Settings
from xsm.edge.tls import client_context, pinned_context

QUICK = Limits(idle_s=0.6, body_silence_s=0.5, body_s=2.0, handshake_s=1.0, gate_wait_s=0.3,
heartbeat_s=0.2,
               write_s=1.0, git_s=20.0, stop_s=1.0, connections=64)  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Pki:
    """The CA and what was issued by it. `files`: a certificate for a name and a role."""

    folder: Path
    authority: ca.Authority

    def files(self, name: str, role: str, now: float | None = None) -> ca.TlsFiles:
        now = time.time() if now is None else now
        here = self.folder / f"{name}-{role}-{int(now)}"
        here.mkdir(exist_ok=True)
        files = ca.peer_files(here)
        ca.create_key(files.key)
        csr = ca.create_csr(files.key, name)
        if role == "peer":
            pem = self.authority.issue_peer(csr, name, "127.0.0.1", now)
        else:
            pem = self.authority.issue_client(csr, name, role, now)
        ca.install(files, self.authority.pem, pem)
        return files


def make_pki(folder: Path, site_id: str = "site-1") -> Pki:
    folder.mkdir(exist_ok=True)
    return Pki(folder, ca.create_ca(folder, site_id, time.time()))


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("ca"))


@dataclass(frozen=True)
class Running:
    settings: Settings
    control: SmallControl
    server: ApiServer
    pki: Pki

    def tls(self, name: str, role: str) -> ssl.SSLContext:
        return client_context(self.pki.files(name, role))

    def anonymous(self) -> ssl.SSLContext:
        return pinned_context(self.pki.authority.pem)


def settings_for(folder: Path, pki: Pki, name: str = "dmz01") -> Settings:
    data = folder / "data"
    tls = data / "tls"
    tls.mkdir(parents=True)
    issued = pki.files(name, "peer")
    for file, target in (("ca.pem", issued.ca), ("peer.pem", issued.certificate)):
        (tls / file).write_bytes(target.read_bytes())
    (tls / "peer.key").write_bytes(issued.key.read_bytes())
    port = free_port()
    return Settings(
        name=name,
        address="127.0.0.1",
        listen=f"127.0.0.1:{port}",
        url=f"https://127.0.0.1:{port}",
        libvirt_uri="test:///default",
        data_dir=data,
        checkout_dir=folder / "site",
        socket=folder / "xsmd.sock",
    )


@pytest.fixture
async def running(tmp_path: Path, pki: Pki) -> AsyncIterator[Running]:
    settings = settings_for(tmp_path, pki)
    control = SmallControl()
    server = ApiServer(
        settings, control, admits=lambda caller, _path: caller.name != "forgotten", limits=QUICK
    )
    async with server:
        yield Running(settings, control, server, pki)


@pytest.fixture
async def local(running: Running) -> AsyncIterator[aiohttp.ClientSession]:
    """Over the unix socket."""
    connector = aiohttp.UnixConnector(str(running.settings.socket))
    async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
        yield session


Remote = Callable[[str, str], aiohttp.ClientSession]


@pytest.fixture
async def remote(running: Running) -> AsyncIterator[Remote]:
    """remote(name, role): over HTTPS with that certificate; role "": with none."""
    sessions: list[aiohttp.ClientSession] = []

    def make(name: str, role: str) -> aiohttp.ClientSession:
        tls = running.tls(name, role) if role else running.anonymous()
        session = aiohttp.ClientSession(
            running.settings.url, connector=aiohttp.TCPConnector(ssl=tls)
        )
        sessions.append(session)
        return session

    yield make
    for session in sessions:
        await session.close()
