"""The joining host's side of `xsm join`: from a token to a certificate.

Decides in which order things are told: the CA is fetched from whoever answers and compared with the
token's fingerprint; only to a host that then proves itself by that CA is the secret sent.
"""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
import msgspec

from xsm.api.types import JoinAnswer, JoinRequest, Refusal
from xsm.edge import ca
from xsm.edge.ca import CertificateRefused, TlsFiles
from xsm.edge.invitations import Token, TokenRefused, parse_token
from xsm.edge.tls import first_contact_context, pinned_context
from xsm.edge.transport import PeerRefused, PeerUnreachable, why

CONNECT_TIMEOUT_S = 5.0
TOTAL_TIMEOUT_S = 60.0
"""A join waits for the majority of the site."""
ANSWER_LIMIT_BYTES = 1024 * 1024


async def join(
    token_text: str,
    name: str,
    address: str,
    url: str,
    files: TlsFiles,
    witness: bool | None = None,
) -> JoinAnswer:
    """Become a member: makes this host's key, has it certified, and installs `files`. `witness`: whether it will run no
    VMs; None where it is a member already.

    The site's content is then fetched with `PeerClient`. It may be called again after a failure
    that
    came before the token was used. Raises `TokenRefused`, `CertificateRefused`, `PeerUnreachable`,
    `PeerRefused`.
    """
    token = parse_token(token_text)
    if token.name != name:
        raise TokenRefused(f"the token is for {token.name}, not for {name}")
    ca.create_key(files.key)
    csr_pem = ca.create_csr(files.key, name)
    libvirt = ca.libvirt_files(files.ca.parent)
    ca.create_key(libvirt.key)
    libvirt_csr_pem = ca.create_csr(libvirt.key, name)
    ca_pem = await _fetch_ca(token)
    request = JoinRequest(token_text.strip(), name, address, url, csr_pem, libvirt_csr_pem, witness)
    raw = await _ask(token, "/v1/join", msgspec.json.encode(request), pinned_context(ca_pem))
    try:
        answer = msgspec.json.decode(raw, type=JoinAnswer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PeerUnreachable(token.host, f"its answer can't be understood ({error})") from error
    if ca.fingerprint(answer.ca_pem) != token.ca:
        raise CertificateRefused("the answer names another CA than the token")
    if answer.libvirt_pem:  # else from an older xsmd; it is made up for with the first renewal
        ca.install_beside(libvirt, answer.ca_pem, answer.libvirt_pem)
    ca.install(files, answer.ca_pem, answer.certificate_pem)
    return answer


async def _fetch_ca(token: Token) -> str:
    raw = await _ask(token, "/v1/ca", b"", first_contact_context())
    try:
        ca_pem = raw.decode("ascii")
        found = ca.fingerprint(ca_pem)
    except (UnicodeDecodeError, CertificateRefused):
        raise PeerUnreachable(token.host, f"what answers at {token.url} is not an xsmd") from None
    if found != token.ca:
        raise CertificateRefused(
            f"the host at {token.url} is not of the site that the token is for: its CA has another "
            "fingerprint. Nothing was sent to it"
        )
    return ca_pem


async def _ask(token: Token, path: str, body: bytes, tls: ssl.SSLContext) -> bytes:
    """POST `body`, or GET without one."""
    timeout = aiohttp.ClientTimeout(total=TOTAL_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
    try:
        async with (
            asyncio.timeout(TOTAL_TIMEOUT_S),
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.request(
                "POST" if body else "GET",
                token.url + path,
                data=body or None,
                ssl=tls,
                server_hostname=ca.server_name(token.host),
                allow_redirects=False,
            ) as response,
        ):
            content = await response.content.read(ANSWER_LIMIT_BYTES)
            while len(content) < ANSWER_LIMIT_BYTES:
                more = await response.content.read(ANSWER_LIMIT_BYTES - len(content))
                if not more:
                    break
                content += more
            if response.status != 200:
                raise PeerRefused(token.host, response.status, _refusal(response.status, content))
            return content
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise PeerUnreachable(token.host, why(error, token.url)) from error


def _refusal(status: int, body: bytes) -> Refusal:
    try:
        return msgspec.json.decode(body, type=Refusal)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Refusal("failed", f"it answered with HTTP status {status}, not as an xsmd does")
