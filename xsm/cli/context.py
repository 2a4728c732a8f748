"""What every command gets: where xsmd is, how to show things, and whether the user can be asked.

Decides the order in which the socket's path is looked for. Must not know any command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import click

from xsm.cli.client import Client
from xsm.cli.failures import InputFailure
from xsm.cli.screen import Screen
from xsm.site.problems import Problem, Severity

FORMATS = ("text", "json")


@dataclass
class Context:
    """One run of `xsm`. Global options write into it, whether they come before or after the
    command.
    """

    socket: str = ""
    config: str = ""
    format: str = "text"
    watching: bool = False  # nothing is under way that Ctrl-C could interrupt
    screen: Screen = field(default_factory=Screen.real)

    @property
    def json(self) -> bool:
        return self.format == "json"

    @cached_property
    def client(self) -> Client:
        told = None if self.json else self.screen.warn  # what programs get on stderr is a Refusal
        return Client(self.socket_path(), socket=self.socket, config=self.config, waiting=told)

    def socket_path(self) -> str:
        """--socket, else --config's, else XSM_SOCKET, else what the settings file of this host
        says.
        """
        if self.socket:
            return self.socket
        if not self.config and (given := os.environ.get("XSM_SOCKET")):
            return given
        return socket_of(self.config or None)

    def show(self, value: object) -> None:
        """A value as JSON, for `-o json`."""
        import msgspec

        encoded = msgspec.json.encode(value, order="deterministic")
        self.screen.raw(msgspec.json.format(encoded, indent=2).decode())

    def show_line(self, value: object) -> None:
        """A value as one line of JSON, for streams."""
        import msgspec

        self.screen.raw(msgspec.json.encode(value, order="deterministic").decode())
        self.screen.out.flush()

    def interactive(self) -> bool:
        """Somebody is there who can be asked."""
        return not self.json and sys.stdin.isatty()

    def confirm(self, question: str, yes: bool) -> bool:
        """Ask on stderr. Without a terminal and without --yes: InputFailure."""
        if yes:
            return True
        if not self.interactive():
            raise InputFailure("this needs a confirmation: give --yes")
        self.screen.out.flush()
        return click.confirm(question, default=False, err=True)

    def problems(self, problems: tuple[Problem, ...], shown: Callable[[str], str] = str) -> None:
        """Problems to stderr, one line each, as compilers print them. `shown` makes a path the
        user's.
        """
        for problem in problems:
            self.screen.warn(problem_line(problem, shown), problem_style(problem))


def problem_line(problem: Problem, shown: Callable[[str], str] = str) -> str:
    where = shown(problem.path)
    place = f"{where}:{problem.line}" if problem.line else where
    hint = f" ({problem.hint})" if problem.hint else ""
    return f"{place}: {problem.severity}: {problem.message}{hint}"


def as_shown(problems: tuple[Problem, ...], shown: Callable[[str], str]) -> tuple[Problem, ...]:
    """The same problems with paths as the user knows them."""
    return tuple(replace(problem, path=shown(problem.path)) for problem in problems)


def problem_style(problem: Problem) -> str:
    return "bad" if problem.severity is Severity.ERROR else "care"


def has_errors(problems: tuple[Problem, ...]) -> bool:
    return any(problem.severity is Severity.ERROR for problem in problems)


def socket_of(config: str | None) -> str:
    """The socket that a settings file names; of the default place when there is none and none was
    asked for.

    Raises `Invalid` for a settings file that can't be used.
    """
    from xsm.edge.settings import load_settings, places, settings_path

    uid = os.geteuid()
    if not config and not settings_path(None, os.environ, uid).exists():
        return str(places(os.environ, uid).socket)
    return str(load_settings(config).socket)


def _take(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(ctx.ensure_object(Context), name, value)

    return callback


def global_options(after_command: bool) -> list[click.Option]:
    """--socket, --config, -o: on `xsm` and after every command (whose help shows only -o)."""
    return [
        click.Option(
            ["--socket"],
            type=click.Path(),
            metavar="PATH",
            expose_value=False,
            callback=_take("socket"),
            hidden=after_command,
            help="Socket of the local xsmd [XSM_SOCKET, or as its settings say].",
        ),
        click.Option(
            ["--config"],
            type=click.Path(),
            metavar="FILE",
            expose_value=False,
            callback=_take("config"),
            hidden=after_command,
            help="Settings file of the local xsmd, to find its socket by [XSM_CONFIG].",
        ),
        click.Option(
            ["-o", "--format"],
            type=click.Choice(FORMATS),
            expose_value=False,
            callback=_take("format"),
            help="Output for people or for programs [text].",
        ),
    ]


pass_context = click.make_pass_decorator(Context, ensure=True)
