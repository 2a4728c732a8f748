"""What the daemon answers: the `Control` behind the routes.

Decides nothing about VMs: it asks the peer, the repository and the other hosts, and puts their words together.
"""

from __future__ import annotations

import asyncio
import base64
import getpass
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import xsm
from xsm.api import editing, views
from xsm.api.clocks import remarks
from xsm.api.control import Caller, Refused
from xsm.api.editing import Origin, Ready, ready_head, refused
from xsm.api.enrolling import Enrolling
from xsm.api.exchanging import Exchanging
from xsm.api.hosts import Hosts
from xsm.api.pace import pace_of
from xsm.api.pushing import Pushing
from xsm.api.renewing import Renewing
from xsm.api.reports import REPORT_AGE_S, Reports, own_report
from xsm.api.revoking import Revoking
from xsm.api.signing import Signing
from xsm.api.types import (
    Applied,
    Command,
    Event,
    Invitation,
    JoinAnswer,
    JoinRequest,
    PlanAnswer,
    Preview,
    Proposal,
    RevisionInfo,
    Status,
    Verb,
    VmStatus,
    Why,
)
from xsm.edge import story
from xsm.edge.checkout import Edited
from xsm.edge.revisions import Moved
from xsm.peer.commands import CommandRefused
from xsm.peer.contacts import Reach
from xsm.peer.edit import Surroundings
from xsm.peer.events import Head
from xsm.peer.machine import OBSERVE_EVERY_S
from xsm.plan.observed import HostReport
from xsm.plan.planner import plan
from xsm.plan.view import View
from xsm.plan.wanted import Wanted, wanted
from xsm.plan.witness import without_witnesses
from xsm.site.conflicts import active_conflicts
from xsm.site.document import Document
from xsm.site.problems import Invalid, Problem

if TYPE_CHECKING:
    from xsm.daemon import Daemon

PREVIEWED_AGE_S = 10.0
"""An edit that is applied goes by the reports that its preview went by, and asks nobody again."""

WHY_EVENTS_LIMIT = 30
"""Newest events of a VM that its story tells."""
ALL_LOOKED_S = OBSERVE_EVERY_S + 1.5
"""By then every host that answers has looked at its hypervisor anew, and can say what it saw."""
SAVE_TRIES = 5
"""How often a save is tried anew because the head moved meanwhile."""


class Answers:
    """One host's `Control`."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._reports = Reports(daemon)
        self._editing = asyncio.Lock()
        self._told_twice: set[str] = set()
        self._signing = Signing(daemon)
        exchanging = Exchanging(daemon)
        self.registers, self.learn_registers = exchanging.registers, exchanging.learn_registers
        self.receive_messages, self.own_events = exchanging.receive_messages, exchanging.own_events
        self.receive_pack, self.send_pack = exchanging.receive_pack, exchanging.send_pack
        self.heads = exchanging.heads
        self.certify, self.take_key = self._signing.certify, self._signing.take_key
        self.hand_over = self._signing.hand_over
        self.meet_serf = daemon.hinting.meet
        self.renewing = Renewing(daemon, self._signing)
        self.revoking = Revoking(daemon, self._signing)
        self.revocations = self.revoking.revocations
        self._enrolling = Enrolling(daemon, self._signing, self.revoking)
        self._pushing = Pushing(daemon, self._editing)
        self.hosts = Hosts(daemon, self._editing, self._ready_command, self._commit)

    # -- what is known -----------------------------------------------------

    def _head(self) -> tuple[Head, Document]:
        return ready_head(self._daemon.revisions.head)

    async def _around(self, age_s: float = REPORT_AGE_S) -> Surroundings:
        reports, unreachable = await self._reports.gather(age_s)
        return Surroundings(reports, unreachable, time.time())

    async def report(self) -> HostReport:
        """This host's own word, for the other members."""
        own = own_report(self._daemon)
        if own is None:
            raise refused(
                503, "busy", "the hypervisor was not looked at yet", "ask again in a second"
            )
        return own

    async def reports(self, fresh: bool) -> Mapping[str, HostReport]:
        if fresh:
            self._reports.forget()
        reports, _ = await self._reports.gather()
        return reports

    async def status(self) -> Status:
        daemon, peer = self._daemon, self._daemon.peer
        head = daemon.revisions.head
        document = head.document if head else None
        reports, unreachable = await self._reports.gather()
        now = daemon.clock()
        clocks = remarks(self._reports.clocks_ahead_s(), peer.name)
        members = (
            views.members(peer, document, now, reports, unreachable, clocks) if document else ()
        )
        signers = self._signing.signers()
        members = tuple(replace(m, signs=m.name in signers) for m in members)
        alive = [reports[m.name] for m in members if m.reach is Reach.ALIVE and m.name in reports]
        pending = tuple(line for r in alive for line in r.pending)
        held = views.held_once(alive)
        twice: tuple[tuple[str, str], ...] = ()
        if document:
            wants = wanted(document)
            held += views.nobodys(wants, document, reports, unreachable, time.time())
            twice = await self._running_twice(wants, reports, unreachable)
        commit = (
            await daemon.revisions.call(lambda repository: repository.commit(head.revision))
            if head
            else None
        )
        return Status(
            host=peer.name,
            site_id=document.state.site_id if document else "",
            version=xsm.__version__,
            revision=head.revision if head else "",
            heads=head.heads if head else (),
            subject=commit.message.splitlines()[0] if commit and commit.message else "",
            author=commit.author if commit else "",
            date=float(commit.date) if commit else 0.0,
            members=members,
            majority=peer.contacts.majority(peer.members, now),
            conflicts=active_conflicts(document.site, document.state) if document else (),
            frozen=peer.frozen,
            checkout=str(daemon.settings.checkout_dir),
            checkout_problems=daemon.checkout_problems,
            checkout_revision=daemon.checkout_revision,
            checkout_behind=views.behind(daemon.checkout_behind, daemon.checkout_revision, head),
            converged=bool(alive)
            and not (pending or held or twice)
            and all(
                head is not None and r.revision == head.revision and not r.frozen for r in alive
            ),
            pending=pending,
            held=held,
            notes=tuple(line for r in alive for line in r.notes),
            transfers=tuple(t for r in alive for t in r.transfers),
            serf=daemon.hinting.trouble,
            twice=tuple(said for _, said in twice),
        )

    async def _running_twice(
        self,
        wants: Wanted,
        reports: Mapping[str, HostReport],
        unreachable: Mapping[str, str],
    ) -> tuple[tuple[str, str], ...]:
        """`views.twice`, of what is so still when all have looked again: reports are of different moments, and a VM may
        have moved between them. Makes an event once for each VM, until it runs but once again."""
        suspected = views.twice(wants, reports, unreachable, time.time())
        if suspected:
            await asyncio.sleep(ALL_LOOKED_S)
            again = views.twice(wants, *await self._reports.gather(0.0), time.time())
            suspected = tuple(each for each in again if each in suspected)
        self._tell_twice(suspected)
        return suspected

    def _tell_twice(self, twice: tuple[tuple[str, str], ...]) -> None:
        for vm, said in twice:
            if vm not in self._told_twice:
                self._daemon.tell("twice", vm, f"RUNS TWICE: {said}")
        self._told_twice = {vm for vm, _ in twice}

    async def plan(self) -> PlanAnswer:
        head, document = self._head()
        reports, unreachable = await self._reports.gather()
        view = View(reports, unreachable, time.time(), shutdowns={}, handovers=None)
        return PlanAnswer(
            head.revision, plan(wanted(document), document, view), reports, unreachable
        )

    async def vms(self) -> tuple[VmStatus, ...]:
        _, document = self._head()
        answer = await self.plan()
        silent = without_witnesses(document.state, answer.unreachable, answer.reports)
        return views.vms(wanted(document), answer.reports, silent, answer.plan)

    async def why(self, vm: str) -> Why:
        _, document = self._head()
        answer = await self.plan()
        want = wanted(document).by_name.get(vm)
        commits = await self._daemon.revisions.call(
            lambda repository: story.touching(repository, vm, limit=20)
        )
        known = (e for e in self._daemon.events.since(0) if e.vm == vm)
        events = tuple(sorted(known, key=lambda e: (e.at, e.seq))[-WHY_EVENTS_LIMIT:])
        if want is None and not commits and not events:
            names = ", ".join(sorted(v.name for v in document.site.vms())[:20])
            raise refused(404, "unknown", f"the site has and had no VM {vm!r}", f"it has: {names}")
        register = self._daemon.peer.ballots.registers.get(vm)
        found = views.domains_of(want, document.state.site_id, answer.reports) if want else {}
        return Why(
            vm=vm,
            wanted=views.wanted_story(want, document)
            if want
            else ("not in the site file any more",),
            commits=tuple(commits),
            claims=views.claim_story(vm, register, self._daemon.peer.name) if register else (),
            observed=views.observed_story(found, answer.reports, time.time()),
            events=events,
            next=views.next_story(vm, answer.plan, answer.reports),
        )

    async def history(self, limit: int, vm: str | None) -> tuple[RevisionInfo, ...]:
        if vm:
            touching = await self._daemon.revisions.call(
                lambda r: story.touching(r, vm, limit=limit)
            )
            return tuple(touching)
        return tuple(await self._daemon.revisions.call(lambda r: story.log(r, limit=limit)))

    async def revision(self, revision: str) -> RevisionInfo:
        full = await self._resolve(revision)
        return await self._daemon.revisions.call(
            lambda repository: story.revision_info(repository, full)
        )

    async def files(self, revision: str) -> Mapping[str, str]:
        full = await self._resolve(revision) if revision else self._head()[0].revision
        files = await self._daemon.revisions.files(full)
        return {path: base64.b64encode(content).decode() for path, content in sorted(files.items())}

    async def _resolve(self, revision: str) -> str:
        """The full id of a revision that a person named. Raises `Refused` (404)."""
        full = await self._daemon.revisions.call(lambda repository: repository.resolve(revision))
        if full is None:
            raise refused(
                404, "unknown", f"no revision {revision!r} here", "`xsm history` lists them"
            )
        return full

    def events(self, since: int, follow: bool) -> AsyncIterator[Event]:
        return self._daemon.events.stream(since, follow)

    # -- edits -----------------------------------------------------

    def _as_member(self) -> None:
        """Nobody would hear of an edit that is made on a host that the site forgot. Raises `Refused` (409)."""
        why = self._daemon.peer.expelled
        if why:
            raise refused(409, "conflict", why, "edit the site on a host that is a member")

    async def _origin(self, base: str) -> Origin:
        """The head, and the files of the revision that an edit was made from ("": the head). Raises `Refused`."""
        self._as_member()
        head, _ = self._head()
        files = await self._daemon.revisions.files(head.revision)
        full = (
            await self._daemon.revisions.call(lambda repository: repository.resolve(base))
            if base
            else None
        )
        if full is None or full == head.revision:
            return Origin(head, files, head.revision, files)
        return Origin(head, files, full, await self._daemon.revisions.files(full))

    async def _ready_proposal(
        self, proposal: Proposal, age_s: float = REPORT_AGE_S
    ) -> tuple[Ready, Surroundings]:
        origin, around = await self._origin(proposal.base), await self._around(age_s)
        return editing.ready_proposal(proposal, origin, around, self._token(origin.head)), around

    def _token(self, head: Head) -> str:
        """Names one request for a restart: no earlier one had it."""
        return f"{int(time.time())}-{head.revision[:8]}"

    async def apply_save(self, edited: Edited) -> tuple[Problem, ...]:
        """Apply what somebody saved in the checkout; gives the problems that forbid it, and then
        nothing was changed."""
        async with self._editing:
            for _ in range(SAVE_TRIES):
                try:
                    await self._commit_save(edited)
                    return ()
                except Invalid as error:
                    return error.problems
                except Refused as error:
                    refusal = error.refusal
                    if refusal.code != "moved":  # else another host's edit came in between
                        break
        where = self._daemon.settings.checkout_dir.name
        return (Problem(where, 0, refusal.message, refusal.hint),)

    async def _commit_save(self, edited: Edited) -> None:
        """Raises `Invalid`, `Refused`."""
        origin, around = await self._origin(edited.base), await self._around()
        ready = editing.ready_edit(origin, edited.files, edited.removed, around, "")
        editing.refuse_big_saves(ready, self._daemon.settings.checkout_dir)
        author = f"{getpass.getuser()} <{getpass.getuser()}@{self._daemon.peer.name}>"
        await self._commit(ready, "", author, taken=edited)

    async def preview(self, proposal: Proposal, caller: Caller) -> Preview:
        try:
            ready, around = await self._ready_proposal(proposal)
        except Invalid as error:
            return editing.preview_problems(self._head()[0], error)
        return editing.preview(ready, around)

    async def apply(self, proposal: Proposal, caller: Caller) -> Applied:
        async with self._editing:
            try:
                ready, _ = await self._ready_proposal(proposal, PREVIEWED_AGE_S)
            except Invalid as error:
                raise refused(
                    422, "invalid", "the site can't be like that", problems=error.problems
                ) from error
            return await self._commit(
                ready, proposal.expect, proposal.author or editing.author_of(caller)
            )

    async def _commit(
        self, ready: Ready, expect: str, author: str, taken: Edited | None = None
    ) -> Applied:
        head = ready.head
        if expect and expect != head.revision:
            raise refused(
                409,
                "moved",
                f"the site has moved on to {head.revision[:10]} since the plan was made",
            )
        if not ready.edited.changes:
            return editing.applied(ready, head.revision)
        try:
            new = await self._daemon.revisions.commit(
                ready.edited.files, head.revision, author, ready.message, int(time.time())
            )
        except Moved as error:
            raise refused(409, "moved", str(error)) from error
        self._daemon.took_head(new, local=True, taken=taken)
        return editing.applied(ready, new.revision)

    async def _ready_command(self, command: Command, number: int = 0) -> tuple[Ready, Surroundings]:
        """`number`: of the member list that the command makes."""
        daemon = self._daemon
        self._as_member()
        head, document = self._head()
        files = await daemon.revisions.files(head.revision)
        old = None
        if command.verb is Verb.ROLLBACK:
            old = await daemon.revisions.files(await self._resolve(command.to))
        if command.verb is Verb.FORGET:
            self._reports.forget()  # who may be running something is asked anew
        around = await self._around()
        if command.verb is Verb.DRAIN:
            at_once = (daemon.settings.migrations_out, daemon.settings.migrations_in)
            around = replace(around, pace=pace_of(daemon.events.since(0), *at_once))
        now = daemon.clock()
        reaches = {
            m: daemon.peer.contacts.reach(m, len(document.state.members), now)
            for m in document.state.members
        }
        try:
            intent = editing.intent_of(
                command, files, document, old, around, reaches, daemon.peer.name, self._token(head)
            )
        except CommandRefused as error:
            raise refused(409, "conflict", str(error), error.hint) from error
        if number:
            intent = replace(intent, state=replace(intent.state, members_number=number))
        return editing.ready_command(command, intent, head, files, around), around

    async def preview_command(self, command: Command, caller: Caller) -> Preview:
        if command.verb is Verb.ADOPT:
            self._as_member()
            return await self._enrolling.preview_adopt(command)
        try:
            ready, around = await self._ready_command(command)
        except Invalid as error:
            return editing.preview_problems(self._head()[0], error)
        preview = editing.preview(ready, around)
        return replace(preview, problems=preview.problems + self._signing.warnings(command))

    async def command(self, command: Command, caller: Caller) -> Applied:
        async with self._editing:
            if command.verb is Verb.ADOPT:
                self._as_member()
                return await self._enrolling.adopt(command, caller)
            author = command.author or editing.author_of(caller)
            try:
                if command.verb is Verb.FORGET:
                    return await self.hosts.forget(command, author)
                if command.verb is Verb.FENCE:
                    return await self.hosts.fence(command, author)
                ready, _ = await self._ready_command(command)
                return await self._commit(ready, command.expect, author)
            except Invalid as error:
                raise refused(
                    422, "invalid", "the site can't be like that", problems=error.problems
                ) from error

    # -- git push -----------------------------------------------------

    async def hook_pre_receive(
        self, old: str, new: str, ref: str, environ: Mapping[str, str]
    ) -> None:
        self._as_member()
        await self._pushing.check(old, new, ref, environ, self._head()[0], await self._around())

    async def hook_post_receive(self, old: str, new: str, ref: str) -> Applied:
        return await self._pushing.take(old, new, self._around)

    # -- hosts -----------------------------------------------------

    async def take_back(self, host: str) -> Applied:
        self._as_member()
        return await self.hosts.take_back(host)

    async def invite(self, name: str, again: bool) -> Invitation:
        self._as_member()
        return await self._enrolling.invite(name, again)

    async def join(self, request: JoinRequest) -> JoinAnswer:
        async with self._editing:
            self._as_member()
            return await self._enrolling.join(request)
