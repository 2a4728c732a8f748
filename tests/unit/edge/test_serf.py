"""Real Serf agents on loopback under their supervisors: hints come, and an agent that ends is started again."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from xsm.edge.serf import NEWS, Place, Serf, configuration, hints, program
from xsm.edge.serf_key import SerfKey, new_key
from xsm.edge.serf_rpc import SerfEvent
from xsm.peer.contacts import Hint
from xsm.peer.events import Hinted

LIMIT_S = 40.0
POLL_S = 0.02


async def until(what: str, condition: Callable[[], bool]) -> None:
    try:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"not within {LIMIT_S:.0f} s: {what}") from None


def place(folder: Path, name: str) -> Place:
    """On 127.0.0.1, at a port that is free for TCP and UDP."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
    return Place(name, "127.0.0.1", port, folder / name)


class Host:
    def __init__(self, folder: Path, name: str, find: Callable[[], str] = program) -> None:
        self.heard: list[Hinted] = []
        self.serf = Serf(place(folder, name), self.heard.append, find)
        self.running = asyncio.create_task(self.serf.run())

    async def wait_up(self, starts: int = 1) -> None:
        await until(
            f"it runs for the {starts}. time ({self.serf.trouble})",
            lambda: self.serf.starts >= starts and not self.serf.trouble,
        )

    def said(self, what: Hinted) -> Callable[[], bool]:
        return lambda: what in self.heard

    async def close(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


@asynccontextmanager
async def agents(folder: Path, key: SerfKey, *names: str) -> AsyncIterator[list[Host]]:
    """Hosts whose agents know one another."""
    hosts = [Host(folder, name) for name in names]
    try:
        for host in hosts:
            host.serf.use(key)
        for host in hosts:
            await host.wait_up()
            await host.serf.join([hosts[0].serf.place.reached_at])
        for host in hosts[1:]:
            await until(
                "they know each other", hosts[0].said(Hinted(host.serf.place.name, Hint.JOINED))
            )
        yield hosts
    finally:
        for host in hosts:
            await host.close()


@pytest.fixture
def spare(tmp_path: Path) -> Iterator[Callable[[str], Callable[[], str]]]:
    """A program that is run in Serf's place."""

    def make(text: str) -> Callable[[], str]:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return lambda: str(path)

    yield make


async def test_hosts_hear_of_each_other_of_news_and_of_who_leaves(tmp_path: Path) -> None:
    async with agents(tmp_path, new_key(1), "dmz01", "dmz02") as (one, other):
        assert await one.serf.alive() == {"dmz01", "dmz02"}
        other.serf.announce("a" * 40)
        await until("the news come", one.said(Hinted("dmz02", Hint.NEWS, "a" * 40)))
        await other.serf.leave()
        await until("it has left", one.said(Hinted("dmz02", Hint.LEFT)))
        await until("it is not started again", other.running.done)
        assert all(hint.member == "dmz02" for hint in one.heard), "nobody hears of itself"


async def test_an_agent_that_is_killed_is_started_again_and_finds_the_others(
    tmp_path: Path,
) -> None:
    async with agents(tmp_path, new_key(1), "dmz01", "dmz02") as (_, other):
        first = other.serf.pid
        os.kill(first, signal.SIGKILL)
        await other.wait_up(starts=2)
        assert other.serf.pid not in (0, first)
        async with asyncio.timeout(LIMIT_S):
            while await other.serf.alive() != {"dmz01", "dmz02"}:
                await asyncio.sleep(POLL_S)


async def test_an_agent_that_hangs_is_ended_and_another_one_started(tmp_path: Path) -> None:
    async with agents(tmp_path, new_key(1), "dmz01") as (host,):
        os.kill(host.serf.pid, signal.SIGSTOP)
        assert await host.serf.alive() == frozenset()
        await host.wait_up(starts=2)
        assert await host.serf.alive() == {"dmz01"}


async def test_with_another_key_they_dont_hear_each_other_until_both_have_it(
    tmp_path: Path,
) -> None:
    async with agents(tmp_path, new_key(1), "dmz01", "dmz02") as (one, other):
        key = new_key(2)
        one.serf.use(key)
        await one.wait_up(starts=2)
        await one.serf.join([other.serf.place.reached_at])
        assert await one.serf.alive() == {"dmz01"}
        other.serf.use(key)
        await other.wait_up(starts=2)
        await one.serf.join([other.serf.place.reached_at])
        assert await one.serf.alive() == {"dmz01", "dmz02"}


async def test_an_agent_that_ends_with_code_0_is_started_again(
    tmp_path: Path, spare: Callable[[str], Callable[[], str]]
) -> None:
    host = Host(
        tmp_path, "dmz01", spare("echo '2026/11/21 20:00:00 [ERR] agent: name taken'; exit 0")
    )
    try:
        host.serf.use(new_key(1))
        await until("it was started twice", lambda: host.serf.starts >= 2)
        assert host.serf.trouble == "it ended with code 0: [ERR] agent: name taken"
    finally:
        await host.close()


async def test_without_the_program_it_says_so_and_goes_on_when_it_is_there(tmp_path: Path) -> None:
    found: list[str] = []
    host = Host(tmp_path, "dmz01", lambda: found[0] if found else "")
    try:
        host.serf.use(new_key(1))
        await until("it says so", lambda: "not installed" in host.serf.trouble)
        host.serf.announce("a" * 40)
        assert await host.serf.alive() == frozenset()
        await host.serf.join(["127.0.0.1:1"])
        found.append(program())
        await host.wait_up()
    finally:
        await host.close()


OWNER = """\
import asyncio, sys
from pathlib import Path
from xsm.edge.serf import Place, Serf
from xsm.edge.serf_key import new_key

async def main():
    serf = Serf(Place("dmz01", "127.0.0.1", int(sys.argv[1]), Path(sys.argv[2])), print)
    running = asyncio.create_task(serf.run())
    serf.use(new_key(1))
    while serf.trouble:
        await asyncio.sleep(0.02)
    print(serf.pid, flush=True)
    await running

asyncio.run(main())
"""


async def test_the_agent_dies_with_its_xsmd_however_that_dies(tmp_path: Path) -> None:
    port = str(place(tmp_path, "dmz01").port)
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, port, str(tmp_path / "serf")],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert owner.stdout is not None
        line = await asyncio.to_thread(owner.stdout.readline)
        agent = int(line)
        os.kill(agent, 0)
    finally:
        owner.kill()
        owner.wait()
    await until("the agent is gone", lambda: not _is_serf(agent))


def _is_serf(pid: int) -> bool:
    try:
        return "serf" in Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_configuration(tmp_path: Path) -> None:
    here = Place("dmz01", "2001:db8::1", 8702, tmp_path)
    written = configuration(here, "2001:db8::1", 7373, "sesame")
    assert here.reached_at == written["bind"] == "[2001:db8::1]:8702"
    assert written["rpc_addr"] == "127.0.0.1:7373", "the RPC is for this host only"
    assert written["rpc_auth"] == "sesame"
    assert (written["profile"], written["reconnect_interval"]) == ("lan", "5s")
    assert "encrypt_key" not in json.dumps(written), "the key is in the keyring only"


@pytest.mark.parametrize(
    ("event", "meant"),
    [
        (
            SerfEvent("member-failed", "", ("a", "b"), b""),
            [("a", "failed", ""), ("b", "failed", "")],
        ),
        (SerfEvent("member-leave", "", ("a",), b""), [("a", "left", "")]),
        (SerfEvent("member-reap", "", ("a",), b""), []),
        (SerfEvent("user", NEWS, (), b"a 0123"), [("a", "news", "0123")]),
        (SerfEvent("user", NEWS, (), b"\xff"), []),
        (SerfEvent("user", "other", (), b"a 0123"), []),
    ],
)
def test_what_events_mean(event: SerfEvent, meant: list[tuple[str, str, str]]) -> None:
    assert [(h.member, str(h.hint), h.revision) for h in hints(event)] == meant
