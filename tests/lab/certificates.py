"""Certificates for libvirt's own TLS between the lab's hosts, until XSM makes them.

Decides their names and kind: RSA, since libvirtd refuses elliptic curves (its certificates must allow key
encipherment). One key serves all hosts of a lab: making it takes most of the time.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.lab.places import HostPlace

VALID = datetime.timedelta(days=30)
SKEW = datetime.timedelta(days=2)
"""Valid from before the lab: some cases set a host's clock back."""


def write(hosts: Iterable[HostPlace]) -> None:
    """`files/pki` of each host, as it goes to /etc/pki."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    ca = _certificate("XSM lab CA", key, None, None)
    ca_pem = ca.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    for host in hosts:
        pem = _certificate(host.name, key, ca, host).public_bytes(serialization.Encoding.PEM)
        files = {"CA/cacert.pem": ca_pem, "qemu/ca-cert.pem": ca_pem}
        for side in ("server", "client"):
            files |= {f"libvirt/{side}cert.pem": pem, f"libvirt/private/{side}key.pem": key_pem}
            files |= {f"qemu/{side}-cert.pem": pem, f"qemu/{side}-key.pem": key_pem}
        for name, content in files.items():
            _write(host.folder / "files/pki" / name, content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)


def _certificate(
    name: str, key: rsa.RSAPrivateKey, ca: x509.Certificate | None, host: HostPlace | None
) -> x509.Certificate:
    """Signed by `ca`, or by itself where there is none."""
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if ca is None else ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
        .add_extension(_usage(ca is None), critical=True)
    )
    if host is not None:
        names = [x509.DNSName(host.name), x509.IPAddress(ipaddress.ip_address(host.address))]
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    return builder.sign(key, hashes.SHA256())


def _usage(for_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not for_ca, key_encipherment=not for_ca, key_cert_sign=for_ca, crl_sign=for_ca,
        content_commitment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip
