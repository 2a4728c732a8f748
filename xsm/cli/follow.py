"""Following a revision until every host has done its part.

Decides, from one `Status` after another, whether the site has converged, waits for a person, or
still works (`judge`, a pure function); and how that is shown meanwhile. Must not know what was
applied.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from xsm.api.types import MemberStatus, Reach, Status
from xsm.cli.client import Client
from xsm.cli.failures import Refused, Unreachable
from xsm.cli.screen import Screen, clean
from xsm.cli.texts import age, count, short
from xsm.plan.actions import Consequence

POLL_S = 0.25
POLL_TIMEOUT_S = 10.0
SILENCE_S = 20.0  # xsmd may restart while it is followed
HELD_SETTLE_S = 3.0  # what is held for a moment (a claim under way) isn't held for good
DEFAULT_TIMEOUT_S = 300.0


class Verdict(StrEnum):
    WORKING = "working"
    CONVERGED = "converged"
    HELD = "held"
    FROZEN = "frozen"
    TIMEOUT = "timeout"
    SILENT = "silent"


@dataclass(frozen=True)
class Progress:
    """How a followed revision stands. `reasons`: one line for each thing that is not done."""

    verdict: Verdict
    revision: str
    seconds: float
    reasons: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()  # members that don't answer; they will catch up
    restart_needed: tuple[str, ...] = ()  # differences that only a restart takes away


def waiting(status: Status) -> tuple[str, ...]:
    """Pending lines that aren't held: they go on by themselves."""
    held = frozenset(status.held)
    return tuple(line for line in status.pending if line not in held)


def behind(status: Status) -> tuple[MemberStatus, ...]:
    """Members that answer but are not yet on the head."""
    return tuple(
        m for m in status.members if m.reach is Reach.ALIVE and m.revision != status.revision
    )


def judge(status: Status, held_for_s: float, elapsed_s: float, timeout_s: float) -> Verdict:
    """What one status means after `elapsed_s`, when only held things were left for `held_for_s`."""
    if status.frozen:
        return Verdict.FROZEN
    if status.converged:
        return Verdict.CONVERGED
    if held_only(status) and held_for_s >= HELD_SETTLE_S:
        return Verdict.HELD
    return Verdict.TIMEOUT if elapsed_s >= timeout_s else Verdict.WORKING


def held_only(status: Status) -> bool:
    return bool(status.held) and not waiting(status) and not behind(status)


def reasons(status: Status, verdict: Verdict) -> tuple[str, ...]:
    """Why the site is not converged, one line each."""
    if verdict is Verdict.CONVERGED:
        return ()
    lines = [f"{status.host} is frozen: {status.frozen}"] if status.frozen else []
    if not status.majority:
        lines.append("a majority of the hosts doesn't answer: nothing is started or moved")
    lines += [f"{m.name} is still on {short(m.revision)}" for m in behind(status)]
    return (*lines, *status.held, *waiting(status))


def follow(client: Client, screen: Screen | None, revision: str, timeout_s: float) -> Progress:
    """Poll until there is a verdict. `screen` None: silently, for `-o json`."""
    quick = Client(client.socket_path, POLL_TIMEOUT_S)
    started = answered = time.monotonic()
    held_since: float | None = None
    with _display(screen, revision) as display:
        while True:
            status = _ask(quick)
            now = time.monotonic()
            if status is None:
                if now - answered > SILENCE_S or now - started > timeout_s:
                    reason = f"xsmd did not answer for {age(now - answered)}"
                    return Progress(Verdict.SILENT, revision, now - started, (reason,))
            else:
                answered = now
                held_since = (held_since or now) if held_only(status) else None
                held_for_s = now - held_since if held_since else 0.0
                display.update(status)
                verdict = judge(status, held_for_s, now - started, timeout_s)
                if verdict is not Verdict.WORKING:
                    return _progress(status, verdict, now - started)
            time.sleep(POLL_S)


def _ask(client: Client) -> Status | None:
    try:
        return client.status()
    except Unreachable:
        return None
    except Refused as refused:
        if refused.code == "busy":
            return None
        raise


def _progress(status: Status, verdict: Verdict, seconds: float) -> Progress:
    absent = tuple(m.name for m in status.members if not m.myself and m.reach is not Reach.ALIVE)
    mark = f": {Consequence.NEXT_BOOT}: "
    restart_needed = tuple(note for note in status.notes if mark in note)
    why = reasons(status, verdict)
    return Progress(verdict, status.revision, seconds, why, absent, restart_needed)


class Display:
    """Shows nothing. The two others show the same on a terminal and in a pipe."""

    def update(self, status: Status) -> None:
        """A new status has come."""


class Lines(Display):
    """One line for every change, for pipes and logs."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.shown: set[str] = set()

    def update(self, status: Status) -> None:
        current = set()
        for member in status.members:
            if member.revision == status.revision:
                current.add(f"{member.name}: on {short(status.revision)}")
        # What an action waits for just now ("[...]") changes all the time; a line for each would be noise.
        current.update(f"pending: {line.rsplit(' [', 1)[0]}" for line in waiting(status))
        current.update(f"held: {line}" for line in status.held)
        for line in sorted(current - self.shown):
            self.screen.line(line)
        for line in sorted(self.shown - current):
            kind, _, rest = line.partition(": ")
            if kind == "pending":
                self.screen.line(f"done: {rest}")
        self.shown = current
        self.screen.out.flush()


class Live(Display):
    """A small table that is drawn anew in place, on a terminal."""

    def __init__(self, screen: Screen) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        console = Console(
            file=screen.out, width=screen.width, no_color=not screen.colour, highlight=False
        )
        self.live = RichLive(console=console, auto_refresh=False, transient=True)

    def update(self, status: Status) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for member in status.members:
            there = member.revision == status.revision
            mark, style = ("✓", "green") if there else ("…", "yellow")
            remark = "" if member.reach is Reach.ALIVE else str(member.reach)
            table.add_row(
                Text(mark, style), Text(member.name, "bold"), short(member.revision), remark
            )
        lines = [*waiting(status)[:8], *(f"held: {line}" for line in status.held[:4])]
        text = Text("\n".join(clean(line) for line in lines), overflow="ellipsis", no_wrap=True)
        from rich.console import Group

        self.live.update(Group(table, text), refresh=True)


@contextmanager
def _display(screen: Screen | None, revision: str) -> Iterator[Display]:
    if screen is None:
        yield Display()
        return
    screen.line(f"Following {short(revision)} on all hosts (Ctrl-C stops only the following).")
    screen.out.flush()
    if screen.width is None or os.environ.get("TERM") == "dumb":
        yield Lines(screen)
        return
    live = Live(screen)
    with live.live:
        yield live


def show_progress(screen: Screen, progress: Progress) -> None:
    """The last word on what was followed."""
    took = f"{progress.seconds:.1f} s"
    for name in progress.absent:
        screen.line(f"{name} does not answer; it catches up when it is back", "care")
    for note in progress.restart_needed:
        screen.line(note, "care")
    if progress.verdict is Verdict.CONVERGED:
        screen.line(f"Converged on {short(progress.revision)} after {took}.", "good")
        return
    number = count(len(progress.reasons), "thing")
    words = {
        Verdict.HELD: f"Not converged: {number} held",
        Verdict.FROZEN: "Not converged: this host acts on nothing",
        Verdict.TIMEOUT: f"Not converged after {took}: {number} left (xsmd goes on trying)",
        Verdict.SILENT: "Lost sight of it",
    }
    screen.line(words[progress.verdict] + ":", "bad")
    for line in progress.reasons:
        screen.line(line, indent=2)
