"""A change of members, carried out: votes, then what is known of claims, from enough hosts (docs/safety.md).

Decides nothing: which hosts are enough is `peer/membership.py`'s. The caller commits the new list under the number that
`agree` gives, on the very revision that it asked about.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xsm.api.control import Refused
from xsm.api.editing import refused
from xsm.api.types import JoinRequest
from xsm.edge.revisions import Moved
from xsm.edge.transport import PeerRefused, PeerUnreachable, Registers
from xsm.peer import membership
from xsm.peer import register as rules
from xsm.peer.events import ChangeAsked, Head, Learned
from xsm.peer.membership import Change
from xsm.peer.register import Register
from xsm.site import state_file
from xsm.site.state import Member

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from xsm.daemon import Daemon


END_CHANGES_EVERY_S = 5.0
"""How often it is looked whether a change of members broke off."""


class Stuck(Refused):
    """Another host's change of members has no end yet: that host may have died over it. `number_anew` overtakes it."""


AGREE_LIMIT_S = 10.0
"""How long a change waits for the votes of those who stay: a host that has just missed a revision has it by then."""


def refuse_taken(request: JoinRequest, members: Iterable[Member]) -> None:
    """Two hosts can't have one address or URL. Raises `Refused`."""
    for member in members:
        gone = f"if {member.name} is gone for good: `xsm host forget {member.name}` first"
        if member.address == request.address:
            raise refused(
                409,
                "conflict",
                f"{member.name} has the address {request.address} already",
                f"give this host's own with --address; {gone}",
            )
        if member.url == request.url:
            raise refused(
                409,
                "conflict",
                f"{member.name} has the URL {request.url} already",
                f"give another with --listen or --url; {gone}",
            )


def read(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Register]:
    """Registers as they are sent. Raises `Refused` when they are none."""
    try:
        return {vm: rules.from_entry(entry) for vm, entry in entries.items()}
    except ValueError as error:
        raise refused(400, "bad-request", str(error)[:200]) from error


def entries(registers: Mapping[str, Register]) -> Registers:
    """Registers as they are sent."""
    return {vm: rules.to_entry(r) for vm, r in sorted(registers.items())}


@asynccontextmanager
async def agreed(
    daemon: Daemon,
    members: Mapping[str, Member],
    after: Iterable[str],
    off: Iterable[str] = (),
    fenced: Iterable[str] = (),
    unasked: bool = False,
) -> AsyncIterator[int]:
    """Within this context the members may be changed to `after`, under the number that it gives; the list `members` is
    the present one. `off`: of whom the operator says that they are off. `fenced`: who has to be switched off within,
    before the change is committed; `unasked`: only if nobody else hears of them. Raises `Refused` (503)."""
    wish = ChangeAsked(
        frozenset(after), frozenset(members), frozenset(off), frozenset(fenced), unasked
    )
    await daemon.take(wish)
    try:
        change = await _votes(daemon)
        others = {n: members[n] for n in sorted(change.voters) if n != daemon.peer.name}
        asked = await asyncio.gather(
            *(daemon.client.get_registers(m) for m in others.values()), return_exceptions=True
        )
        known: dict[str, Mapping[str, Register]] = {daemon.peer.name: daemon.peer.ballots.known()}
        known.update({name: read(answer) for name, answer in _answers(others, asked).items()})
        _enough(change, known, "tells what it knows")
        everything = membership.together(known.values())
        await daemon.take(Learned(everything))
        told = await asyncio.gather(
            *(daemon.client.post_registers(m, entries(everything)) for m in others.values()),
            return_exceptions=True,
        )
        _enough(change, {daemon.peer.name, *_answers(others, told)}, "took note")
        yield change.number
    finally:
        await daemon.take(ChangeAsked(None))


async def number_anew(daemon: Daemon, head: Head) -> str:
    """Commit the present list of members under a new number: so a change that somebody began and never ended is
    overtaken. Gives the new revision. Raises `Refused`."""
    assert head.document is not None
    state, name = head.document.state, daemon.peer.name
    async with agreed(daemon, state.members, state.members) as number:
        files = await daemon.revisions.files(head.revision)
        numbered = state_file.write(replace(state, members_number=number))
        message = "Number the members anew: a change of them had no end"
        try:
            new = await daemon.revisions.commit(
                {**files, **numbered},
                head.revision,
                f"{name} <xsmd@{name}>",
                message,
                int(time.time()),
            )
        except Moved as error:
            raise refused(409, "moved", str(error)) from error
    daemon.took_head(new, local=True)
    return new.revision


async def end_changes(daemon: Daemon, end_change: Callable[[], Awaitable[None]]) -> None:
    """For ever: end the changes of members that this host made and that came to nothing, for the sake of those who
    voted for them."""
    while True:
        await asyncio.sleep(END_CHANGES_EVERY_S)
        if daemon.peer.has_unended_change:
            try:
                await end_change()
            except Refused as refusal:
                logging.getLogger("xsmd").info("a change of members has no end yet: %s", refusal)


async def _votes(daemon: Daemon) -> Change:
    end = daemon.clock() + AGREE_LIMIT_S
    while True:
        change = daemon.peer.changing.change
        if change is not None and change.agreed:
            return change
        if change is None or daemon.clock() > end:
            why = membership.waiting_for(change) if change else "another change came between"
            said = refused(
                503, "busy", f"the members can't be changed now: {why}", "bring them back first"
            )
            raise Stuck(said.status, said.refusal) if change and change.stuck else said
        await daemon.stepped()


def _answers(others: Iterable[str], answers: Iterable[Any]) -> dict[str, Any]:
    """What was answered, without those who are silent."""
    given = {}
    for name, answer in zip(others, answers, strict=True):
        if isinstance(answer, PeerUnreachable | PeerRefused):
            continue
        if isinstance(answer, BaseException):
            raise answer
        given[name] = answer
    return given


def _enough(change: Change, names: Collection[str], what: str) -> None:
    if not membership.enough(change, names):
        silent = ", ".join(membership.silent(change, names))
        raise refused(
            503,
            "busy",
            f"no majority of the hosts that stay {what}: the members can't be changed now (silent: {silent})",
            "bring them back first",
        )
