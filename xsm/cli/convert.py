"""`xsm convert FILE`: the same site in the other format."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Literal

import click

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.failures import InputFailure

MAX_INPUT_BYTES = 16 << 20
FORMATS: dict[str, Literal["xml", "yaml"]] = {".xml": "xml", ".yaml": "yaml", ".yml": "yaml"}
OTHER: dict[str, Literal["xml", "yaml"]] = {"xml": "yaml", "yaml": "xml"}


@site_command(
    "convert",
    short_help="Turn a site file from XML to YAML or back.",
    examples=(
        "xsm convert site.xml --output site.yaml",
        "xsm convert site.yaml | less",
        "xsm convert - --to xml < site.yaml",
    ),
)
@click.argument("path", type=click.Path(), metavar="FILE")
@click.option("--to", type=click.Choice(["xml", "yaml"]), help="[the other one]")
@click.option("--output", type=click.Path(), metavar="FILE", help="Where to [standard output].")
@click.option("--force", is_flag=True, help="Replace an output file that is there.")
@pass_context
def command(
    context: Context, path: str, to: Literal["xml", "yaml"] | None, output: str | None, force: bool
) -> None:
    """Turn a site file from XML to YAML or back, comments included. FILE may be - for standard
    input.
    """
    from xsm.site.convert import convert

    content = read_input(path)
    source = format_of(path, content)
    goal = to or OTHER[source]
    shown = f"stdin.{source}" if path == "-" else path
    converted = convert(content, goal, shown, source)
    if output:
        write_output(output, converted, force)
        if context.json:
            context.show({"output": output, "format": goal})
    elif context.json:
        context.show({"format": goal, "text": converted.decode()})
    else:
        context.screen.out.flush()
        sys.stdout.buffer.write(converted)


def format_of(path: str, content: bytes) -> Literal["xml", "yaml"]:
    """By the name; for other names by the first character."""
    known = FORMATS.get(Path(path).suffix)
    if known:
        return known
    return "xml" if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") else "yaml"


def read_input(path: str) -> bytes:
    """A file's content, or standard input's; InputFailure when it can't be read."""
    try:
        if path == "-":
            content = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
        else:
            with open(path, "rb") as file:
                content = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise InputFailure(f"{path} can't be read: {error.strerror}") from None
    if len(content) > MAX_INPUT_BYTES:
        raise InputFailure(f"{path} is larger than {MAX_INPUT_BYTES >> 20} MiB")
    return content


def write_output(path: str, content: bytes, force: bool) -> None:
    """Write a whole file or none: beside it first, then renamed."""
    if os.path.lexists(path) and not force:
        raise InputFailure(f"{path} is there already", "give --force to replace it")
    folder = os.path.dirname(path) or "."
    try:
        descriptor, beside = tempfile.mkstemp(prefix=".xsm-", dir=folder)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(beside, 0o666 & ~umask)
            os.replace(beside, path)
        except BaseException:
            os.unlink(beside)
            raise
    except OSError as error:
        raise InputFailure(f"{path} can't be written: {error.strerror}") from None
