"""What is shown while a change is followed: lines for pipes and logs, a table on a terminal.

Must not judge: what is done, pending or held comes as a `Standing`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from xsm.api.types import Reach, Status
from xsm.cli.errand import done_line
from xsm.cli.screen import Screen, clean
from xsm.cli.standing import Standing
from xsm.cli.texts import short
from xsm.plan.actions import Action
from xsm.plan.observed import Transfer

MAX_LIVE_LINES = 12
_NUMBERS = re.compile(r"\d+")


def held_line(line: str) -> str:
    """A held line of a status, with that word once and in front."""
    return "held: " + line.replace(": held: ", ": ", 1)


class Display:
    """Shows nothing. The two others show the same on a terminal and in a pipe."""

    def update(self, status: Status, stands: Standing) -> None:
        """A new status has come."""


class Lines(Display):
    """One line for every change, for pipes and logs. What was said once isn't said again."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.told: set[str] = set()
        self.done: set[Action] = set()

    def update(self, status: Status, stands: Standing) -> None:
        for member in status.members:
            if member.revision == status.revision:
                self.tell(f"{member.name}: on {short(status.revision)}")
        for action in stands.done:
            if action not in self.done:
                self.done.add(action)
                self.screen.line(f"done: {done_line(action)}")
        for transfer in stands.transfers:
            self.tell(str(transfer), _milestone(transfer))
        # What an action waits for just now ("[...]") changes all the time; a line for each would be noise.
        for line in sorted(line.rsplit(" [", 1)[0] for line in stands.waiting):
            self.tell(f"pending: {line}")
        for line in sorted(stands.held):
            self.tell(held_line(line), _NUMBERS.sub("", line))  # times and counts are no news
        self.screen.out.flush()

    def tell(self, line: str, news: str = "") -> None:
        if (news or line) not in self.told:
            self.told.add(news or line)
            self.screen.line(line)


def _milestone(transfer: Transfer) -> str:
    """What of a migration's progress is worth a line of its own: each tenth, each pass, each decision about it."""
    job = transfer.job
    tenth = 10 * (job.total_mib - job.remaining_mib) // job.total_mib if job.total_mib else -1
    return f"{transfer.vm} to {transfer.target} {tenth} {job.iteration} {transfer.note}"


class Live(Display):
    """A small table that is drawn anew in place, on a terminal."""

    def __init__(self, screen: Screen) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        console = Console(
            file=screen.out, width=screen.width, no_color=not screen.colour, highlight=False
        )
        self.live = RichLive(console=console, auto_refresh=False, transient=True)

    def update(self, status: Status, stands: Standing) -> None:
        from rich.console import Group
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
        lines = [Text(f"→ {clean(str(transfer))}", "cyan") for transfer in stands.transfers]
        lines += [Text(f"… {clean(line)}") for line in stands.waiting]
        lines += [Text(clean(held_line(line)), "yellow") for line in stands.held]
        lines += [Text(f"✓ {clean(done_line(action))}", "green") for action in stands.done]
        for line in lines:
            line.overflow, line.no_wrap = "ellipsis", True
        self.live.update(Group(table, *lines[:MAX_LIVE_LINES]), refresh=True)


@contextmanager
def display(screen: Screen | None, revision: str, ctrl_c: str) -> Iterator[Display]:
    """`ctrl_c`: what the keys do meanwhile."""
    if screen is None:
        yield Display()
        return
    screen.line(f"Following {short(revision)} on all hosts (Ctrl-C {ctrl_c}).")
    screen.out.flush()
    if screen.width is None or os.environ.get("TERM") == "dumb":
        yield Lines(screen)
        return
    live = Live(screen)
    with live.live:
        yield live
