"""Before the members change: what those who stay know of claims is brought together and given to all of them.

Decides whether the change may be made. Two majorities share a host only while the members stay the same; by this the
next majority knows what the last one did: a host that joins is no blank voter, and a forgotten host's knowledge is
not lost. (docs/safety.md)
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from xsm.api.editing import refused
from xsm.edge.transport import PeerRefused, PeerUnreachable, Registers
from xsm.peer import register as rules
from xsm.peer.events import Learned
from xsm.peer.register import Register
from xsm.site.state import Member

if TYPE_CHECKING:
    from xsm.daemon import Daemon


def read(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Register]:
    """Registers as they are sent. Raises `ValueError` when they are none."""
    return {vm: rules.from_entry(entry) for vm, entry in entries.items()}


def merged(known: list[Mapping[str, Register]]) -> dict[str, Register]:
    """What all of them know together."""
    together: dict[str, Register] = {}
    for registers in known:
        for vm, register in registers.items():
            together[vm] = rules.learn(together.get(vm, Register()), register)
    return together


async def share(daemon: Daemon, stay: Mapping[str, Member]) -> None:
    """Bring together what a majority of those who stay knows, and have a majority of them write it down.

    `stay`: the present members but for one that is about to be forgotten. Raises `Refused` (503).
    """
    others = {name: member for name, member in stay.items() if name != daemon.peer.name}
    asked = await asyncio.gather(
        *(daemon.client.get_registers(m) for m in others.values()), return_exceptions=True
    )
    answers = dict(zip(others, asked, strict=True))
    known: dict[str, Mapping[str, Register]] = {daemon.peer.name: daemon.peer.ballots.registers}
    for name, answer in answers.items():
        if isinstance(answer, PeerUnreachable | PeerRefused):
            continue
        if isinstance(answer, BaseException):
            raise answer
        known[name] = read(answer)
    _majority(known, stay, "answers")
    together = merged(list(known.values()))
    await daemon.take(Learned(together))
    entries: Registers = {vm: rules.to_entry(r) for vm, r in sorted(together.items())}
    told = await asyncio.gather(
        *(daemon.client.post_registers(others[n], entries) for n in known if n in others),
        return_exceptions=True,
    )
    noted = {daemon.peer.name}
    for name, error in zip((n for n in known if n in others), told, strict=True):
        if error is None:
            noted.add(name)
        elif not isinstance(error, PeerUnreachable | PeerRefused):
            raise error
    _majority(noted, stay, "took note")


def _majority(names: Collection[str], stay: Mapping[str, Member], what: str) -> None:
    if 2 * len(names) <= len(stay):
        silent = ", ".join(sorted(set(stay) - set(names)))
        raise refused(
            503,
            "busy",
            f"no majority of the hosts that stay {what}: the members can't be changed now (silent: {silent})",
            "bring them back first",
        )
