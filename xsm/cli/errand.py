"""What one change asks for, told apart from what was pending or held before it.

Decides which lines of a status are this change's own. Must not know how they are shown, nor ask.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from xsm.api.types import PlanAnswer
from xsm.plan.actions import Action, Consequence, Plan


@dataclass(frozen=True)
class Errand:
    """`actions` are this change's. `earlier`: what was held before it, without the reasons."""

    actions: tuple[Action, ...] = ()
    vms: frozenset[str] = frozenset()
    earlier: frozenset[str] = frozenset()

    @cached_property
    def hosts(self) -> frozenset[str]:
        """Hosts that have something to do for it."""
        named = (h for a in self.actions for h in (a.host, a.target))
        return frozenset(h for h in named if h)

    @property
    def to_do(self) -> tuple[Action, ...]:
        """The actions that XSM does by itself, unless they are held."""
        return tuple(a for a in self.actions if a.consequence is not Consequence.NEXT_BOOT)

    def concerns(self, line: str) -> bool:
        """Whether a pending or held line of a status, or a note, is about this change."""
        subject = subject_of(line)
        if subject not in self.vms:
            return subject in self.hosts
        return _what_is_held(line) not in self.earlier

    def own(self, lines: Iterable[str]) -> tuple[str, ...]:
        return tuple(line for line in lines if self.concerns(line))

    def others(self, lines: Iterable[str]) -> tuple[str, ...]:
        return tuple(line for line in lines if not self.concerns(line))


def errand_of(
    previewed: Plan, before: PlanAnswer, changes: Iterable[str], only_vm: str = ""
) -> Errand:
    """`before`: how it was without the change. What another VM had to do anyway is not the change's;
    of the VMs that it is about, only what was held already is not.
    """
    known = {_identity(action) for action in before.plan.actions}
    new = {a.vm for a in previewed.actions if _identity(a) not in known}
    vms = {only_vm} if only_vm else new | {subject_of(line) for line in changes}
    lines = [str(action) for action in before.plan.actions]
    lines += [line for report in before.reports.values() for line in report.held]
    actions = tuple(
        a for a in previewed.actions if a.vm in vms and not (a.held and _identity(a) in known)
    )
    return Errand(actions, frozenset(vms), frozenset(map(_what_is_held, lines)) - {""})


def as_applied(errand: Errand, changes: Iterable[str]) -> Errand:
    """The errand when what was applied isn't what was previewed: the site placed a VM elsewhere.

    Which actions come of it isn't known, so that none can be said to be done.
    """
    return Errand((), errand.vms | {subject_of(line) for line in changes}, errand.earlier)


def subject_of(line: str) -> str:
    """The VM (or host) that a line is about: of "vm1 on dmz01: ..." and of "vm1: ...", vm1."""
    return line.split(": ", 1)[0].split(" on ", 1)[0]


def done_line(action: Action) -> str:
    """The action as something that is done: "vm1 on dmz01: create: running, 96 MiB"."""
    how = "" if action.consequence is Consequence.HELD else f"{action.consequence}: "
    return f"{_where(action)}: {how}{action.change}"


def _where(action: Action) -> str:
    return f"{action.vm} on {action.host}" if action.host else action.vm


def _identity(action: Action) -> tuple[str, str, Consequence, str]:
    """Without the reasons: they tell of times and counts."""
    return action.vm, action.host, action.consequence, action.change


def _what_is_held(line: str) -> str:
    """A held line without its reason, "" for another one."""
    what, held, _ = line.partition(": held: ")
    return what if held else ""
