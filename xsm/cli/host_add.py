"""`xsm host add root@HOST`: a further host, enrolled from this one over SSH.

Decides the order of the steps and what the user is asked. What each step does there is `edge.enlist`'s.
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xsm.api.types import Reach
from xsm.cli.command import command as site_command
from xsm.cli.context import Context, pass_context
from xsm.cli.enrolling import WITNESS, refuse_hypervisor
from xsm.cli.failures import Failure, InputFailure

if TYPE_CHECKING:
    from xsm.edge.enlist import LibvirtTls, Seen
    from xsm.edge.ssh import Session, Target

MEMBER_LIMIT_S = 60.0
"""For an xsmd that has just been started to be heard of."""
POLL_S = 0.25
PASSWORD_TRIES = 3


@dataclass(frozen=True)
class Wanted:
    """What the user gave."""

    target: Target
    name: str
    address: str
    uri: str
    witness: bool
    accept_key: str
    libvirt_tls: bool
    lock_folder: str
    replace: bool
    yes: bool


@dataclass
class Added:
    """What `-o json` gives."""

    name: str
    address: str
    done: list[str] = field(default_factory=list)  # what was done, in order
    to_do: list[str] = field(default_factory=list)  # what is left to somebody


@site_command(
    "add",
    short_help="Take a further host into the site, over SSH.",
    examples=(
        "xsm host add root@192.168.5.102",
        "xsm host add root@dmz02 --name dmz02 --address 192.168.5.102 --accept-key SHA256:...",
        "xsm host add root@192.168.5.9 --witness",
    ),
)
@click.argument("where", metavar="[USER@]HOST")
@click.option("--name", default="", metavar="NAME", help="Its name in the site [its own hostname].")
@click.option(
    "--address", default="", metavar="ADDRESS", help="What the site knows it by [what SSH reached]."
)
@click.option("--user", default="", metavar="USER", help="Whom to log in as [root].")
@click.option("--port", type=click.IntRange(1, 65535), default=22, help="Of its SSH [22].")
@click.option("--uri", metavar="URI", help="Its hypervisor [qemu:///system].")
@click.option("--witness", is_flag=True, help=WITNESS)
@click.option(
    "--accept-key",
    default="",
    metavar="FINGERPRINT",
    help="Believe a host key that is not in known_hosts, if it has this SHA256 fingerprint.",
)
@click.option("--no-libvirt-tls", is_flag=True, help="Leave libvirt's TLS alone.")
@click.option(
    "--lock-folder",
    default="",
    metavar="DIR",
    help="Have its libvirt lock the disks of running VMs in DIR, which all hosts share (`xsm host libvirt-locks`).",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Also where libvirt has certificates of another CA; they are kept.",
)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@pass_context
def add(
    context: Context, where: str, name: str, address: str, user: str, port: int, uri: str | None,
    witness: bool, accept_key: str, no_libvirt_tls: bool, lock_folder: str, replace: bool, yes: bool,
) -> int:  # fmt: skip
    """Take HOST into the site: install XSM there, join it, put libvirt's TLS in order, start xsmd.

    Works on a host that holds the site's CA key, and asks for a password where no SSH key is taken. A host key that is
    not in known_hosts is shown and asked about. Whatever fails: mend it, and give the command again; it goes on.
    """
    from xsm.edge.enlist import StepFailed
    from xsm.edge.ssh import SshFailed, Target

    before, _, host = where.rpartition("@")
    if before and user and before != user:
        raise InputFailure(f"--user {user} and {where} name two users")
    if witness:
        refuse_hypervisor([*(["--uri"] if uri else []), *(["--replace"] if replace else [])])
        refuse_hypervisor(["--lock-folder"] if lock_folder else [])
    wanted = Wanted(
        target=Target(host, before or user or "root", port),
        name=name,
        address=address,
        uri=uri or "qemu:///system",
        witness=witness,
        accept_key=accept_key,
        libvirt_tls=not (no_libvirt_tls or witness),
        lock_folder=lock_folder,
        replace=replace,
        yes=yes,
    )
    try:
        with _session(context, wanted) as session:
            added = _add(context, wanted, session)
    except (StepFailed, SshFailed) as error:
        raise Failure(str(error), error.hint) from None
    if context.json:
        context.show(added)
        return 0
    for text in added.to_do:
        context.screen.line(f"To do: {text}", "care")
    context.screen.line(f"{added.name} is a member of the site, and answers.", "good")
    return 0


def _session(context: Context, wanted: Wanted) -> Session:
    """Log in, asking about an unknown key and for a password. Raises `SshFailed`."""
    from xsm.edge.ssh import LoginRefused, Session, UnknownKey

    target, accepted, password = wanted.target, wanted.accept_key, ""
    for _ in range(PASSWORD_TRIES + 2):
        try:
            return Session(target, password=password, accept_key=accepted)
        except UnknownKey as error:
            if not context.interactive():
                raise
            context.screen.warn(str(error), "care")
            question = "Is that its fingerprint? It is then kept in known_hosts."
            if not click.confirm(question, default=False, err=True):
                raise
            accepted = error.fingerprint
        except LoginRefused as error:
            if not context.interactive():
                raise
            context.screen.warn(str(error), "care")
            password = click.prompt(f"Password of {target}", hide_input=True, err=True)
    raise Failure(f"{target} let nobody in", "`ssh-copy-id` puts your key there")


def _add(context: Context, wanted: Wanted, session: Session) -> Added:
    """Raises `StepFailed`, `SshFailed`, `Failure`."""
    from xsm.edge import enlist
    from xsm.edge.settings import load_settings

    settings = load_settings(context.config or None)
    here = {"system": _system(), "arch": platform.machine()}
    _say(context, f"checking {wanted.target}")
    ca_pem = (settings.tls_dir / "ca.pem").read_bytes()
    seen = enlist.look(session, here, ca_pem, time.time(), wanted.witness)
    added = Added(wanted.name or seen.name, wanted.address or session.address)
    enlist.check_names(added.name, added.address)
    known = ", ".join((*seen.remarks, *([seen.xsm] if seen.xsm else [])))
    _say(context, f"  {added.name}, {added.address}{f' ({known})' if known else ''}")
    token = _token(context, added.name, seen)
    if not context.confirm(f"Take {added.name} ({added.address}) into the site?", wanted.yes):
        raise Failure("nothing was changed")
    if not seen.xsm:
        _step(context, added, "installing XSM in /opt/xsm, a copy of this host's")
        enlist.install(session, seen, wanted.witness)
    if not seen.settings:
        _step(context, added, "joining" if token else "joining, as it was begun before")
        more = ("--witness",) if wanted.witness else ("--uri", wanted.uri)
        enlist.join(session, token, added.name, added.address, more)
    tls = None
    if wanted.libvirt_tls:
        _step(context, added, "putting libvirt's TLS in order")
        tls = enlist.libvirt_tls(session, wanted.replace)
    if wanted.lock_folder:
        _step(context, added, f"having libvirt lock disks in {wanted.lock_folder}")
        locks = enlist.libvirt_locks(session, wanted.lock_folder)
        if locks.by_hand:
            added.to_do.append(f"on {added.name}: {locks.by_hand}")
    _start(context, added, session, tls, seen)
    _wait(context, added.name)
    if tls is not None and tls.by_hand:
        added.to_do.append(f"on {added.name}: {tls.by_hand}")
    elif tls is not None and tls.problem:
        added.to_do.append(f"on {added.name}: libvirt doesn't answer at {tls.uri}: {tls.problem}")
    return added


def _token(context: Context, name: str, seen: Seen) -> str:
    """With which it joins; "" where it has joined, or goes on with the token that it has. Raises `Failure`."""
    members = {member.name for member in context.client.status().members}
    if name not in members:
        if seen.settings:
            raise Failure(
                f"{name} has settings of this site, but is no member of it: it was forgotten",
                "move /etc/xsm and /var/lib/xsm away there, then give the command again",
            )
        return context.client.invite(name).token
    if seen.settings or seen.token:
        return ""
    raise Failure(
        f"{name} is a member already, and not this host",
        "give it another name with --name; or, if it was installed anew: `xsm host forget`, then again",
    )


def _start(
    context: Context, added: Added, session: Session, tls: LibvirtTls | None, seen: Seen
) -> None:
    from xsm.edge import enlist

    if enlist.answers(session):
        if tls is None or not any("migrate_uri" in line for line in tls.changed):
            return
        if not seen.systemd:
            added.to_do.append(f"on {added.name}: start xsmd anew, so that it reads migrate_uri")
            return
    _step(context, added, "starting xsmd")
    enlist.start(session)


def _wait(context: Context, name: str) -> None:
    """Until it is a member that answers. Raises `Failure`."""
    end = time.monotonic() + MEMBER_LIMIT_S
    _say(context, f"waiting for {name}")
    while True:
        found = {member.name: member for member in context.client.status().members}
        if name in found and found[name].reach is Reach.ALIVE:
            return
        if time.monotonic() > end:
            why = found[name].error if name in found else "it is no member"
            raise Failure(
                f"{name} joined, but was not heard of within {MEMBER_LIMIT_S:.0f} s: {why or 'no answer'}",
                "see its log; is port 8701 open between the hosts? Then give the command again",
            )
        time.sleep(POLL_S)


def _step(context: Context, added: Added, text: str) -> None:
    added.done.append(text)
    _say(context, text)


def _say(context: Context, text: str) -> None:
    if not context.json:
        context.screen.line(text)
        context.screen.out.flush()


def _system() -> str:
    """As `LOOK` has it there."""
    values = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    return f"{values.get('ID', '')} {values.get('VERSION_ID', '')}"
