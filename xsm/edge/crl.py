"""The certificate revocation list itself: how it is read and made, and how certificates that were given out are read.

Decides the list's form. There is one for the whole site: libvirt's and QEMU's GnuTLS heeds only one of a CA. It is
signed by the site's CA, and its dates are the CA's own: so it neither ends nor is of the future by any host's clock
while the CA is good, and can't lock everybody out. Only hosts that sign need this: it costs the memory of
`cryptography`.
"""

from __future__ import annotations

import datetime
import re

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from xsm.edge.ca import Authority, parse_certificate
from xsm.edge.certificate import CertificateRefused
from xsm.edge.crl_file import check_form
from xsm.edge.revocation import Issued, Listed, Revoked

CRL_LIMIT_BYTES = 1024 * 1024
"""Of a list in PEM; an entry takes about 50 bytes."""
BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?")


def blocks(text: str) -> list[str]:
    """The certificates of a file, each in PEM."""
    return BLOCK.findall(text)


def read_issued(pem: str, ca_pem: str) -> Issued:
    """A certificate of a host, known to be of this CA. Raises `CertificateRefused`."""
    certificate = parse_certificate(pem)
    try:
        certificate.verify_directly_issued_by(parse_certificate(ca_pem))
    except (ValueError, TypeError, InvalidSignature) as error:
        raise CertificateRefused("was not issued by this site's CA") from error
    if certificate.subject == certificate.issuer:
        raise CertificateRefused("is the CA's own, and no host's")
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise CertificateRefused(f"must have one name, has {len(names)}")
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key)
    return Issued(
        name=str(names[0].value),
        serial=certificate.serial_number,
        key_id=digest.finalize().hex(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
    )


def read(crl_pem: str, ca_pem: str) -> Listed:
    """What a list says that is of this CA; "" says nothing. Raises `CertificateRefused`."""
    if not crl_pem:
        return {}
    if len(crl_pem) > CRL_LIMIT_BYTES:
        raise CertificateRefused(
            f"the list of revoked certificates is larger than {CRL_LIMIT_BYTES} bytes"
        )
    check_form(crl_pem)
    ca = parse_certificate(ca_pem)
    key = ca.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        crl = x509.load_pem_x509_crl(crl_pem.encode())
        good = crl.issuer == ca.subject and crl.is_signature_valid(key)
    except (ValueError, TypeError) as error:
        raise CertificateRefused("not a list of revoked certificates in PEM") from error
    if not good:
        raise CertificateRefused("the list of revoked certificates is not of this site's CA")
    return {each.serial_number: _entry(each) for each in crl}


def _entry(revoked: x509.RevokedCertificate) -> Revoked:
    since = revoked.revocation_date_utc.timestamp()
    try:
        reason = revoked.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return Revoked(since)
    return Revoked(since, replaced=reason is x509.ReasonFlags.superseded)


def make(authority: Authority, listed: Listed, number: int) -> str:
    """A list (PEM) that revokes these. `number`: a later list's is higher."""
    ca = parse_certificate(authority.pem)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
        ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    )
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.subject)
        .last_update(ca.not_valid_before_utc)
        .next_update(ca.not_valid_after_utc)
        .add_extension(identifier, critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial, entry in sorted(listed.items()):
        reason = (
            x509.ReasonFlags.superseded
            if entry.replaced
            else x509.ReasonFlags.cessation_of_operation
        )
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(serial)
            .revocation_date(datetime.datetime.fromtimestamp(int(entry.since), datetime.UTC))
            .add_extension(x509.CRLReason(reason), critical=False)
            .build()
        )
    return authority.sign_list(builder)
