"""`xsm completion SHELL`: the script that makes the tab key work."""

from __future__ import annotations

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
)

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.screen import clean

VARIABLE = "_XSM_COMPLETE"  # click's own name for the program `xsm`
MAX_HELP_CHARS = 50
_GLOB = str.maketrans("*?[]\\\n", "      ")  # bash would put files' names in place of them


class BashWithHelp(BashComplete):
    """bash knows only words to complete. While there are several, the `told` ones show what they are; the only one
    that is left is put into the line, and goes there without it.
    """

    def complete(self) -> str:
        args, incomplete = self.get_completion_args()
        items = self.get_completions(args, incomplete)
        return "\n".join(f"{item.type},{_word(item, len(items))}" for item in items)


def _word(item: CompletionItem, number: int) -> str:
    if number == 1 or not item.told or not item.help:
        return str(item.value)
    return f"{item.value}  ({clean(item.help).translate(_GLOB)[:MAX_HELP_CHARS].strip()})"


add_completion_class(BashWithHelp, "bash")


@site_command(
    "completion",
    short_help="Print the shell's completion.",
    examples=(
        'eval "$(xsm completion bash)"',
        "xsm completion fish > ~/.config/fish/completions/xsm.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_context
def command(context: Context, shell: str) -> None:
    """Print the completion script of a shell. VMs and hosts are completed by asking xsmd."""
    completion_class = get_completion_class(shell)
    assert completion_class is not None  # the choice above holds click's own three
    # Not .source(), which runs the shell to look at its version.
    script = completion_class(click.Command("xsm"), {}, "xsm", VARIABLE)
    text = script.source_template % script.source_vars()
    context.show({"shell": shell, "script": text}) if context.json else context.screen.raw(text)
