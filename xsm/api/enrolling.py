"""New hosts and running domains that become the site's: invite, join, adopt.

Decides when a join or an adoption is accepted. A member's vote counts as soon as it is one, so a join waits for a
majority of the present members to vote for it (`membership.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from xsm.api import editing, membership
from xsm.api.control import Caller, Refused
from xsm.api.editing import Ready, ready_document, ready_head, refused
from xsm.api.types import Applied, Command, Invitation, JoinAnswer, JoinRequest, Preview
from xsm.edge.act import adopt as mark
from xsm.edge.certificate import CertificateRefused
from xsm.edge.hypervisor import HypervisorError
from xsm.edge.invitations import Invitations, TokenRefused
from xsm.edge.revisions import Moved
from xsm.edge.transport import PeerRefused, PeerUnreachable
from xsm.peer.commands import edit_site
from xsm.peer.edit import Surroundings, edit
from xsm.peer.events import Head
from xsm.plan import tags
from xsm.plan.observed import Domain, DomainState
from xsm.plan.sightings import is_foreign
from xsm.plan.wanted import WantedVM, wanted
from xsm.site import adopt as adoption
from xsm.site.changes import AddSet, AddVM, Change
from xsm.site.document import Document
from xsm.site.model import Power
from xsm.site.problems import Invalid
from xsm.site.state import Member, State

if TYPE_CHECKING:
    from xsm.api.revoking import Revoking
    from xsm.api.signing import Signing
    from xsm.daemon import Daemon
    from xsm.edge.ca import Authority

Answer = TypeVar("Answer")

ADOPTED_SET = "adopted"
CLAIM_LIMIT_S = 15.0
"""How long an adoption waits for the claims of the domains that it takes in."""

POWER_OF_STATE = {
    DomainState.RUNNING: Power.RUNNING,
    DomainState.PAUSED: Power.PAUSED,
    DomainState.SHUTOFF: Power.STOPPED,
}


@dataclass(frozen=True)
class Intake:
    """What an adoption would commit, and the domains that it marks afterwards."""

    ready: Ready
    domains: tuple[Domain, ...]
    again: tuple[
        str, ...
    ] = ()  # those whose entry is there already, and only their mark is missing, for people

    @property
    def changes(self) -> tuple[str, ...]:
        return (*self.ready.edited.changes, *self.again)


def _taken_again(domain: Domain, want: WantedVM, host: str) -> str:
    """What becomes of a domain whose VM the site has already: an adoption was cut short, or somebody defined it anew
    from XML without XSM's mark. Raises `Refused` when it is another guest, or the site would not keep it as it is."""
    others = "or take the other domains in by their names"
    if domain.uuid != want.uuid:
        raise refused(
            409,
            "conflict",
            f"the site's {want.name} is another VM: its UUID is {want.uuid}, that of the domain {domain.uuid}",
            f"rename one of them (`virsh domrename`), {others}",
        )
    if want.host != host:
        raise refused(
            409,
            "conflict",
            f"the site's {want.name} belongs on {want.host or 'no host yet'}: its domain would not stay on {host}",
            f"undefine the one that is wrong, or `xsm migrate {want.name} {host}` first, {others}",
        )
    power = POWER_OF_STATE.get(domain.state)
    if power is not want.vm.power:
        raise refused(
            409,
            "conflict",
            f"the site's {want.name} is to be {want.vm.power}, and its domain is {domain.state}",
            f"make one as the other first (`xsm start`, `xsm stop`, virsh), {others}",
        )
    return f"{want.name}: its domain is marked as the site's again"


class Enrolling:
    def __init__(self, daemon: Daemon, signing: Signing, revoking: Revoking) -> None:
        self._daemon = daemon
        self._signing = signing
        self._revoking = revoking

    # -- hosts -----------------------------------------------------

    async def invite(self, name: str, again: bool) -> Invitation:
        """A one-shot token for a new host. Raises `Refused`."""
        daemon = self._daemon
        if name == daemon.peer.name:
            raise refused(
                409,
                "conflict",
                f"{name} is this host",
                "name the host that is to join: `xsm invite NAME`",
            )
        if (name in daemon.members()) is not again:
            raise refused(
                409,
                "conflict",
                f"{name} is no member" if again else f"{name} is a member already",
                "`xsm invite` without --again is for new hosts"
                if again
                else "a new host needs a name of its own; `xsm hosts` lists those that are taken",
            )
        if not self._signing.has_key():
            missing = "this host doesn't hold the site's CA key, so it can't invite"
            raise refused(409, "conflict", missing, self._signing.where())
        try:
            authority = self._signing.authority()
            invitations = self._invitations(authority)
            return invitations.create(name, daemon.settings.url, time.time(), again=again)
        except (CertificateRefused, TokenRefused) as error:
            raise refused(409, "conflict", str(error)) from error

    async def join(self, request: JoinRequest) -> JoinAnswer:
        """Make the bearer of a good token a member. Raises `Refused`.

        What it gets is written down first: when the host is forgotten, it is revoked.
        """
        answer = await self._join(request)
        pems = (answer.certificate_pem, answer.libvirt_pem)
        await self._revoking.took_in(request.name, pems)
        return answer

    async def _join(self, request: JoinRequest) -> JoinAnswer:
        daemon = self._daemon
        head, document = ready_head(daemon.revisions.head)
        if self._joined_before(request, document):
            return self._answer(request, document)
        if request.name in document.state.members:
            return self._certified_again(request, document)
        if not daemon.peer.contacts.majority(daemon.peer.members, daemon.clock()):
            raise refused(
                503,
                "busy",
                "no majority of the site's hosts answers now",
                "join when the site is whole",
            )
        membership.refuse_taken(request, document.state.members.values())
        now = time.time()
        try:
            authority = self._signing.authority()
            key = authority.key_id(request.csr_pem, request.name)
            name = self._invitations(authority).check(request.token, now)
        except (CertificateRefused, TokenRefused) as error:
            raise refused(
                403, "forbidden", str(error), "`xsm invite NAME` makes a new token"
            ) from error
        if name != request.name:
            raise refused(403, "forbidden", f"the token is for {name}, not for {request.name}")
        answer = self._answer(request, document)
        present = document.state.members
        after = {**present, name: Member(name, request.address, request.url, request.witness)}
        async with membership.agreed(daemon, present, after) as number:
            state = replace(document.state, members=after, members_number=number)
            redeem = partial(self._invitations(authority).redeem, request.token, now, key)
            await self._take_in(request, head, state, redeem, now)
        return answer

    def _certified_again(self, request: JoinRequest, document: Document) -> JoinAnswer:
        """A member whose certificate has ended, and which an admin has vouched for anew, gets another one. Nothing of
        the site changes. Raises `Refused`."""
        member = document.state.members[request.name]
        if (member.address, member.url) != (request.address, request.url):
            where = f"{request.name} is a member already, at {member.address} ({member.url})"
            raise refused(409, "conflict", where, "give the new host a name of its own")
        if None not in (request.witness, member.witness) and request.witness != member.witness:
            what = "a witness" if member.witness else "a host that runs VMs"
            raise refused(
                409,
                "conflict",
                f"{request.name} is a member already, as {what}",
                f"join with{'' if member.witness else 'out'} --witness, or `xsm host forget {request.name}` first",
            )
        now = time.time()
        try:
            authority = self._signing.authority()
            invitations = self._invitations(authority)
            if not invitations.is_again(request.token, now):
                raise TokenRefused(
                    f"{request.name} is a member already, and the token for a new host"
                )
            if invitations.check(request.token, now) != request.name:
                raise TokenRefused(f"the token is not for {request.name}")
            answer = self._answer(request, document)
            invitations.redeem(request.token, now, authority.key_id(request.csr_pem, request.name))
        except (CertificateRefused, TokenRefused) as error:
            hint = f"`xsm invite {request.name} --again` makes one"
            raise refused(403, "forbidden", str(error), hint) from error
        self._daemon.tell("member", "", f"{request.name} has new certificates, by an invitation")
        return answer

    def _joined_before(self, request: JoinRequest, document: Document) -> bool:
        """Whether this very host became a member by this token, and asks again: it was killed, or heard no answer.

        Else it would be a member for good that can't speak, and one more for a majority.
        """
        member = document.state.members.get(request.name)
        if member is None or (member.address, member.url) != (request.address, request.url):
            return False
        if None not in (request.witness, member.witness) and request.witness != member.witness:
            return False
        try:
            authority = self._signing.authority()
            used_by = self._invitations(authority).used_by(request.token, time.time())
            return used_by == authority.key_id(request.csr_pem, request.name)
        except (CertificateRefused, TokenRefused):
            return False  # and what follows tells why

    def _answer(self, request: JoinRequest, document: Document) -> JoinAnswer:
        """Raises `Refused`."""
        try:
            authority = self._signing.authority()
            now = time.time()
            certificate = authority.issue_peer(request.csr_pem, request.name, request.address, now)
            libvirt_pem = ""
            if request.libvirt_csr_pem:
                csr_pem = request.libvirt_csr_pem
                libvirt_pem = authority.issue_libvirt(csr_pem, request.name, request.address, now)
        except CertificateRefused as error:
            raise refused(403, "forbidden", str(error)) from error
        others = {m.url for m in document.state.members.values() if m.name != request.name}
        site_id = document.state.site_id
        return JoinAnswer(authority.pem, certificate, site_id, tuple(sorted(others)), libvirt_pem)

    async def _take_in(
        self, request: JoinRequest, head: Head, state: State, redeem: Callable[[], str], now: float
    ) -> None:
        """Commit the new member, on the revision that the members agreed about. Raises `Refused`."""
        daemon = self._daemon
        files = await daemon.revisions.files(head.revision)
        around = Surroundings({}, {}, now)
        try:
            edited = edit(files, head.revision, files, head.revision, files, around, state)
            # Last of all that can be refused, for the token is good only once.
            redeem()
            new = await daemon.revisions.commit(
                edited.files,
                head.revision,
                f"{daemon.peer.name} <xsmd@{daemon.peer.name}>",
                f"{request.name} joins the site",
                int(now),
            )
        except Invalid as error:
            raise refused(
                422, "invalid", "the site can't take it in", problems=error.problems
            ) from error
        except TokenRefused as error:
            raise refused(403, "forbidden", str(error)) from error
        except Moved as error:
            raise refused(409, "moved", str(error), "try again with a new token") from error
        daemon.took_head(new, local=True)

    def _invitations(self, authority: Authority) -> Invitations:
        return Invitations(
            self._daemon.settings.invitations_dir, authority.fingerprint, self._daemon.peer.name
        )

    # -- domains -----------------------------------------------------

    def _elsewhere(self, command: Command) -> Member | None:
        """The member whose domains are meant, None when they are this host's."""
        if not command.host:
            return None
        head = self._daemon.revisions.head
        document = ready_document(head)
        name = document.host_name(command.host)
        if name == self._daemon.peer.name:
            return None
        member = document.state.members.get(name)
        if member is None:
            names = ", ".join(sorted(document.state.members))
            raise refused(
                404,
                "unknown",
                f"{command.host!r} is not a member of the site",
                f"its members are: {names}",
            )
        return member

    async def preview_adopt(self, command: Command) -> Preview:
        member = self._elsewhere(command)
        if member is not None:
            return await self._ask(member, "/v1/preview-command", command, Preview)
        intake = await self._intake(command)
        return Preview(
            head=intake.ready.head.revision,
            changes=intake.changes,
            plan=editing.EMPTY_PLAN,
            problems=intake.ready.edited.warnings,
        )

    async def _ask(
        self, member: Member, path: str, command: Command, answer: type[Answer]
    ) -> Answer:
        """Let the member whose domains are meant do it; the caller is named as the author."""
        try:
            return await self._daemon.client.post(member, path, replace(command, host=""), answer)
        except PeerRefused as error:
            raise Refused(error.status, error.refusal) from error
        except PeerUnreachable as error:
            raise refused(503, "busy", str(error)) from error

    async def _intake(self, command: Command) -> Intake:
        """Describe the foreign domains that are meant. Raises `Refused`."""
        daemon = self._daemon
        document = ready_document(daemon.revisions.head)
        site_id = document.state.site_id
        try:
            found = await daemon.observer.call(
                lambda h: [
                    (d, "" if d.unshown else h.domain_xml(d.uuid))
                    for d in h.domains()
                    if is_foreign(d, site_id)
                ]
            )
        except HypervisorError as error:
            raise refused(503, "busy", f"the hypervisor does not answer: {error.reason}") from error
        names = {d.name for d, _ in found}
        unknown = sorted(set(command.vms) - names)
        if unknown:
            raise refused(
                404,
                "unknown",
                f"no foreign domain {unknown[0]!r} on {daemon.peer.name}",
                f"there are: {', '.join(sorted(names))}" if names else "there is none",
            )
        chosen = [(d, xml) for d, xml in found if not command.vms or d.name in command.vms]
        for domain, _ in chosen:
            if domain.unshown:
                hint = "shut it down with xl, and let the site create it from its configuration"
                message = f"{domain.name} was made by xl, and libvirt doesn't show it"
                raise refused(409, "conflict", message, hint)
        return await self._describe(chosen, document)

    async def _describe(self, chosen: list[tuple[Domain, str]], document: Document) -> Intake:
        daemon = self._daemon
        head = daemon.revisions.head
        assert head is not None
        member = document.state.members[daemon.peer.name]
        by_address = any(
            vm.host == m.address
            for vm in document.site.vms()
            for m in document.state.members.values()
        )
        changes: list[Change] = []
        again: list[str] = []
        files = dict(await daemon.revisions.files(head.revision))
        known = {vm.name: vm for vm in document.site.vms()}
        if ADOPTED_SET not in {s.name for s in document.site.sets} and any(
            d.name not in known for d, _ in chosen
        ):
            changes.append(AddSet(ADOPTED_SET, ""))
        for domain, xml in chosen:
            if not domain.persistent:
                raise refused(
                    409, "conflict", f"{domain.name} is transient", "`virsh define` it first"
                )
            if domain.name in known:
                want = wanted(document).by_name[domain.name]
                again.append(_taken_again(domain, want, daemon.peer.name))
                continue
            if domain.state not in POWER_OF_STATE:
                raise refused(
                    409,
                    "conflict",
                    f"{domain.name} is {domain.state}",
                    "wait until it is running or off",
                )
            try:
                adopted = adoption.adopt(
                    xml,
                    host=member.address if by_address else member.name,
                    set_name=ADOPTED_SET,
                    power=POWER_OF_STATE[domain.state],
                    memory_mib=domain.memory_mib,
                    vcpus=domain.vcpus,
                )
            except adoption.CannotAdopt as error:
                others = f"`xsm adopt {member.name} NAME...` takes in only some"
                hint = f"{error.hint}; {others}" if error.hint else others
                raise refused(
                    409, "conflict", str(error) if error.hint else f"{domain.name}: {error}", hint
                ) from error
            if adopted.config_path in files:
                raise refused(
                    409, "conflict", f"{adopted.config_path} is there already", "rename it first"
                )
            files[adopted.config_path] = adopted.config
            changes.append(AddVM(adopted.vm))
        try:
            tree = edit_site(files, document, changes)
            before = await daemon.revisions.files(head.revision)
            around = Surroundings({}, {}, time.time())
            edited = edit(before, head.revision, before, head.revision, tree, around)
        except Invalid as error:
            raise refused(
                422,
                "invalid",
                f"they can't be taken in as they are (lines of {document.site_path} as it would be)",
                f"`xsm adopt {member.name} NAME...` takes in only some",
                problems=error.problems,
            ) from error
        message = f"Adopt {', '.join(d.name for d, _ in chosen)} on {daemon.peer.name}"
        return Intake(Ready(head, edited, message), tuple(d for d, _ in chosen), tuple(again))

    async def adopt(self, command: Command, caller: Caller) -> Applied:
        """Claim the domains, commit their entries, then mark them: in this order, so that no other host can start
        one of them, and none is ever marked as the site's while the site doesn't know it."""
        member = self._elsewhere(command)
        if member is not None:
            signed = replace(command, author=command.author or editing.author_of(caller))
            return await self._ask(member, "/v1/command", signed, Applied)
        daemon = self._daemon
        intake = await self._intake(command)
        if command.expect and command.expect != intake.ready.head.revision:
            raise refused(409, "moved", "the site has moved on since the preview")
        await self._claim([d.name for d in intake.domains])
        head = intake.ready.head
        if intake.ready.edited.changes:
            try:
                head = await daemon.revisions.commit(
                    intake.ready.edited.files,
                    head.revision,
                    command.author or editing.author_of(caller),
                    command.message or intake.ready.message,
                    int(time.time()),
                )
            except Moved as error:
                raise refused(409, "moved", str(error)) from error
            daemon.took_head(head, local=True)
        await self._mark(intake, intake.ready.edited.document)
        return Applied(head.revision, intake.changes, intake.ready.edited.warnings)

    async def _claim(self, names: list[str]) -> None:
        peer = self._daemon.peer
        for name in names:
            peer.claiming.asked.add(name)
        end = self._daemon.clock() + CLAIM_LIMIT_S
        while not all(peer.ballots.holds(name) for name in names):
            if self._daemon.clock() > end:
                missing = [name for name in names if not peer.ballots.holds(name)]
                for name in missing:
                    peer.claiming.asked.discard(name)
                raise refused(
                    503,
                    "busy",
                    f"no majority agreed within {CLAIM_LIMIT_S:.0f} s to {', '.join(missing)}",
                )
            await self._daemon.stepped()

    async def _mark(self, intake: Intake, document: Document) -> None:
        by_name = wanted(document).by_name
        report = self._daemon.peer.own_report()
        assert report is not None and report.facts is not None
        kind = report.facts.kind
        for domain in intake.domains:
            want = by_name[domain.name]
            tag = tags.fresh(document.state.site_id, want, kind, want.vm.power)
            try:
                await self._daemon.observer.call(partial(mark, uuid=domain.uuid, tag=tag))
            except HypervisorError as error:
                raise refused(
                    503,
                    "failed",
                    f"{domain.name} could not be marked: {error.reason}",
                    "`xsm adopt` again goes on",
                ) from error
