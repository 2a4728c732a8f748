"""`xsm validate FILE|DIR`: all that is wrong with a site's files, without any xsmd."""

from __future__ import annotations

import click

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, as_shown, has_errors, pass_context
from xsm.cli.failures import EXIT_DONE, EXIT_INVALID
from xsm.cli.texts import count
from xsm.site.problems import Invalid, Problem


@site_command(
    "validate",
    short_help="Check a site's files; needs no xsmd.",
    examples=("xsm validate site.xml", "xsm validate sites/paper/ -o json"),
)
@click.argument("path", type=click.Path(), metavar="FILE|DIR", default=".")
@pass_context
def command(context: Context, path: str) -> int:
    """Check a site file and the configs beside it. Every problem is told, with its line; exit code
    2.

    A loose site file is fine: what only a running site knows (its members) isn't asked for.
    """
    from xsm.edge.folder import read_folder
    from xsm.site.document import load

    folder = None
    vms = hosts = 0
    try:
        folder = read_folder(path)
        document = load(folder.files)
        problems = document.warnings
        vms = sum(1 for _ in document.site.vms())
        named = {document.host_name(host.name) for host in document.site.hosts}
        hosts = len({*named, *map(document.host_of, document.site.vms())} - {None})
    except Invalid as invalid:
        problems = invalid.problems
    shown = folder.shown if folder else str
    valid = not has_errors(problems)
    if context.json:
        told = as_shown(problems, shown)
        context.show({"valid": valid, "vms": vms, "hosts": hosts, "problems": told})
    else:
        context.problems(problems, shown)
        _sum_up(context, path, problems, vms, hosts)
    return EXIT_DONE if valid else EXIT_INVALID


def _sum_up(
    context: Context, path: str, problems: tuple[Problem, ...], vms: int, hosts: int
) -> None:
    errors = sum(1 for problem in problems if problem.severity == "error")
    warnings = len(problems) - errors
    also = f", {count(warnings, 'warning')}" if warnings else ""
    if errors:
        context.screen.warn(f"{path}: {count(errors, 'error')}{also}", "bad")
    else:
        found = f"{count(vms, 'VM')} on {count(hosts, 'host')}"
        context.screen.line(f"{path}: valid: {found}{also}", "good")
