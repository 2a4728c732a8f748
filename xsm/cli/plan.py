"""`xsm plan [FILE]`: what would be done, and why; with --against without any site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xsm.api.types import Preview
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, has_errors, pass_context
from xsm.cli.failures import EXIT_DONE, EXIT_INVALID, InputFailure
from xsm.cli.planview import show_changes, show_plan
from xsm.cli.texts import count, short
from xsm.plan.actions import Plan

if TYPE_CHECKING:
    from xsm.edge.folder import Folder


@site_command(
    "plan",
    short_help="Show what would be done, and why.",
    examples=(
        "xsm plan",
        "xsm plan site.xml",
        "xsm plan --save-observation seen.json",
        "xsm plan site.xml --against seen.json",
    ),
)
@click.argument("path", type=click.Path(), metavar="[FILE|DIR]", required=False)
@click.option(
    "--against",
    type=click.Path(),
    metavar="OBSERVATION",
    help="Plan for a saved observation, without any xsmd.",
)
@click.option(
    "--save-observation",
    "save",
    type=click.Path(),
    metavar="FILE",
    help="Save what the site looks like now, for --against.",
)
@pass_context
def command(context: Context, path: str | None, against: str | None, save: str | None) -> int:
    """Show what would be done, grouped by what it means for those who use the VMs, and why.

    Without FILE: what is still to be done for the present revision. With FILE: what applying it
    would change. Nothing is changed by this.
    """
    if against and save:
        raise InputFailure("--against and --save-observation exclude each other")
    if save:
        _save(context, save)
    if against:
        return _offline(context, path or ".", against)
    if path:
        return _preview(context, path)
    answer = context.client.plan()
    if context.json:
        context.show(answer)
    else:
        context.screen.line(f"Revision {short(answer.revision)}:")
        show_plan(context.screen, answer.plan, answer.unreachable)
    return EXIT_DONE


def _save(context: Context, path: str) -> None:
    from xsm.cli.convert import write_output
    from xsm.cli.observation import encode, observe

    answer = context.client.plan()
    observation = observe(answer, context.client.files(answer.revision))
    write_output(path, encode(observation), force=True)
    number = count(len(observation.reports), "host")
    context.screen.warn(f"saved the observation of {number} to {path}")


def _preview(context: Context, path: str) -> int:
    from xsm.cli.site_folder import proposal, warned
    from xsm.edge.folder import read_folder

    folder = read_folder(path, with_state=False)
    client = context.client
    edit = proposal(folder, client)
    return _show(context, warned(client.preview(edit), edit, folder, client), folder)


def _offline(context: Context, path: str, against: str) -> int:
    from xsm.cli.observation import foresee, read
    from xsm.edge.folder import read_folder
    from xsm.site.problems import Invalid

    folder = read_folder(path, with_state=False)
    observation = read(against)
    try:
        preview = foresee(folder, observation)
    except Invalid as invalid:
        preview = Preview(observation.revision, (), Plan(), invalid.problems)
    return _show(context, preview, folder)


def _show(context: Context, preview: Preview, folder: Folder) -> int:
    bad = has_errors(preview.problems)
    if context.json:
        context.show(preview)
        return EXIT_INVALID if bad else EXIT_DONE
    context.problems(preview.problems, folder.shown)
    if bad:
        errors = sum(1 for problem in preview.problems if problem.severity == "error")
        context.screen.warn(
            f"{folder.site_file}: {count(errors, 'error')}; there is no plan", "bad"
        )
        return EXIT_INVALID
    if preview.changes:
        show_changes(context.screen, preview.changes)
        context.screen.line()
    show_plan(context.screen, preview.plan, preview.unreachable)
    return EXIT_DONE
