"""Hosts that hold the site's CA key: they renew the others' certificates, and hand the key on when they are told to.

Decides who gets a certificate (a present member, for the address that the site knows it by) and whom the key goes to.
The key travels only over the mutual TLS of the site, and is in no revision and in no report.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from xsm.api.editing import ready_document, refused
from xsm.api.types import (
    CaKey,
    CertificateAnswer,
    CertificateRequest,
    Command,
    Handed,
    SignerRequest,
    Verb,
)
from xsm.edge.certificate import CertificateRefused
from xsm.edge.crl_file import IssuedFile
from xsm.edge.transport import PeerRefused, PeerUnreachable
from xsm.site.problems import Problem, Severity
from xsm.site.state import Member

if TYPE_CHECKING:
    from xsm.daemon import Daemon
    from xsm.edge.ca import Authority


YEAR_S = 365 * 86400.0
"""How long a certificate lasts where the settings don't say otherwise."""


class Signing:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.issued = IssuedFile(daemon.settings.tls_dir)
        """What this host gave out, where it signs; any certificate of a host is in it before that has it."""

    def has_key(self) -> bool:
        return self._daemon.settings.ca_key_path.exists()

    def authority(self) -> Authority:
        """The site's CA with its key. Imported at use: seldom needed, it costs 9 MiB. Raises `CertificateRefused`."""
        from xsm.edge.ca import load_ca

        settings = self._daemon.settings
        return load_ca(settings.tls_dir, settings.certificate_life_s)

    @property
    def longest_life_s(self) -> float:
        """Of a certificate that any host of the site gave out, as far as this one can know."""
        return max(self._daemon.settings.certificate_life_s, YEAR_S)

    def signers(self) -> tuple[str, ...]:
        """The members that are known to hold the key, by name."""
        client, me = self._daemon.client, self._daemon.peer.name
        return tuple(
            name
            for name in sorted(self._daemon.members())
            if (self.has_key() if name == me else client.signs.get(name, False))
        )

    def where(self) -> str:
        """For people: who can sign."""
        others = [name for name in self.signers() if name != self._daemon.peer.name]
        return (
            f"the site's CA key is on: {', '.join(others)}"
            if others
            else "no host that answers has the site's CA key"
        )

    # -- certificates -----------------------------------------------------

    async def certify(self, name: str, request: CertificateRequest) -> CertificateAnswer:
        """New certificates for the member `name`. Raises `Refused`."""
        if not self.has_key():
            raise refused(409, "conflict", "this host doesn't sign", self.where())
        member = self._member(name)

        def issue() -> CertificateAnswer:
            authority = self.authority()
            now = time.time()
            peer = authority.issue_peer(request.csr_pem, name, member.address, now)
            libvirt = authority.issue_libvirt(request.libvirt_csr_pem, name, member.address, now)
            self.issued.add((peer, libvirt), now)
            return CertificateAnswer(peer, libvirt)

        try:
            return await asyncio.to_thread(issue)
        except CertificateRefused as error:
            raise refused(403, "forbidden", str(error)) from error
        except OSError as error:
            raise refused(503, "failed", f"it can't be written down: {error}") from error

    def _member(self, name: str) -> Member:
        """Raises `Refused`."""
        members = ready_document(self._daemon.revisions.head).state.members
        if name not in members:
            names = ", ".join(sorted(members))
            raise refused(
                404, "unknown", f"{name!r} is not a member of the site", f"its members are: {names}"
            )
        return members[name]

    # -- the key -----------------------------------------------------

    async def hand_over(self, request: SignerRequest) -> Handed:
        """Give the CA's key to another member. Raises `Refused`."""
        daemon = self._daemon
        if daemon.peer.expelled:
            raise refused(409, "conflict", daemon.peer.expelled)
        member = self._member(request.name)
        if member.name == daemon.peer.name and self.has_key():
            return Handed(self.signers())
        if not self.has_key():
            raise refused(409, "conflict", "this host doesn't hold the site's CA key", self.where())
        try:
            key = await asyncio.to_thread(daemon.settings.ca_key_path.read_text)
            await daemon.client.post(member, "/v1/peer/ca-key", CaKey(key), Handed)
        except OSError as error:
            raise refused(503, "failed", f"the key can't be read: {error}") from error
        except (PeerRefused, PeerUnreachable) as error:
            raise refused(
                503, "busy", str(error), "nothing is lost: give the command again"
            ) from error
        daemon.client.signs[member.name] = True
        self._tell(f"{member.name} holds the site's CA key now: given by {daemon.peer.name}")
        return Handed(self.signers())

    async def take_key(self, sender: str, key: CaKey) -> Handed:
        """Keep the CA's key, if it is that. Raises `Refused`."""

        def keep() -> None:
            from xsm.edge.ca import keep_ca_key

            keep_ca_key(self._daemon.settings.tls_dir, key.key_pem)

        try:
            await asyncio.to_thread(keep)
        except CertificateRefused as error:
            raise refused(403, "forbidden", str(error)) from error
        except OSError as error:
            raise refused(503, "failed", f"the key can't be written: {error}") from error
        self._daemon.answers.revoking.wake()  # what the other ones know
        self._tell(f"holds the site's CA key now: given by {sender}")
        return Handed(self.signers())

    def _tell(self, text: str) -> None:
        self._daemon.events.add("member", "", text, time.time())

    def warnings(self, command: Command) -> tuple[Problem, ...]:
        """What somebody has to know before a host is forgotten that held the key."""
        name = command.host
        if command.verb is not Verb.FORGET or name == self._daemon.peer.name:
            return ()
        known = self._daemon.client.signs.get(name)
        if known is False:
            return ()
        holds = "holds" if known else "may hold (it has not answered since this xsmd started)"
        others = [signer for signer in self.signers() if signer != name]
        left = (
            f"{', '.join(others)} can sign"
            if others
            else "NO OTHER host that answers has it: without it nobody can join, and certificates end within the year"
        )
        hint = (
            "wipe its disk"
            if others
            else f"first give it to another one, on {name}: `xsm host signer NAME`"
        )
        message = f"{name} {holds} the site's CA key: whoever has its disk can make certificates of this site; {left}"
        return (Problem(name, 0, message, hint, Severity.WARNING),)
