"""A host's own certificate as TLS itself reads it: where its files are, whom it speaks for.

Decides whether a host's files fit together and are in date. Must not know how certificates are made (`ca.py`). Does
without the package `cryptography`, which would cost every xsmd 9 MiB of memory: that is needed only where a
certificate is made, and to say what exactly is wrong with one.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PEER_ROLE = "peer"
LIBVIRT_ROLE = "libvirt"
"""Of the certificate that a host's libvirt and QEMU show each other. It opens nothing in xsmd."""
_NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME: the caller's clock decides, not the system's."""


class CertificateRefused(Exception):
    """A certificate, key or request that can't be used; the text says what is wrong and what
    would be right."""


@dataclass(frozen=True)
class TlsFiles:
    """The three files that one side of mutual TLS needs."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Identity:
    """Who a certificate speaks for."""

    name: str
    role: str
    serial: int
    not_before: float  # wall clock, seconds since the epoch
    not_after: float


def peer_files(tls_dir: Path) -> TlsFiles:
    """Where a host keeps its own certificate."""
    return TlsFiles(tls_dir / "ca.pem", tls_dir / "peer.pem", tls_dir / "peer.key")


def libvirt_files(tls_dir: Path) -> TlsFiles:
    """Where a host keeps the certificate that it gives to libvirt. It has its own key: QEMU's processes may read it."""
    return TlsFiles(tls_dir / "ca.pem", tls_dir / "libvirt.pem", tls_dir / "libvirt.key")


def server_name(name: str) -> str:
    """The DNS name in the certificate of the peer `name`.

    TLS compares DNS names without regard to case, host names are compared with it: a name with
    capitals gets a mark of its own.
    """
    if name == name.lower():
        return f"{name}.xsm"
    return f"{name.lower()}.{hashlib.sha256(name.encode()).hexdigest()[:12]}.xsm"


def moment(at: float) -> str:
    """A moment for people: where clocks may be wrong, what one says tells whose it is."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def verify(files: TlsFiles, now: float) -> Identity:
    """Whom a host's own files speak for, once they are known to fit together and to be valid at `now`.

    Raises `CertificateRefused` that says what is wrong with which file.
    """
    try:
        found = _identity(shown_to_others(files))
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        found = None
    if found is not None and found.not_before <= now <= found.not_after:
        return found
    from xsm.edge import ca

    return ca.verify(files, now)


def site_id(files: TlsFiles) -> str:
    """The site that the CA certificate of a host is of. Raises `CertificateRefused`."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=str(files.ca))
        return _only(context.get_ca_certs()[0]["subject"], "organizationName")
    except (OSError, ValueError, IndexError):
        from xsm.edge import ca

        return ca.site_id(files)


def shown_to_others(files: TlsFiles, crl: Path | None = None) -> Mapping[str, Any]:
    """What another host gets to see: a handshake with ourselves, in memory. Raises `OSError`, `ssl.SSLError`.

    `crl`: the other host goes by this list of revoked certificates.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(str(files.certificate), str(files.key), password="")  # never ask for one
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT | _NO_CHECK_TIME
    client.load_verify_locations(cafile=str(files.ca))
    if crl is not None:
        client.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        client.load_verify_locations(cafile=str(crl))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (asking, answering):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue  # the other side's turn
    asking.do_handshake()
    return asking.getpeercert() or {}


def _identity(shown: Mapping[str, Any]) -> Identity:
    """Raises `ValueError` for a certificate that doesn't have what ours have."""
    if not {"serialNumber", "notBefore", "notAfter", "subject"} <= shown.keys():
        raise ValueError("not a whole certificate")
    subject = shown["subject"]
    return Identity(
        name=_only(subject, "commonName"),
        role=_only(subject, "organizationalUnitName"),
        serial=int(shown["serialNumber"], 16),
        not_before=float(ssl.cert_time_to_seconds(shown["notBefore"])),
        not_after=float(ssl.cert_time_to_seconds(shown["notAfter"])),
    )


def _only(subject: Any, attribute: str) -> str:
    """The one value of an attribute of a subject, as `getpeercert` gives it. Raises `ValueError`."""
    values = [value for part in subject for key, value in part if key == attribute]
    if len(values) != 1:
        raise ValueError(f"{len(values)} values of {attribute}")
    return str(values[0])
