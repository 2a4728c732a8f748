"""Clients that take too much: an answer that nobody reads ends, and a member that floods waits for itself."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest
from running_server import QUICK, Pki, Running, settings_for
from small_control import SmallControl

from xsm.api.access import GATE_LIMITS, Gate
from xsm.api.server import ApiServer
from xsm.daemon import EVENTS_LIMIT

LARGE_BYTES = 32 << 20
"""More than the kernel keeps of an answer that nobody reads."""
LONG_S = 30.0
"""No wait is longer, however busy the machine."""
SHARE = GATE_LIMITS[Gate.PEERS] // 2
"""Turns that one member gets."""


class LargeAnswers(SmallControl):
    async def files(self, revision: str) -> Mapping[str, str]:
        return {"large": "x" * LARGE_BYTES}


def received(connection: socket.socket) -> int:
    """Bytes that came before the end of the connection."""
    count = 0
    connection.settimeout(LONG_S)
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 20):
            count += len(part)
    return count


async def test_an_answer_that_nobody_reads_is_cut(
    tmp_path: Path, pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(tmp_path, pki)
    async with ApiServer(settings, LargeAnswers(), limits=QUICK):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(settings.socket))
            before = asyncio.all_tasks()
            connection.sendall(b"GET /v1/files HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(LONG_S):
                while "it read nothing of its answer" not in caplog.text:
                    await asyncio.sleep(0.01)
                while asyncio.all_tasks() - before:
                    await asyncio.sleep(0.01)
            assert 0 < await asyncio.to_thread(received, connection) < LARGE_BYTES


async def test_a_member_that_floods_waits_for_itself(running: Running) -> None:
    """What waits for the machine is bounded by the members' turns; the other members still get theirs."""
    running.control.go_on.clear()
    url = f"{running.settings.url}/v1/peer/messages"

    def taken() -> list[object]:
        return [asked[1] for asked in running.control.asked if asked[0] == "messages"]

    async def post(session: aiohttp.ClientSession) -> int:
        async with session.post(url, data=b"x") as response:
            return response.status

    async with contextlib.AsyncExitStack() as stack:
        sessions = []
        for name in ("dmz02", "dmz03"):
            connector = aiohttp.TCPConnector(ssl=running.tls(name, "peer"), limit=0)
            session = aiohttp.ClientSession(connector=connector)
            sessions.append(await stack.enter_async_context(session))
        flood = [asyncio.ensure_future(post(sessions[0])) for _ in range(SHARE + 8)]
        async with asyncio.timeout(LONG_S):
            while len(taken()) < SHARE or sum(asked.done() for asked in flood) < 8:
                await asyncio.sleep(0.01)
        assert taken() == ["dmz02"] * SHARE
        other = asyncio.ensure_future(post(sessions[1]))
        async with asyncio.timeout(LONG_S):
            while "dmz03" not in taken():
                await asyncio.sleep(0.01)
        running.control.go_on.set()
        assert sorted(await asyncio.gather(*flood, other)) == [200] * (SHARE + 1) + [503] * 8
    assert GATE_LIMITS[Gate.PEERS] * 10 < EVENTS_LIMIT
