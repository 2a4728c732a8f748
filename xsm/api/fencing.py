"""Having a host fenced, asked or unasked, and coming back after it.

Decides nothing about safety: who may be fenced is `peer/fencing.py`'s, how many have to agree `peer/membership.py`'s.
Carries out in this order: votes, the fence agent, the commit. Only when the agent has said that the host is off does
anybody learn that its VMs may start elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from xsm.api.access import RETURN_PATH
from xsm.api.control import Refused
from xsm.api.editing import refused
from xsm.api.types import Applied, Returning
from xsm.edge.fence_agent import FenceFailed, find, switch_off
from xsm.edge.transport import PeerRefused, PeerUnreachable
from xsm.peer import fencing
from xsm.site.fence import parse

if TYPE_CHECKING:
    from xsm.daemon import Daemon
    from xsm.site.document import Document

LOOK_EVERY_S = 2.0
"""How often it is looked whether a host is to be fenced, or this one may come back."""
COME_BACK_EVERY_S = 10.0
"""How often a fenced host asks to be taken back, at first."""
COME_BACK_AT_LEAST_EVERY_S = 60.0
"""And how often after refusals: a host that was forgotten for good asks for ever."""
COMMIT_TRIES = 5
"""How often the commit is tried anew because the head moved while the agent worked."""

log = logging.getLogger("xsmd")


async def power_off(daemon: Daemon, document: Document, host: str) -> None:
    """By the host's fence agent. Raises `Refused`."""
    agent = parse(fencing.agent_of(document, host))
    try:
        said = await switch_off(agent, host, daemon.settings.data_dir / "fence" / host)
    except FenceFailed as error:
        raise refused(
            409,
            "conflict",
            f"{host} was not fenced: {error}",
            f"switch it off by hand, then `xsm host forget {host} --it-is-off`",
        ) from error
    daemon.tell("fence", "", said)


def check_agent(document: Document, host: str) -> None:
    """Before anybody is asked to agree. Raises `Refused`."""
    try:
        find(parse(fencing.agent_of(document, host)))
    except FenceFailed as error:
        raise refused(409, "conflict", f"{host} can't be fenced from here: {error}") from error


async def until_it_holds(commit: Callable[[], Awaitable[Applied]]) -> Applied:
    """The host is off: other edits that came meanwhile must not keep the site from knowing. Raises `Refused`."""
    for left in reversed(range(COMMIT_TRIES)):
        try:
            return await commit()
        except Refused as error:
            if error.refusal.code != "moved" or not left:
                raise
    raise AssertionError("the last try gives an answer or raises")


async def watch(daemon: Daemon, fence: Callable[[str], Awaitable[Applied]]) -> None:
    """For ever: have hosts fenced that are silent for longer than the site file allows."""
    tried_at, told = float("-inf"), ""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        head = daemon.revisions.head
        if head is None or head.document is None or daemon.peer.frozen:
            continue
        now = daemon.clock()
        due = fencing.due(head.document, daemon.peer.contacts, tried_at, now)
        if due is None:
            continue
        said = f"{due.host} is silent for {due.silent_s:.0f} s"
        if due.why_not:
            if told != due.host:
                daemon.tell("fence", "", f"{said}, and is not fenced: {due.why_not}")
            told = due.host
            continue
        daemon.tell("fence", "", f"{said}: having it fenced")
        try:
            await fence(due.host)
            told = ""
        except Refused as refusal:
            daemon.tell("fence", "", f"{due.host} is not fenced: {refusal}")
        tried_at = daemon.clock()


async def come_back(daemon: Daemon) -> None:
    """For ever: while the site counts this host as fenced, ask to be taken back as soon as it runs nothing."""
    told, pause_s = "", COME_BACK_EVERY_S
    while True:
        await asyncio.sleep(pause_s)
        if not daemon.peer.expelled:
            told, pause_s = "", COME_BACK_EVERY_S
            continue
        why_not = daemon.peer.why_it_stays(daemon.clock())
        if not why_not:
            why_not = await _ask_back(daemon)
            pause_s = min(2 * pause_s, COME_BACK_AT_LEAST_EVERY_S)
        if why_not and why_not != told:
            log.info("this host can't come back to the site yet: %s", why_not)
        told = why_not


async def _ask_back(daemon: Daemon) -> str:
    """Why nobody took this host back, "" when somebody did."""
    why_not = "no member answers"
    members = daemon.members()
    for name in sorted(members):
        if name == daemon.peer.name:
            continue
        try:
            await daemon.client.post(members[name], RETURN_PATH, Returning(), Applied)
        except PeerUnreachable:
            continue
        except PeerRefused as refusal:
            why_not = f"{name}: {refusal.refusal.message}"
            continue
        return ""
    return why_not
