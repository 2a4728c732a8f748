"""libvirt's own TLS on this host: its certificates in /etc/pki, its settings, whether it then answers.

Decides what belongs where, what of it is XSM's to overwrite, and how libvirtd is told. Must not know how certificates
are made, nor how the user is asked. What libvirt wants is in its remote access guide (libvirt.org/kbase/tlscerts.html)
and in the comments of libvirtd.conf.
"""

from __future__ import annotations

import grp
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from xsm.edge import crl_file
from xsm.edge.certificate import LIBVIRT_ROLE, CertificateRefused, TlsFiles, site_id
from xsm.edge.durable import write_durably
from xsm.edge.settings import Settings, host_in_url

COMMAND_LIMIT_S = 60.0
"""For systemctl, which waits for libvirtd to end and to come up."""
CHECK_LIMIT_S = 15.0
"""For a connection to this host's own libvirtd."""
START_ANEW = "start libvirtd anew, with --listen (`libvirtd --listen --daemon`); guests run on"
TLS_PORT = 16514
TLS_SOCKET = "libvirtd-tls.socket"
UNITS = ("libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket")
"""libvirtd as Debian's systemd runs it."""
LET_IN = b"\1"
"""What libvirtd sends when the handshake is done and the client's certificate is one that it lets in."""
KEPT_SUFFIX = ".before-xsm"
SEPARATE_DAEMONS = ("virtqemud-sock", "virtxend-sock")
"""In /run/libvirt where libvirt runs as one daemon for each hypervisor instead of libvirtd."""
QEMU_GROUPS = ("libvirt-qemu", "qemu", "kvm")
"""What QEMU's processes run as where qemu.conf doesn't say: Debian's, Fedora's."""


class NotPossible(Exception):
    """libvirt's TLS can't be put in order on this host; the text says why. `hint`: what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


@dataclass(frozen=True)
class Write:
    """One file that is to have this content."""

    path: Path
    content: bytes
    mode: int
    group: str  # "": root's
    what: str  # one line for people
    secret: bool = False
    keeps: bool = False  # what is there is another's, and is kept beside it
    copies: bool = False  # what is there is changed in parts; as it was it is kept beside it


@dataclass(frozen=True)
class Run:
    """A command, and why."""

    command: tuple[str, ...]
    what: str


@dataclass(frozen=True)
class Todo:
    """What is to be done, in order. `by_hand`: the command that somebody has to give, "" for none."""

    writes: tuple[Write, ...]
    runs: tuple[Run, ...]
    by_hand: str = ""


def migrate_uri(settings: Settings) -> str:
    """By which the other hosts' libvirt reaches this one's over TLS. Raises `NotPossible`."""
    if settings.is_witness:
        raise NotPossible("this host is a witness: no VM migrates to it")
    parts = urlsplit(settings.libvirt_uri)
    driver = parts.scheme.partition("+")[0]
    if driver not in ("qemu", "xen"):
        raise NotPossible(
            f"{settings.libvirt_uri} is no hypervisor that VMs migrate to",
            "qemu:///system or xen:///system",
        )
    return f"{driver}+tls://{host_in_url(settings.address)}{parts.path or '/system'}"


def todo(
    settings: Settings,
    settings_path: Path,
    files: TlsFiles,
    *,
    replace: bool,
    root: Path = Path("/"),
) -> Todo:
    """What is missing on this host. `root`: what its paths begin with.

    Raises `NotPossible`, `CertificateRefused`, `OSError`; nothing is changed.
    """
    uri = migrate_uri(settings)
    check_daemon(root)
    if not files.certificate.exists():
        raise NotPossible(
            f"{files.certificate} is missing: this host joined with an older XSM",
            "xsmd gets one from a host that signs, within minutes; then give the command again",
        )
    certificates = [
        write for write in _certificates(files, root, replace) if _differs(write.path, write)
    ]
    conf = root / "etc/libvirt/libvirtd.conf"
    text = conf.read_text() if conf.exists() else ""
    changed = configured(text, allowed_names(site_id(files)))
    writes = list(certificates)
    if changed != text:
        told = 'listen_tls = 1, auth_tls = "none", tls_allowed_dn_list: this site\'s hosts only'
        writes.append(Write(conf, changed.encode(), 0o644, "", told))
    own = settings_path.read_text()
    with_uri = with_setting(own, "migrate_uri", uri)
    if with_uri != own:
        told = f'migrate_uri = "{uri}"'
        writes.append(Write(settings_path, with_uri.encode(), 0o644, "", told))
    runs, by_hand = _tell(
        root, conf_changed=changed != text, certificates_changed=bool(certificates)
    )
    return Todo(tuple(writes), runs, by_hand)


def carry_out(plan: Todo) -> None:
    """Write, then run. Given again after a failure it does the rest. Raises `NotPossible`, `OSError`."""
    for each in plan.writes:
        _write(each)
    for run in plan.runs:
        try:
            _run(*run.command)
        except (OSError, subprocess.SubprocessError) as error:
            raise NotPossible(
                f"`{' '.join(run.command)}` failed: {_said(error)}", "then give the command again"
            ) from error


def check(uri: str, stranger: TlsFiles) -> str:
    """What is wrong with libvirt's TLS there, "" when nothing is: another host gets in, and `stranger` doesn't, whose
    certificate is of the site's CA but not for libvirt."""
    problem = _try(uri)
    if problem:
        return problem
    if lets_in(urlsplit(uri).hostname or "", stranger):
        return f"it lets in every certificate of the site's CA: {START_ANEW}"
    return ""


def lets_in(address: str, files: TlsFiles) -> bool:
    """Whether the libvirtd there takes this certificate. Raises `OSError` when it can't be asked.

    Not by libvirt's own client, which refuses to show certificates that it wouldn't issue: others would show them.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cafile=str(files.ca))
    context.load_cert_chain(str(files.certificate), str(files.key))
    with socket.create_connection((address, TLS_PORT), CHECK_LIMIT_S) as plain:
        try:
            with context.wrap_socket(plain) as connection:
                return connection.recv(1) == LET_IN
        except (ssl.SSLError, ConnectionError):
            return False


def _try(uri: str) -> str:
    """Why libvirt can't be reached there, "" when it answers.

    In a process of its own: a connection that nobody answers can't be given up within one.
    """
    code = "import libvirt, sys; print(libvirt.open(sys.argv[1]).getHostname())"
    try:
        _run(sys.executable, "-c", code, uri, limit_s=CHECK_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {CHECK_LIMIT_S:.0f} s"
    except (OSError, subprocess.SubprocessError) as error:
        return _said(error).splitlines()[-1].removeprefix("libvirt.libvirtError: ")
    return ""


# --- renewal -------------------------------------------------------------------------------------


def refresh(files: TlsFiles, root: Path = Path("/")) -> bool:
    """Bring the copies in /etc/pki to a certificate that was renewed; tells whether there was one that lagged behind.

    Only where XSM put them there. Raises `OSError`.
    """
    if not is_ours(files, root):
        return False
    lagging = [w for w in _copies(files, root, "") if not w.secret and _differs(w.path, w)]
    for write in lagging:
        _write(write)
    return bool(lagging)


def is_ours(files: TlsFiles, root: Path = Path("/")) -> bool:
    """Whether XSM set libvirt's TLS up: the key in /etc/pki is this host's. Raises `OSError`."""
    key = root / "etc/pki/libvirt/private/serverkey.pem"
    return key.exists() and key.read_bytes() == files.key.read_bytes()


def put_list(crl_pem: str, root: Path = Path("/")) -> None:
    """The list of revoked certificates where libvirt and QEMU look for it. Raises `OSError`."""
    for write in _lists(crl_pem, root):
        if _differs(write.path, write):
            _write(write)


def _lists(crl_pem: str, root: Path) -> list[Write]:
    if not crl_pem:
        return []
    told, content = "the list of revoked certificates", crl_pem.encode()
    paths = (root / "etc/pki/CA/cacrl.pem", root / "etc/pki/qemu/ca-crl.pem")
    return [Write(path, content, 0o644, "", told) for path in paths]


def tell_libvirtd() -> str:
    """Let libvirtd read its certificates and the list anew; why it didn't, "" when it did."""
    try:
        _run("virt-admin", "server-update-tls", "libvirtd")
    except (OSError, subprocess.SubprocessError) as error:
        return _said(error)
    return ""


# --- certificates --------------------------------------------------------------------------------


def _certificates(files: TlsFiles, root: Path, replace: bool) -> list[Write]:
    """All files of /etc/pki. Raises `NotPossible` for those of another CA, unless `replace`."""
    kept = []
    lists = _lists(crl_file.load(files.ca.parent).crl_pem, root)
    for write in (*_copies(files, root, _qemu_group(root)), *lists):
        foreign = _of_another(write, files, root)
        if foreign and not replace:
            raise NotPossible(
                f"{write.path} is there, and is not of this site's CA",
                "--replace puts this site's in its place, and keeps the old one as "
                f"{write.path.name}{KEPT_SUFFIX}",
            )
        kept.append(Write(**{**vars(write), "keeps": foreign}))
    return kept


def _copies(files: TlsFiles, root: Path, qemu_group: str) -> list[Write]:
    ca, certificate, key = (path.read_bytes() for path in (files.ca, files.certificate, files.key))
    libvirt, qemu = root / "etc/pki/libvirt", root / "etc/pki/qemu"
    own = "this host's certificate for libvirt"
    writes = [Write(root / "etc/pki/CA/cacert.pem", ca, 0o644, "", "the site's CA")]
    for side in ("server", "client"):
        path = libvirt / f"{side}cert.pem"
        writes.append(Write(path, certificate, 0o644, "", own))
        path = libvirt / f"private/{side}key.pem"
        writes.append(Write(path, key, 0o600, "", "its key", secret=True))
    writes.append(Write(qemu / "ca-cert.pem", ca, 0o644, "", "the site's CA, for QEMU"))
    for side in ("server", "client"):
        path = qemu / f"{side}-cert.pem"
        writes.append(Write(path, certificate, 0o644, "", own))
        told = f"its key, which {qemu_group or 'root'} may read"
        path = qemu / f"{side}-key.pem"
        writes.append(Write(path, key, 0o640, qemu_group, told, secret=True))
    return writes


def _of_another(write: Write, files: TlsFiles, root: Path) -> bool:
    """Whether a file is there that XSM has no right to overwrite: the CA beside it is missing or another one."""
    if not write.path.exists() or write.path.read_bytes() == write.content:
        return False
    in_qemu = write.path.is_relative_to(root / "etc/pki/qemu")
    beside = root / ("etc/pki/qemu/ca-cert.pem" if in_qemu else "etc/pki/CA/cacert.pem")
    return not beside.exists() or not _same_certificate(beside, files.ca)


def _same_certificate(one: Path, other: Path) -> bool:
    """Also where somebody wrote text around it, as `certtool` does."""
    from xsm.edge import ca

    try:
        return ca.fingerprint(one.read_text()) == ca.fingerprint(other.read_text())
    except (CertificateRefused, UnicodeDecodeError):
        return False


def _qemu_group(root: Path) -> str:
    """The group that QEMU's processes have, by qemu.conf, else the distribution's; "" where they are root's."""
    conf = root / "etc/libvirt/qemu.conf"
    said = (
        re.search(r'^\s*group\s*=\s*"([^"]*)"', conf.read_text(), re.MULTILINE)
        if conf.exists()
        else None
    )
    names = (said[1].lstrip("+"),) if said else QEMU_GROUPS
    for name in names:
        if name in ("root", "0"):
            return ""
        try:
            return grp.getgrnam(name).gr_name
        except KeyError:
            continue
    if said:
        raise NotPossible(f"{conf} lets QEMU run as the group {said[1]}, which there is not")
    return ""


# --- libvirtd's settings -------------------------------------------------------------------------


def allowed_names(site: str) -> str:
    """The pattern of the names in the certificates that libvirtd lets in: the hosts' own for libvirt.

    The site's CA also signs people's certificates: without the list a viewer would be root on every host.
    """
    return f"CN=*,OU={LIBVIRT_ROLE},O={site}"


def configured(text: str, allowed: str) -> str:
    """libvirtd.conf with TLS on, for `allowed` names only; everything else in it stays as it is."""
    for key, value in (
        ("listen_tls", "1"),
        ("auth_tls", '"none"'),
        ("tls_allowed_dn_list", f'["{allowed}"]'),
    ):
        text = with_setting(text, key, value, raw=True)
    return text


_VALUE = r"(?:\[[^\]]*\]|[^\n]*)"
"""Of a setting: a list, which may go over several lines, or the rest of the line."""


def with_setting(text: str, key: str, value: str, raw: bool = False) -> str:
    """A file of `key = value` lines in which `key` has this value; the last one counts, and only one stays."""
    line = f"{key} = {value}" if raw else f'{key} = "{value}"'
    pattern = re.compile(rf"^[ \t]*{re.escape(key)}[ \t]*=[ \t]*{_VALUE}", re.MULTILINE)
    found = list(pattern.finditer(text))
    if not found:
        if text and not text.endswith("\n"):
            text += "\n"
        return f"{text}{line}\n"
    if len(found) == 1 and found[0][0].strip() == line:
        return text
    for match in reversed(found[:-1]):
        text = text[: match.start()] + text[match.end() :].removeprefix("\n")
    last = list(pattern.finditer(text))[-1]
    return text[: last.start()] + line + text[last.end() :]


# --- libvirtd itself -----------------------------------------------------------------------------


def check_daemon(root: Path) -> None:
    there = [name for name in SEPARATE_DAEMONS if (root / "run/libvirt" / name).exists()]
    if there:
        raise NotPossible(
            f"libvirt runs here as separate daemons ({there[0].removesuffix('-sock')}), not as libvirtd; "
            "XSM doesn't set that up",
            "set it up by libvirt's own guide (for TLS virtproxyd's, and migrate_uri in xsmd.toml)",
        )


def _tell(
    root: Path, *, conf_changed: bool, certificates_changed: bool
) -> tuple[tuple[Run, ...], str]:
    """How libvirtd comes to know: what is run, and what somebody has to do by hand."""
    systemd = (root / "run/systemd/system").is_dir()
    if systemd and (conf_changed or not _listens()):
        # The TLS socket can't be opened while the service runs, and any of its sockets would start that again.
        return (
            Run(("systemctl", "enable", TLS_SOCKET), f"libvirtd listens for TLS (port {TLS_PORT})"),
            Run(("systemctl", "stop", *UNITS), "until its TLS socket is open; guests run on"),
            Run(("systemctl", "start", TLS_SOCKET, *reversed(UNITS)), "libvirtd with TLS"),
        ), ""
    if conf_changed:
        return (), START_ANEW
    if certificates_changed:
        run = Run(
            ("virt-admin", "server-update-tls", "libvirtd"), "libvirtd reads its certificates anew"
        )
        return (run,), ""
    return (), ""


def _listens() -> bool:
    """Whether systemd has libvirtd's TLS socket open."""
    try:
        _run("systemctl", "--quiet", "is-active", TLS_SOCKET)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


# --- parts ---------------------------------------------------------------------------------------


def _differs(path: Path, write: Write) -> bool:
    return not path.exists() or path.read_bytes() != write.content


def _write(write: Write) -> None:
    path = write.path
    _make_folder(path.parent, 0o700 if write.secret and not write.group else 0o755)
    kept = path.with_name(path.name + KEPT_SUFFIX)
    if write.keeps and not kept.exists():
        path.rename(kept)
    if write.copies and path.exists():
        write_durably(kept, path.read_bytes(), write.mode)
    if not write.group:
        write_durably(path, write.content, write.mode)
        return
    # Nobody else may read it while its group isn't set.
    write_durably(path, write.content, 0o600)
    shutil.chown(path, group=write.group)
    os.chmod(path, write.mode)


def _make_folder(path: Path, mode: int) -> None:
    """With this mode whatever the umask: QEMU's processes have to find their way."""
    if path.is_dir():
        return
    _make_folder(path.parent, 0o755)
    path.mkdir()
    path.chmod(mode)


def _run(*command: str, limit_s: float = COMMAND_LIMIT_S) -> None:
    subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=limit_s, stdin=subprocess.DEVNULL
    )  # fmt: skip


def _said(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return str(error.stderr).strip() or f"exit code {error.returncode}"
    if isinstance(error, FileNotFoundError):
        return f"there is no {error.filename}"
    return str(error)


def lines(plan: Todo) -> Iterable[str]:
    """For people: what would be done."""
    for each in plan.writes:
        name = f"{each.path.name}{KEPT_SUFFIX}"
        kept = f"; the old one is kept as {name}" if each.keeps or each.copies else ""
        yield f"write {each.path}: {each.what}{kept}"
    for run in plan.runs:
        yield f"run {' '.join(run.command)}: {run.what}"
