"""The list of revoked certificates, signed and read; what a signer writes down; what a host takes."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest

from xsm.api.types import RevocationList
from xsm.edge import ca, crl, crl_file
from xsm.edge.certificate import CertificateRefused, shown_to_others
from xsm.edge.crl_file import IssuedFile
from xsm.edge.revocation import Revoked

NOW = time.time()


@pytest.fixture
def authority(tmp_path: Path) -> ca.Authority:
    """Of a site, with this host's two certificates beside it."""
    made = ca.create_ca(tmp_path, "site-1", NOW)
    for files, issue in (
        (ca.peer_files(tmp_path), made.issue_peer),
        (ca.libvirt_files(tmp_path), made.issue_libvirt),
    ):
        ca.create_key(files.key)
        pem = issue(ca.create_csr(files.key, "dmz01"), "dmz01", "10.0.0.1", NOW)
        ca.install_beside(files, made.pem, pem)
    return made


def own(tls_dir: Path) -> tuple[str, str]:
    return tuple(  # type: ignore[return-value]
        f.certificate.read_text() for f in (ca.peer_files(tls_dir), ca.libvirt_files(tls_dir))
    )


def other(tmp_path: Path, authority: ca.Authority, name: str, more: float = 0.0) -> str:
    key = tmp_path / f"{name}.key"
    ca.create_key(key)
    return authority.issue_libvirt(ca.create_csr(key, name), name, "10.0.0.9", NOW + more)


def serial(pem: str) -> int:
    return ca.identity(pem).serial


def test_a_list_says_what_it_was_made_of(authority: ca.Authority) -> None:
    since = float(int(NOW))
    listed = {5: Revoked(since), 2**158: Revoked(since - 7, replaced=True)}
    pem = crl.make(authority, listed, 1)
    assert crl.read(pem, authority.pem) == listed
    assert crl.read(crl.make(authority, {}, 2), authority.pem) == {}
    assert crl.read("", authority.pem) == {}


def test_a_list_of_another_ca_is_refused(authority: ca.Authority, tmp_path: Path) -> None:
    same_name = ca.create_ca(tmp_path / "other", "site-1", NOW)
    pem = crl.make(same_name, {5: Revoked(NOW)}, 1)
    with pytest.raises(CertificateRefused, match="not of this site's CA"):
        crl.read(pem, authority.pem)
    for bad in ("x", pem[:200], "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"):
        with pytest.raises(CertificateRefused):
            crl.read(bad, authority.pem)
    with pytest.raises(CertificateRefused, match="larger than"):
        crl.read("x" * (crl.CRL_LIMIT_BYTES + 1), authority.pem)
    with pytest.raises(CertificateRefused):
        crl_file.check(tmp_path, pem)
    with pytest.raises(CertificateRefused):
        crl_file.check(tmp_path, "rubbish")


def test_one_list_is_one_and_nothing_beside_it(authority: ca.Authority, tmp_path: Path) -> None:
    """GnuTLS goes by all that are in the file, whoever signed them."""
    good = crl.make(authority, {5: Revoked(NOW)}, 1)
    forged = crl.make(
        ca.create_ca(tmp_path / "other", "site-1", NOW), {serial(own(tmp_path)[1]): Revoked(NOW)}, 2
    )
    for pem in (good + forged, good + authority.pem, "x\n" + good):
        with pytest.raises(CertificateRefused, match="not one list"):
            crl.read(pem, authority.pem)
        with pytest.raises(CertificateRefused, match="not one list"):
            crl_file.check(tmp_path, pem)


def test_the_ca_is_no_host(authority: ca.Authority, tmp_path: Path) -> None:
    """It would be on the list, as nobody's."""
    with pytest.raises(CertificateRefused, match="CA's own"):
        IssuedFile(tmp_path).add((authority.pem,), NOW)


def test_a_host_takes_no_list_by_which_it_is_out_itself(
    authority: ca.Authority, tmp_path: Path
) -> None:
    crl_file.check(tmp_path, crl.make(authority, {5: Revoked(NOW)}, 1))
    for pem in own(tmp_path):
        bad = crl.make(authority, {serial(pem): Revoked(NOW)}, 1)
        with pytest.raises(CertificateRefused, match="certificate revoked"):
            crl_file.check(tmp_path, bad)
    assert not list(tmp_path.glob(".crl*"))


def test_tls_refuses_who_is_on_the_list_and_only_him(
    authority: ca.Authority, tmp_path: Path
) -> None:
    """OpenSSL here; GnuTLS, libvirt's and QEMU's, in the lab."""
    files = ca.libvirt_files(tmp_path)
    path = tmp_path / "list.pem"
    path.write_text(crl.make(authority, {serial(own(tmp_path)[0]): Revoked(NOW)}, 1))
    assert shown_to_others(files, path)["serialNumber"]
    path.write_text(crl.make(authority, {serial(own(tmp_path)[1]): Revoked(NOW)}, 1))
    with pytest.raises(ssl.SSLError, match="certificate revoked"):
        shown_to_others(files, path)


def test_what_was_given_out_is_written_down_once(authority: ca.Authority, tmp_path: Path) -> None:
    issued = IssuedFile(tmp_path)
    assert issued.load() == ()
    mine = own(tmp_path)
    found = issued.add(mine, NOW)
    assert [(c.name, c.serial, c.pem) for c in found] == [("dmz01", serial(p), p) for p in mine]
    written = (tmp_path / "issued.pem").stat()
    assert issued.add(mine, NOW) == found == IssuedFile(tmp_path).load()
    assert (tmp_path / "issued.pem").stat().st_ino == written.st_ino
    # A renewed one has the same key.
    again, renewed = (other(tmp_path, authority, "dmz02", n) for n in (0, 9))
    *_, first, second = issued.add((again, renewed), NOW)
    assert first.key_id == second.key_id and first.serial != second.serial


def test_what_is_damaged_or_strange_is_left_out(authority: ca.Authority, tmp_path: Path) -> None:
    issued = IssuedFile(tmp_path)
    strange = other(tmp_path, ca.create_ca(tmp_path / "other", "site-1", NOW), "dmz03")
    with pytest.raises(CertificateRefused, match="not issued by this site's CA"):
        issued.add((strange,), NOW)
    assert not (tmp_path / "issued.pem").exists()
    mine = own(tmp_path)
    issued.add(mine, NOW)
    path = tmp_path / "issued.pem"
    damaged = mine[0][:100] + "\n" + strange + path.read_text().replace(mine[0], "\xff junk\n")
    path.write_bytes(damaged.encode("latin-1"))
    assert [c.pem for c in issued.load()] == [mine[1]]
    issued.add(mine[:1], NOW)
    assert [c.pem for c in issued.load()] == [mine[1], mine[0]]


def test_the_list_is_kept(tmp_path: Path) -> None:
    assert crl_file.load(tmp_path) == RevocationList()
    kept = RevocationList(7, 100, "pem")
    crl_file.save(tmp_path, kept)
    assert crl_file.load(tmp_path) == kept
    (tmp_path / "crl.json").write_bytes(b'{"members_number": "x"\xff')
    assert crl_file.load(tmp_path) == RevocationList()
