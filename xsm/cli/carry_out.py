"""The shape of every change: preview, show, ask, do, follow. For `apply` and for the small
commands.

Decides when the user must be asked and what a run ends in. Must not know what the change is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import click

from xsm.api.types import Applied, Preview
from xsm.cli.context import Context, has_errors
from xsm.cli.errand import Errand, as_applied, errand_of
from xsm.cli.failures import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_INVALID,
    Failure,
    Refused,
)
from xsm.cli.follow import (
    CARRIED_OUT,
    DEFAULT_TIMEOUT_S,
    Progress,
    Verdict,
    earlier,
    follow,
    show_progress,
)
from xsm.cli.orderview import show_order
from xsm.cli.planview import DISRUPTIVE, show_actions, show_changes, show_plan
from xsm.cli.texts import count, short
from xsm.plan.actions import Action, Consequence, Plan
from xsm.plan.order import Order
from xsm.site.problems import Problem

MAX_TIMEOUT_S = 86_400.0
MAX_MOVES = 5  # how often the head may move between preview and apply before we give up


@dataclass(frozen=True)
class Manner:
    """How the user wants a change to be carried out."""

    yes: bool = False
    wait: bool = True
    timeout_s: float = DEFAULT_TIMEOUT_S


@dataclass(frozen=True)
class Change:
    """One thing to carry out. `apply` is told the head that was previewed."""

    preview: Callable[[], Preview]
    apply: Callable[[str], Applied]
    question: str
    always_ask: bool = False
    only_vm: str = ""  # show and weigh only this VM's actions; the others' are counted
    shown: Callable[[str], str] = str  # a problem's path as the user knows it
    nothing: str = "Nothing to change: the site is as it should be."
    take_back: Callable[[], int] | None = None  # what Ctrl-C does while it is followed
    ctrl_c: str = "calls the move back"  # that, in words
    time_is_up: bool = False  # it is taken back as well when the time is up


@dataclass(frozen=True)
class Outcome:
    """What `-o json` gives."""

    changed: bool
    revision: str
    changes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    plan: Plan = field(default_factory=Plan)
    progress: Progress | None = None
    order: Order | None = None  # of the moves, where a host is emptied


def manner_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--yes, --no-wait, --timeout; the function gets them as one `manner`."""

    @functools.wraps(function)
    def with_manner(
        *args: Any, yes: bool, no_wait: bool, timeout_s: float, **options: Any
    ) -> object:
        return function(*args, manner=Manner(yes, not no_wait, timeout_s), **options)

    wrapped: Callable[..., Any] = with_manner
    for option in (
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(0, MAX_TIMEOUT_S),
            default=DEFAULT_TIMEOUT_S,
            show_default=True,
            metavar="S",
            help="How many seconds to follow at most.",
        ),
        click.option("--no-wait", is_flag=True, help="Don't follow the hosts' progress."),
        click.option("-y", "--yes", is_flag=True, help="Don't ask."),
    ):
        wrapped = option(wrapped)
    return wrapped


def carry_out(context: Context, change: Change, manner: Manner) -> int:
    """Preview, show, ask, do, follow. The exit code."""
    for _ in range(MAX_MOVES):
        preview = change.preview()
        if has_errors(preview.problems):
            return _refuse(context, change, preview)
        if not preview.changes:
            return _nothing(context, change, preview)
        errand = _errand(context, change, preview)
        if not context.json:
            _show_preview(context, change, preview)
        if _must_ask(change, preview, errand, manner) and not context.confirm(
            change.question, manner.yes
        ):
            context.screen.line("Nothing was changed.")
            return EXIT_FAILED
        try:
            applied = change.apply(preview.head)
        except Refused as refused:
            if refused.code != "moved":
                raise
            context.screen.warn("Somebody else has changed the site meanwhile; looking again.")
            continue
        return _finish(context, preview, applied, change, errand, manner)
    raise Failure(
        f"the site changed {MAX_MOVES} times while this was tried", "try again in a moment"
    )


def _errand(context: Context, change: Change, preview: Preview) -> Errand:
    """What this change asks for: what is pending or held already isn't its fault."""
    return errand_of(preview.plan, context.client.plan(), preview.changes, change.only_vm)


def _must_ask(change: Change, preview: Preview, errand: Errand, manner: Manner) -> bool:
    moves = preview.order is not None and bool(preview.order.moves)
    if change.always_ask or moves or manner.yes:
        return not manner.yes
    return any(a.consequence in DISRUPTIVE and not a.held for a in errand.actions)


def _refuse(context: Context, change: Change, preview: Preview) -> int:
    if context.json:
        context.show(Outcome(False, preview.head, preview.changes, preview.problems))
    else:
        context.problems(preview.problems, change.shown)
        number = count(sum(1 for p in preview.problems if p.severity == "error"), "error")
        context.screen.warn(f"xsm: not applied: {number}; nothing was changed", "bad")
    return EXIT_INVALID


def _nothing(context: Context, change: Change, preview: Preview) -> int:
    if context.json:
        context.show(Outcome(False, preview.head, (), preview.problems, preview.plan))
        return EXIT_DONE
    context.problems(preview.problems, change.shown)
    left = tuple(
        a
        for a in preview.plan.actions
        if a.consequence is not Consequence.NEXT_BOOT and change.only_vm in ("", a.vm)
    )
    context.screen.line(_nothing_line(change, left))
    return EXIT_DONE


def _nothing_line(change: Change, left: tuple[Action, ...]) -> str:
    """That there is nothing to change, and what is still to be done from before."""
    if not left:
        return change.nothing
    still = earlier(len(left), any(not action.held for action in left))
    look = f"xsm why {change.only_vm}" if change.only_vm else "xsm plan"
    return f"Nothing to change in the file; {still} (`{look}`)."


def _show_preview(context: Context, change: Change, preview: Preview) -> None:
    screen = context.screen
    context.problems(preview.problems, change.shown)
    show_changes(screen, preview.changes)
    screen.line()
    if preview.order is not None:
        show_order(screen, preview.order)
    if not change.only_vm:
        show_plan(screen, preview.plan, preview.unreachable)
        return
    mine = Plan(tuple(a for a in preview.plan.actions if a.vm == change.only_vm))
    show_actions(screen, mine)
    others = len(preview.plan.actions) - len(mine.actions)
    if others:
        screen.line(f"({count(others, 'action')} of other VMs: `xsm plan`)", "faint")


def _finish(
    context: Context,
    preview: Preview,
    applied: Applied,
    change: Change,
    errand: Errand,
    manner: Manner,
) -> int:
    screen = context.screen
    if not context.json:
        new = tuple(p for p in applied.problems if p not in preview.problems)
        context.problems(new, change.shown)
        screen.line(f"Committed {short(applied.revision)}.", "good")
    progress = None
    if manner.wait:
        shown = None if context.json else screen
        if applied.changes != preview.changes:
            errand = as_applied(errand, applied.changes)
        try:
            ctrl_c = change.ctrl_c if change.take_back else "stops only the following"
            follows = (applied.revision, errand, manner.timeout_s, ctrl_c)
            progress = follow(context.client, shown, *follows)
        except KeyboardInterrupt:
            return _interrupted(context, change, applied, errand)
    if context.json:
        context.show(
            Outcome(
                True,
                applied.revision,
                applied.changes,
                applied.problems,
                preview.plan,
                progress,
                preview.order,
            )
        )
    elif progress:
        show_progress(screen, progress)
    if progress and progress.verdict is Verdict.TIMEOUT and change.time_is_up and change.take_back:
        change.take_back()
    return EXIT_DONE if progress is None or progress.verdict in CARRIED_OUT else EXIT_FAILED


def _interrupted(context: Context, change: Change, applied: Applied, errand: Errand) -> int:
    """Ctrl-C while it is followed: say what goes on, and how it is called back; or do that."""
    screen = context.screen
    if change.take_back is not None:
        return change.take_back()
    screen.warn(f"interrupted: {short(applied.revision)} is committed, and the hosts go on with it")
    try:
        moving = [t for t in context.client.status().transfers if t.vm in errand.vms]
    except Failure:
        moving = []  # then there is nothing more to tell
    for transfer in moving:
        screen.warn(f"{transfer} (`xsm migrate {transfer.vm} --abort` calls it back)")
    return EXIT_INTERRUPTED
