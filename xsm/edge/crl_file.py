"""The list of revoked certificates as a host keeps it, and the certificates that a signer gave out.

Decides how both are written, and whether a list that another host gave is one of the site's CA that leaves this host
in. Must not know what is revoked (`revocation.py`).
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec

from xsm.api.types import RevocationList
from xsm.edge import certificate
from xsm.edge.certificate import CertificateRefused
from xsm.edge.durable import write_durably
from xsm.edge.revocation import Issued, kept

ONE_LIST = re.compile(
    r"-----BEGIN X509 CRL-----\n[A-Za-z0-9+/=\n]+-----END X509 CRL-----\n", re.ASCII
)
LIST_FILE, ISSUED_FILE = "crl.json", "issued.pem"


def load(tls_dir: Path) -> RevocationList:
    """An empty one where there is none, or a damaged one: the signers give it again."""
    try:
        return msgspec.json.decode((tls_dir / LIST_FILE).read_bytes(), type=RevocationList)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return RevocationList()


def save(tls_dir: Path, revocations: RevocationList) -> None:
    """Raises `OSError`."""
    write_durably(tls_dir / LIST_FILE, msgspec.json.encode(revocations), 0o644)


def check_form(crl_pem: str) -> None:
    """Raises `CertificateRefused` for what is not one list and nothing else. Who reads only the first of two takes them
    for the CA's; libvirt would go by the other."""
    if not ONE_LIST.fullmatch(crl_pem):
        raise CertificateRefused("not one list of revoked certificates in PEM")


def check(tls_dir: Path, crl_pem: str) -> None:
    """Raises `CertificateRefused` for a list that is not of this site's CA, or by which this host itself, a member,
    would be let in nowhere: it was made by somebody who hasn't heard of it yet. A better one comes.

    As OpenSSL sees it, in a handshake with ourselves: that takes no memory for `cryptography`. GnuTLS would go by a
    list that anybody has signed.
    """
    check_form(crl_pem)
    both = (certificate.peer_files(tls_dir), certificate.libvirt_files(tls_dir))
    with tempfile.NamedTemporaryFile(dir=tls_dir, prefix=".crl.", suffix=".pem") as file:
        file.write(crl_pem.encode())
        file.flush()
        for files in both:
            if not files.certificate.exists():
                continue
            try:
                certificate.shown_to_others(files, Path(file.name))
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                why = getattr(error, "verify_message", "") or str(error)
                raise CertificateRefused(
                    f"the list of revoked certificates can't be used with {files.certificate}: {why}"
                ) from error


class IssuedFile:
    """What a signer gave out, whole: each certificate proves by itself that it is of the site's CA."""

    def __init__(self, tls_dir: Path) -> None:
        self._tls_dir = tls_dir
        self._turn = threading.Lock()

    def load(self) -> tuple[Issued, ...]:
        """Oldest first; what is damaged is left out: each host shows its own again. Raises `OSError`."""
        from xsm.edge import crl

        path = self._tls_dir / ISSUED_FILE
        text = path.read_bytes().decode(errors="replace") if path.exists() else ""
        ca_pem = (self._tls_dir / "ca.pem").read_text()
        found = []
        for pem in crl.blocks(text):
            with contextlib.suppress(CertificateRefused):
                found.append(crl.read_issued(pem, ca_pem))
        return tuple(found)

    def add(self, pems: Iterable[str], now: float) -> tuple[Issued, ...]:
        """Write down certificates, before they are given out; all that are remembered then.

        Raises `CertificateRefused` for one of another CA, `OSError`; nothing is written then.
        """
        from xsm.edge import crl

        ca_pem = (self._tls_dir / "ca.pem").read_text()
        more = tuple(crl.read_issued(pem, ca_pem) for pem in pems)
        with self._turn:
            before = self.load()
            # One that is known is not news: else hosts that show theirs each hour would have it written each time.
            known = {each.serial for each in before}
            news = tuple(each for each in more if each.serial not in known)
            after = kept((*before, *news), now)
            if after != before:
                text = "".join(each.pem for each in after)
                write_durably(self._tls_dir / ISSUED_FILE, text.encode(), 0o644)
        return after
