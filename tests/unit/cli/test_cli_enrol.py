"""init and join: a host's pieces on disk, made whole or not at all; join against a real HTTPS
server.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from tests.unit.cli import paper_site as paper
from tests.unit.cli.canned import Ran, run_xsm
from xsm.api.types import JoinAnswer, JoinRequest, Refusal
from xsm.cli.starting import next_steps
from xsm.edge import ca
from xsm.edge.invitations import Invitations
from xsm.edge.register_file import RegisterFile
from xsm.edge.repository import Repository
from xsm.edge.settings import Settings, places, read_settings
from xsm.edge.tls import server_context
from xsm.edge.transport import Fetch, Heads
from xsm.peer.register import Register, to_entry
from xsm.site.document import load

KNOWN = Register(3, "dmz01", frozenset({"dmz01"}), bar=2, held=3, attempts=4)
"""What the inviting host knows of vm1's claims."""


def host_args(base: Path, name: str, *more: str) -> list[str]:
    return [
        "--config", str(base / "xsmd.toml"), "--name", name, "--address", "127.0.0.1",
        "--listen", "127.0.0.1:18701", "--uri", "test:///default", "--data", str(base / "data"),
        "--checkout", str(base / "site"), "--control-socket", str(base / "s.sock"), *more,
    ]  # fmt: skip


def init(base: Path, *more: str) -> Ran:
    return run_xsm("init", *host_args(base, "dmz01", *more))


def settings_in(base: Path) -> Settings:
    return read_settings(base / "xsmd.toml", places({}, 0))


def contents(base: Path) -> list[str]:
    return sorted(p.name for p in base.rglob("*") if p.is_file())


def test_init_makes_every_piece(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.mktemp("host")
    ran = run_xsm("init", str(folder), *host_args(base, "dmz01"))
    assert (ran.code, "error" in ran.err) == (0, False)
    assert ran.out.startswith("A new site, with dmz01 as its first host.\n")
    started, asked = ran.out.splitlines()[-2:]
    assert f"xsmd --config {base}/xsmd.toml  # stays in the foreground" in started
    assert f"xsm --config {base}/xsmd.toml status" in asked
    settings = settings_in(base)
    assert (settings.name, settings.libvirt_uri) == ("dmz01", "test:///default")
    assert settings.url == "https://127.0.0.1:18701"
    identity = ca.verify(ca.peer_files(settings.tls_dir), time.time())
    assert (identity.name, identity.role) == ("dmz01", "peer")
    repository = Repository.open(settings.repository_dir)
    try:
        main = repository.main()
        assert main is not None
        assert repository.heads() == (main,)
        files = repository.files(main)
        assert repository.verify() == ()
    finally:
        repository.close()
    assert files["site.xml"] == (folder / "site.xml").read_bytes()
    document = load(files)
    assert sorted(document.state.members) == ["dmz01"]
    assert document.state.members["dmz01"].url == settings.url
    assert document.state.site_id == ca.load_ca(settings.tls_dir).site_id
    votes = RegisterFile(settings.votes_path)
    assert votes.load() == {}
    votes.close()
    assert (base / "site" / "site.xml").read_bytes() == files["site.xml"]


def test_init_without_a_file_makes_an_empty_site(tmp_path: Path) -> None:
    ran = init(tmp_path, "-o", "json")
    assert ran.code == 0
    told = ran.json()
    assert isinstance(told, dict)
    assert told["members"] == ["dmz01"]
    assert (tmp_path / "site" / "site.xml").read_text() == "<XSMConfig>\n</XSMConfig>\n"


def test_init_refuses_a_host_that_has_a_site(tmp_path: Path) -> None:
    assert init(tmp_path).code == 0
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    ran = init(tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("xsm: this host belongs to a site already: ")
    (tmp_path / "xsmd.toml").rename(tmp_path / "old.toml")
    assert "site.git is there" in init(tmp_path).err
    (tmp_path / "old.toml").rename(tmp_path / "xsmd.toml")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_init_of_something_invalid_leaves_nothing(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("host")
    (folder / "site.xml").write_text("<XSMConfig><Sett/></XSMConfig>")
    ran = run_xsm("init", str(folder), *host_args(base, "dmz01"))
    assert ran.code == 2
    assert ran.err.startswith(f"{folder}/site.xml:1: error: ")
    assert contents(base) == []


def test_init_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    """The settings can't be written: everything made before goes again."""
    (tmp_path / "blocked").write_text("")
    ran = run_xsm(
        "init", *host_args(tmp_path, "dmz01"), "--config", str(tmp_path / "blocked" / "xsmd.toml")
    )
    assert ran.code == 1
    assert "Traceback" not in ran.err
    assert contents(tmp_path) == ["blocked", "votes.journal.lock"]


def test_init_does_not_take_over_a_folder(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine").write_text("")
    ran = init(tmp_path)
    assert ran.code == 2
    assert f"{tmp_path}/site is there already" in ran.err
    assert contents(tmp_path) == ["mine"]


def test_impossible_options_are_told_all_at_once(tmp_path: Path) -> None:
    ran = init(tmp_path, "--name", "a b", "--address", "!", "--listen", "here")
    assert ran.code == 2
    assert [line.split(": ")[0] for line in ran.err.splitlines()] == [
        "--address",
        "--listen",
        "--name",
    ]
    assert contents(tmp_path) == []
    assert "Missing option '--name'" in run_xsm("init").err


def test_a_setting_is_named_as_its_option(tmp_path: Path) -> None:
    ran = init(tmp_path, "--control-socket", "/" + "x" * 120)
    assert ran.err.startswith("--control-socket: error: longer than 100 bytes")


def test_a_witness_is_one_from_the_beginning(tmp_path: Path) -> None:
    ran = init(tmp_path, "--witness")
    assert (ran.code, contents(tmp_path)) == (2, [])
    assert "--witness and --uri contradict each other" in ran.err
    args = host_args(tmp_path, "dmz01", "--witness")
    uri = args.index("--uri")
    assert run_xsm("init", *args[:uri], *args[uri + 2 :]).code == 0
    settings = settings_in(tmp_path)
    assert settings.is_witness and settings.witness_path.exists()
    assert "libvirt_uri" not in (tmp_path / "xsmd.toml").read_text()


def test_the_next_steps_fit_the_host(tmp_path: Path) -> None:
    unit = places({}, 0).config
    assert next_steps(unit, systemd=tmp_path)[0] == "systemctl enable --now xsmd"
    assert "no systemd here" in next_steps(unit, systemd=tmp_path / "none")[0]
    mine = tmp_path / "my own.toml"
    start, ask = next_steps(mine, systemd=tmp_path)
    assert f"xsmd --config '{mine}'  # stays in the foreground: see" in start
    assert f"xsm --config '{mine}' status" in ask


def test_the_help_tells_the_defaults() -> None:
    for command in ("init", "join"):
        text = " ".join(run_xsm(command, "--help").out.split())
        for default in ("/var/lib/xsm;", "/etc/xsm/site;", "/run/xsm/xsmd.sock;", "--config FILE"):
            assert default in text, (command, default)


# --- join ---------------------------------------------------------------------------------------


class Inviter:
    """The first host, as far as a joining one talks to it: real TLS, real tokens, a real
    repository.
    """

    def __init__(self, base: Path) -> None:
        self.settings = settings_in(base)
        self.authority = ca.load_ca(self.settings.tls_dir)
        self.invitations = Invitations(
            self.settings.invitations_dir, self.authority.fingerprint, "dmz01"
        )
        self.repository = Repository.open(self.settings.repository_dir)
        self.url = ""
        self.fetches_fail = False
        self.asked: list[str] = []

    def token(self, name: str = "dmz02") -> str:
        return self.invitations.create(name, self.url, time.time()).token

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        match request.path:
            case "/v1/ca":
                return web.Response(text=self.authority.pem)
            case "/v1/join":
                return self._join(msgspec.json.decode(await request.read(), type=JoinRequest))
            case "/v1/peer/heads":
                return self._json(Heads(self.repository.heads()))
            case "/v1/peer/fetch":
                if self.fetches_fail:
                    return self._json(Refusal("busy", "too much to do"), 503)
                fetch = msgspec.json.decode(await request.read(), type=Fetch)
                return web.Response(body=self.repository.pack(fetch.want, fetch.have))
            case "/v1/peer/registers":
                return self._json({"vm1": to_entry(KNOWN)})
        return self._json(Refusal("unknown", "no such route"), 404)

    def _join(self, request: JoinRequest) -> web.Response:
        now = time.time()
        name = self.invitations.redeem(request.token, now, "key")
        certificate = self.authority.issue_peer(request.csr_pem, name, request.address, now)
        return self._json(
            JoinAnswer(self.authority.pem, certificate, self.authority.site_id, (self.url,))
        )

    def _json(self, value: object, status: int = 200) -> web.Response:
        return web.Response(body=msgspec.json.encode(value), status=status)


@contextmanager
def answering(inviter: Inviter) -> Iterator[None]:
    """Serve on a free port, in a thread with a loop of its own."""
    loop = asyncio.new_event_loop()
    app = web.Application(client_max_size=1 << 20)
    app.router.add_route("*", "/{path:.*}", inviter.answer)
    runner = web.AppRunner(app)
    tls = server_context(ca.peer_files(inviter.settings.tls_dir))

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        inviter.url = f"https://127.0.0.1:{runner.addresses[0][1]}"

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        inviter.repository.close()


@pytest.fixture
def inviter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inviter]:
    base = tmp_path_factory.mktemp("first")
    assert run_xsm("init", str(folder), *host_args(base, "dmz01")).code == 0
    inviting = Inviter(base)
    with answering(inviting):
        yield inviting


@pytest.fixture
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("second")


def test_join_gets_a_certificate_and_all_of_the_history(inviter: Inviter, second: Path) -> None:
    ran = run_xsm("join", inviter.token(), *host_args(second, "dmz02"))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("dmz02 is a member of the site.\n")
    assert ran.out.endswith(
        "Until xsmd runs here, the site counts this host as absent: a majority needs one host more.\n"
    )
    settings = settings_in(second)
    assert ca.verify(ca.peer_files(settings.tls_dir), time.time()).name == "dmz02"
    assert not (settings.tls_dir / "ca.key").exists()
    repository = Repository.open(settings.repository_dir)
    try:
        assert repository.main() == inviter.repository.main()
        assert repository.verify() == ()
    finally:
        repository.close()
    expected = paper.SITE_XML.replace(b">96<", b">128<")
    assert (second / "site" / "site.xml").read_bytes() == expected
    votes = RegisterFile(settings.votes_path)
    # No blank voter: it knows who may run vm1; what the other host holds and has barred is not its own.
    assert votes.load() == {"vm1": to_entry(Register(3, "dmz01", frozenset({"dmz01"})))}
    votes.close()


def test_a_token_is_good_once_and_for_one_name(inviter: Inviter, second: Path) -> None:
    token = inviter.token("dmz03")
    ran = run_xsm("join", token, *host_args(second, "dmz02"))
    assert (ran.code, ran.err) == (2, "xsm: the token is for dmz03, not for dmz02\n")
    assert contents(second) == []
    assert run_xsm("join", "rubbish", *host_args(second, "dmz02")).code == 2


def test_a_host_of_a_site_does_not_join_another(inviter: Inviter, second: Path) -> None:
    assert run_xsm("join", inviter.token(), *host_args(second, "dmz02")).code == 0
    ran = run_xsm("join", inviter.token(), *host_args(second, "dmz02"))
    assert ran.code == 2
    assert "belongs to a site already" in ran.err


def test_a_join_whose_fetch_failed_can_be_given_again(inviter: Inviter, second: Path) -> None:
    token = inviter.token()
    inviter.fetches_fail = True
    ran = run_xsm("join", token, *host_args(second, "dmz02"))
    assert ran.code == 1
    assert "dmz01: too much to do" in ran.err
    assert not (second / "xsmd.toml").exists()
    inviter.fetches_fail = False
    assert run_xsm("join", token, *host_args(second, "dmz02")).code == 0
    assert inviter.asked.count("/v1/join") == 1


def test_nothing_is_told_to_a_host_of_another_site(
    inviter: Inviter, second: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    assert init(other).code == 0
    stranger = Inviter(other)
    stranger.url = inviter.url
    token = stranger.token()
    stranger.repository.close()
    ran = run_xsm("join", token, *host_args(second, "dmz02"))
    assert ran.code == 1
    assert "Nothing was sent to it" in ran.err
    assert inviter.asked == ["/v1/ca"]


def test_nobody_there_to_join(inviter: Inviter, second: Path) -> None:
    inviter.url = "https://127.0.0.1:9"
    ran = run_xsm("join", inviter.token(), *host_args(second, "dmz02"))
    assert ran.code == 1
    assert "nobody listens at https://127.0.0.1:9" in ran.err
    assert "the same command may be given again" in ran.err


# --- certificate --------------------------------------------------------------------------------


def certificate(folder: Path, *args: str) -> Ran:
    config = str(folder / "xsmd.toml")
    return run_xsm("certificate", *args, "--output", str(folder / "alice"), "--config", config)


def test_a_person_gets_a_certificate_with_a_role(tmp_path: Path) -> None:
    assert init(tmp_path).code == 0
    ran = certificate(tmp_path, "alice", "--role", "operator")
    assert ran.code == 0, ran.err
    folder = tmp_path / "alice"
    files = ca.TlsFiles(folder / "site-ca.pem", folder / "alice.pem", folder / "alice.key")
    known = ca.verify(files, time.time())
    assert (known.name, known.role) == ("alice", "operator")
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert "git -c http.sslCAInfo=" in ran.out and "/git/site.git" in ran.out


def test_a_certificate_replaces_none(tmp_path: Path) -> None:
    assert init(tmp_path).code == 0
    assert certificate(tmp_path, "alice").code == 0
    before = (tmp_path / "alice" / "alice.key").read_bytes()
    ran = certificate(tmp_path, "alice")
    assert ran.code == 2 and "is there already" in ran.err
    assert (tmp_path / "alice" / "alice.key").read_bytes() == before


def test_only_the_host_with_the_ca_makes_certificates(tmp_path: Path) -> None:
    assert init(tmp_path).code == 0
    (tmp_path / "data" / "tls" / "ca.key").rename(tmp_path / "ca.key")
    ran = certificate(tmp_path, "alice")
    assert ran.code == 1 and "CA key" in ran.err
    assert not (tmp_path / "alice").exists()
