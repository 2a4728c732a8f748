"""Certificates of hosts that are of the site no more: revoked by the hosts that sign, refused by libvirt on all.

Decides whom a host asks for the list, and when it is put in place. What is on the list is `edge.revocation`'s. xsmd
itself goes by membership alone: the list is for libvirt and QEMU, which know nothing of members.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xsm.api.editing import refused
from xsm.api.types import RevocationAnswer, RevocationList, RevocationQuery
from xsm.edge import crl_file, libvirt_tls
from xsm.edge.certificate import CertificateRefused, libvirt_files, peer_files
from xsm.edge.revocation import (
    TROUBLE_AFTER_TRIES,
    Issued,
    Listed,
    Revoked,
    credible,
    newest,
    pause_s,
    replaced,
    same,
    to_list,
    together,
)
from xsm.edge.transport import PeerRefused, PeerUnreachable

if TYPE_CHECKING:
    from xsm.api.signing import Signing
    from xsm.daemon import Daemon

NOBODY_SIGNS = "no host that signs answers"


class NotDone(Exception):
    """The list is not what it should be here; the text says why."""


class Revoking:
    def __init__(self, daemon: Daemon, signing: Signing) -> None:
        self._daemon = daemon
        self._signing = signing
        self._tls_dir = daemon.settings.tls_dir
        self._list = crl_file.load(self._tls_dir)
        self._in_libvirt = ""  # the list that libvirtd has read
        self._turn = asyncio.Lock()  # who changes the list
        self._wake = asyncio.Event()
        self._seen = -1  # the list of members at the last look
        self.trouble = ""
        """What somebody has to know, "" while all is well."""

    # -- what happens to it -----------------------------------------------------

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def head_changed(self) -> None:
        if self._site()[0] != self._seen:
            self._wake.set()

    async def revocations(self, query: RevocationQuery) -> RevocationAnswer:
        """What a host that signs knows. Raises `Refused`."""
        if not self._signing.has_key():
            raise refused(409, "conflict", "this host doesn't sign", self._signing.where())
        try:
            issued = await self._decide((query.known,), query.certificates)
        except (CertificateRefused, OSError) as error:
            raise refused(503, "failed", str(error)) from error
        pems = tuple(each.pem for each in issued) if query.signs else ()
        return RevocationAnswer(self._list, pems)

    async def took_in(self, name: str, pems: Iterable[str]) -> None:
        """A host that just joined, or was vouched for anew, is about to get these: what others had by its name is no
        good any more. Raises `Refused`."""
        try:
            await self._decide((), tuple(pem for pem in pems if pem), name)
        except (CertificateRefused, OSError) as error:
            hint = "nothing is lost: give the same command again"
            raise refused(503, "failed", f"not written down: {error}", hint) from error

    # -- looking -----------------------------------------------------

    async def keep(self) -> None:
        """Have the list in place for as long as the daemon runs."""
        failures = 0
        while True:
            try:
                failures = 0 if await self._look() else failures + 1
                self.trouble = ""
            except (NotDone, CertificateRefused, OSError) as error:
                failures += 1
                if failures >= TROUBLE_AFTER_TRIES:
                    self._trouble(str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s(failures)):
                    await self._wake.wait()
            self._wake.clear()

    def _site(self) -> tuple[int, frozenset[str]]:
        """The number of the list of members, and who is of the site: members, and hosts that were fenced, which come
        back by themselves. (-1, nobody) before there is a document."""
        head = self._daemon.revisions.head
        if head is None or head.document is None:
            return -1, frozenset()
        state = head.document.state
        return state.members_number, frozenset(state.addresses)

    async def _look(self) -> bool:
        """Whether a signer knows this host's certificates. Raises `NotDone`, `CertificateRefused`, `OSError`."""
        self._seen, _ = self._site()
        if self._seen < 0 or self._daemon.peer.expelled:
            return True
        own = await asyncio.to_thread(_own, self._tls_dir)
        signs = self._signing.has_key()
        if signs:
            # First what is known here: the others are told of it, and needn't answer.
            own = tuple(each.pem for each in await self._decide((), own))
        answers, said = await self._ask(RevocationQuery(self._list, own, signs))
        lists = tuple(answer.newest for answer in answers)
        if signs:
            await self._decide(lists, tuple(pem for a in answers for pem in a.certificates))
        else:
            async with self._turn:
                fit = credible(lists, self._site()[0], time.time())
                await self._take(newest((self._list, *fit)))
        await self._install()
        if self._list.members_number < self._seen:
            raise NotDone(
                f"certificates of hosts that were forgotten may not be revoked here: {said or NOBODY_SIGNS}; "
                "libvirt takes them until they end"
            )
        return bool(signs or answers)

    async def _ask(self, query: RevocationQuery) -> tuple[list[RevocationAnswer], str]:
        """What the other hosts that sign know; why some didn't say."""
        members, me = self._daemon.members(), self._daemon.peer.name
        client = self._daemon.client
        names = [name for name in self._signing.signers() if name != me]
        found = await asyncio.gather(
            *(
                client.post(members[name], "/v1/peer/revocations", query, RevocationAnswer)
                for name in names
            ),
            return_exceptions=True,
        )
        answers, said = [], []
        for answer in found:
            if isinstance(answer, PeerUnreachable | PeerRefused):
                said.append(str(answer))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                answers.append(answer)
        return answers, "; ".join(said)

    # -- the list -----------------------------------------------------

    async def _decide(
        self, others: tuple[RevocationList, ...], pems: tuple[str, ...], took_in: str = ""
    ) -> tuple[Issued, ...]:
        """On a host that signs: write these certificates down, and have the list say what it should.

        `others`: lists that other hosts have. `took_in`: the host that now has these certificates, and no others. All
        certificates that are known then. Raises `CertificateRefused`, `OSError`.
        """
        async with self._turn:
            number, present = self._site()
            now = time.time()

            def work() -> tuple[tuple[Issued, ...], RevocationList, Listed]:
                issued = self._signing.issued.add(pems, now)
                have, listed, said = self._read((self._list, *credible(others, number, now)))
                if took_in:
                    for serial in self._replaced(issued, took_in, pems):
                        listed = together(listed, {serial: Revoked(now, replaced=True)})
                if number < have.members_number:
                    return issued, have, {}  # others have heard of more; so will this host
                life_s = self._signing.longest_life_s
                wanted = to_list(issued, present | {took_in}, listed, now, life_s)
                have = replace(have, members_number=number)
                if same(wanted, said):
                    return issued, have, {}
                return issued, self._made(have, wanted, now), wanted

            issued, made, wanted = await asyncio.to_thread(work)
            before = self._list.crl_pem
            await self._take(made)
        if wanted and made.crl_pem != before:
            names = sorted({each.name for each in issued if each.serial in wanted})
            self._tell(f"certificates are revoked that these hosts had: {', '.join(names)}")
        if made.crl_pem != before:
            self._wake.set()
        return issued

    def _read(self, lists: tuple[RevocationList, ...]) -> tuple[RevocationList, Listed, Listed]:
        """The one that counts, what all of them say together, and what that one says. Raises `CertificateRefused`."""
        from xsm.edge import crl

        ca_pem = (self._tls_dir / "ca.pem").read_text()
        read = {each: crl.read(each.crl_pem, ca_pem) for each in lists}
        listed: Listed = {}
        for each in read.values():
            listed = together(listed, each)
        best = newest(lists)
        return best, listed, read[best]

    def _replaced(
        self, issued: tuple[Issued, ...], name: str, pems: tuple[str, ...]
    ) -> frozenset[int]:
        from xsm.edge import crl

        ca_pem = (self._tls_dir / "ca.pem").read_text()
        return replaced(
            issued, name, frozenset(crl.read_issued(pem, ca_pem).key_id for pem in pems)
        )

    def _made(self, have: RevocationList, wanted: Listed, now: float) -> RevocationList:
        """Raises `CertificateRefused`."""
        from xsm.edge import crl

        made_at = max(int(now), have.made_at + 1)
        pem = crl.make(self._signing.authority(), wanted, made_at)
        return RevocationList(have.members_number, made_at, pem)

    async def _take(self, best: RevocationList) -> None:
        """Go by this list from now on. Raises `CertificateRefused`, `OSError`: by the one before, then."""
        if best == self._list:
            return

        def take() -> None:
            if best.crl_pem and best.crl_pem != self._list.crl_pem:
                crl_file.check(self._tls_dir, best.crl_pem)
            crl_file.save(self._tls_dir, best)

        await asyncio.to_thread(take)
        self._list = best

    # -- libvirt -----------------------------------------------------

    async def _install(self) -> None:
        """Let libvirt and QEMU go by the list, where XSM set them up. Raises `NotDone`, `OSError`."""
        pem = self._list.crl_pem
        if not pem or pem == self._in_libvirt:
            return
        files = libvirt_files(self._tls_dir)
        if not files.certificate.exists() or not await asyncio.to_thread(
            libvirt_tls.is_ours, files
        ):
            return
        await asyncio.to_thread(libvirt_tls.put_list, pem)
        why = await asyncio.to_thread(libvirt_tls.tell_libvirtd)
        if why:
            raise NotDone(
                f"libvirtd has not read the list of revoked certificates (/etc/pki/CA/cacrl.pem): {why}"
            )
        self._in_libvirt = pem
        self._tell("libvirt goes by the site's list of revoked certificates")

    def _trouble(self, text: str) -> None:
        if text != self.trouble:
            self.trouble = text
            self._tell(text)

    def _tell(self, text: str) -> None:
        self._daemon.tell("daemon", "", text)


def _own(tls_dir: Path) -> tuple[str, ...]:
    """This host's certificates: a signer may not know those that it got from another one, or before signers wrote down
    what they gave out."""
    both = (peer_files(tls_dir), libvirt_files(tls_dir))
    return tuple(f.certificate.read_text() for f in both if f.certificate.exists())
