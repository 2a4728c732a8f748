"""What comes from those who mean harm, or don't know better, is refused and costs little."""

import asyncio
import contextlib
import json
import logging
import ssl
import time
from pathlib import Path

import aiohttp
import pytest
from running_server import QUICK, Remote, Running, make_pki
from small_control import invalid_site

from xsm.api.access import MIB
from xsm.edge import ca
from xsm.edge.durable import write_secret
from xsm.edge.tls import client_context


async def refusal(response: aiohttp.ClientResponse) -> dict[str, object]:
    assert response.headers["X-XSM-Version"] == "1"
    body = await response.json()
    assert body["code"] and body["message"]
    return dict(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"files": 5}',
        b'{"files": {"a": 1}}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
async def test_a_malformed_body(local: aiohttp.ClientSession, body: bytes) -> None:
    async with local.post("/v1/apply", data=body) as response:
        assert response.status == 400
        answer = await refusal(response)
        assert answer["code"] == "bad-request"
        assert "Proposal" in str(answer["hint"])


async def test_unknown_fields_are_ignored(running: Running, local: aiohttp.ClientSession) -> None:
    async with local.post("/v1/apply", json={"files": {}, "of_the_next_version": 1}) as response:
        assert response.status == 200
    assert running.control.applied == 1


@pytest.mark.parametrize(
    "path",
    [
        "/v1/history?limit=0",
        "/v1/history?limit=-1",
        "/v1/history?limit=x",
        "/v1/history?limit=99999999999999999999999",
        "/v1/events?since=1.5",
        "/v1/events?follow=yes",
        "/v1/revision/--upload-pack=x",
        "/v1/files?revision=-rf",
        "/v1/revision/a%20b",
    ],
)
async def test_a_wrong_query(running: Running, local: aiohttp.ClientSession, path: str) -> None:
    async with local.get(path) as response:
        assert response.status == 400, await response.text()
        await refusal(response)
    assert running.control.asked == []


async def test_unknown_paths_and_methods(local: aiohttp.ClientSession) -> None:
    async with local.get("/v2/status") as response:
        assert (response.status, (await refusal(response))["code"]) == (404, "unknown")
    async with local.delete("/v1/status") as response:
        assert (response.status, (await refusal(response))["code"]) == (405, "bad-request")


async def test_wrong_heads_of_a_delivery(running: Running, remote: Remote) -> None:
    session = remote("dmz02", "peer")
    for heads in ("", "HEAD", "a" * 39, "--exec=x", ",".join(["a" * 40] * 257)):
        headers = {"X-XSM-Heads": heads} if heads else {}
        async with session.post("/v1/peer/pack", data=b"P", headers=headers) as response:
            assert response.status == 400, heads
    assert running.control.asked == []


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_is_too_large(running: Running, remote: Remote, declared: bool) -> None:
    """Refused by its announced length, or cut off where it passes the limit."""
    chunk = b"x" * MIB

    async def endless() -> object:
        for _ in range(64):
            yield chunk

    data = b"x" * (5 * MIB) if declared else endless()
    try:
        async with remote("dmz02", "peer").post("/v1/peer/messages", data=data) as response:
            assert response.status == 413
            assert (await refusal(response))["hint"] == "at most 4096 KiB at once"
    except aiohttp.ClientOSError:
        # The server hung up while we were still sending, which refuses it as well.
        assert not declared
    assert running.control.asked == []


async def test_a_compressed_body_is_refused(local: aiohttp.ClientSession) -> None:
    headers = {"Content-Encoding": "deflate"}
    async with local.post("/v1/apply", data=b"x", headers=headers) as response:
        assert response.status == 400


async def test_a_body_that_trickles(running: Running) -> None:
    reader, writer = await asyncio.open_unix_connection(str(running.settings.socket))
    writer.write(b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert b" 408 " in head
    writer.close()
    assert running.control.applied == 0


@pytest.mark.parametrize("door", ["socket", "https"])
@pytest.mark.parametrize("sent", [b"", b"GET /v1/status HTTP/1.1\r\nX-A: b\r\n"])
async def test_a_header_that_never_ends(running: Running, door: str, sent: bytes) -> None:
    """The server hangs up, although a byte comes now and then."""
    if door == "socket":
        reader, writer = await asyncio.open_unix_connection(str(running.settings.socket))
    else:
        port = running.settings.listen_port
        tls = running.anonymous()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname=ca.server_name("dmz01")
        )
    begin = time.monotonic()

    async def trickle() -> None:
        try:
            writer.write(sent)
            while sent:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.1)
        except (ConnectionError, ssl.SSLError):
            return

    trickling = asyncio.ensure_future(trickle())
    try:
        rest = await asyncio.wait_for(reader.read(), 10)
    except (ConnectionError, ssl.SSLError):
        rest = b""
    trickling.cancel()
    writer.close()
    assert b" 200 " not in rest
    assert QUICK.idle_s * 0.5 < time.monotonic() - begin


async def test_a_handshake_that_never_comes(running: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.settings.listen_port)
    assert await asyncio.wait_for(reader.read(), QUICK.handshake_s + 5) == b""
    writer.close()


@pytest.mark.parametrize("sent", [b"\x00" * 1000, b"hello\r\n\r\n", b"GET " + b"x" * 100_000])
async def test_what_is_not_http(
    running: Running, local: aiohttp.ClientSession, sent: bytes
) -> None:
    path = str(running.settings.socket)
    held = [await asyncio.open_unix_connection(path) for _ in range(QUICK.connections)]
    reader, writer = await asyncio.open_unix_connection(path)
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    for _, open_writer in (*held, (reader, writer)):
        open_writer.close()


# --- certificates --------------------------------------------------------------------------------


async def get_status(url: str, tls: ssl.SSLContext) -> int:
    connector = aiohttp.TCPConnector(ssl=tls)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(url + "/v1/status") as response,
    ):
        await response.read()
        return response.status


def with_files(own: ca.TlsFiles, trusted: Path) -> ssl.SSLContext:
    """A client that trusts one CA and shows a certificate of another."""
    return client_context(ca.TlsFiles(trusted, own.certificate, own.key))


async def test_a_certificate_of_another_site(running: Running, tmp_path: Path) -> None:
    other = make_pki(tmp_path / "other", "site-1")  # even one that calls itself the same
    tls = with_files(other.files("root", "admin"), running.pki.folder / "ca.pem")
    with pytest.raises(aiohttp.ClientError):
        await get_status(running.settings.url, tls)
    assert running.control.asked == []


async def test_an_expired_certificate(running: Running) -> None:
    past = time.time() - ca.LEAF_VALIDITY_S - 86400
    tls = client_context(running.pki.files("root", "admin", past))
    with pytest.raises(aiohttp.ClientError):
        await get_status(running.settings.url, tls)
    assert running.control.asked == []


async def test_a_certificate_made_by_a_member(running: Running, tmp_path: Path) -> None:
    """A peer's key signs nothing: its certificate is no CA's."""
    peer = running.pki.files("dmz02", "peer")
    forged = tmp_path / "forged"
    forged.mkdir()
    write_secret(forged / "ca.key", peer.key.read_bytes())
    (forged / "ca.pem").write_bytes(peer.certificate.read_bytes())
    authority = ca.load_ca(forged)
    ca.create_key(forged / "peer.key")
    csr = ca.create_csr(forged / "peer.key", "root")
    chain = authority.issue_client(csr, "root", "admin", time.time()) + authority.pem
    (forged / "peer.pem").write_text(chain)
    tls = with_files(ca.peer_files(forged), running.pki.folder / "ca.pem")
    with pytest.raises(aiohttp.ClientError):
        await get_status(running.settings.url, tls)


async def test_old_tls_is_refused(running: Running) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(aiohttp.ClientError):
        await get_status(running.settings.url, tls)


async def test_the_server_is_known_by_address_too(running: Running) -> None:
    """git and curl check the address in the URL."""
    assert await get_status(running.settings.url, running.tls("jo", "viewer")) == 200


# --- faults --------------------------------------------------------------------------------------


async def test_a_fault_of_ours_shows_no_insides(
    running: Running, local: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    running.control.fail = ZeroDivisionError("the secret inside")
    with caplog.at_level(logging.ERROR):
        async with local.get("/v1/status") as response:
            assert response.status == 500
            text = json.dumps(await refusal(response))
    assert "secret" not in text and "Traceback" not in text
    assert any(record.exc_info and "request failed" in record.message for record in caplog.records)


async def test_problems_reach_the_client(running: Running, local: aiohttp.ClientSession) -> None:
    running.control.fail = invalid_site()
    async with local.post("/v1/apply", json={"files": {}}) as response:
        assert response.status == 422
        answer = await refusal(response)
    assert answer["problems"] == [
        {
            "path": "site.xml",
            "line": 7,
            "message": "MEM must be a number",
            "hint": "96",
            "severity": "error",
        }
    ]


async def test_a_refusal_reaches_the_client(local: aiohttp.ClientSession) -> None:
    async with local.get("/v1/why/vm9") as response:
        assert response.status == 404
        assert await refusal(response) == {
            "code": "unknown",
            "message": "the site has no VM 'vm9'",
            "hint": "it has: vm1",
            "problems": [],
            "heads": [],
        }


async def test_people_who_wait_do_not_keep_the_peers_out(running: Running) -> None:
    running.control.go_on.clear()
    url = running.settings.url

    async def ask(session: aiohttp.ClientSession) -> int:
        async with session.get("/v1/status") as response:
            return response.status

    async with contextlib.AsyncExitStack() as stack:
        asks = []
        for name in ("jo", "ann"):
            connector = aiohttp.TCPConnector(ssl=running.tls(name, "viewer"), limit=0)
            session = aiohttp.ClientSession(url, connector=connector)
            await stack.enter_async_context(session)
            # Half of the turns are all that one name gets.
            asks += [asyncio.ensure_future(ask(session)) for _ in range(40)]
        async with asyncio.timeout(10):
            while len(running.control.asked) < 64 or sum(a.done() for a in asks) < 16:
                await asyncio.sleep(0.01)
        peer = aiohttp.TCPConnector(ssl=running.tls("dmz02", "peer"))
        async with (
            aiohttp.ClientSession(connector=peer) as other,
            other.get(url + "/v1/peer/heads") as response,
        ):
            assert response.status == 200
        running.control.go_on.set()
        assert sorted(await asyncio.gather(*asks)) == [200] * 64 + [503] * 16


async def test_a_stranger_who_trickles_keeps_nobody_waiting(running: Running) -> None:
    """Slow bodies of joins fill the strangers' turns only."""
    head = b"POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    writers = []
    for _ in range(20):
        _, writer = await asyncio.open_connection(
            "127.0.0.1",
            running.settings.listen_port,
            ssl=running.anonymous(),
            server_hostname=ca.server_name("dmz01"),
        )
        writer.write(head)
        await writer.drain()
        writers.append(writer)
    assert await get_status(running.settings.url, running.tls("jo", "viewer")) == 200
    for writer in writers:
        writer.close()
