"""The site's own certificate authority, its certificates, and what TLS accepts.

Decides who may speak as whom: a certificate's CN is a name and its OU a role, and nothing else in
it is believed.
A peer is known by `server_name(NAME)`, a DNS name that exists only in certificates, so that a
host that took over
another one's address is not taken for it. Must not know what a role may do (`xsm.api.access`).
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from xsm.edge.certificate import (
    LIBVIRT_ROLE,
    PEER_ROLE,
    CertificateRefused,
    Identity,
    TlsFiles,
    libvirt_files,
    moment,
    peer_files,
    server_name,
)
from xsm.edge.durable import write_durably, write_secret

__all__ = [
    "LIBVIRT_ROLE",
    "PEER_ROLE",
    "Authority",
    "CertificateRefused",
    "Identity",
    "TlsFiles",
    "create_ca",
    "create_csr",
    "create_key",
    "install",
    "install_beside",
    "libvirt_files",
    "load_ca",
    "peer_files",
    "server_name",
    "verify",
]

CA_VALIDITY_S = 10 * 365 * 86400
LEAF_VALIDITY_S = 365 * 86400
CLOCK_SKEW_S = 3600
"""A certificate is valid from an hour before it was made, for hosts whose clock is behind. One that lives shorter: by
its life, so that what is left of it can be told from its dates."""

CLIENT_ROLES = ("admin", "operator", "viewer")
MAX_PEM_BYTES = 16 * 1024

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._@-]{0,61}[A-Za-z0-9])?")
"""A name in a certificate: a host's, or a person's (root@domain.com)."""


# --- the authority -------------------------------------------------------------------------------


class Authority:
    """The site's CA with its key. Only hosts that hold the key can invite others."""

    def __init__(
        self,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        life_s: float = LEAF_VALIDITY_S,
    ) -> None:
        """`life_s`: how long the certificates last that it issues."""
        self._certificate = certificate
        self._key = key
        self._life_s = life_s

    @property
    def pem(self) -> str:
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate in DER, hexadecimal."""
        return fingerprint(self.pem)

    @property
    def site_id(self) -> str:
        return _attribute(self._certificate.subject, NameOID.ORGANIZATION_NAME)

    def issue_peer(self, csr_pem: str, name: str, address: str, now: float) -> str:
        """Certificate (PEM) for the host `name`, after checking its request. Raises
        `CertificateRefused`.

        Only the request's public key and name are taken over.
        """
        public_key = check_csr(csr_pem, name)
        names: list[x509.GeneralName] = [x509.DNSName(server_name(name))]
        names += _alternative_names(address)
        return self._sign(public_key, (name, PEER_ROLE), names, now)

    def issue_libvirt(self, csr_pem: str, name: str, address: str, now: float) -> str:
        """Certificate (PEM) for libvirt and QEMU of the host `name`, after checking its request. Raises
        `CertificateRefused`.

        It names the host by its address only, so that xsmd takes it for nobody. libvirt 9 demands "key encipherment"
        of a certificate that says what its key is for, which an EC key can't do: so this one doesn't say.
        """
        public_key = check_csr(csr_pem, name)
        names = list(_alternative_names(address))
        return self._sign(public_key, (name, LIBVIRT_ROLE), names, now, key_usage=False)

    def key_id(self, csr_pem: str, name: str) -> str:
        """By what a host that asks for a certificate is known again: SHA-256 of its public key.
        Raises `CertificateRefused`."""
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return hashlib.sha256(check_csr(csr_pem, name).public_bytes(encoding, form)).hexdigest()

    def issue_client(self, csr_pem: str, name: str, role: str, now: float) -> str:
        """Certificate (PEM) for a person or program. Raises `CertificateRefused`."""
        if role not in CLIENT_ROLES:
            raise CertificateRefused(f"unknown role {role!r}; one of: {', '.join(CLIENT_ROLES)}")
        public_key = check_csr(csr_pem, name)
        return self._sign(public_key, (name, role), [], now)

    def sign_list(self, builder: x509.CertificateRevocationListBuilder) -> str:
        """A list of revoked certificates (PEM); what it says is `crl.py`'s."""
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()

    def _sign(
        self,
        public_key: ec.EllipticCurvePublicKey,
        name_role: tuple[str, str],
        names: list[x509.GeneralName],
        now: float,
        key_usage: bool = True,
    ) -> str:
        """`names`: what a server is known by; without any it is a client's certificate only."""
        ca_end = self._certificate.not_valid_after_utc.timestamp()
        end = min(now + self._life_s, ca_end)
        if now >= ca_end:
            raise CertificateRefused("the site's CA certificate has expired")
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if names:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = _builder(_subject(*name_role, self.site_id), public_key, now, end)
        builder = (
            builder.issuer_name(self._certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if key_usage:
            builder = builder.add_extension(_key_usage(for_ca=False), critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()


def create_ca(tls_dir: Path, site_id: str, now: float) -> Authority:
    """Make the site's CA: `ca.pem` and `ca.key` in `tls_dir`. Raises `CertificateRefused` if one
    is there."""
    tls_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("ca.key", "ca.pem"):
        if (tls_dir / name).exists():
            raise CertificateRefused(f"{tls_dir / name} is there already; a site has one CA")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "XSM site CA"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, site_id),
        ]
    )
    builder = _builder(subject, key.public_key(), now, now + CA_VALIDITY_S)
    certificate = (
        builder.issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(for_ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority = Authority(certificate, key)
    # The key first: a certificate without its key would look like a host that merely joined.
    write_secret(tls_dir / "ca.key", _key_pem(key))
    write_durably(tls_dir / "ca.pem", authority.pem.encode(), 0o644)
    return authority


def load_ca(tls_dir: Path, life_s: float = LEAF_VALIDITY_S) -> Authority:
    """The CA with its key; `life_s`: of what it issues.

    Raises `CertificateRefused` when this host doesn't hold the key, or it doesn't fit.
    """
    certificate = load_certificate(tls_dir / "ca.pem")
    key_path = tls_dir / "ca.key"
    if not key_path.exists():
        raise CertificateRefused(
            f"this host doesn't hold the site's CA key ({key_path}); `xsm hosts` shows which do"
        )
    key = _load_key(key_path)
    if key.public_key() != certificate.public_key():
        raise CertificateRefused(f"{key_path} is not the key of {tls_dir / 'ca.pem'}")
    return Authority(certificate, key, life_s)


def keep_ca_key(tls_dir: Path, key_pem: str) -> None:
    """Become a host that signs, with the CA's key as another one gave it. Raises `CertificateRefused`, `OSError`."""
    path = tls_dir / "ca.key"
    if len(key_pem) > MAX_PEM_BYTES:
        raise CertificateRefused(f"the key is larger than {MAX_PEM_BYTES} bytes")
    try:
        key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateRefused("not a private key in PEM") from error
    if key.public_key() != load_certificate(tls_dir / "ca.pem").public_key():
        raise CertificateRefused("it is not the key of this site's CA")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    write_secret(path, _key_pem(key))


# --- keys and requests ---------------------------------------------------------------------------


def create_key(path: Path) -> None:
    """Write a new private key (0600). One that is there already stays: the request can be made
    again with it."""
    if path.exists():
        _load_key(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_secret(path, _key_pem(ec.generate_private_key(ec.SECP256R1())))


def create_csr(key_path: Path, name: str) -> str:
    """A request (PEM) to be certified as `name`. Raises `CertificateRefused` for an impossible
    name."""
    check_name(name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    request = builder.sign(_load_key(key_path), hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def check_csr(csr_pem: str, name: str) -> ec.EllipticCurvePublicKey:
    """The public key of a good request of `name`. Raises `CertificateRefused`."""
    check_name(name)
    if len(csr_pem) > MAX_PEM_BYTES:
        raise CertificateRefused(f"the request is larger than {MAX_PEM_BYTES} bytes")
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        valid = request.is_signature_valid
        key = request.public_key()
        asked = _attribute(request.subject, NameOID.COMMON_NAME)
    except Exception as error:
        raise CertificateRefused(f"not a certificate request in PEM ({error})") from error
    if not valid:
        raise CertificateRefused("the request isn't signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateRefused("the request's key must be EC P-256")
    if asked != name:
        raise CertificateRefused(f"the request is for {asked!r}, the invitation for {name!r}")
    return key


def install(files: TlsFiles, ca_pem: str, certificate_pem: str) -> Identity:
    """Put a received certificate in its place, after checking that it fits the CA and our key.

    Raises `CertificateRefused`, and then nothing was written.
    """
    result = install_beside(files, ca_pem, certificate_pem)
    # The CA last: it is by it that a host counts as one of a site.
    write_durably(files.ca, ca_pem.encode(), 0o644)
    return result


def install_beside(files: TlsFiles, ca_pem: str, certificate_pem: str) -> Identity:
    """The same without the CA: of a host's second certificate, and of one that is renewed."""
    certificate = parse_certificate(certificate_pem)
    _check_issued(certificate, parse_certificate(ca_pem))
    if _load_key(files.key).public_key() != certificate.public_key():
        raise CertificateRefused(f"the certificate is not for the key in {files.key}")
    result = identity(certificate_pem)
    write_durably(files.certificate, certificate_pem.encode(), 0o644)
    return result


# --- reading -------------------------------------------------------------------------------------


def parse_certificate(pem: str) -> x509.Certificate:
    """Raises `CertificateRefused`."""
    if len(pem) > MAX_PEM_BYTES:
        raise CertificateRefused(f"the certificate is larger than {MAX_PEM_BYTES} bytes")
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise CertificateRefused("not a certificate in PEM") from error


def load_certificate(path: Path) -> x509.Certificate:
    """Raises `CertificateRefused`."""
    try:
        return parse_certificate(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise CertificateRefused(f"{path} can't be read: {error}") from error
    except CertificateRefused as error:
        raise CertificateRefused(f"{path}: {error}") from error


def identity(pem: str) -> Identity:
    """Whom a certificate speaks for and until when. Raises `CertificateRefused`."""
    certificate = parse_certificate(pem)
    return Identity(
        name=_attribute(certificate.subject, NameOID.COMMON_NAME),
        role=_attribute(certificate.subject, NameOID.ORGANIZATIONAL_UNIT_NAME),
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
    )


def site_id(files: TlsFiles) -> str:
    """The site that the CA certificate of a host is of. Raises `CertificateRefused`."""
    return _attribute(load_certificate(files.ca).subject, NameOID.ORGANIZATION_NAME)


def fingerprint(pem: str) -> str:
    """SHA-256 of a certificate in DER, hexadecimal. Raises `CertificateRefused`."""
    return parse_certificate(pem).fingerprint(hashes.SHA256()).hex()


def verify(files: TlsFiles, now: float) -> Identity:
    """Check a host's own files before use. Raises `CertificateRefused` that says what is wrong
    with which file."""
    ca = load_certificate(files.ca)
    certificate = load_certificate(files.certificate)
    try:
        _check_issued(certificate, ca)
    except CertificateRefused as error:
        raise CertificateRefused(f"{files.certificate}: {error}") from error
    if _load_key(files.key).public_key() != certificate.public_key():
        raise CertificateRefused(f"{files.key} is not the key of {files.certificate}")
    result = identity(files.certificate.read_text())
    if now > result.not_after:
        raise CertificateRefused(
            f"{files.certificate} expired on {moment(result.not_after)}; this host's clock says {moment(now)}"
        )
    if now < result.not_before:
        raise CertificateRefused(
            f"{files.certificate} is valid only from {moment(result.not_before)}; "
            f"is this host's clock right? It says {moment(now)}"
        )
    return result


# --- parts ---------------------------------------------------------------------------------------


def _builder(
    subject: x509.Name, public_key: ec.EllipticCurvePublicKey, now: float, end: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_utc(now - min(CLOCK_SKEW_S, end - now)))
        .not_valid_after(_utc(end))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _subject(name: str, role: str, site_id: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, site_id),
        ]
    )


def _key_usage(for_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not for_ca,
        key_cert_sign=for_ca,
        crl_sign=for_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(address: str) -> Iterable[x509.GeneralName]:
    """For git, curl and browsers, which know a host by its address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}", address):
            raise CertificateRefused(
                f"{address!r} is neither an IP address nor a DNS name"
            ) from None
        names: list[x509.GeneralName] = [x509.DNSName(address)]
        if address == "localhost":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        return names
    names = [x509.IPAddress(ip)]
    if ip.is_loopback:
        names.append(x509.DNSName("localhost"))
        if str(ip) != "127.0.0.1":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    return names


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise CertificateRefused(
            f"{name!r} can't be the name in a certificate; "
            "letters, digits, '.', '_', '@' and '-', at most 63"
        )


def _check_issued(certificate: x509.Certificate, ca: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise CertificateRefused("was not issued by this site's CA") from error


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    values = name.get_attributes_for_oid(oid)
    if len(values) != 1:
        raise CertificateRefused(f"must have exactly one {oid._name}, has {len(values)}")
    return str(values[0].value)


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateRefused(f"{path} can't be read as a private key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateRefused(f"{path} is not an EC key")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _utc(at: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(at), datetime.UTC)
