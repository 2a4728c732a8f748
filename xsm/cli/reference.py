"""docs/cli.md from the commands themselves: `python -m xsm.cli.reference > docs/cli.md`.

A test holds the page to the commands. Must not be imported by a command.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from xsm.cli.command import SiteCommand
from xsm.cli.main import COMMANDS, root

HEAD = """\
# Commands

Made by `python -m xsm.cli.reference > docs/cli.md`; don't edit it by hand.

`xsm [--socket PATH] [--config FILE] [-o text|json] COMMAND ...`

- The global options may also stand behind the command. xsmd's socket is found by `--socket`, else by the settings that `--config`
  names, else by `XSM_SOCKET`, else by the settings of this host (`XSM_CONFIG`, or the default place).
- Exit codes: **0** done, **1** failed (or not converged, or you said no), **2** invalid input or usage; 130 after Ctrl-C.
- Errors and warnings go to standard error, problems of files as `file:line: error: what (what would be right)`. Into a pipe nothing
  is coloured, wrapped or cut: one line a record. `NO_COLOR` turns colours off on a terminal, too.
- `-o json` prints the types of `xsm/api/types.py`; `events` prints one object a line. A failure is then a `Refusal` on standard error.
- What changes something shows its consequence first. It asks when it is disruptive; `--yes` answers. Without a terminal, and with
  `-o json`, nobody can be asked: there it is refused (exit code 2) unless `--yes` is given.
- A change is done (exit code 0) when all that *it* asked for is done. What was held before it is counted, and left to `xsm plan`.
  `xsm host drain` alone goes by more: it ends with 0 only when none of the site's VMs runs on that host any more.
- `eval "$(xsm completion bash)"` completes commands, and the site's VMs, hosts and revisions.
"""  # noqa: E501 - the page's own width


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_contents(), *_sections()]).rstrip("\n") + "\n"


def _contents() -> Iterator[str]:
    yield "| | |"
    yield "| --- | --- |"
    for name in COMMANDS:
        yield f"| [`xsm {name}`](#xsm-{name}) | {COMMANDS[name][2]} |"
    yield ""


def _sections() -> Iterator[str]:
    section = ""
    context = click.Context(root, info_name="xsm")
    for name in COMMANDS:
        if COMMANDS[name][1] != section:
            section = COMMANDS[name][1]
            yield f"## {section}\n"
        command = root.get_command(context, name)
        assert command is not None
        yield from _command(command, f"xsm {name}", "###")


def _command(command: click.Command, name: str, level: str) -> Iterator[str]:
    yield f"{level} {name}\n"
    context = click.Context(command, info_name=name)
    if isinstance(command, click.Group):
        yield f"{_help(command)}\n"
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            assert found is not None
            yield from _command(found, f"{name} {sub}", level + "#")
        return
    usage = " ".join(piece for piece in command.collect_usage_pieces(context))
    yield f"```\n{name} {usage}\n```\n"
    yield f"{_help(command)}\n"
    rows = [row for row in _options(command, context) if row]
    if rows:
        yield "| option | |\n| --- | --- |"
        yield from rows
        yield ""
    if isinstance(command, SiteCommand) and command.examples:
        yield "```"
        yield from command.examples
        yield "```\n"


def _help(command: click.Command) -> str:
    paragraphs = (command.help or "").strip().split("\n\n")
    return "\n\n".join(" ".join(line.strip() for line in p.split("\n")) for p in paragraphs)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or parameter.hidden:
            continue
        if "--format" in parameter.opts or "--help" in parameter.opts:
            continue  # on every command
        record = parameter.get_help_record(context)
        if record:
            option, text = (part.replace("|", "\\|") for part in record)
            yield f"| `{option.strip()}` | {' '.join(text.split())} |"


if __name__ == "__main__":
    sys.stdout.write(page())
