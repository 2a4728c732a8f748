"""`xsm events`: what happened, and with --follow what happens now."""

from __future__ import annotations

import os
import re
import select
import threading
import time
from collections.abc import Sequence
from typing import TextIO

import click

from xsm.api.types import Event
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.failures import EXIT_PIPE, Unreachable
from xsm.cli.names import VmName
from xsm.cli.screen import Cell
from xsm.cli.texts import clock
from xsm.cli.unknown import check_told_of
from xsm.plan.actions import Step

DEFAULT_LIMIT = 50
MAX_RECONNECTS = 30  # in a row; xsmd may be restarted while somebody watches
RECONNECT_WAIT_S = 1.0

_BEGUN = re.compile(f"(?:{'|'.join(Step)}): ")
"""An action's first event names the step ("set-memory: memory 96 MiB => 128 MiB"), its last one what came of it."""

KIND_STYLE = {
    "revision": "move",
    "action": "new",
    "claim": "faint",
    "member": "care",
    "held": "care",
    "drift": "care",
    "checkout": "care",
    "migration": "move",
}


@site_command(
    "events",
    short_help="What happened, and what happens now.",
    examples=("xsm events --follow", "xsm events --vm vm1 -n 10", "xsm events -f -o json"),
)
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--vm", type=VmName(), metavar="VM", default="", help="Only events of this VM.")
@click.option(
    "-n",
    "limit",
    type=click.IntRange(0),
    default=DEFAULT_LIMIT,
    show_default=True,
    metavar="N",
    help="How many of the past ones: lines; with -o json events.",
)
@click.option("--since", type=click.IntRange(0), default=0, metavar="SEQ", help="After this one.")
@pass_context
def command(context: Context, follow: bool, vm: str, limit: int, since: int) -> None:
    """What happened on this site as this host knows it, oldest first. With -o json one event a
    line.
    """
    last = since
    past = []
    for event in context.client.events(since, follow=False):
        last = max(last, event.seq)
        if vm in ("", event.vm):
            past.append(event)
    if vm and not past:
        check_told_of(context.client, vm)
    # Other hosts' events are copied a moment after they happened.
    past.sort(key=lambda event: event.at)
    _show(context, past, limit)
    if follow:
        context.watching = True
        _end_with_reader(context.screen.out)
        _follow(context, vm, last)


def _end_with_reader(out: TextIO) -> None:
    """`xsm events -f | head -1`: a reader that has gone is noticed at once, not by what is written at the next event,
    which may be hours away."""

    def wait() -> None:
        poller = select.poll()
        poller.register(out, 0)  # errors are always told
        poller.poll()
        os._exit(
            EXIT_PIPE
        )  # the main thread reads from xsmd, and nobody is left to be told anything

    threading.Thread(target=wait, daemon=True).start()


def _follow(context: Context, vm: str, last: int) -> None:
    """Stream what comes; a broken stream goes on after the last event that was seen."""
    failures = 0
    while True:
        try:
            for event in context.client.events(last, follow=True):
                failures = 0
                if event.seq <= last:
                    continue
                last = event.seq
                if vm in ("", event.vm):
                    _show(context, [event], 1)
            failure: Unreachable | None = None
        except Unreachable as error:
            failure = error
        failures += 1
        if failures > MAX_RECONNECTS:
            raise failure or Unreachable("xsmd ends the stream of events again and again")
        if failures == 1:
            context.screen.warn("(xsmd ended the stream; connecting again)", "faint")
        time.sleep(RECONNECT_WAIT_S)


def _show(context: Context, events: list[Event], limit: int) -> None:
    """The last `limit` of them: rows, for people; events, for programs."""
    if context.json:
        for event in events[-limit:] if limit else ():
            context.show_line(event)
        return
    rows = event_rows(events)
    context.screen.bare_rows(rows[-limit:] if limit else ())
    context.screen.out.flush()


def event_rows(events: Sequence[Event]) -> list[list[Cell | str]]:
    """A row for each event; what was begun has a row only while nothing has come of it ("...")."""
    ended: set[tuple[str, str]] = set()  # actions that end further down, by host and VM
    rows = []
    for event in reversed(events):
        key = event.host, event.vm
        begun = event.kind == "action" and _BEGUN.match(event.message) is not None
        if not (begun and key in ended):
            rows.append(event_row(event, " ..." if begun else ""))
        if begun:
            ended.discard(key)
        elif event.kind == "action":
            ended.add(key)
    return rows[::-1]


def event_row(event: Event, more: str = "") -> list[Cell | str]:
    message = event.message.removeprefix(f"{event.kind}: ")  # "held: ..." of kind held
    return [
        Cell(clock(event.at), "faint"),
        event.host,
        Cell(f"{event.kind:9}", KIND_STYLE.get(event.kind, "")),
        (f"{event.vm}: {message}" if event.vm else message) + more,
    ]
