"""`@command(...)`: a click command that takes the global options, too, and knows its examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from xsm.cli.context import global_options


class SiteCommand(click.Command):
    """A command of `xsm`. The global options may stand behind it as well as before it."""

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.params.extend(global_options(after_command=True))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """An argument that is there and empty (an unset variable of a script) is none."""
        rest = super().parse_args(ctx, args)
        for param in self.params:
            given = ctx.params.get(param.name or "")
            if isinstance(param, click.Argument) and given == "" and param.default != "":
                raise click.BadParameter("it is empty.", ctx, param)
        return rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def command(
    name: str, *, examples: tuple[str, ...] = (), **attrs: Any
) -> Callable[[Callable[..., Any]], SiteCommand]:
    """Like click.command, for a `SiteCommand`."""
    return click.command(name, cls=SiteCommand, examples=examples, **attrs)
