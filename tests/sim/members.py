"""Hosts that join a simulated site and are forgotten, over its network with all its faults.

Drives what `xsm/api/membership.py`, `enrolling.py`, `answers.py` and `xsm/edge/enrol.py` drive in a daemon, in the same
order; every decision (who votes, how many are enough, what is known of claims) is the project's own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.sim.network import NO_ANSWER, Reply
from xsm.peer import commands, membership
from xsm.peer import edit as edits
from xsm.peer.commands import CommandRefused
from xsm.peer.contacts import Reach
from xsm.peer.events import ChangeAsked, Learned
from xsm.peer.membership import Change
from xsm.peer.register import Register, learn
from xsm.site import state_file
from xsm.site.problems import Invalid
from xsm.site.state import State

if TYPE_CHECKING:
    from tests.sim.host import SimHost
    from tests.sim.world import World

AGREE_LIMIT_S = 10.0
"""`api.membership.AGREE_LIMIT_S`."""
POLL_S = 0.02
"""How often it is looked whether the votes have come."""


class Errand:
    """Something that an operator asked for and that takes its time. `error`: why it was not done, once `done`."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.done = False
        self.error = ""

    def end(self, error: str = "") -> None:
        if not self.done:
            self.done, self.error = True, error


class Agreement:
    """`api.membership.agreed`: the change of members that one host makes. `commit` gets the new list's number when the
    members may be changed, and must call what it is given when it is done, with "" or why it was refused."""

    def __init__(
        self,
        host: SimHost,
        after: Collection[str],
        off: Collection[str],
        commit: Callable[[int, Callable[[str], None]], None],
        end: Callable[[str], None],
        when_stuck: Callable[[str], None] | None = None,
        fenced: Collection[str] = (),
        unasked: bool = False,
    ) -> None:
        """`when_stuck`: called instead of `end` when another host's change has no end."""
        self._host = host
        self._world = host.world
        self._commit = commit
        self._tell_end = end
        self._when_stuck = when_stuck or end
        self._life = host.life
        self._until = 0.0
        self._began = False
        self._change: Change | None = None
        present = host.document.state.members.keys()
        self._asked = ChangeAsked(
            frozenset(after), frozenset(present), frozenset(off), frozenset(fenced), unasked
        )
        dead = f"xsmd on {host.name} died meanwhile"
        self._key = host.world.on_death(host, lambda: self._finish(dead))
        self._begin()

    def _begin(self) -> None:
        """One change of a host's at a time: `api.answers.Answers` has a lock for that."""
        if self._host.life != self._life:
            return
        if self._host.is_changing_members:
            self._world.after(POLL_S, self._begin)
            return
        self._host.is_changing_members = self._began = True
        self._until = self._world.now + AGREE_LIMIT_S
        self._host.feed(self._asked, self._wait_for_votes)

    def _finish(self, error: str) -> None:
        self._host.on_death.pop(self._key, None)
        if self._host.life == self._life and self._began:
            self._host.is_changing_members = False
            self._host.feed(ChangeAsked(None))
        self._tell_end(error)

    def _wait_for_votes(self) -> None:
        if self._host.life != self._life or self._host.peer is None:
            return
        change = self._host.peer.changing.change
        if change is not None and change.agreed:
            self._change = change
            self._ask()
        elif change is None or self._world.now > self._until:
            why = membership.waiting_for(change) if change else "another change came between"
            if change is not None and change.stuck:
                self._tell_end = self._when_stuck
            self._finish(f"the members can't be changed now: {why}")
        else:
            self._world.after(POLL_S, self._wait_for_votes)

    def _others(self) -> list[str]:
        assert self._change is not None
        return [name for name in sorted(self._change.voters) if name != self._host.name]

    def _ask(self) -> None:
        def know(receiver: SimHost, reply: Reply) -> None:
            assert receiver.peer is not None
            reply(receiver.peer.ballots.known())

        self._ask_all(know, self._bring_together)

    def _bring_together(self, answers: Mapping[str, object]) -> None:
        assert self._host.peer is not None
        known: list[Mapping[str, Register]] = [self._host.peer.ballots.known()]
        known += [registers for registers in answers.values() if isinstance(registers, dict)]
        if not self._is_enough(answers, "tells what it knows"):
            return
        everything = membership.together(known)

        def note(receiver: SimHost, reply: Reply) -> None:
            receiver.feed(Learned(everything), lambda: reply(True))

        self._host.feed(Learned(everything), lambda: self._ask_all(note, self._carry_out))

    def _carry_out(self, answers: Mapping[str, object]) -> None:
        if self._is_enough(answers, "took note"):
            assert self._change is not None
            try:
                self._commit(self._change.number, self._finish)
            except (CommandRefused, Invalid, edits.PlaceRefused) as refusal:
                self._finish(str(refusal))

    def _is_enough(self, answers: Collection[str], what: str) -> bool:
        assert self._change is not None
        took_part = {self._host.name, *answers}
        if membership.enough(self._change, took_part):
            return True
        silent = ", ".join(membership.silent(self._change, took_part))
        self._finish(f"no majority of the hosts that stay {what} (silent: {silent})")
        return False

    def _ask_all(
        self,
        arrive: Callable[[SimHost, Reply], None],
        then: Callable[[Mapping[str, object]], None],
    ) -> None:
        """Ask all others at once; go on when each has answered or is known not to."""
        others = self._others()
        left = set(others)
        answers: dict[str, object] = {}

        def hear(name: str, answer: object, error: str) -> None:
            if name not in left:
                return  # it was doubled
            left.discard(name)
            if not error:
                answers[name] = answer
            if not left:
                then(dict(sorted(answers.items())))

        for name in others:
            self._world.request(
                self._host,
                name,
                arrive,
                lambda a, e, name=name: hear(name, a, e),  # type: ignore[misc]
            )
        if not others:
            then({})


def forget(world: World, on: str, name: str, sure: bool) -> Errand:
    """`xsm host forget`. Raises what an edit is refused with."""
    host = world.as_member(on)
    errand = Errand(f"forget {name}")

    def ready(number: int) -> edits.Edited:
        around = host.surroundings()
        document, peer = host.document, host.peer
        assert peer is not None
        reach = peer.contacts.reach(name, len(document.state.members), world.now)
        alive = reach is Reach.ALIVE and name not in around.unreachable
        report = around.reports.get(name)
        intent = commands.forget(host.head_files, document, name, report, alive, sure, on)
        return edited(host, intent.files, replace(intent.state, members_number=number), around)

    def commit(number: int, end: Callable[[str], None]) -> None:
        commit_edit(host, ready(number), f"Forget host {name}", revision, end)

    revision = ""

    def agree(when_stuck: Callable[[str], None]) -> None:
        nonlocal revision
        assert host.head is not None
        revision, present = host.head.revision, host.document.state
        after = ready(present.members_number).document.state.members.keys()
        off = present.members.keys() - after - host.surroundings().reports.keys()
        Agreement(host, after, off, commit, errand.end, when_stuck)

    def once_more(refusal: str) -> None:
        if refusal:
            errand.end(refusal)
            return
        try:
            agree(errand.end)
        except (CommandRefused, Invalid, edits.PlaceRefused) as error:
            errand.end(str(error))

    agree(lambda _: _number_anew(host, once_more))
    return errand


def end_change(host: SimHost) -> None:
    """`api.membership.end_changes`, for one change."""
    _number_anew(host, lambda _: None)


def _number_anew(host: SimHost, end: Callable[[str], None]) -> None:
    """`api.membership.number_anew`."""
    head = host.head
    if head is None or head.document is None:
        end("the site's present state can't be read")
        return
    state = head.document.state

    def commit(number: int, end: Callable[[str], None]) -> None:
        numbered = state_file.write(replace(state, members_number=number))
        files = {**host.history.files(head.revision), **numbered}
        committed = host.new_commit(files, "Number the members anew", head.revision)
        host.take_edit(committed, head.revision, lambda: end(_lost(host, committed)))

    Agreement(host, state.members.keys(), (), commit, end)


def join(world: World, on: str, name: str) -> Errand:
    """`xsm join` on a blank host, with a token from `on`; called again after a failure it goes on where it was."""
    newcomer, errand = world.hosts[name], Errand(f"{name} joins")

    def caught_up(error: str) -> None:
        errand.end(error)
        if not error:
            newcomer.start_daemon()

    def answered(answer: object, error: str) -> None:
        refusal = error or str(answer or "")
        if refusal:
            errand.end(refusal)
            return
        newcomer.has_joined = True
        _catch_up(world, on, newcomer, caught_up)

    if newcomer.peer is not None or (newcomer.disk.heads and not newcomer.has_joined):
        raise CommandRefused(f"{name} belongs to a site already")
    world.on_death(newcomer, lambda: errand.end(f"{name} lost power meanwhile"))
    if newcomer.has_joined:
        _catch_up(world, on, newcomer, caught_up)
    else:
        world.request(
            newcomer,
            on,
            lambda host, reply: _take_in(host, newcomer, reply),
            answered,
            stranger=True,
        )
    return errand


def _take_in(host: SimHost, newcomer: SimHost, reply: Reply) -> None:
    """`api.enrolling.Enrolling.join`. The answer is why it was refused, "" when it was not."""
    assert host.peer is not None
    world, head = host.world, host.head
    if head is None or head.document is None:
        reply("the site's present state can't be read")
        return
    state = head.document.state
    if newcomer.name in state.members:
        reply(f"{newcomer.name} is a member already")
        return
    if not host.peer.contacts.majority(host.peer.members, world.now):
        reply("no majority of the site's hosts answers now")
        return
    after = {**state.members, newcomer.name: world.member(newcomer)}

    def commit(number: int, end: Callable[[str], None]) -> None:
        files = host.history.files(head.revision)
        around = edits.Surroundings({}, {}, host.wall())
        new = replace(state, members=after, members_number=number)
        edited = edits.edit(files, head.revision, files, head.revision, files, around, new)
        commit_edit(host, edited, f"{newcomer.name} joins the site", head.revision, end)

    Agreement(host, after.keys(), (), commit, reply)


def _catch_up(world: World, on: str, newcomer: SimHost, end: Callable[[str], None]) -> None:
    """`edge.enrol._catch_up`: all revisions, then what is known of claims, from the host that took it in."""

    def give_heads(owner: SimHost, reply: Reply) -> None:
        reply(owner.disk.heads)

    def took_heads(found: object, error: str) -> None:
        if error or not isinstance(found, tuple):
            end(error or NO_ANSWER)
            return
        newcomer.store(found)
        world.request(newcomer, on, give_registers, took_registers, stranger=True)

    def give_registers(owner: SimHost, reply: Reply) -> None:
        assert owner.peer is not None
        reply(owner.peer.ballots.known())

    def took_registers(known: object, error: str) -> None:
        if error or not isinstance(known, dict):
            end(error or NO_ANSWER)
            return
        registers = {vm: learn(Register(), r) for vm, r in known.items()}
        newcomer.disk.open_votes()
        newcomer.disk.begin_write(registers)
        newcomer.disk.end_write(registers)
        end("")

    world.request(newcomer, on, give_heads, took_heads, stranger=True)


def edited(
    host: SimHost, files: Mapping[str, bytes], state: State, around: edits.Surroundings
) -> edits.Edited:
    head = host.head_files
    return edits.edit(head, "head", head, "head", files, around, state)


def commit_edit(
    host: SimHost, edited: edits.Edited, message: str, parent: str, end: Callable[[str], None]
) -> None:
    committed = host.new_commit(edited.files, message, parent)
    host.take_edit(committed, parent, lambda: end(_lost(host, committed)))


def _lost(host: SimHost, commit_id: str) -> str:
    return "" if commit_id in host.world.committed else "the site has moved on meanwhile"
