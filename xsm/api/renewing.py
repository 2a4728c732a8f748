"""This host's own certificates: renewed before they end, and taken up without a restart.

Decides whom to ask: this host itself where it signs, else the hosts that are known to sign, then the others. When it
is time is `edge.renewal`'s; how certificates are made is `edge.ca`'s, who may have one `signing.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from xsm.api.control import Refused
from xsm.api.types import CertificateAnswer, CertificateRequest
from xsm.edge import libvirt_tls
from xsm.edge.certificate import (
    CertificateRefused,
    Identity,
    TlsFiles,
    libvirt_files,
    moment,
    peer_files,
    verify,
)
from xsm.edge.renewal import due, pause_s
from xsm.edge.transport import PeerRefused, PeerUnreachable

if TYPE_CHECKING:
    from xsm.api.signing import Signing
    from xsm.daemon import Daemon

ENDED_LOOK_S = 30.0
"""How often a host whose certificate has ended looks whether somebody put another one there."""

log = logging.getLogger("xsmd")


class NotRenewed(Exception):
    """No host gave a new certificate; the text says which were asked, and what each said."""


class Renewing:
    def __init__(self, daemon: Daemon, signing: Signing) -> None:
        self._daemon = daemon
        self._signing = signing
        self._serial = 0  # of the certificate that is shown
        self.trouble = ""
        """What somebody has to know of this host's certificates, "" while all is well."""

    async def keep(self, reload_server: Callable[[], None]) -> None:
        """Look at the certificates for as long as the daemon runs. `reload_server`: takes up a new one for those who
        connect to this host."""
        while True:
            await asyncio.sleep(await self._look(reload_server))

    async def _look(self, reload_server: Callable[[], None]) -> float:
        """Renew what is due; the seconds until the next look."""
        now = time.time()
        tls_dir = self._daemon.settings.tls_dir
        try:
            own = verify(peer_files(tls_dir), now)
            if self._serial not in (0, own.serial):  # put there by `xsm join`, or by hand
                await self._take_up(own, reload_server)
            self._serial = own.serial
        except CertificateRefused as error:
            # By this clock nobody speaks with this host, so nothing can be renewed; perhaps it is the clock.
            hint = f"`xsm invite {self._daemon.peer.name} --again` on a host that signs; or is the clock wrong?"
            self._trouble(f"this host's certificate is no good: {error}; {hint}")
            return ENDED_LOOK_S
        if due(own, now) or _libvirt_due(libvirt_files(tls_dir), now):
            try:
                own = await self._renew(reload_server)
            except (NotRenewed, CertificateRefused, OSError) as error:
                ends = f"this host's certificate ends on {moment(own.not_after)}"
                self._trouble(f"{ends} and can't be renewed: {error}")
                return pause_s(own, now, failed=True)
        await self._copy()
        self.trouble = ""
        return pause_s(own, now, failed=False)

    async def _renew(self, reload_server: Callable[[], None]) -> Identity:
        """What this host's certificate says then. Raises `NotRenewed`, `CertificateRefused`, `OSError`."""
        by, answer = await self._ask()
        renewed = await asyncio.to_thread(_install, self._daemon.settings.tls_dir, answer)
        await self._take_up(renewed, reload_server)
        self._tell(f"certificates renewed by {by}, until {moment(renewed.not_after)}")
        return renewed

    async def _take_up(self, own: Identity, reload_server: Callable[[], None]) -> None:
        """Show it to whoever comes and to whom this host goes, from now on."""
        reload_server()
        await self._daemon.client.renewed()
        self._serial = own.serial

    async def _ask(self) -> tuple[str, CertificateAnswer]:
        """Who gave new certificates, and these. Raises `NotRenewed`, `CertificateRefused`."""
        daemon = self._daemon
        request = await asyncio.to_thread(_request, daemon.settings.tls_dir, daemon.peer.name)
        if self._signing.has_key():
            try:
                return "itself", await self._signing.certify(daemon.peer.name, request)
            except Refused as error:
                raise NotRenewed(str(error)) from error
        members = daemon.members()
        signs = daemon.client.signs
        others = sorted(
            (m for m in members if m != daemon.peer.name), key=lambda m: (not signs.get(m), m)
        )
        said = []
        for name in others:
            try:
                post = daemon.client.post(
                    members[name], "/v1/peer/certificate", request, CertificateAnswer
                )
                return name, await post
            except (PeerRefused, PeerUnreachable) as error:
                said.append(str(error))
        raise NotRenewed("; ".join(said) or "there is no other host to ask")

    async def _copy(self) -> None:
        """libvirt's and QEMU's copies in /etc/pki, where XSM put them there."""
        files = libvirt_files(self._daemon.settings.tls_dir)
        if not files.certificate.exists():
            return
        try:
            if not await asyncio.to_thread(libvirt_tls.refresh, files):
                return
            why = await asyncio.to_thread(libvirt_tls.tell_libvirtd)
        except OSError as error:
            self._tell(f"libvirt's certificate was renewed, but not its copy in /etc/pki: {error}")
            return
        not_told = f"; libvirtd doesn't know yet, restart it: {why}" if why else ""
        self._tell(f"libvirt's certificate in /etc/pki renewed{not_told}")

    def _trouble(self, text: str) -> None:
        if text != self.trouble:
            self.trouble = text
            self._tell(text)

    def _tell(self, text: str) -> None:
        self._daemon.events.add("daemon", "", text, time.time())
        log.info("%s", text, extra={"kind": "daemon"})


def _libvirt_due(files: TlsFiles, now: float) -> bool:
    """Also where there is none: the host joined with an XSM that made none."""
    try:
        return due(verify(files, now), now)
    except CertificateRefused:
        return True


def _request(tls_dir: Path, name: str) -> CertificateRequest:
    """For the keys that this host has. Raises `CertificateRefused`."""
    from xsm.edge import ca

    libvirt = libvirt_files(tls_dir)
    ca.create_key(libvirt.key)
    own = ca.create_csr(peer_files(tls_dir).key, name)
    return CertificateRequest(own, ca.create_csr(libvirt.key, name))


def _install(tls_dir: Path, answer: CertificateAnswer) -> Identity:
    """Raises `CertificateRefused`, `OSError`. The host's own last: it is by it that the next look goes."""
    from xsm.edge import ca

    own = peer_files(tls_dir)
    ca_pem = own.ca.read_text()
    found, now = ca.identity(answer.certificate_pem), time.time()
    if not found.not_before <= now or due(found, now):
        # Of a signer whose clock is wrong, or by ours: the one that we have is better.
        dates = f"{moment(found.not_before)} to {moment(found.not_after)}"
        raise CertificateRefused(
            f"the new one is for {dates}; it is {moment(now)} here. Are both clocks right?"
        )
    ca.install_beside(libvirt_files(tls_dir), ca_pem, answer.libvirt_pem)
    return ca.install_beside(own, ca_pem, answer.certificate_pem)
