"""Previews and edits: from a proposal or a command to a plan that people see, and to a commit.

Decides what is answered to whom; the rules of an edit are `peer.edit`'s and `peer.commands`'. A preview
changes nothing, and what is applied is what was previewed: the head must still be the one that the plan
was computed from.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from xsm.api.control import Caller, Refused
from xsm.api.types import Applied, Command, Preview, Proposal, Refusal, Verb
from xsm.peer import commands, fencing, servicing
from xsm.peer.commands import CommandRefused, Intent
from xsm.peer.contacts import Reach
from xsm.peer.edit import Edited, Overtaken, PlaceRefused, Surroundings, edit, overlay
from xsm.peer.events import Head
from xsm.plan.actions import Plan
from xsm.plan.observed import HostReport
from xsm.plan.order import Order
from xsm.plan.planner import plan
from xsm.plan.view import View
from xsm.plan.wanted import wanted
from xsm.site.document import Document, Files
from xsm.site.problems import Invalid
from xsm.site.state import State

MESSAGE_LIMIT = 10_000
PATHS_LIMIT = 10_000
NAMED_LIMIT = 5
"""VMs that are named in one sentence."""


def refused(status: int, code: str, message: str, hint: str = "", problems: tuple = ()) -> Refused:
    return Refused(status, Refusal(code, message, hint, problems))


def author_of(caller: Caller) -> str:
    """A commit's author when the caller names none."""
    return f"{caller.name} <{caller.name}@{caller.host or 'localhost'}>"


def decode_files(files: Mapping[str, str]) -> Files:
    """The files of a proposal. Raises `Refused` (400) when one is not base64."""
    if len(files) > PATHS_LIMIT:
        raise refused(400, "bad-request", f"{len(files)} files in one edit, at most {PATHS_LIMIT}")
    decoded = {}
    for path, text in files.items():
        try:
            decoded[path] = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise refused(400, "bad-request", f"the content of {path!r} is not base64") from None
    return decoded


@dataclass(frozen=True)
class Ready:
    """An edit that may be committed on top of `head`."""

    head: Head
    edited: Edited
    message: str
    order: Order | None = None  # in which a host is emptied


def ready_document(head: Head | None) -> Document:
    if head is None or head.document is None:
        why = head.problem if head else "this host has no revision yet"
        raise refused(503, "busy", f"the site's present state can't be read: {why}")
    return head.document


def ready_head(head: Head | None) -> tuple[Head, Document]:
    """The head, and its document. Raises `Refused`."""
    document = ready_document(head)
    assert head is not None
    return head, document


@dataclass(frozen=True)
class Origin:
    """What an edit was made from, and what it now has to go on top of."""

    head: Head
    head_files: Files
    base: str
    base_files: Files


def ready_edit(
    origin: Origin,
    put: Files,
    remove: tuple[str, ...],
    around: Surroundings,
    message: str,
    state: State | None = None,
) -> Ready:
    """Check an edit of files. `state`: state tables that go with it. Raises `Invalid`, `Refused`."""
    tree = overlay(origin.base_files, put, remove)
    return ready_tree(origin, tree, around, message, state)


def ready_tree(
    origin: Origin, tree: Files, around: Surroundings, message: str, state: State | None = None
) -> Ready:
    """Check a whole tree that was made from `origin.base`. Raises `Invalid`, `Refused`."""
    try:
        edited = edit(
            origin.head_files,
            origin.head.revision,
            origin.base_files,
            origin.base,
            tree,
            around,
            state,
        )
    except PlaceRefused as error:
        raise refused(409, "conflict", str(error)) from error
    except Overtaken as error:
        raise refused(
            409,
            "conflict",
            f"this edit was made from {origin.base[:10]} and disagrees with what came since: {error}",
            "`git pull` in the checkout (or `xsm diff`), settle it, and apply again",
        ) from error
    return Ready(origin.head, edited, message.strip()[:MESSAGE_LIMIT] or _subject(edited))


def refuse_big_saves(ready: Ready, checkout: Path) -> None:
    """A save asks nobody, and a file may be half written when it is taken for saved. So it takes no VM away. Raises
    `Refused`."""
    document = ready_document(ready.head)
    if ready.edited.document.site_path != document.site_path:
        raise refused(
            409,
            "conflict",
            f"it would put {ready.edited.document.site_path} in the place of {document.site_path}",
            f"remove the one that isn't meant; `xsm apply {checkout}` takes the other format",
        )
    gone = sorted(document.vms.keys() - ready.edited.document.vms.keys())
    if gone:
        named = ", ".join(gone[:NAMED_LIMIT]) + (
            f" and {len(gone) - NAMED_LIMIT} more" if len(gone) > NAMED_LIMIT else ""
        )
        raise refused(
            409,
            "conflict",
            f"it would remove {named}, and a save alone removes nothing",
            f"`xsm apply {checkout}` shows the plan and asks",
        )


def ready_proposal(proposal: Proposal, origin: Origin, around: Surroundings, token: str) -> Ready:
    """Check an `xsm apply`. `token`: for the restarts that it allows. Raises `Invalid`, `Refused`."""
    state = None
    if proposal.restart:
        try:
            document = ready_document(origin.head)
            state = commands.restart(origin.head_files, document, proposal.restart, token).state
        except CommandRefused as error:
            raise refused(409, "conflict", str(error), error.hint) from error
    put = decode_files(proposal.files)
    return ready_edit(origin, put, proposal.remove, around, proposal.message, state)


def _subject(edited: Edited) -> str:
    if not edited.changes:
        return "No change"
    more = f" and {len(edited.changes) - 1} more" if len(edited.changes) > 1 else ""
    return f"{edited.changes[0]}{more}"


def intent_of(
    command: Command,
    files: Files,
    document: Document,
    old: Files | None,
    around: Surroundings,
    reaches: Mapping[str, Reach],
    me: str,
    token: str,
) -> Intent:
    """What a command changes. `old`: the files of the revision that a rollback names. Raises `CommandRefused`."""
    verb = command.verb
    if verb is Verb.MIGRATE:
        return commands.migrate(files, document, command.vm, command.to, around, command.cold)
    if verb is Verb.CALL_BACK:
        return commands.call_back(files, document, command.vm, around.reports, command.migration)
    if verb in (Verb.START, Verb.STOP, Verb.PAUSE, Verb.RESUME):
        return commands.power(files, document, command.vm, verb.value)
    if verb is Verb.RESTART:
        return commands.restart(files, document, command.vms or (command.vm,), token, around)
    if verb is Verb.MAKE_DISK:
        return commands.make_disk(files, document, command.vm, command.disk, token)
    if verb is Verb.USE_DISK:
        which = (command.vm, command.disk, command.host)
        return commands.use_disk(files, document, *which, token, around.reports)
    if verb in (Verb.DRAIN, Verb.UNDRAIN):
        commands.refuse_witness(document, command.host, around.reports)
    if verb is Verb.DRAIN:
        return servicing.drain(files, document, command.host, around)
    if verb is Verb.UNDRAIN:
        how = (command.home, command.stay, around)
        return servicing.resume(files, document, command.host, *how)
    if verb is Verb.FORGET:
        name = document.host_name(command.host)
        report: HostReport | None = around.reports.get(name)
        alive = reaches.get(name) is Reach.ALIVE and name not in around.unreachable
        return commands.forget(files, document, command.host, report, alive, command.sure, me)
    if verb is Verb.FENCE:
        return fencing.fence(files, document, command.host, me)
    if verb is Verb.RESOLVE:
        return commands.resolve(files, document, command.vm)
    if verb is Verb.ROLLBACK and old is not None:
        return commands.rollback(files, document, old, command.to)
    raise CommandRefused(f"{verb} is not a command of this kind")


def ready_command(
    command: Command, intent: Intent, head: Head, head_files: Files, around: Surroundings
) -> Ready:
    """Check a command's edit. Raises `Invalid`, `Refused`."""
    origin = Origin(head, head_files, head.revision, head_files)
    around = replace(around, moving=intent.moving, planned=intent.planned)
    message = command.message or intent.message
    ready = ready_tree(origin, intent.files, around, message, intent.state)
    return replace(ready, order=intent.order)


def preview(ready: Ready, around: Surroundings) -> Preview:
    """What would happen: the plan for the edited document, from what is observed now."""
    view = View(around.reports, around.unreachable, around.now, shutdowns={}, handovers=None)
    document = ready.edited.document
    return Preview(
        head=ready.head.revision,
        changes=ready.edited.changes,
        plan=plan(wanted(document), document, view),
        problems=ready.edited.warnings,
        unreachable=around.unreachable,
        order=ready.order,
    )


def preview_problems(head: Head, error: Invalid) -> Preview:
    """The preview of an edit that can't be applied."""
    return Preview(head=head.revision, changes=(), plan=Plan(), problems=error.problems)


def applied(ready: Ready, revision: str) -> Applied:
    return Applied(revision, ready.edited.changes, ready.edited.warnings)


EMPTY_PLAN = Plan()
"""An adoption changes no domain: what runs is what the site wants afterwards."""
