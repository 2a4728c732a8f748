"""Serf beside xsmd: which key it has, whom it is told of, and what is said where it doesn't run.

Decides whom to ask for the key and where their agents are. What Serf says goes to the peer's machine, which greets
earlier because of it. Must not know how the agent is run (`edge.serf`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from xsm.api.types import SerfPeer
from xsm.edge import serf_key
from xsm.edge.serf import Place, Serf, program
from xsm.edge.serf_key import SerfKey, better
from xsm.edge.transport import PeerRefused, PeerUnreachable

if TYPE_CHECKING:
    from xsm.daemon import Daemon

ROUND_S = 5.0
"""How often members are asked that Serf doesn't show; it looks for those that it knows by itself."""
HASTY_S = 1.0
"""...while there is no key that belongs to the present list of members."""
ASKED_LIMIT = 4
"""Members asked in one round, in turn: a site's first start must not have everybody ask everybody at once."""
LASTING_S = 10.0
"""Trouble that lasts so long is told to whoever looks at the site, on any host; agents are started again at times."""

log = logging.getLogger("xsmd")


class Hinting:
    def __init__(self, daemon: Daemon) -> None:
        settings = daemon.settings
        self._daemon = daemon
        self._wanted = settings.serf == "on" or (settings.serf == "auto" and bool(program()))
        self._path = settings.serf_dir / "key.json"
        self._key: SerfKey | None = None
        self._number_at = (-1, 0.0)  # the list of members; when this host heard of it
        self._turn = 0
        self._wake = asyncio.Event()
        self._agent: asyncio.Task[None] | None = None
        at = settings.source_host or settings.address
        place = Place(settings.name, at, settings.serf_port, settings.serf_dir)
        self.serf = Serf(place, daemon.feed)

    # -- what is said of it -----------------------------------------------------

    @property
    def trouble(self) -> str:
        """Why this host has no hints from Serf; "" while it has, and where nobody wants any."""
        wish = self._daemon.settings.serf
        if not self._wanted:
            return "" if wish == "off" else "not installed"
        if self._agent is not None and not self.serf.trouble:
            return ""
        return f"does not run: {self.serf.trouble}"

    @property
    def lasting_trouble(self) -> str:
        """Likewise, for all hosts' users, where Serf should run."""
        lasts = time.monotonic() - self.serf.troubled_at > LASTING_S
        return f"Serf {self.trouble}" if self._agent and self.trouble and lasts else ""

    # -- what happens to it -----------------------------------------------------

    def head_changed(self) -> None:
        """The members may be others now, and then they need another key."""
        self._wake.set()

    def announce(self) -> None:
        """An edit was made here."""
        head = self._daemon.revisions.head
        if head is not None:
            self.serf.announce(head.revision)

    async def meet(self, theirs: SerfPeer) -> SerfPeer:
        """A member tells of its agent and key."""
        if self._agent is not None:
            self._take(theirs)
        return self._own()

    async def run(self) -> None:
        """Keep Serf running, where it is wanted."""
        if not self._wanted:
            return
        self._key = await asyncio.to_thread(serf_key.load, self._path)
        self._agent = asyncio.create_task(self.serf.run())
        while not self._agent.done():
            await self._round()
            behind = self._key is None or self._key.number < self._number()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HASTY_S if behind else ROUND_S):
                    await self._wake.wait()
            self._wake.clear()
        error = self._agent.exception()  # it ends when it leaves, or by a failure that can't be
        if error is not None:
            log.error("Serf is not run any more, which can't be", exc_info=error)
            self.serf.note(f"its supervision failed: {error}")

    async def close(self) -> None:
        """xsmd stops as asked, and says goodbye."""
        if self._agent is not None:
            await self.serf.leave()
            self._agent.cancel()
            await asyncio.gather(self._agent, return_exceptions=True)

    # -- one round -----------------------------------------------------

    def _number(self) -> int:
        """Of the list of members that this host has."""
        return self._daemon.peer.members_number

    def _own(self) -> SerfPeer:
        address = self.serf.place.reached_at if self._agent else ""
        key = self._key
        return SerfPeer(address, key.number, key.text) if key else SerfPeer(address)

    async def _round(self) -> None:
        daemon = self._daemon
        others = sorted(frozenset(daemon.members()) - {daemon.peer.name})
        made = self._make_key()
        if self._key is not None:
            self.serf.use(self._key)
        alive = await self.serf.alive()
        lacking = [m for m in others if m not in alive and not daemon.peer.contacts.is_silent(m)]
        asked = others if made else self._in_turn(lacking)
        found = await asyncio.gather(*(self._ask(member) for member in asked))
        await self.serf.join([address for address in found if address])

    def _in_turn(self, members: list[str]) -> list[str]:
        count = min(ASKED_LIMIT, len(members))
        chosen = [members[(self._turn + i) % len(members)] for i in range(count)]
        self._turn += count
        return chosen

    def _make_key(self) -> bool:
        """Make the key of the present list, where it is this host's turn. True when it did."""
        number, now = self._number(), time.monotonic()
        members = frozenset(self._daemon.members())
        if not members or (self._key is not None and self._key.number >= number):
            return False
        if self._number_at[0] != number:
            self._number_at = number, now
        if now < self._number_at[1] + serf_key.wait_s(self._daemon.peer.name, members):
            return False
        return self._keep(serf_key.new_key(number))

    async def _ask(self, name: str) -> str:
        """Where a member's agent is, "" when that can't be known now."""
        member = self._daemon.members().get(name)
        if member is None:
            return ""
        try:
            theirs = await self._daemon.client.post(member, "/v1/peer/serf", self._own(), SerfPeer)
        except (PeerUnreachable, PeerRefused) as error:  # an older xsmd knows nothing of it
            log.debug("Serf: %s", error)
            return ""
        self._take(theirs)
        return theirs.address

    def _take(self, theirs: SerfPeer) -> None:
        """Take a member's key where it counts for more. One of a list that isn't here yet is not taken: this host
        might pass it on to somebody whom that list has no more. It is offered again."""
        key = SerfKey(theirs.number, theirs.key)
        if not theirs.key or not key.is_sound or key.number > self._number():
            return
        if better(self._key, key) != self._key and self._keep(key):
            self._wake.set()

    def _keep(self, key: SerfKey) -> bool:
        """False when it can't be written: then it is not used, either."""
        try:
            serf_key.save(self._path, key)
        except OSError as error:
            self.serf.note(f"its key can't be written to {self._path}: {error}")
            return False
        self._key = key
        return True
