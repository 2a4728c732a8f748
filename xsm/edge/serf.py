"""Serf on this host: a child of xsmd that knows which members are there, and says so early.

Decides how the agent is set up, started, watched, started again and ended. What it says are hints: `feed` gets them as
they come, some twice, some never. Must not know what they are used for, nor where the key comes from.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xsm.edge.durable import write_secret
from xsm.edge.serf_key import SerfKey
from xsm.edge.serf_rpc import RpcClient, RpcError, SerfEvent
from xsm.peer.contacts import Hint
from xsm.peer.events import Hinted

BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
"""Pauses before it is started again, one after the other; the last one goes on."""
STEADY_S = 30.0
"""An agent that ran for so long is started again as if it were the first time."""
UP_LIMIT_S = 15.0
"""From the start of the agent until its RPC answers, on a busy machine."""
POLL_S = 0.05
ENDING_S = 2.0
"""An agent that ends hangs up first."""
LEAVE_LIMIT_S = 3.0
"""A clean end waits so long for the agent to tell the others."""
MET_LIMIT = 8
"""Agents that one that was started again joins at once; a single one that is there is enough."""
TOLD_LINES = 20
"""Lines of its log that may say why it ended."""
ANNOUNCE_EVERY_S = 0.5
"""News of edits goes out at most so often; the newest counts."""
NO_KEY = "it has no key yet: no other member gave one"
NEWS = "xsm-news"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# setpriv (util-linux) has the kernel kill the agent when xsmd dies, however that comes; the shell looks whether xsmd
# died before that was set.
START = 'test "$PPID" = "$1" || exit 1; exec "$2" agent -config-file "$3"'

HINTS = {
    "member-join": Hint.JOINED,
    "member-leave": Hint.LEFT,
    "member-failed": Hint.FAILED,
}

log = logging.getLogger("xsmd")


@dataclass(frozen=True)
class Place:
    """Where this host's agent is. `address`: an IP address of this host or a name, by which others reach it."""

    name: str
    address: str
    port: int
    folder: Path

    @property
    def reached_at(self) -> str:
        """What other agents join."""
        return (
            f"[{self.address}]:{self.port}"
            if ":" in self.address
            else f"{self.address}:{self.port}"
        )


def program() -> str:
    """Serf's path, "" where it is not installed."""
    return shutil.which("serf", path=os.environ.get("PATH", "") + ":" + PATH) or ""


def configuration(place: Place, bind: str, rpc_port: int, auth_key: str) -> dict[str, object]:
    """The agent's configuration: https://www.serf.io/docs/agent/options.html. `bind`: an IP address."""
    whole = f"[{bind}]:{place.port}" if ":" in bind else f"{bind}:{place.port}"
    return {
        "node_name": place.name,
        "bind": whole,
        "profile": "lan",  # with "local" events get lost in a large site
        "reconnect_interval": "5s",  # after a cut; Serf's own 30 s are long
        "keyring_file": str(place.folder / "keyring.json"),
        "snapshot_path": str(place.folder / "snapshot"),
        "rpc_addr": f"127.0.0.1:{rpc_port}",
        "rpc_auth": auth_key,
        "rejoin_after_leave": True,
        "leave_on_terminate": False,
        "skip_leave_on_interrupt": True,
        "replay_on_join": False,
        "disable_coordinates": True,
        "log_level": "info",
    }


def hints(event: SerfEvent) -> list[Hinted]:
    """What an event of the stream means to the peer."""
    if event.kind == "user" and event.name == NEWS:
        member, _, revision = event.payload.decode("utf-8", "replace").partition(" ")
        return [Hinted(member, Hint.NEWS, revision)] if revision else []
    hint = HINTS.get(event.kind)
    return [Hinted(member, hint) for member in event.members] if hint else []


class Serf:
    """The agent of this host. `trouble` says why it doesn't run, "" while it does."""

    def __init__(
        self, place: Place, feed: Callable[[Hinted], None], find: Callable[[], str] = program
    ) -> None:
        """`feed` gets the hints; `find` gives the program's path, "" where there is none."""
        self.place = place
        self.trouble = NO_KEY
        self.troubled_at = time.monotonic()
        self.starts = 0
        """How often the agent was started."""
        self._feed = feed
        self._find = find
        self._key: SerfKey | None = None
        self._key_came = asyncio.Event()
        self._client: RpcClient | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._leaving = False
        self._met: list[str] = []  # where others' agents were, the last ones first
        self._news = ""
        self._news_came = asyncio.Event()
        self._said: deque[str] = deque(maxlen=TOLD_LINES)

    # -- what others ask of it -----------------------------------------------------

    @property
    def pid(self) -> int:
        """Of the agent; 0 while there is none."""
        return self._child.pid if self._child and self._child.returncode is None else 0

    def use(self, key: SerfKey) -> None:
        """Run with this key from now on. An agent with another one is ended first: agents take a new key only by way
        of all that have the old one, and one of those may have been forgotten."""
        if key != self._key:
            self._key = key
            self._key_came.set()

    def announce(self, revision: str) -> None:
        """Tell all other members that this host has a revision."""
        self._news = revision
        self._news_came.set()

    async def alive(self) -> frozenset[str]:
        """The members that the agent takes for alive; nobody where there is no agent. One that doesn't answer is ended:
        another one follows."""
        client = self._client
        try:
            members = await client.members() if client else ()
        except RpcError as error:
            log.warning("Serf: %s", error)
            if client:
                client.ended.cancel()
            return frozenset()
        return frozenset(m.name for m in members if m.status == "alive")

    async def join(self, addresses: Sequence[str]) -> None:
        """Make the agent known to others; hosts that are off don't matter."""
        self._met = [*dict.fromkeys([*addresses, *self._met])][:MET_LIMIT]
        if self._client is None or not addresses:
            return
        try:
            await self._client.join(tuple(addresses))
        except RpcError as error:
            log.debug("Serf: %s", error)

    async def leave(self) -> None:
        """Tell the others that this host's xsmd was stopped on purpose."""
        self._leaving = True
        if self._client is None:
            return
        try:
            async with asyncio.timeout(LEAVE_LIMIT_S):
                await self._client.leave()
        except (RpcError, TimeoutError) as error:
            log.debug("Serf: %s", error)

    # -- life -----------------------------------------------------

    async def run(self) -> None:
        """Keep the agent running until cancelled. It never raises for what the agent does."""
        failures = 0
        await self._key_came.wait()
        try:
            while True:
                self._key_came.clear()
                began = time.monotonic()
                try:
                    why = await self._life()
                except TimeoutError:
                    why = f"its RPC does not answer within {UP_LIMIT_S:.0f} s"
                except (OSError, RpcError, ValueError) as error:
                    why = str(error)
                if self._leaving:
                    return
                if self._key_came.is_set():
                    self.note("it is started again with a new key", logging.INFO)
                    continue
                self.note(why)
                steady = time.monotonic() - began > STEADY_S
                failures = 1 if steady else failures + 1
                pause_s = BACKOFF_S[min(failures, len(BACKOFF_S)) - 1]
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._key_came.wait()
        finally:
            self.note("xsmd ends", logging.INFO)

    def note(self, why: str, level: int = logging.WARNING) -> None:
        """Say why it does not run."""
        if not self.trouble:
            self.troubled_at = time.monotonic()
        if why != self.trouble:
            log.log(level, "Serf does not run: %s", why)
        self.trouble = why

    async def _life(self) -> str:
        """One life of the agent: why it ended. Raises `OSError`, `RpcError`, `ValueError`."""
        path = self._find()
        if not path:
            return "the program is not installed (Debian's package is `serf`)"
        setpriv = shutil.which("setpriv", path=PATH)
        if not setpriv:
            return "setpriv is missing (Debian's package is `util-linux`)"
        rpc_port, auth_key = _free_port(), secrets.token_hex(16)
        config = await asyncio.to_thread(self._write_files, rpc_port, auth_key)
        self._said.clear()
        self._child = await asyncio.create_subprocess_exec(
            *(setpriv, "--pdeathsig", "KILL", "--"),
            *("sh", "-c", START, "sh", str(os.getpid()), path, str(config)),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={"PATH": PATH}, start_new_session=True,
        )  # fmt: skip
        self.starts += 1
        listening = asyncio.create_task(self._listen(self._child))
        try:
            client = await self._connect(rpc_port, auth_key)
            if client is None:
                await listening
                return await self._why_it_ended()
            try:
                await self._serve(client)
            finally:
                self._client = None
                await client.close()
            if self._key_came.is_set():
                return ""
            try:
                async with asyncio.timeout(ENDING_S):
                    await listening
            except TimeoutError:
                return "its RPC hung up"
            return await self._why_it_ended()
        finally:
            await self._end_child()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    def _write_files(self, rpc_port: int, auth_key: str) -> Path:
        place, key = self.place, self._key
        assert key is not None
        place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = socket.getaddrinfo(place.address, place.port, type=socket.SOCK_DGRAM)
        write_secret(place.folder / "keyring.json", json.dumps([key.text]).encode())
        written = configuration(place, str(found[0][4][0]), rpc_port, auth_key)
        path = place.folder / "agent.json"
        write_secret(path, json.dumps(written, indent=1).encode())
        return path

    async def _connect(self, port: int, auth_key: str) -> RpcClient | None:
        """None when the agent ended first."""
        assert self._child is not None
        async with asyncio.timeout(UP_LIMIT_S):
            while self._child.returncode is None:
                try:
                    return await RpcClient.connect("127.0.0.1", port, auth_key)
                except RpcError:
                    await asyncio.sleep(POLL_S)
        return None

    async def _serve(self, client: RpcClient) -> None:
        """Pass hints on and news out, until the connection ends or there is another key."""
        await client.stream()
        self._client, self.trouble = client, ""
        log.info("Serf runs: %s", self.place.reached_at)
        tasks = [
            client.ended,
            asyncio.create_task(self._key_came.wait()),
            asyncio.create_task(self._hear(client)),
            asyncio.create_task(self._tell(client)),
        ]
        joining = asyncio.create_task(self.join(self._met))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, joining):
                task.cancel()
            await asyncio.gather(*tasks, joining, return_exceptions=True)

    async def _hear(self, client: RpcClient) -> None:
        while True:
            for hint in hints(await client.events.get()):
                if hint.member != self.place.name:
                    self._feed(hint)

    async def _tell(self, client: RpcClient) -> None:
        while True:
            await self._news_came.wait()
            self._news_came.clear()
            try:
                await client.event(NEWS, f"{self.place.name} {self._news}".encode())
            except RpcError as error:
                log.debug("Serf: %s", error)
            await asyncio.sleep(ANNOUNCE_EVERY_S)

    async def _listen(self, child: asyncio.subprocess.Process) -> None:
        """Its log: kept for when it ends, and passed on for who looks for it."""
        assert child.stdout is not None
        try:
            async for line in child.stdout:
                text = line.decode("utf-8", "replace").strip()
                if text:
                    self._said.append(text)
                    log.debug("serf: %s", text)
        except ValueError as error:  # a line without end
            log.debug("serf: %s", error)

    async def _why_it_ended(self) -> str:
        """Its exit code, which may be 0 all the same, and what it complained of last."""
        code = await self._child.wait() if self._child else None
        complaints = [re.sub(r"^[\d/ :]+", "", line) for line in self._said if "[ERR]" in line]
        complaints = complaints or [line for line in self._said if "rror" in line]
        return f"it ended with code {code}" + (f": {complaints[-1]}" if complaints else "")

    async def _end_child(self) -> None:
        child = self._child
        if child is not None and child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        self._child = None


def _free_port() -> int:
    """A port of loopback that nobody uses just now; if somebody does a moment later, the agent is started again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
