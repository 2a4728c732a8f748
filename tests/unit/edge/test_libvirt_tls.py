"""libvirt's TLS on a host: files and settings under a root of the test's own."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from xsm.api.types import RevocationList
from xsm.edge import ca, crl_file, libvirt_tls
from xsm.edge.libvirt_tls import NotPossible, allowed_names, carry_out, configured, lines, todo
from xsm.edge.settings import Settings, places, read_settings, write_settings

ALLOWED = allowed_names("site-1")


@dataclass(frozen=True)
class Host:
    root: Path
    settings: Settings
    settings_path: Path
    files: ca.TlsFiles
    authority: ca.Authority

    def todo(self, replace: bool = False) -> libvirt_tls.Todo:
        where = self.settings, self.settings_path, self.files
        return todo(*where, replace=replace, root=self.root)

    def renew(self) -> None:
        request = ca.create_csr(self.files.key, "dmz01")
        pem = self.authority.issue_libvirt(request, "dmz01", "10.0.0.1", time.time())
        ca.install_beside(self.files, self.authority.pem, pem)

    def pki(self) -> dict[str, bytes]:
        top = self.root / "etc/pki"
        return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    settings_path = tmp_path / "xsmd.toml"
    settings_path.write_text(
        f'name = "dmz01"\naddress = "10.0.0.1"\ndata_dir = "{tmp_path}/data"\n'
    )
    settings = read_settings(settings_path, places({}, 0))
    authority = ca.create_ca(settings.tls_dir, "site-1", time.time())
    files = ca.libvirt_files(settings.tls_dir)
    ca.create_key(files.key)
    root = tmp_path / "root"
    (root / "etc/libvirt").mkdir(parents=True)
    # A group that this process may give to a file.
    (root / "etc/libvirt/qemu.conf").write_text('#group = "nobody"\ngroup = "root"\n')
    host = Host(root, settings, settings_path, files, authority)
    host.renew()
    return host


def test_everything_is_put_in_place_and_then_nothing_is_left(host: Host) -> None:
    conf = host.root / "etc/libvirt/libvirtd.conf"
    conf.write_text("# mine\nlisten_tls = 0\nmax_clients = 7\n")
    first = host.todo()
    assert first.by_hand.startswith("start libvirtd anew, with --listen")
    assert len(list(lines(first))) == 12
    before = os.umask(0o077)
    try:
        carry_out(first)
    finally:
        os.umask(before)
    certificate, key = host.files.certificate.read_bytes(), host.files.key.read_bytes()
    ca_pem = host.files.ca.read_bytes()
    assert host.pki() == {
        "CA/cacert.pem": ca_pem, "qemu/ca-cert.pem": ca_pem,
        **{f"libvirt/{s}cert.pem": certificate for s in ("server", "client")},
        **{f"libvirt/private/{s}key.pem": key for s in ("server", "client")},
        **{f"qemu/{s}-cert.pem": certificate for s in ("server", "client")},
        **{f"qemu/{s}-key.pem": key for s in ("server", "client")},
    }  # fmt: skip
    secret = host.root / "etc/pki/libvirt/private/serverkey.pem"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.parent.stat().st_mode & 0o777 == 0o700
    for folder in ("etc/pki", "etc/pki/qemu", "etc/pki/libvirt"):
        assert (host.root / folder).stat().st_mode & 0o777 == 0o755
    assert conf.read_text() == (
        '# mine\nlisten_tls = 1\nmax_clients = 7\nauth_tls = "none"\n'
        'tls_allowed_dn_list = ["CN=*,OU=libvirt,O=site-1"]\n'
    )
    told = read_settings(host.settings_path, places({}, 0))
    assert told.migrate_uri == "qemu+tls://10.0.0.1/system"
    assert host.todo() == libvirt_tls.Todo((), ())


def test_what_qemu_may_read(host: Host) -> None:
    (host.root / "etc/libvirt/qemu.conf").write_text('group = "daemon"\n')
    carry_out(host.todo())
    key = host.root / "etc/pki/qemu/server-key.pem"
    assert (key.group(), key.stat().st_mode & 0o777) == ("daemon", 0o640)
    (host.root / "etc/libvirt/qemu.conf").write_text('group = "no-such-group"\n')
    with pytest.raises(NotPossible, match="which there is not"):
        host.todo()


@pytest.mark.parametrize("name", ["CA/cacert.pem", "libvirt/servercert.pem", "qemu/client-key.pem"])
def test_what_is_anothers_stays_unless_told(host: Host, name: str) -> None:
    path = host.root / "etc/pki" / name
    path.parent.mkdir(parents=True)
    path.write_text("somebody's")
    with pytest.raises(NotPossible, match="not of this site's CA") as caught:
        host.todo()
    assert "--replace" in caught.value.hint and host.pki() == {name: b"somebody's"}
    carry_out(host.todo(replace=True))
    assert path.read_bytes() != b"somebody's"
    assert path.with_name(path.name + ".before-xsm").read_text() == "somebody's"
    assert host.todo() == libvirt_tls.Todo((), ())


def test_a_ca_that_another_site_has_is_anothers(host: Host, tmp_path: Path) -> None:
    other = ca.create_ca(tmp_path / "other", "site-2", time.time())
    path = host.root / "etc/pki/CA/cacert.pem"
    path.parent.mkdir(parents=True)
    path.write_text(other.pem)
    with pytest.raises(NotPossible, match=r"cacert\.pem is there"):
        host.todo()
    path.write_text(f"The site's CA\n{host.authority.pem}")  # with text around it: it is ours
    carry_out(host.todo())
    assert path.read_text() == host.authority.pem


def test_a_renewed_certificate_is_copied_only_where_xsm_put_the_old_one(host: Host) -> None:
    assert libvirt_tls.refresh(host.files, host.root) is False and host.pki() == {}
    carry_out(host.todo())
    assert libvirt_tls.refresh(host.files, host.root) is False
    host.renew()
    assert libvirt_tls.refresh(host.files, host.root) is True
    assert host.pki()["qemu/server-cert.pem"] == host.files.certificate.read_bytes()
    assert host.todo() == libvirt_tls.Todo((), ())
    # An administrator has put another key there since.
    (host.root / "etc/pki/libvirt/private/serverkey.pem").write_text("another")
    host.renew()
    assert libvirt_tls.refresh(host.files, host.root) is False


def test_the_list_of_revoked_certificates_goes_where_libvirt_and_qemu_look_for_it(
    host: Host,
) -> None:
    assert libvirt_tls.is_ours(host.files, host.root) is False
    carry_out(host.todo())
    assert libvirt_tls.is_ours(host.files, host.root) is True
    # Kept since before, so that it is put in place with the rest.
    crl_file.save(host.settings.tls_dir, RevocationList(3, 100, "first"))
    more = host.todo()
    names = [str(w.path.relative_to(host.root / "etc/pki")) for w in more.writes]
    assert names == ["CA/cacrl.pem", "qemu/ca-crl.pem"]
    assert [run.command[1] for run in more.runs] == ["server-update-tls"]
    carry_out(libvirt_tls.Todo(more.writes, ()))
    assert host.pki()["CA/cacrl.pem"] == host.pki()["qemu/ca-crl.pem"] == b"first"
    libvirt_tls.put_list("second", host.root)
    assert host.pki()["CA/cacrl.pem"] == host.pki()["qemu/ca-crl.pem"] == b"second"
    assert (host.root / "etc/pki/qemu/ca-crl.pem").stat().st_mode & 0o777 == 0o644


def test_hosts_that_it_is_not_for(host: Host) -> None:
    elsewhere = replace(host.settings, libvirt_uri="test:///default")
    with pytest.raises(NotPossible, match="no hypervisor that VMs migrate to"):
        libvirt_tls.migrate_uri(elsewhere)
    on_xen = replace(host.settings, libvirt_uri="xen:///system", address="fd00::1")
    assert libvirt_tls.migrate_uri(on_xen) == "xen+tls://[fd00::1]/system"
    host.files.certificate.unlink()
    with pytest.raises(NotPossible, match="joined with an older XSM"):
        host.todo()
    host.renew()
    (host.root / "run/libvirt").mkdir(parents=True)
    (host.root / "run/libvirt/virtqemud-sock").touch()
    with pytest.raises(NotPossible, match=r"separate daemons \(virtqemud\)"):
        host.todo()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'a = "x"\n'),
        ("b = 1", 'b = 1\na = "x"\n'),
        ("#a = 1\n", '#a = 1\na = "x"\n'),
        ("a=1\nb = 2\n", 'a = "x"\nb = 2\n'),
        ('a = [\n  "p",\n  "q"\n]\nb = 2\n', 'a = "x"\nb = 2\n'),
        ("a = 1\nb = 2\n  a = 3 # why\n", 'b = 2\na = "x"\n'),
        ('a = "x"\n', 'a = "x"\n'),
        ("ab = 1\n", 'ab = 1\na = "x"\n'),
    ],
)
def test_one_setting(before: str, after: str) -> None:
    assert libvirt_tls.with_setting(before, "a", "x") == after
    assert libvirt_tls.with_setting(after, "a", "x") == after


def test_settings_that_write_settings_wrote(host: Host) -> None:
    written = replace(host.settings, migrate_uri="qemu+ssh://old/system")
    write_settings(written, host.settings_path)
    carry_out(host.todo())
    told = read_settings(host.settings_path, places({}, 0))
    assert told == replace(written, migrate_uri="qemu+tls://10.0.0.1/system")


def test_only_the_hosts_of_one_site_are_let_in() -> None:
    assert configured(configured("", ALLOWED), ALLOWED).count(ALLOWED) == 1
    assert ALLOWED == "CN=*,OU=libvirt,O=site-1"
