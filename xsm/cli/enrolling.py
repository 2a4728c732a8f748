"""What `xsm init` and `xsm join` share: options that become a host's settings, and what comes next.

Decides the defaults that the options have. What makes a good setting is `edge.settings`'s.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xsm.cli.context import Context
from xsm.cli.failures import Failure, InputFailure, Refused
from xsm.cli.texts import listed, short
from xsm.site.problems import Invalid, Problem

if TYPE_CHECKING:
    from xsm.edge.enrol import Enrolled
    from xsm.edge.settings import Settings

OPTIONS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "name": (("--name",), "NAME", "This host's name in the site."),
    "address": (("--address",), "ADDRESS", "Its IP address or DNS name; what DOM0 may say for it."),
    "listen": (("--listen",), "ADDRESS:PORT", "Where the other hosts reach it [0.0.0.0:8701]."),
    "url": (("--url",), "URL", "What the other hosts are told [https://ADDRESS:PORT]."),
    "libvirt_uri": (("--uri", "--libvirt"), "URI", "Its hypervisor [qemu:///system]."),
    "migrate_uri": (
        ("--migrate-uri",),
        "URI",
        "How the others' libvirt reaches its own, qemu+tls://ADDRESS/system [none: nothing migrates live to it].",
    ),
    "data_dir": (
        ("--data",),
        "DIR",
        "Where xsmd keeps its data [/var/lib/xsm; not root: ~/.local/share/xsm].",
    ),
    "checkout_dir": (
        ("--checkout",),
        "DIR",
        "Where the site is checked out for editing [/etc/xsm/site; not root: ~/.config/xsm/site].",
    ),
    "socket": (
        ("--control-socket",),
        "PATH",
        "Where xsmd listens for `xsm` [/run/xsm/xsmd.sock; not root: $XDG_RUNTIME_DIR/xsm/xsmd.sock].",
    ),
}
"""Setting -> its options, their value, help."""

WITNESS = "A witness: it has a vote, runs no VMs, and needs no libvirt."
OF_VMS = ("libvirt_uri", "migrate_uri")
"""What a witness has not."""
REQUIRED = ("name", "address")
PATHS = ("data_dir", "checkout_dir", "socket")


@dataclass(frozen=True)
class HostOptions:
    """The options as given, by setting."""

    given: tuple[tuple[str, str], ...]


def host_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a host's settings; the function gets them as one `host`."""

    @functools.wraps(function)
    def with_host(*args: Any, **options: Any) -> object:
        given = {key: options.pop(key) for key in OPTIONS}
        if options.pop("witness"):
            refuse_hypervisor([OPTIONS[key][0][0] for key in OF_VMS if given[key] is not None])
            given["hypervisor"] = "none"
        host = HostOptions(tuple((k, value) for k, value in given.items() if value is not None))
        return function(*args, host=host, **options)

    wrapped: Callable[..., Any] = click.option("--witness", is_flag=True, help=WITNESS)(with_host)
    for key, (names, metavar, text) in reversed(OPTIONS.items()):
        wrapped = click.option(*names, key, metavar=metavar, required=key in REQUIRED, help=text)(
            wrapped
        )
    return wrapped


def refuse_hypervisor(options: Sequence[str]) -> None:
    """Raises `InputFailure` for options of a hypervisor, given for a witness."""
    if options:
        raise InputFailure(
            f"--witness and {options[0]} contradict each other: a witness runs no VMs"
        )


def settings_of(context: Context, host: HostOptions) -> tuple[Settings, Path]:
    """The settings that the options come to, and the file they go to. Raises `Invalid`."""
    from xsm.edge.settings import parse_settings, places, settings_path

    lines = [
        f"{key} = {json.dumps(os.path.abspath(value) if key in PATHS else value)}"
        for key, value in host.given
    ]
    uid = os.geteuid()
    try:
        settings = parse_settings("\n".join(lines).encode(), "option", places(os.environ, uid))
    except Invalid as invalid:
        raise Invalid(_of_option(problem) for problem in invalid.problems) from None
    path = settings_path(context.config or None, os.environ, uid)
    return settings, Path(os.path.abspath(path))


def _of_option(problem: Problem) -> Problem:
    """A setting's problem, as one of the option that gave it."""
    key, _, message = problem.message.partition(": ")
    hint = "" if problem.hint.startswith(f"{key} = ") else problem.hint
    return replace(problem, path=OPTIONS[key][0][0], line=0, message=message, hint=hint)


@contextmanager
def told_as_failures() -> Iterator[None]:
    """What the edge raises, as sentences for the user."""
    from xsm.edge.ca import CertificateRefused
    from xsm.edge.enrol import EnrolRefused
    from xsm.edge.invitations import TokenRefused
    from xsm.edge.repository import RepositoryError
    from xsm.edge.transport import PeerRefused, PeerUnreachable

    try:
        yield
    except EnrolRefused as error:
        raise InputFailure(str(error), error.hint) from None
    except TokenRefused as error:
        raise InputFailure(str(error)) from None
    except PeerRefused as error:
        raise Refused(replace(error.refusal, message=str(error), hint="")) from None
    except PeerUnreachable as error:
        hint = "once it answers, the same command may be given again"
        raise Failure(str(error), hint) from None
    except (CertificateRefused, RepositoryError) as error:
        raise Failure(str(error)) from None


def show_enrolled(
    context: Context,
    enrolled: Enrolled,
    headline: str,
    *,
    shown: Callable[[str], str] = str,
    to_know: str = "",
) -> None:
    """What there is now, and what to do next. `shown` makes a problem's path the user's."""
    from xsm.cli.starting import next_steps

    if context.json:
        context.show(enrolled)
        return
    screen = context.screen
    context.problems(enrolled.warnings, shown)
    screen.line(headline, "good")
    screen.pairs(
        [
            ("site", enrolled.site_id),
            ("revision", short(enrolled.revision)),
            ("members", listed(enrolled.members)),
            ("settings", enrolled.settings_path),
            ("checkout", f"{enrolled.checkout} (saving its site file applies it)"),
        ],
        indent=2,
    )
    screen.line("Next:")
    for step in next_steps(Path(enrolled.settings_path)):
        screen.line(step, indent=2)
    if to_know:
        screen.line(to_know)
