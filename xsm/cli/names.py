"""VM and host names as arguments: completion asks xsmd for them, briefly and silently."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from xsm.cli.client import Client
from xsm.cli.context import Context
from xsm.cli.failures import Failure
from xsm.cli.texts import first_line, short

COMPLETION_TIMEOUT_S = 0.8  # somebody is waiting for the tab key


def _client(ctx: click.Context) -> Client:
    return Client(ctx.ensure_object(Context).socket_path(), COMPLETION_TIMEOUT_S)


class VmName(click.ParamType):
    """The name of a VM of the site."""

    name = "vm"

    def shell_complete(
        self, ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        try:
            vms = _client(ctx).vms()
        except Failure:
            return []  # completion has nowhere to say why
        return [
            CompletionItem(vm.name, help=f"{vm.state} on {vm.wanted_host or '-'}")
            for vm in vms
            if vm.name.startswith(incomplete) and not vm.foreign
        ]


class HostName(click.ParamType):
    """The name of a host of the site."""

    name = "host"

    def shell_complete(
        self, ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        try:
            members = _client(ctx).status().members
        except Failure:
            return []  # completion has nowhere to say why
        return [
            CompletionItem(member.name, help=str(member.reach))
            for member in members
            if member.name.startswith(incomplete)
        ]


class VmOrHostName(click.ParamType):
    """Either."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return VmName().shell_complete(ctx, param, incomplete) + HostName().shell_complete(
            ctx, param, incomplete
        )


class RevisionId(click.ParamType):
    """A revision, or enough of its first characters. Mere digits say nothing: bash shows the subjects, too."""

    name = "revision"

    def shell_complete(
        self, ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        try:
            revisions = _client(ctx).history(30)
        except Failure:
            return []  # completion has nowhere to say why
        return [
            CompletionItem(short(r.id), help=first_line(r.message), told=True)
            for r in revisions
            if r.id.startswith(incomplete)
        ]


def vm_argument(**attrs: Any) -> Any:
    return click.argument("vm", type=VmName(), metavar="VM", **attrs)


def host_argument(name: str = "host", **attrs: Any) -> Any:
    return click.argument(name, type=HostName(), metavar="HOST", **attrs)
