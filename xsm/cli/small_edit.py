"""Running a `Command` of the API: the small edits that the site makes for the user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from xsm.api.types import Command, Preview, Verb
from xsm.cli.carry_out import Change, Manner, carry_out
from xsm.cli.context import Context
from xsm.cli.unknown import names_checked


def run_command(
    context: Context,
    command: Command,
    manner: Manner,
    question: str,
    *,
    always_ask: bool = False,
    nothing: str = "",
    take_back: Callable[[], int] | None = None,
) -> int:
    """Preview the command, ask where it is disruptive, do it, follow it. The exit code."""
    client = context.client

    def preview() -> Preview:
        host = command.to if command.verb is Verb.MIGRATE else command.host
        vms = (command.vm,) if command.vm else ()
        with names_checked(client, vms=vms, host=host):
            return client.preview_command(command)

    change = Change(
        preview=preview,
        apply=lambda head: client.command(replace(command, expect=head)),
        question=question,
        always_ask=always_ask,
        only_vm=command.vm,
        nothing=nothing or "Nothing to change: it is so already.",
        take_back=take_back,
    )
    return carry_out(context, change, manner)
