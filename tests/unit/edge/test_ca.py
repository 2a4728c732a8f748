"""Certificates, and the tokens with which a host gets one."""

import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from xsm.edge import ca
from xsm.edge.invitations import LIFETIME_S, Invitations, TokenRefused, parse_token
from xsm.edge.tls import client_context, own_trouble, server_context

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ca.Authority:
    return ca.create_ca(tmp_path_factory.mktemp("ca"), "site-1", NOW)


def request(name: str, key: object = None, sign: object = None) -> str:
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    signed = builder.sign(sign or key, hashes.SHA256())  # type: ignore[arg-type]
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def san(pem: str) -> list[str]:
    extension = x509.load_pem_x509_certificate(pem.encode()).extensions
    names = extension.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(str(name.value) for name in names)


def test_the_ca_on_disk(tmp_path: Path) -> None:
    made = ca.create_ca(tmp_path / "tls", "site-1", NOW)
    assert (tmp_path / "tls" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    loaded = ca.load_ca(tmp_path / "tls")
    assert (loaded.fingerprint, loaded.site_id) == (made.fingerprint, "site-1")
    assert len(made.fingerprint) == 64
    with pytest.raises(ca.CertificateRefused, match="one CA"):
        ca.create_ca(tmp_path / "tls", "site-2", NOW)
    (tmp_path / "tls" / "ca.key").unlink()
    with pytest.raises(ca.CertificateRefused, match="doesn't hold the site's CA key"):
        ca.load_ca(tmp_path / "tls")


def test_a_key_of_another_ca(tmp_path: Path) -> None:
    for name in ("a", "b"):
        ca.create_ca(tmp_path / name, name, NOW)
    (tmp_path / "a" / "ca.key").write_bytes((tmp_path / "b" / "ca.key").read_bytes())
    with pytest.raises(ca.CertificateRefused, match="is not the key of"):
        ca.load_ca(tmp_path / "a")


def test_what_a_hosts_certificate_says(authority: ca.Authority) -> None:
    pem = authority.issue_peer(request("dmz01"), "dmz01", "192.168.5.101", NOW)
    who = ca.identity(pem)
    assert (who.name, who.role) == ("dmz01", "peer")
    assert (who.not_before, who.not_after) == (NOW - 3600, NOW + 365 * 86400)
    assert san(pem) == ["192.168.5.101", "dmz01.xsm"]
    loopback = authority.issue_peer(request("a"), "a", "127.0.0.2", NOW)
    assert san(loopback) == ["127.0.0.1", "127.0.0.2", "a.xsm", "localhost"]


def test_names_that_dns_would_take_for_one() -> None:
    assert ca.server_name("dmz01") == "dmz01.xsm"
    assert len({ca.server_name(n).lower() for n in ("dmz01", "DMZ01", "Dmz01")}) == 3


@pytest.mark.parametrize("role", ca.CLIENT_ROLES)
def test_a_clients_certificate_serves_nothing(authority: ca.Authority, role: str) -> None:
    pem = authority.issue_client(request("jo@x.com"), "jo@x.com", role, NOW)
    assert (ca.identity(pem).name, ca.identity(pem).role) == ("jo@x.com", role)
    usages = x509.load_pem_x509_certificate(pem.encode()).extensions
    allowed = usages.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(allowed) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]


def test_nobody_gets_a_peers_role_as_a_client(authority: ca.Authority) -> None:
    for role in ("peer", "root", ""):
        with pytest.raises(ca.CertificateRefused, match="unknown role"):
            authority.issue_client(request("jo"), "jo", role, NOW)


def test_requests_that_are_refused(authority: ca.Authority) -> None:
    good = request("dmz01")
    forged = x509.load_pem_x509_csr(good.encode()).public_bytes(serialization.Encoding.DER)
    damaged = forged[:-5] + bytes([forged[-5] ^ 1]) + forged[-4:]
    signed_by_another = x509.load_der_x509_csr(damaged).public_bytes(serialization.Encoding.PEM)
    for csr, words in (
        ("", "not a certificate request"),
        ("x" * 100_000, "larger than"),
        ("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "not a"),
        (signed_by_another.decode(), "signed by its own key"),
        (request("dmz02"), "is for 'dmz02'"),
        (request("dmz01", rsa.generate_private_key(65537, 2048)), "EC P-256"),
        (request("dmz01", ec.generate_private_key(ec.SECP384R1())), "EC P-256"),
    ):
        with pytest.raises(ca.CertificateRefused, match=words):
            authority.issue_peer(csr, "dmz01", "10.0.0.1", NOW)
    for name in ("", "*", "a b", "a/b", "-a", "x" * 64, "a\x00b"):
        with pytest.raises(ca.CertificateRefused, match="can't be the name"):
            authority.issue_peer(good, name, "10.0.0.1", NOW)
    with pytest.raises(ca.CertificateRefused, match="neither an IP address nor"):
        authority.issue_peer(good, "dmz01", "*.example com", NOW)


def test_no_certificate_outlives_the_ca(authority: ca.Authority) -> None:
    late = NOW + ca.CA_VALIDITY_S - 86400
    pem = authority.issue_peer(request("dmz01"), "dmz01", "10.0.0.1", late)
    assert ca.identity(pem).not_after == NOW + ca.CA_VALIDITY_S
    with pytest.raises(ca.CertificateRefused, match="CA certificate has expired"):
        authority.issue_peer(request("dmz01"), "dmz01", "10.0.0.1", late + 2 * 86400)


def test_installing_checks_first(tmp_path: Path, authority: ca.Authority) -> None:
    files = ca.peer_files(tmp_path / "tls")
    ca.create_key(files.key)
    key = files.key.read_bytes()
    ca.create_key(files.key)
    assert files.key.read_bytes() == key and files.key.stat().st_mode & 0o777 == 0o600
    pem = authority.issue_peer(ca.create_csr(files.key, "dmz01"), "dmz01", "10.0.0.1", NOW)
    other = ca.create_ca(tmp_path / "other", "site-1", NOW)
    with pytest.raises(ca.CertificateRefused, match="not issued by this site's CA"):
        ca.install(files, other.pem, pem)
    not_ours = authority.issue_peer(request("dmz01"), "dmz01", "10.0.0.1", NOW)
    with pytest.raises(ca.CertificateRefused, match="not for the key"):
        ca.install(files, authority.pem, not_ours)
    assert not files.certificate.exists() and not files.ca.exists()
    assert ca.install(files, authority.pem, pem).name == "dmz01"
    assert ca.verify(files, NOW).name == "dmz01"
    with pytest.raises(ca.CertificateRefused, match=r"expired on 2028-01-\d\d"):
        ca.verify(files, NOW + 366 * 86400)
    with pytest.raises(ca.CertificateRefused, match="clock"):
        ca.verify(files, NOW - 7200)
    files.certificate.write_text("rubbish")
    with pytest.raises(ca.CertificateRefused, match=r"peer\.pem: not a certificate"):
        ca.verify(files, NOW)
    with pytest.raises(ca.CertificateRefused, match=r"peer\.pem"):
        client_context(files)


def test_contexts_are_strict(tmp_path: Path) -> None:
    now = time.time()
    authority = ca.create_ca(tmp_path / "ca", "site-1", now)
    files = ca.peer_files(tmp_path / "tls")
    ca.create_key(files.key)
    pem = authority.issue_peer(ca.create_csr(files.key, "dmz01"), "dmz01", "10.0.0.1", now)
    ca.install(files, authority.pem, pem)
    client, server = client_context(files), server_context(files)
    assert client.verify_mode is ssl.CERT_REQUIRED and client.check_hostname
    assert server.verify_mode is ssl.CERT_OPTIONAL
    for context in (client, server):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert len(context.get_ca_certs()) == 1
    assert own_trouble(client, now) == ""
    assert "expired" in own_trouble(client, now + 400 * 86400)


# --- invitations -----------------------------------------------------------------------------------


@pytest.fixture
def invitations(tmp_path: Path) -> Invitations:
    return Invitations(tmp_path / "invitations", "f" * 64, "dmz01")


def test_a_token_is_good_once(invitations: Invitations) -> None:
    made = invitations.create("dmz05", "https://192.168.5.101:8701", NOW)
    assert made.expires == NOW + LIFETIME_S == NOW + 3600
    token = parse_token(f"  {made.token}\n")
    assert (token.name, token.url, token.host, token.ca) == (
        "dmz05",
        "https://192.168.5.101:8701",
        "dmz01",
        "f" * 64,
    )
    assert invitations.check(made.token, NOW) == "dmz05"
    assert invitations.redeem(made.token, NOW + 3599, "key") == "dmz05"
    with pytest.raises(TokenRefused, match="used already"):
        invitations.redeem(made.token, NOW, "key")
    with pytest.raises(TokenRefused, match="used already"):
        invitations.check(made.token, NOW)
    assert invitations.used_by(made.token, NOW) == "key"  # its answer may have got lost


def test_it_expires(invitations: Invitations) -> None:
    made = invitations.create("dmz05", "https://a:1", NOW)
    with pytest.raises(TokenRefused, match="has expired"):
        invitations.redeem(made.token, NOW + 3600, "key")
    with pytest.raises(TokenRefused):
        invitations.redeem(made.token, NOW, "key")  # not even when the clock is put back


def test_a_restart_forgets_nothing(invitations: Invitations, tmp_path: Path) -> None:
    made = invitations.create("dmz05", "https://a:1", NOW)
    again = Invitations(tmp_path / "invitations", "f" * 64, "dmz01")
    assert again.redeem(made.token, NOW, "key") == "dmz05"
    with pytest.raises(TokenRefused):
        invitations.redeem(made.token, NOW, "key")


def test_the_disk_holds_no_secret(invitations: Invitations, tmp_path: Path) -> None:
    secret = parse_token(invitations.create("dmz05", "https://a:1", NOW).token).secret
    (path,) = (tmp_path / "invitations").iterdir()
    assert secret not in path.read_text() + path.name
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_invitation_replaces_the_earlier(invitations: Invitations) -> None:
    first = invitations.create("dmz05", "https://a:1", NOW)
    other = invitations.create("dmz06", "https://a:1", NOW)
    second = invitations.create("dmz05", "https://a:1", NOW)
    with pytest.raises(TokenRefused):
        invitations.redeem(first.token, NOW, "key")
    assert invitations.redeem(second.token, NOW, "key") == "dmz05"
    assert invitations.redeem(other.token, NOW, "key") == "dmz06"


def test_there_are_only_so_many(invitations: Invitations) -> None:
    for number in range(256):
        invitations.create(f"h{number}", "https://a:1", NOW)
    with pytest.raises(TokenRefused, match="256 invitations are open"):
        invitations.create("one-more", "https://a:1", NOW)
    assert invitations.create("one-more", "https://a:1", NOW + 3600).token


def test_tokens_that_are_none(invitations: Invitations) -> None:
    good = invitations.create("dmz05", "https://a:1", NOW).token
    for text in (
        "",
        "x",
        "xsm1.",
        "xsm1.!!!",
        "xsm1." + "A" * 5000,
        good[:-9],
        good[5:],
        "xsm1.e30",
    ):
        with pytest.raises(TokenRefused):
            invitations.redeem(text, NOW, "key")
    with pytest.raises(TokenRefused, match="begins with"):
        parse_token("../../etc/passwd")
    assert invitations.redeem(good, NOW, "key") == "dmz05"


def test_what_libvirts_certificate_says(authority: ca.Authority) -> None:
    pem = authority.issue_libvirt(request("dmz01"), "dmz01", "192.168.5.101", NOW)
    assert (ca.identity(pem).name, ca.identity(pem).role) == ("dmz01", "libvirt")
    assert san(pem) == ["192.168.5.101"]  # never a name by which a peer is known
    extensions = x509.load_pem_x509_certificate(pem.encode()).extensions
    with pytest.raises(x509.ExtensionNotFound):
        extensions.get_extension_for_class(x509.KeyUsage)
    allowed = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(allowed) == {
        x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH,
        x509.oid.ExtendedKeyUsageOID.SERVER_AUTH,
    }


def test_a_short_life_can_be_told_from_the_dates(tmp_path: Path) -> None:
    ca.create_ca(tmp_path, "site-1", NOW)
    short = ca.load_ca(tmp_path, life_s=60.0)
    who = ca.identity(short.issue_peer(request("dmz01"), "dmz01", "10.0.0.1", NOW))
    assert (who.not_before, who.not_after) == (NOW - 60, NOW + 60)
