"""`xsm certificate NAME`: a certificate with which a person or a program reaches the site's hosts over HTTPS."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import click

from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.enrolling import told_as_failures
from xsm.cli.failures import InputFailure

ROLES = ("viewer", "operator", "admin")


@dataclass(frozen=True)
class Issued:
    """What `-o json` gives."""

    name: str
    role: str
    ca: str
    certificate: str
    key: str


@site_command(
    "certificate",
    short_help="Make a certificate for git and curl from elsewhere.",
    examples=("xsm certificate alice --role operator --output ~/alice",),
)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="viewer",
    show_default=True,
    help="viewer: look and pull; operator: edit and push, too; admin: everything.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False),
    default=".",
    metavar="DIR",
    help="Where the three files go.",
)
@pass_context
def command(context: Context, name: str, role: str, output: str) -> None:
    """Make a certificate for NAME, good for a year, with which `git` and `curl` reach any host of the site.

    Works on a host that holds the site's CA key (`xsm hosts` shows which), as the user who runs xsmd there.
    """
    from xsm.edge import ca
    from xsm.edge.settings import load_settings

    settings = load_settings(context.config or None)
    folder = Path(output)
    paths = {part: folder / f"{name}{part}" for part in (".pem", ".key")}
    there = [str(path) for path in paths.values() if path.exists()]
    if there:
        raise InputFailure(
            f"{there[0]} is there already", "choose another --output, or move it away"
        )
    with told_as_failures():
        authority = ca.load_ca(settings.tls_dir)
        ca.check_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        ca.create_key(paths[".key"])
        request = ca.create_csr(paths[".key"], name)
        certificate = authority.issue_client(request, name, role, time.time())
        files = ca.TlsFiles(folder / "site-ca.pem", paths[".pem"], paths[".key"])
        ca.install(files, authority.pem, certificate)
    issued = Issued(name, role, str(files.ca), str(files.certificate), str(files.key))
    if context.json:
        context.show(issued)
        return
    context.screen.warn(
        f"Made for {name} ({role}). Keep {files.key} secret. To clone the site from elsewhere:"
    )
    options = {"sslCAInfo": files.ca, "sslCert": files.certificate, "sslKey": files.key}
    words = ["git"]
    for option, path in options.items():
        words += ["-c", f"http.{option}={path.absolute()}"]
    context.screen.raw(shlex.join([*words, "clone", f"{settings.url}/git/site.git"]))
