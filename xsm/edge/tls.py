"""What TLS accepts: contexts for servers, for peers, and for a host that has no certificate yet.

Decides that nothing below TLS 1.3 and nobody outside the site's CA is spoken to. Whom a certificate speaks for is
`certificate.py`'s.
"""

from __future__ import annotations

import ssl
from asyncio import sslproto

from xsm.edge.certificate import CertificateRefused, TlsFiles, verify

READ_BUFFER_BYTES = 64 * 1024
"""Four of TLS's largest records. asyncio gives each connection 256 KiB, all of it in memory whatever comes: in a site
of 16 members that is 7 MiB for greetings of some hundred bytes."""


def bound_buffers() -> None:
    """Let the TLS connections that asyncio makes from now on have a read buffer of `READ_BUFFER_BYTES`.

    It has no parameter for that: the size is an attribute of its class.
    """
    sslproto.SSLProtocol.max_size = READ_BUFFER_BYTES


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.3; a client's certificate is asked for and, if given, must be the site's.

    A client without one gets through TLS because a host that joins has none; `xsm.api.server`
    refuses it elsewhere.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    # No resumption: a resumed session would outlive the certificate that opened it.
    context.num_tickets = 0
    reload(context, files)
    return context


class ClientContext(ssl.SSLContext):
    """A context that remembers its files, so that a refusal can be explained."""

    files: TlsFiles | None = None


def own_trouble(context: ssl.SSLContext, now: float) -> str:
    """What is wrong with the certificate that we show, "" when nothing is.

    A server that runs on asyncio hangs up without saying why it doesn't accept a certificate.
    """
    files = context.files if isinstance(context, ClientContext) else None
    try:
        if files is not None:
            verify(files, now)
    except CertificateRefused as error:
        return str(error)
    return ""


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.3 with our certificate, trusting only the site's CA. Use with
    server_hostname=server_name(member)."""
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.files = files
    _harden(context)
    reload(context, files)
    return context


def pinned_context(ca_pem: str) -> ssl.SSLContext:
    """TLS 1.3 without a certificate of our own, trusting only `ca_pem`: for a host that joins."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.load_verify_locations(cadata=ca_pem)
    return context


def first_contact_context() -> ssl.SSLContext:
    """TLS 1.3 that believes anybody. Only to fetch a CA that is then compared with a token's
    fingerprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def reload(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Take up renewed files; connections made from now on use them. Raises `CertificateRefused`."""
    try:
        context.load_verify_locations(cafile=str(files.ca))
        context.load_cert_chain(str(files.certificate), str(files.key))
    except (OSError, ssl.SSLError) as error:
        raise CertificateRefused(
            f"TLS can't use {files.certificate} with {files.key}: {error}"
        ) from error


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
