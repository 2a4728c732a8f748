"""Hosts of a simulated site that are fenced, asked or unasked, and that come back.

Drives what `xsm/api/fencing.py` and `answers.py` drive in a daemon, in the same order: votes, the fence device, the
commit. The device cuts a host's power from outside, whatever the network is like; it may be broken, and takes its time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.sim.members import Agreement, Errand, commit_edit, edited
from tests.sim.network import Reply
from xsm.api.fencing import COME_BACK_EVERY_S, COMMIT_TRIES, LOOK_EVERY_S
from xsm.peer import edit as edits
from xsm.peer import fencing
from xsm.peer.commands import CommandRefused, Intent
from xsm.site.problems import Invalid

if TYPE_CHECKING:
    from tests.sim.host import SimHost
    from tests.sim.world import World

DEVICE_S = 1.5
"""What a fence agent takes."""


def fence(world: World, on: str, name: str, unasked: bool = False) -> Errand:
    """`xsm host fence`. Raises what an edit is refused with."""
    host = world.as_member(on)
    errand = Errand(f"fence {name}")
    life = host.life

    def intent() -> Intent:
        return fencing.fence(host.head_files, host.document, name, on)

    def commit_intent() -> Intent:
        if host.document.state.members_number != before.members_number:
            raise CommandRefused(f"{name} is off, and the members changed meanwhile")
        return intent()

    def with_votes(number: int, end: Callable[[str], None]) -> None:
        broken = name in world.broken_fences
        why_not = why_not_off(world, name)

        def switched() -> None:
            if host.life != life:
                return  # the agent died with its xsmd, after it had told the device
            if why_not:
                end(f"{name} was not fenced: {why_not}")
            else:
                _commit(host, commit_intent, number, end, COMMIT_TRIES)

        if not broken:
            world.after(DEVICE_S / 2, lambda: world.cut_power(name))
        world.after(DEVICE_S, switched)

    before = host.document.state
    after = intent().state.members
    Agreement(
        host,
        after,
        (),
        with_votes,
        errand.end,
        fenced=before.members.keys() - after.keys(),
        unasked=unasked,
    )
    return errand


def why_not_off(world: World, name: str) -> str:
    """What the fence agent says that went wrong, "" when the host is off."""
    return "the device does not answer" if name in world.broken_fences else ""


def _commit(
    host: SimHost,
    intent: Callable[[], Intent],
    number: int,
    end: Callable[[str], None],
    tries: int,
) -> None:
    """`api.fencing.until_it_holds`."""
    assert host.head is not None
    parent = host.head.revision

    def ended(error: str) -> None:
        if error and tries > 1 and host.peer is not None:
            _commit(host, intent, number, end, tries - 1)
        else:
            end(error)

    try:
        wish = intent()
        state = replace(wish.state, members_number=number)
        new = edited(host, wish.files, state, host.surroundings())
    except (CommandRefused, Invalid, edits.PlaceRefused) as refusal:
        end(str(refusal))
        return
    commit_edit(host, new, wish.message, parent, ended)


class Fencing:
    """What one host's daemon does by itself: `api.fencing.watch` and `come_back`."""

    def __init__(self, host: SimHost) -> None:
        self._host = host
        self._tried_at = float("-inf")
        self._looked_at = self._asked_at = host.world.now
        self._errand: Errand | None = None
        self._told = ""

    def tick(self) -> None:
        host, now = self._host, self._host.world.now
        if host.peer is None or host.head is None or host.head.document is None:
            return
        if self._errand is not None and self._errand.done:
            if self._errand.error:
                host.world.tell(host.name, "fence", "", f"nobody is fenced: {self._errand.error}")
            self._errand, self._tried_at = None, now
        if now >= self._looked_at + LOOK_EVERY_S and self._errand is None and not host.peer.frozen:
            self._looked_at = now
            self._look()
        if now >= self._asked_at + COME_BACK_EVERY_S and host.peer.expelled:
            self._asked_at = now
            if not host.peer.why_it_stays(now):
                self._ask_back()

    def _look(self) -> None:
        host, world = self._host, self._host.world
        assert host.peer is not None
        due = fencing.due(host.document, host.peer.contacts, self._tried_at, world.now)
        if due is None or due.why_not:
            if due is not None and self._told != due.host:
                self._told = due.host
                said = f"{due.host} is silent and is not fenced: {due.why_not}"
                world.tell(host.name, "fence", "", said)
            return
        try:
            self._errand = fence(world, host.name, due.host, unasked=True)
            world.tell(host.name, "fence", "", f"{due.host} is silent: having it fenced")
        except (CommandRefused, Invalid, edits.PlaceRefused):
            self._tried_at = world.now

    def _ask_back(self) -> None:
        """The members one after the other, until one takes this host back."""
        host = self._host
        assert host.peer is not None
        left = sorted(host.peer.members - {host.name})

        def ask_next(answer: object = "", error: str = "no") -> None:
            if left and (error or answer):
                to = left.pop(0)
                head = host.world.hosts[to].head  # `api.admission`
                fenced = head and head.document and host.name in head.document.state.fenced
                host.world.request(host, to, take_back, ask_next, stranger=bool(fenced))

        def take_back(receiver: SimHost, reply: Reply) -> None:
            _take_back(receiver, host.name, reply)

        ask_next()


def _take_back(host: SimHost, name: str, reply: Reply) -> None:
    """`api.answers.Answers.take_back`. The answer is why it was refused, "" when it was not."""
    assert host.peer is not None
    head = host.head
    if head is None or head.document is None or host.peer.expelled:
        reply("it can't")
        return
    try:
        intent = fencing.readmit(host.head_files, head.document, name)
    except CommandRefused as refusal:
        reply(str(refusal))
        return

    def commit(number: int, end: Callable[[str], None]) -> None:
        state = replace(intent.state, members_number=number)
        new = edited(host, intent.files, state, host.surroundings())
        commit_edit(host, new, intent.message, head.revision, end)

    Agreement(host, intent.state.members.keys(), (), commit, reply)
