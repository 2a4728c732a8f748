"""How one change stands, by one status of the site.

Decides which pending and held lines are the change's own, and which of its actions are done. A host
that doesn't answer, or can't act at all, holds what it has to do. Must not know how it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from xsm.api.types import MemberStatus, Reach, Status
from xsm.cli.errand import Errand, subject_of
from xsm.cli.texts import short
from xsm.plan.actions import Action
from xsm.plan.observed import Transfer


@dataclass(frozen=True)
class Standing:
    """`others`: what is pending or held but not for this change; it isn't waited for."""

    waiting: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()  # hosts that answer and are not on the head yet, one line each
    done: tuple[Action, ...] = ()
    others: tuple[str, ...] = ()
    others_wait: bool = False  # some of the others are not held: they go on by themselves
    transfers: tuple[Transfer, ...] = ()  # its live migrations in flight

    @property
    def left(self) -> bool:
        return bool(self.waiting or self.held or self.behind)

    @property
    def held_only(self) -> bool:
        return bool(self.held) and not self.waiting and not self.behind


def waiting_lines(status: Status) -> tuple[str, ...]:
    """Pending lines that aren't held: they go on by themselves."""
    held = frozenset(status.held)
    return tuple(line for line in status.pending if line not in held)


def standing(status: Status, errand: Errand, revision: str) -> Standing:
    """How the change that became `revision` stands."""
    going = waiting_lines(status)
    silent, unable = _hindered(status, errand)
    others = errand.others(going)
    waiting = (*errand.own(going), *silent)
    held = (*errand.own(status.held), *unable)
    behind = tuple(f"{m.name} is still on {short(m.revision)}" for m in _behind(status))
    if not any(m.reach is Reach.ALIVE for m in status.members):
        behind = ("no host answers yet",)
    return Standing(
        waiting,
        held,
        behind,
        _done(status, errand, revision, (*waiting, *held)),
        (*others, *errand.others(status.held)),
        bool(others),
        tuple(t for t in status.transfers if t.vm in errand.vms),
    )


def _behind(status: Status) -> tuple[MemberStatus, ...]:
    return tuple(
        m for m in status.members if m.reach is Reach.ALIVE and m.revision != status.revision
    )


def _hindered(status: Status, errand: Errand) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lines for what this change asks of hosts that don't answer just now, or can't act."""
    silent, unable = [], []
    members = {m.name: m for m in status.members}
    for action in errand.to_do:
        for host in dict.fromkeys((action.host, action.target)):
            member = members.get(host)
            line = f"{action.vm} on {host}: {action.change}"
            if member is None:
                continue
            if member.reach is Reach.SUSPECT:
                silent.append(f"{line} [{host} does not answer just now]")
            elif member.reach is not Reach.ALIVE:
                unable.append(f"{line}: held: {host} does not answer; it catches up")
            elif member.error:
                unable.append(f"{line}: held: {host}: {member.error}")
    return tuple(silent), tuple(unable)


def _done(
    status: Status, errand: Errand, revision: str, left: tuple[str, ...]
) -> tuple[Action, ...]:
    """The actions of which nothing is left, by the word of hosts that act on this very revision."""
    there = {m.name for m in status.members if m.reach is Reach.ALIVE and m.revision == revision}
    there -= {m.name for m in status.members if m.error}
    unfinished = {subject_of(line) for line in left}
    return tuple(
        action
        for action in errand.to_do
        if action.host in there
        and action.target in (*there, "")
        and not unfinished & {action.vm, action.host, action.target}
    )
