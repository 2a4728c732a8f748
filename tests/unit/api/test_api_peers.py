"""Hosts that talk with one another, and one that joins: the real client against the real server."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from running_server import QUICK, Pki, Running, free_port, make_pki, settings_for
from small_control import HEAD, SmallControl

from xsm.api.server import ApiServer
from xsm.api.types import Applied, Command, JoinAnswer, JoinRequest, Verb
from xsm.edge import ca
from xsm.edge.invitations import Invitations, TokenRefused
from xsm.edge.joining import join
from xsm.edge.tls import client_context
from xsm.edge.transport import PARALLEL_LIMIT, PeerClient, PeerRefused, PeerUnreachable
from xsm.plan.observed import HostReport
from xsm.site.state import Member


@pytest.fixture
async def client(running: Running) -> AsyncIterator[PeerClient]:
    """dmz02 as it asks others."""
    client = PeerClient(running.tls("dmz02", "peer"), connect_timeout_s=0.5, total_timeout_s=1.5)
    yield client
    await client.close()


def member(running: Running, name: str = "dmz01") -> Member:
    return Member(name, "127.0.0.1", running.settings.url)


async def unreachable(client: PeerClient, whom: Member) -> str:
    with pytest.raises(PeerUnreachable) as caught:
        await client.get_heads(whom)
    assert caught.value.member == whom.name
    return caught.value.reason


async def test_all_that_peers_say(running: Running, client: PeerClient) -> None:
    dmz01 = member(running)
    b, c = "b" * 40, "c" * 64
    await client.post_messages(dmz01, b"\x00\xff")
    assert await client.post_pack(dmz01, (b, c), b"PACK" * 300_000) == (b, c, HEAD)
    assert await client.fetch(dmz01, (b,), (c,)) == b"PACK" + b.encode()
    assert await client.get_heads(dmz01) == (HEAD,)
    assert await client.get_report(dmz01) == HostReport("dmz01", 1.5, HEAD)
    assert running.control.asked == [
        ("messages", "dmz02", b"\x00\xff"),
        ("pack", "dmz02", (b, c), b"PACK" * 300_000),
        ("fetch", "dmz02", (b,), (c,)),
        ("heads",),
        ("report",),
    ]


async def test_as_many_heads_as_there_may_be(running: Running, client: PeerClient) -> None:
    heads = tuple(f"{number:040x}" for number in range(256))
    assert (await client.post_pack(member(running), heads, b""))[:-1] == heads


async def test_a_command_that_is_another_hosts(running: Running, client: PeerClient) -> None:
    command = Command(Verb.ADOPT, host="dmz01")
    assert await client.post(member(running), "/v1/command", command, Applied) == Applied(HEAD, ())
    name, asked, caller = running.control.asked[0]
    assert (name, asked, caller.name, caller.role) == ("command", command, "dmz02", "peer")


async def test_one_connection_is_kept_open(running: Running, client: PeerClient) -> None:
    for _ in range(5):
        await client.get_heads(member(running))
    runner = running.server._runners[1]
    assert len(runner.server.connections) == 1


async def test_a_connection_closed_for_its_age_is_opened_again(
    running: Running, client: PeerClient
) -> None:
    await client.post_messages(member(running), b"1")
    runner = running.server._runners[1]
    async with asyncio.timeout(5):
        while runner.server.connections:
            await asyncio.sleep(0.05)
    await client.post_messages(member(running), b"2")
    assert [asked[2] for asked in running.control.asked] == [b"1", b"2"]


async def test_a_no_is_told_from_no_answer(running: Running, client: PeerClient) -> None:
    with pytest.raises(PeerRefused) as caught:
        await client.get(member(running), "/v1/why/vm9", Applied)
    assert (caught.value.status, caught.value.refusal.code) == (404, "unknown")
    assert str(caught.value) == "dmz01: the site has no VM 'vm9' (it has: vm1)"


async def test_more_than_one_member_takes_at_once_waits(
    running: Running, client: PeerClient
) -> None:
    running.control.go_on.clear()
    asks = [
        asyncio.ensure_future(client.get(member(running), "/v1/status", dict)) for _ in range(9)
    ]
    async with asyncio.timeout(5):
        while len(running.control.asked) < PARALLEL_LIMIT:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert len(running.control.asked) == PARALLEL_LIMIT
    running.control.go_on.set()
    assert len(await asyncio.gather(*asks)) == 9


# --- why somebody can't be reached ---------------------------------------------------------------


async def test_nobody_listens(client: PeerClient) -> None:
    nobody = Member("dmz03", "127.0.0.1", f"https://127.0.0.1:{free_port()}")
    assert "nobody listens" in await unreachable(client, nobody)


async def test_no_answer_in_time(running: Running, client: PeerClient) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        reason = await unreachable(client, Member("dmz03", "127.0.0.1", url))
    assert "in time" in reason
    running.control.go_on.clear()
    with pytest.raises(PeerUnreachable, match="did not answer in time"):
        await client.get(member(running), "/v1/status", dict)
    running.control.go_on.set()


async def test_another_host_at_its_address(running: Running, client: PeerClient) -> None:
    reason = await unreachable(client, member(running, "dmz03"))
    assert reason == f"not the right host: another one answers at {running.settings.url}"


async def test_the_right_name_on_a_kept_connection(running: Running, client: PeerClient) -> None:
    """A connection that was made to dmz01 is not used for a dmz03 with the same URL."""
    await client.get_heads(member(running))
    assert "not the right host" in await unreachable(client, member(running, "dmz03"))


async def test_names_that_differ_in_case_only(running: Running, client: PeerClient) -> None:
    assert "not the right host" in await unreachable(client, member(running, "DMZ01"))


@pytest.mark.parametrize(
    ("age_s", "words"),
    [
        (ca.LEAF_VALIDITY_S + 7200, "has expired by this host's clock (20"),
        (-2 * 86400.0, "is not valid yet by this host's clock (20"),
    ],
)
async def test_its_certificate_is_of_another_time(
    tmp_path: Path, pki: Pki, client: PeerClient, age_s: float, words: str
) -> None:
    settings = settings_for(tmp_path / "old", pki, "dmz04")
    past = pki.files("dmz04", "peer", time.time() - age_s)
    (settings.tls_dir / "peer.pem").write_bytes(past.certificate.read_bytes())
    (settings.tls_dir / "peer.key").write_bytes(past.key.read_bytes())
    async with ApiServer(settings, SmallControl(), limits=QUICK):
        reason = await unreachable(client, Member("dmz04", "127.0.0.1", settings.url))
    assert words in reason


async def test_it_is_of_another_site(tmp_path: Path, client: PeerClient) -> None:
    other = make_pki(tmp_path / "other")
    settings = settings_for(tmp_path / "b", other, "dmz01")
    async with ApiServer(settings, SmallControl(), limits=QUICK):
        reason = await unreachable(client, Member("dmz01", "127.0.0.1", settings.url))
    assert "not from this site's CA" in reason


@pytest.mark.parametrize(
    ("age_s", "words"),
    [
        (0.0, "not issued by this site's CA"),
        (ca.LEAF_VALIDITY_S + 7200.0, "expired on"),
        (-2 * 86400.0, "is this host's clock right?"),
    ],
)
async def test_it_does_not_accept_our_certificate(
    running: Running, tmp_path: Path, age_s: float, words: str
) -> None:
    pki = running.pki if age_s else make_pki(tmp_path / "other")
    own = pki.files("dmz02", "peer", time.time() - age_s)
    tls = client_context(replace(own, ca=running.pki.folder / "ca.pem"))
    client = PeerClient(tls)
    reason = await unreachable(client, member(running))
    await client.close()
    assert "this host's own certificate is no good" in reason
    assert words in reason


async def test_what_answers_does_not_speak_tls(client: PeerClient) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert "does not speak TLS" in await unreachable(client, Member("d", "127.0.0.1", url))


async def test_an_answer_that_makes_no_sense(running: Running, client: PeerClient) -> None:
    with pytest.raises(PeerUnreachable, match="can't be understood"):
        await client.get(member(running), "/v1/peer/heads", Applied)


# --- joining -------------------------------------------------------------------------------------


class JoiningControl(SmallControl):
    """Answers joins as the daemon does."""

    def __init__(self, authority: ca.Authority, folder: Path) -> None:
        super().__init__()
        self.authority = authority
        self.invitations = Invitations(folder, authority.fingerprint, "dmz01")

    async def join(self, request: JoinRequest) -> JoinAnswer:
        self._note("join", request)
        name = self.invitations.redeem(request.token, time.time(), "key")
        pem = self.authority.issue_peer(request.csr_pem, name, request.address, time.time())
        return JoinAnswer(self.authority.pem, pem, "site-1", ("https://127.0.0.1:1",))


async def test_a_host_joins(tmp_path: Path, pki: Pki) -> None:
    settings = settings_for(tmp_path, pki)
    control = JoiningControl(pki.authority, settings.invitations_dir)
    token = control.invitations.create("dmz05", settings.url, time.time()).token
    files = ca.peer_files(tmp_path / "dmz05")
    with pytest.raises(TokenRefused, match="for dmz05, not for dmz06"):
        await join(token, "dmz06", "127.0.0.1", "https://127.0.0.1:2", files)
    async with ApiServer(settings, control, limits=QUICK):
        await join(token, "dmz05", "127.0.0.1", "https://127.0.0.1:2", files)
        assert ca.verify(files, time.time()).name == "dmz05"
        client = PeerClient(client_context(files))
        dmz01 = Member("dmz01", "127.0.0.1", settings.url)
        await client.post_messages(dmz01, b"hello")
        await client.close()
    assert control.asked[-1] == ("messages", "dmz05", b"hello")


async def test_nothing_is_sent_to_a_host_of_another_site(tmp_path: Path, pki: Pki) -> None:
    """Somebody took over the address that the token names."""
    other = make_pki(tmp_path / "other")
    settings = settings_for(tmp_path, other)
    invitations = Invitations(tmp_path / "i", pki.authority.fingerprint, "dmz01")
    token = invitations.create("dmz05", settings.url, time.time()).token
    control = SmallControl()
    async with ApiServer(settings, control, limits=QUICK):
        with pytest.raises(ca.CertificateRefused, match="another fingerprint"):
            await join(token, "dmz05", "a", "https://a:1", ca.peer_files(tmp_path / "dmz05"))
    assert control.asked == []


async def test_a_client_can_not_pose_as_a_host(tmp_path: Path, pki: Pki) -> None:
    """With a viewer's certificate one can show the right CA, but not serve."""
    settings = settings_for(tmp_path, pki)
    viewer = pki.files("dmz01", "viewer")
    (settings.tls_dir / "peer.pem").write_bytes(viewer.certificate.read_bytes())
    (settings.tls_dir / "peer.key").write_bytes(viewer.key.read_bytes())
    invitations = Invitations(tmp_path / "i", pki.authority.fingerprint, "dmz01")
    token = invitations.create("dmz05", settings.url, time.time()).token
    control = SmallControl()
    async with ApiServer(settings, control, limits=QUICK):
        with pytest.raises(PeerUnreachable):
            await join(token, "dmz05", "a", "https://a:1", ca.peer_files(tmp_path / "dmz05"))
    assert control.asked == []
