"""`xsm status`: the site at a glance, and everything that somebody should look at."""

from __future__ import annotations

from xsm.api.types import MemberStatus, Reach, Status
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context, problem_line, problem_style
from xsm.cli.screen import Cell, Column, Screen
from xsm.cli.texts import age, count, date, short

MAX_LINES = 10  # of pending or held actions; `xsm plan` has them all

WITHOUT_SERF = "all works, what happens to other hosts shows later"
REACH_STYLE = {
    Reach.ALIVE: "good",
    Reach.SUSPECT: "care",
    Reach.FAILED: "bad",
    Reach.UNKNOWN: "faint",
    Reach.LEFT: "care",
}

MEMBER_COLUMNS = (
    Column("HOST"),
    Column("STATE"),
    Column("SEEN", drop=2),
    Column("REVISION", drop=1),
    Column("ADDRESS", drop=3),
    Column("REMARK"),
)


@site_command("status", short_help="The site at a glance.")
@pass_context
def command(context: Context) -> None:
    """The site at a glance: its revision, its hosts, and whether all is as the file wants it."""
    status = context.client.status()
    if context.json:
        context.show(status)
        return
    screen = context.screen
    _summary(screen, status)
    screen.line()
    screen.table(MEMBER_COLUMNS, [member_row(member, status) for member in status.members])
    _trouble(screen, status)


def verdict(status: Status) -> Cell:
    """One phrase on the whole site."""
    if status.twice:
        return Cell(f"{count(len(status.twice), 'VM')} RUNNING TWICE", "bad")
    if status.frozen:
        return Cell(f"frozen: {status.frozen}", "bad")
    if not status.majority:
        return Cell("no majority: nothing is started or moved until more hosts answer", "bad")
    if status.converged:
        return Cell("converged", "good")
    waiting = [line for line in status.pending if line not in status.held]
    parts = [f"{len(waiting)} pending"] if waiting else []
    parts += [f"{len(status.held)} held"] if status.held else []
    return Cell(", ".join(parts) or "hosts are catching up", "care")


def member_row(member: MemberStatus, status: Status) -> list[Cell | str]:
    remarks = ["this host"] if member.myself else []
    remarks += ["drained"] if member.drained else []
    remarks += [each for each in (member.error, member.clock) if each]
    behind = bool(member.revision) and member.revision != status.revision
    return [
        Cell(member.name, "name"),
        Cell(str(member.reach), REACH_STYLE[member.reach]),
        "-" if member.myself else age(member.seen_s),
        Cell(short(member.revision), "care" if behind else ""),
        member.address,
        Cell(", ".join(remarks), "bad" if member.error or member.clock else ""),
    ]


def _summary(screen: Screen, status: Status) -> None:
    merged = f" (merge of {len(status.heads)} edits)" if len(status.heads) > 1 else ""
    screen.pairs(
        [
            ("site", verdict(status)),
            ("revision", f"{short(status.revision)} {status.subject}{merged}"),
            ("by", f"{status.author}, {date(status.date)}"),
            ("asked", f"{status.host} (xsmd {status.version})"),
            *([("checkout", _checkout(status))] if status.checkout else []),
            *([("serf", Cell(f"{status.serf}; {WITHOUT_SERF}", "care"))] if status.serf else []),
        ]
    )


def _checkout(status: Status) -> Cell | str:
    if not status.checkout_behind:
        return status.checkout
    return Cell(f"{status.checkout} (behind, on {short(status.checkout_revision)})", "care")


def _trouble(screen: Screen, status: Status) -> None:
    held = list(status.held)
    _lines(screen, "running twice", list(status.twice), "bad")
    _lines(screen, "held", held, "care")
    _lines(screen, "pending", [line for line in status.pending if line not in held], "")
    _lines(screen, "moving", [str(transfer) for transfer in status.transfers], "")
    _lines(screen, "to know", list(status.notes), "")
    if status.conflicts:
        screen.line()
        screen.line(count(len(status.conflicts), "conflict") + ":", "bad")
        for conflict in status.conflicts:
            screen.line(
                f"{conflict.vm}: {conflict.what}: shown {conflict.shown}, other {conflict.other}"
                f" (`xsm resolve {conflict.vm}` keeps what is shown)",
                indent=2,
            )
    if status.checkout_problems:
        screen.line()
        screen.line(f"the last save in {status.checkout} was not applied:", "bad")
        for problem in status.checkout_problems:
            screen.line(problem_line(problem), problem_style(problem), indent=2)
    if status.checkout_behind:
        screen.line()
        screen.line(f"the checkout is behind: {status.checkout_behind}", "care")


def _lines(screen: Screen, title: str, lines: list[str], style: str) -> None:
    if not lines:
        return
    screen.line()
    screen.line(f"{len(lines)} {title}:", style or "head")
    for line in lines[:MAX_LINES]:
        screen.line(line, indent=2)
    if len(lines) > MAX_LINES:
        screen.line(f"... and {len(lines) - MAX_LINES} more (`xsm plan`)", "faint", indent=2)
