"""`xsm host drain`: shows the order, asks, follows the moves to the end, or gives up cleanly.

Decides when the next edit of an order of several is made, what Ctrl-C and the end of the time do, and when the host
counts as emptied. Must not know where VMs go (`xsm.plan.draining`).
"""

from __future__ import annotations

import time
from dataclasses import replace

from xsm.api.types import Command, Preview, Verb
from xsm.cli.carry_out import Change, Manner, carry_out
from xsm.cli.context import Context
from xsm.cli.failures import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, Failure
from xsm.cli.texts import count, listed
from xsm.cli.unknown import host_named, names_checked

STAGES_LIMIT = 20
"""Edits that one draining is made of, at most: an order of more would be one that somebody else keeps undoing."""


def drain_host(context: Context, host: str, message: str, manner: Manner) -> int:
    """Empty `host`; the exit code: done only when none of the site's VMs runs there any more."""
    started = time.monotonic()
    for _ in range(STAGES_LIMIT):
        left_s = max(1.0, manner.timeout_s - (time.monotonic() - started))
        stage = _Stage(context, Command(Verb.DRAIN, host=host, message=message), manner)
        code = carry_out(context, stage.change(), replace(manner, timeout_s=left_s))
        if code != EXIT_DONE or not manner.wait:
            return code
        if not stage.more:
            return _emptied(context, host)
        manner = replace(manner, yes=True)  # the whole order was shown
    raise Failure(
        f"{host} is not empty after {STAGES_LIMIT} edits",
        "somebody else moves VMs, too? `xsm history`",
    )


def _emptied(context: Context, host: str) -> int:
    """By the host's own word, for somebody may switch it off on this exit code. What stays there and was held before
    this drain counts, too."""
    client = context.client
    name = host_named(client, host)
    answer = client.plan()
    report = answer.reports.get(name)
    if name in answer.unreachable or report is None or report.facts is None:
        context.screen.warn(
            f"{name} doesn't say what runs there: it isn't known to be empty", "bad"
        )
        return EXIT_FAILED
    running = sorted(report.running(client.status().site_id))
    if not running:
        return EXIT_DONE
    still = "still runs" if len(running) == 1 else "still run"
    context.screen.warn(
        f"{count(len(running), 'VM')} of the site {still} on {name}: {listed(running)} (`xsm plan` says why)",
        "bad",
    )
    return EXIT_FAILED


class _Stage:
    """One edit of the order."""

    def __init__(self, context: Context, command: Command, manner: Manner) -> None:
        self._context = context
        self._command = command
        self._manner = manner
        self.more = False  # another edit is to follow

    def change(self) -> Change:
        client, command = self._context.client, self._command
        return Change(
            preview=self._preview,
            apply=lambda head: client.command(replace(command, expect=head)),
            question=f"Drain {command.host}?",
            nothing=f"{command.host} is drained already.",
            take_back=self._give_up,
            ctrl_c="lets end what is under way, and gives up",
            time_is_up=True,
        )

    def _preview(self) -> Preview:
        with names_checked(self._context.client, vms=(), host=self._command.host):
            preview = self._context.client.preview_command(self._command)
        self.more = bool(
            preview.changes and preview.order is not None and len(preview.order.stages) > 1
        )
        return preview

    def _give_up(self) -> int:
        screen, host = self._context.screen, self._command.host
        screen.warn(
            f"giving up: what is under way ends, nothing else leaves {host} (Ctrl-C again leaves the hosts to it)"
        )
        client = self._context.client
        command = Command(Verb.UNDRAIN, host=host, stay=True)
        change = Change(
            preview=lambda: client.preview_command(command),
            apply=lambda head: client.command(replace(command, expect=head)),
            question="",
            nothing=f"Nothing was left to move from {host}.",
        )
        try:
            carry_out(self._context, change, replace(self._manner, yes=True, timeout_s=GIVING_UP_S))
        except KeyboardInterrupt:
            screen.warn("left; `xsm status` tells what becomes of it")
            return EXIT_INTERRUPTED
        screen.warn(
            f"{host} may run VMs again. `xsm host drain {host}` goes on, "
            f"`xsm host resume {host} --bring-home` brings back what has left"
        )
        return EXIT_INTERRUPTED


GIVING_UP_S = 120.0
"""How long what is under way is followed to its end."""
