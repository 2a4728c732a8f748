"""The server's own doings: two doors, streams, changes that are finished, start and stop."""

import asyncio
import grp
import json
import os
import pwd
import socket
import stat
from pathlib import Path

import aiohttp
import pytest
from running_server import QUICK, Pki, Remote, Running, settings_for
from small_control import HEAD, SmallControl

from xsm.api.access import GATE_LIMITS, Gate, Role
from xsm.api.server import ApiServer, StartRefused


async def test_callers_are_told_apart(
    running: Running, local: aiohttp.ClientSession, remote: Remote
) -> None:
    async with local.post("/v1/apply", json={"files": {}}) as response:
        assert response.status == 200
        assert await response.json() == {
            "revision": HEAD,
            "changes": ["vm1: MEM 96 => 128"],
            "problems": [],
        }
    async with remote("jo@example.com", "operator").post("/v1/apply", json={"files": {}}) as r:
        assert r.status == 200
    (_, _, first), (_, _, second) = running.control.asked
    assert (first.name, first.role, first.local) == (
        pwd.getpwuid(os.geteuid()).pw_name,
        Role.ADMIN,
        True,
    )
    assert (second.name, second.role, second.local) == ("jo@example.com", Role.OPERATOR, False)
    assert second.host == "127.0.0.1"


async def test_arguments_arrive(running: Running, local: aiohttp.ClientSession) -> None:
    for path in (
        "/v1/history",
        "/v1/history?limit=3&vm=vm1",
        "/v1/revision/main~2",
        "/v1/files",
        "/v1/files?revision=abc",
        "/v1/reports?fresh=1",
        "/v1/plan",
        "/v1/vms",
    ):
        async with local.get(path) as response:
            assert response.status == 200, path
            assert response.headers["X-XSM-Version"] == "1"
    assert running.control.asked == [
        ("history", 50, None),
        ("history", 3, "vm1"),
        ("revision", "main~2"),
        ("files", ""),
        ("files", "abc"),
        ("reports", True),
        ("plan",),
        ("vms",),
    ]


async def test_the_ca_is_given_to_anybody(running: Running, remote: Remote) -> None:
    async with remote("", "").get("/v1/ca") as response:
        assert await response.text() == running.pki.authority.pem


# --- events --------------------------------------------------------------------------------------


async def test_past_events(running: Running, local: aiohttp.ClientSession) -> None:
    for number in range(3):
        running.control.tell(f"event {number}")
    async with local.get("/v1/events?since=1") as response:
        assert response.content_type == "application/x-ndjson"
        lines = (await response.text()).splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["event 1", "event 2"]


async def test_followed_events(running: Running, remote: Remote) -> None:
    """They come when they happen; a quiet stream sends empty lines; the server's end ends it."""
    running.control.tell("before")
    async with remote("jo", "viewer").get("/v1/events?follow=1") as response:
        assert json.loads(await response.content.readline())["message"] == "before"
        assert await response.content.readline() == b"\n"
        running.control.tell("after")
        line = b"\n"
        while line == b"\n":
            line = await response.content.readline()
        assert json.loads(line)["message"] == "after"
        await running.server.stop()
        rest = await response.content.read()  # ends properly, not broken off
        assert rest.strip() == b""


async def test_a_reader_that_goes_away_is_let_go(running: Running) -> None:
    before = asyncio.all_tasks()
    for _ in range(3):
        _, writer = await asyncio.open_unix_connection(str(running.settings.socket))
        writer.write(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        writer.close()
    async with asyncio.timeout(10):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.05)


async def test_a_reader_that_reads_nothing_is_cut_off(running: Running) -> None:
    _, writer = await asyncio.open_unix_connection(str(running.settings.socket), limit=2048)
    for _ in range(4000):
        running.control.tell("x" * 2000)
    before = asyncio.all_tasks()
    writer.write(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    await writer.drain()
    async with asyncio.timeout(QUICK.write_s + 10):
        while not asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.05)
    writer.close()


# --- waiting -------------------------------------------------------------------------------------


async def test_a_change_is_finished_though_the_client_went(running: Running) -> None:
    running.control.go_on.clear()
    _, writer = await asyncio.open_unix_connection(str(running.settings.socket))
    body = b'{"files": {}}'
    writer.write(b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
    writer.write(body)
    await writer.drain()
    async with asyncio.timeout(5):
        while not running.control.asked:
            await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()
        running.control.go_on.set()
        while not running.control.applied:
            await asyncio.sleep(0.01)


async def test_a_change_is_finished_before_the_server_ends(running: Running) -> None:
    running.control.go_on.clear()
    connector = aiohttp.UnixConnector(str(running.settings.socket))
    async with aiohttp.ClientSession("http://x", connector=connector) as session:
        asking = asyncio.ensure_future(session.post("/v1/apply", json={"files": {}}))
        async with asyncio.timeout(5):
            while not running.control.asked:
                await asyncio.sleep(0.01)
        stopping = asyncio.ensure_future(running.server.stop())
        await asyncio.sleep(0)
        running.control.go_on.set()
        assert (await asking).status == 200
        await stopping
    assert running.control.applied == 1


async def test_too_many_at_once_are_told_so(running: Running, local: aiohttp.ClientSession) -> None:
    running.control.go_on.clear()
    asks = [
        asyncio.ensure_future(local.post("/v1/apply", json={"files": {}}))
        for _ in range(GATE_LIMITS[Gate.BULK] + 1)
    ]
    done, _ = await asyncio.wait(asks, return_when=asyncio.FIRST_COMPLETED, timeout=5)
    refused = [task.result() for task in done]
    assert [(r.status, "Retry-After" in r.headers) for r in refused] == [(503, True)]
    assert (await refused[0].json())["code"] == "busy"
    running.control.go_on.set()
    assert sorted(r.status for r in await asyncio.gather(*asks)) == [200] * 4 + [503]


# --- the socket ----------------------------------------------------------------------------------


async def test_permissions_of_the_socket(running: Running) -> None:
    info = os.stat(running.settings.socket)
    assert stat.S_IMODE(info.st_mode) == 0o660
    try:
        assert info.st_gid == grp.getgrnam("xsm").gr_gid
    except KeyError:
        assert info.st_gid == os.getegid()


async def test_a_second_daemon_is_refused(running: Running, tmp_path: Path) -> None:
    again = ApiServer(running.settings, SmallControl(), limits=QUICK)
    with pytest.raises(StartRefused, match=rf"another xsmd \(process {os.getpid()}\) serves"):
        await again.__aenter__()
    # The first one still answers.
    reader, writer = await asyncio.open_unix_connection(str(running.settings.socket))
    writer.write(b"GET /v1/vms HTTP/1.0\r\n\r\n")
    assert b" 200 " in await reader.readline()
    writer.close()


async def test_a_dead_daemons_socket_is_replaced(tmp_path: Path, pki: Pki) -> None:
    settings = settings_for(tmp_path, pki)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(settings.socket))
        dead.listen()
    assert settings.socket.exists()
    async with ApiServer(settings, SmallControl(), limits=QUICK):
        _, writer = await asyncio.open_unix_connection(str(settings.socket))
        writer.close()
    assert not settings.socket.exists()


async def test_what_is_alive_or_no_socket_is_left_alone(tmp_path: Path, pki: Pki) -> None:
    settings = settings_for(tmp_path, pki)
    server = ApiServer(settings, SmallControl(), limits=QUICK)
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(settings.socket))
        alive.listen()
        with pytest.raises(StartRefused, match="alive"):
            await server.__aenter__()
        assert settings.socket.exists()
    settings.socket.unlink()
    settings.socket.write_text("somebody's notes")
    with pytest.raises(StartRefused, match="is not a socket"):
        await ApiServer(settings, SmallControl(), limits=QUICK).__aenter__()
    assert settings.socket.read_text() == "somebody's notes"


async def test_a_port_that_is_taken(tmp_path: Path, pki: Pki) -> None:
    settings = settings_for(tmp_path, pki)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings.listen_port))
        taken.listen()
        with pytest.raises(StartRefused, match="something else listens at"):
            await ApiServer(settings, SmallControl(), limits=QUICK).__aenter__()
    assert not settings.socket.exists()


async def test_without_a_certificate_it_does_not_start(tmp_path: Path, pki: Pki) -> None:
    settings = settings_for(tmp_path, pki)
    (settings.tls_dir / "peer.pem").unlink()
    with pytest.raises(StartRefused, match=r"peer\.pem"):
        await ApiServer(settings, SmallControl(), limits=QUICK).__aenter__()
