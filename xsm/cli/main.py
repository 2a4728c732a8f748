"""The `xsm` program: which commands there are, and how every failure ends.

Decides exit codes and what goes to stderr. A command's module is imported only when that command
runs, so that `xsm status` doesn't pay for XML, YAML or cryptography.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from xsm.api.types import Refusal
from xsm.cli.context import Context, global_options
from xsm.cli.failures import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_INVALID,
    EXIT_PIPE,
    Failure,
    Refused,
)
from xsm.site.problems import Invalid

COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("xsm.cli.init:command", "Setting up", "Make a new site with this host as its first."),
    "invite": ("xsm.cli.invite:command", "Setting up", "Make a token with which a host may join."),
    "join": ("xsm.cli.join:command", "Setting up", "Join this host to a site."),
    "certificate": (
        "xsm.cli.certificate:command",
        "Setting up",
        "Make a certificate for git and curl from elsewhere.",
    ),
    "completion": ("xsm.cli.completion:command", "Setting up", "Print the shell's completion."),
    "demo": ("xsm.demo.main:command", "Setting up", "Run a site of four hosts on this machine."),
    "validate": ("xsm.cli.validate:command", "Files", "Check a site's files; needs no xsmd."),
    "convert": ("xsm.cli.convert:command", "Files", "Turn a site file from XML to YAML or back."),
    "domxml": ("xsm.cli.domxml:command", "Files", "Show the libvirt XML that a host would get."),
    "plan": ("xsm.cli.plan:command", "Changing", "Show what would be done, and why."),
    "apply": ("xsm.cli.apply:command", "Changing", "Make the site as the file says."),
    "rollback": ("xsm.cli.rollback:command", "Changing", "Go back to an earlier revision."),
    "adopt": ("xsm.cli.adopt:command", "Changing", "Take domains that run already into the site."),
    "resolve": ("xsm.cli.resolve:command", "Changing", "Settle a VM's conflict as it is shown."),
    "status": ("xsm.cli.status:command", "Looking", "The site at a glance."),
    "hosts": ("xsm.cli.hosts:command", "Looking", "The hosts and what they have left."),
    "vms": ("xsm.cli.vms:command", "Looking", "The VMs, wanted and observed."),
    "show": ("xsm.cli.show:command", "Looking", "All about one VM or host."),
    "history": ("xsm.cli.history:command", "Looking", "Who changed what, newest first."),
    "diff": ("xsm.cli.diff:command", "Looking", "What differs between two revisions."),
    "why": ("xsm.cli.why:command", "Looking", "Why a VM is as it is."),
    "events": ("xsm.cli.events:command", "Looking", "What happened, and what happens now."),
    "migrate": ("xsm.cli.power:migrate", "VMs and hosts", "Move a VM to another host."),
    "start": ("xsm.cli.power:start", "VMs and hosts", "Start a VM."),
    "stop": ("xsm.cli.power:stop", "VMs and hosts", "Shut a VM down."),
    "pause": ("xsm.cli.power:pause", "VMs and hosts", "Pause a VM."),
    "resume": ("xsm.cli.power:resume", "VMs and hosts", "Let a paused VM go on."),
    "restart": ("xsm.cli.power:restart", "VMs and hosts", "Restart a VM; pending changes apply."),
    "disk": (
        "xsm.cli.disk:command",
        "VMs and hosts",
        "Have a VM's disk made anew, or an old one used.",
    ),
    "host": (
        "xsm.cli.host:command",
        "VMs and hosts",
        "Add, drain, resume, fence, forget or list hosts; their keys and certificates.",
    ),
}
"""Name -> (module:attribute, section of the help, one line). The line is the command's own short
help.
"""


class Commands(click.Group):
    """Loads a command when it is asked for."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if _exists(name)]

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS or not _exists(cmd_name):
            return None
        module_name, attribute = COMMANDS[cmd_name][0].split(":")
        loaded: Any = getattr(importlib.import_module(module_name), attribute)
        assert isinstance(loaded, click.Command)
        return loaded

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx), n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Sections, from the table alone: the help must not import every command."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            _, section, line = COMMANDS[name]
            sections.setdefault(section, []).append((name, line))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)


def _exists(name: str) -> bool:
    """The demo is a part that a package of XSM may leave out."""
    if name != "demo":
        return True
    try:
        return importlib.util.find_spec("xsm.demo.main") is not None
    except ModuleNotFoundError:
        return False


@click.group(
    "xsm",
    cls=Commands,
    params=list(global_options(after_command=False)),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="xsm", message="xsm %(version)s")
def root() -> None:
    """XSM runs a site of Xen and KVM hosts from one file.

    Edit the site file, look at `xsm plan FILE`, and `xsm apply FILE`, from any host.
    """


def run(args: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code. Never raises for an expected failure."""
    context = Context()
    if "_XSM_COMPLETE" in os.environ:
        importlib.import_module("xsm.cli.completion")  # how bash is answered
    try:
        result = root.main(args, prog_name="xsm", standalone_mode=False, obj=context)
        sys.stdout.flush()
        return result if isinstance(result, int) else EXIT_DONE
    except click.UsageError as error:
        error.show()
        return EXIT_INVALID
    except click.ClickException as error:
        error.show()
        return EXIT_FAILED
    except (click.Abort, KeyboardInterrupt):
        if not context.watching:
            context.screen.warn("interrupted", "care")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Python would complain at exit when it flushes into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except Invalid as invalid:
        if context.json:
            tell(
                context, Refused(Refusal("invalid", "the files are invalid", "", invalid.problems))
            )
        else:
            context.problems(invalid.problems)
        return EXIT_INVALID
    except Failure as failure:
        tell(context, failure)
        return failure.exit_code
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        tell(context, Failure(f"{where}{error.strerror or error}"))
        return EXIT_FAILED


def tell(context: Context, failure: Failure) -> None:
    """A failure to stderr: a sentence, its hint, and every problem; with `-o json` the Refusal as
    JSON.
    """
    screen = context.screen
    if context.json:
        import msgspec

        screen.warn(msgspec.json.encode(failure.refusal()).decode())
        return
    if isinstance(failure, Refused):
        context.problems(failure.problems)
    hint = f"\n  hint: {failure.hint}" if failure.hint else ""
    for number, line in enumerate(f"xsm: {failure.message}{hint}".split("\n")):
        screen.warn(line, "bad" if number == 0 else "")


def main() -> None:
    """Entry point of the `xsm` program."""
    _open_what_is_closed()
    sys.exit(run())


def _open_what_is_closed() -> None:
    """`xsm vms >&-` starts without a stdout: Python's is None then, and the next socket would get its number. What is
    written to it goes nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest that is free
            setattr(sys, name, os.fdopen(number, mode))
