"""A host's own certificate, read by TLS itself: the same verdict as the package `cryptography` gives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from xsm.edge import ca, certificate
from xsm.edge.certificate import CertificateRefused, TlsFiles

NOW = 1_800_000_000.0

Spoil = Callable[[TlsFiles], object]


def issued(folder: Path, name: str = "dmz01") -> TlsFiles:
    authority = ca.create_ca(folder / "ca", f"site-of-{name}", NOW)
    files = certificate.peer_files(folder / "tls")
    ca.create_key(files.key)
    pem = authority.issue_peer(ca.create_csr(files.key, name), name, "10.0.0.1", NOW)
    ca.install(files, authority.pem, pem)
    return files


def test_says_what_the_certificate_says(tmp_path: Path) -> None:
    files = issued(tmp_path)
    shown = certificate._identity(certificate.shown_to_others(files))
    assert shown == ca.verify(files, NOW) == certificate.verify(files, NOW)
    assert certificate.site_id(files) == ca.site_id(files) == "site-of-dmz01"


def test_the_callers_clock_decides(tmp_path: Path) -> None:
    files = issued(tmp_path)
    assert certificate.verify(files, NOW + 364 * 86400).name == "dmz01"
    with pytest.raises(CertificateRefused, match=r"expired on 2028-01-\d\d"):
        certificate.verify(files, NOW + 366 * 86400)
    with pytest.raises(CertificateRefused, match="clock"):
        certificate.verify(files, NOW - 7200)


def _other_ca(files: TlsFiles) -> None:
    other = issued(files.ca.parent.parent / "other", "dmz02")
    shutil.copy(other.ca, files.ca)


def _other_key(files: TlsFiles) -> None:
    other = issued(files.ca.parent.parent / "other", "dmz02")
    shutil.copy(other.key, files.key)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_other_ca, "not issued by this site's CA"),
        (_other_key, r"is not the key of"),
        (lambda files: files.key.unlink(), r"peer\.key can't be read"),
        (lambda files: files.certificate.write_text("rubbish"), "not a certificate in PEM"),
        (lambda files: files.ca.write_bytes(b""), "not a certificate in PEM"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, spoil: Spoil, words: str) -> None:
    files = issued(tmp_path)
    spoil(files)
    with pytest.raises(CertificateRefused, match=words):
        certificate.verify(files, NOW)


def test_a_missing_ca_has_no_site(tmp_path: Path) -> None:
    files = replace(issued(tmp_path), ca=tmp_path / "none.pem")
    with pytest.raises(CertificateRefused, match=r"none\.pem can't be read"):
        certificate.site_id(files)
