"""A host that is made a member from another one, over SSH: each step looks first and does only what is missing.

Decides what a host must be like to be enrolled, what is run there, and that the token goes to standard input and never
into a command line. Must not know how the user is asked, nor who signs.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from xsm.edge import program_copy
from xsm.edge.settings import NAME, is_address
from xsm.edge.ssh import Done, Session

LOOK_LIMIT_S = 30.0
TURN_LIMIT_S = 60
"""What an `xsm host add` that was killed had begun there goes on for a while; it is waited for."""
INSTALL_LIMIT_S = 300.0
"""Some 20 MB over a slow line."""
JOIN_LIMIT_S = 180.0
"""A join waits for a majority, then fetches the site's history."""
TLS_LIMIT_S = 240.0
START_LIMIT_S = 90.0
CLOCK_WORTH_TELLING_S = 60.0
CLOCK_TOO_FAR_S = 3600.0
"""`ca.CLOCK_SKEW_S`: by a clock that is further behind, the host's certificate isn't valid yet."""
BIN = "/usr/local/bin"
SETTINGS, DATA = "/etc/xsm/xsmd.toml", "/var/lib/xsm"
TOKEN = f"{DATA}/join.token"
"""Where `xsm join` keeps its token until it is done (`edge.enrol`)."""
LOG = "/var/log/xsmd.log"

TURN = f"exec 9>/run/xsm-host-add.lock && flock -w {TURN_LIMIT_S} 9"
"""One at a time changes the host. Debian has flock on every system (util-linux)."""

LOOK = """
{turn} || echo busy=yes
echo "uid=$(id -u)"
. /etc/os-release 2>/dev/null && echo "system=$ID $VERSION_ID"
echo "arch=$(uname -m)"
echo "clock=$(date +%s)"
echo "name=$(hostname -s 2>/dev/null || cat /proc/sys/kernel/hostname)"
for python in {base} "$(command -v python{version})"; do
    if [ -x "$python" ]; then
        echo "python=$python"
        echo "abi=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))')"
        break
    fi
done
for tool in git tar gzip; do command -v $tool >/dev/null || echo "lacks_$tool=yes"; done
[ ! -S /run/libvirt/libvirt-sock ] || echo libvirt=yes
[ ! -d /run/systemd/system ] || echo systemd=yes
[ ! -x {bin}/xsm ] || echo "xsm=$({bin}/xsm --version 2>&1)"
[ ! -e {settings} ] || echo settings=yes
[ ! -s {token} ] || echo token=yes
[ ! -e {data}/tls/ca.pem ] || echo "ca=$(sha256sum <{data}/tls/ca.pem | cut -d' ' -f1)"
[ ! -e {settings} ] || echo "own_name=$(sed -n 's/^name = "\\(.*\\)"$/\\1/p' {settings})"
"""

INSTALL = """
set -e
{turn}
umask 022
rm -rf {prefix}.new
mkdir -p {prefix}.new {bin}
tar -xzf - -C {prefix}.new
{prefix}.new/venv/bin/python -c 'import {modules}'
rm -rf {prefix}.old
[ ! -e {prefix} ] || mv {prefix} {prefix}.old
mv {prefix}.new {prefix}
rm -rf {prefix}.old
for program in xsm xsmd; do ln -sfn {prefix}/venv/bin/$program {bin}/$program; done
if [ -d /etc/systemd/system ] && [ -e {prefix}/{unit} ]; then
    cp {prefix}/{unit} /etc/systemd/system/xsmd.service
fi
[ ! -d /run/systemd/system ] || systemctl daemon-reload
"""

START = """
if [ -d /run/systemd/system ]; then
    systemctl enable xsmd && systemctl restart xsmd
else
    setsid {bin}/xsmd >>{log} 2>&1 </dev/null &
fi
"""


class StepFailed(Exception):
    """A step can't be done; the text says what and where. `hint`: what to do, then the command can be given again."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


@dataclass(frozen=True)
class Seen:
    """What the host is like."""

    name: str
    python: str  # the interpreter that XSM would run on there
    systemd: bool
    xsm: str  # what the XSM there says it is, "" for none
    settings: bool  # it has joined as a whole
    token: bool  # a join there was cut short
    clock_ahead_s: float

    @property
    def remarks(self) -> tuple[str, ...]:
        if abs(self.clock_ahead_s) < CLOCK_WORTH_TELLING_S:
            return ()
        way = "ahead" if self.clock_ahead_s > 0 else "behind"
        return (f"its clock is {abs(self.clock_ahead_s):.0f} s {way}",)


@dataclass(frozen=True)
class LibvirtTls:
    """What `xsm host libvirt-tls -o json` said there."""

    uri: str
    changed: tuple[str, ...] = ()
    by_hand: str = ""
    problem: str = ""


@dataclass(frozen=True)
class LibvirtLocks:
    """What `xsm host libvirt-locks -o json` said there."""

    by_hand: str = ""


def look(
    session: Session, here: Mapping[str, str], ca_pem: bytes, now: float, witness: bool = False
) -> Seen:
    """Check the host. `here`: `system` and `arch` of this one. `witness`: it needs no libvirt. Changes nothing.

    Raises `StepFailed`, `SshFailed`.
    """
    base, version, abi = program_copy.needs()
    script = LOOK.format(
        turn=TURN, base=shlex.quote(base), version=version,
        bin=BIN, settings=SETTINGS, token=TOKEN, data=DATA,
    )  # fmt: skip
    done = session.run(script, TURN_LIMIT_S + LOOK_LIMIT_S)
    found = dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line)
    if found.get("uid") != "0":
        raise StepFailed(
            f"{session.target} is not root there ({done.err.strip() or 'sudo asks'})",
            "log in as root, or let sudo ask for no password",
        )
    if "busy" in found:
        again = "give the command again when that is done"
        raise StepFailed(f"another `xsm host add` is at work on {session.target}", again)
    for key, value in here.items():
        if found.get(key) != value:
            there = found.get(key, "unknown")
            raise StepFailed(f"{session.target} runs {there}, this host {value}", BY_HAND)
    if found.get("abi") != abi:
        there = f"{found['python']} is {found.get('abi')}" if "python" in found else "there is none"
        raise StepFailed(f"{session.target}: needs Python {version} ({abi}); {there}", BY_HAND)
    lacking = sorted(key.removeprefix("lacks_") for key in found if key.startswith("lacks_"))
    if lacking:
        raise StepFailed(
            f"{session.target} lacks {', '.join(lacking)}", f"apt-get install {' '.join(lacking)}"
        )
    if "libvirt" not in found and not witness:
        hint = "apt-get install libvirt-daemon-system qemu-system-x86, and start libvirtd"
        raise StepFailed(f"no libvirtd runs on {session.target}", hint)
    if found.get("ca", (ours := hashlib.sha256(ca_pem).hexdigest())) != ours:
        raise StepFailed(
            f"{session.target} belongs to another site ({DATA}/tls/ca.pem)",
            f"if that is over: stop xsmd there and move {SETTINGS} and {DATA} away",
        )
    ahead = float(found.get("clock", "0")) - now
    if abs(ahead) > CLOCK_TOO_FAR_S:
        raise StepFailed(
            f"the clock of {session.target} differs from this host's by {abs(ahead):.0f} s",
            "put the clocks right (NTP); certificates are not valid by such a clock",
        )
    return Seen(
        name=found.get("own_name") or found.get("name", ""),
        python=found["python"],
        systemd="systemd" in found,
        xsm=found.get("xsm", ""),
        settings="settings" in found,
        token="token" in found,
        clock_ahead_s=ahead,
    )


BY_HAND = "install XSM there as docs/operations.md says (make install), then `xsm join` with a token of `xsm invite`"


def check_names(name: str, address: str) -> None:
    """Raises `StepFailed`."""
    if not NAME.fullmatch(name):
        raise StepFailed(f"{name!r} can't be a host's name", "give another one with --name")
    if not is_address(address):
        raise StepFailed(f"{address!r} is neither an IP address nor a DNS name", "see --address")


def install(session: Session, seen: Seen, witness: bool = False) -> None:
    """Put a copy of the program that runs here into /opt/xsm there. `witness`: libvirt may be missing.

    Raises `StepFailed`, `SshFailed`.
    """
    modules = ("lxml.etree", "aiohttp", *(() if witness else ("libvirt",)))
    script = INSTALL.format(
        turn=TURN, prefix=program_copy.PREFIX, bin=BIN, unit=program_copy.UNIT,
        modules=", ".join(modules),
    )  # fmt: skip
    try:
        done = session.run(
            script, INSTALL_LIMIT_S, lambda send: program_copy.write_to(send, seen.python)
        )
    except program_copy.NotCopied as error:
        raise StepFailed(f"the XSM that runs here can't be copied: {error}", BY_HAND) from error
    _check(session, done, "XSM was not installed", BY_HAND)


def join(session: Session, token: str, name: str, address: str, more: tuple[str, ...]) -> None:
    """`xsm join` there. `token`: "" for the one that a join which was cut short has kept. Raises `StepFailed`."""
    options = shlex.join(["--name", name, "--address", address, *more])
    kept = f" <{TOKEN}" if not token else ""
    script = f"{TURN} && {BIN}/xsm join - {options}{kept}"
    done = session.run(script, JOIN_LIMIT_S, token.encode())
    again = "give the command again, once that is so"
    _check(session, done, f"`xsm join` on {session.target} failed", again)


def libvirt_tls(session: Session, replace: bool) -> LibvirtTls:
    """libvirt's TLS there. Raises `StepFailed`, `SshFailed`."""
    more = " --replace" if replace else ""
    done = session.run(f"{BIN}/xsm host libvirt-tls --yes -o json{more}", TLS_LIMIT_S)
    try:
        return msgspec.json.decode(done.out, type=LibvirtTls)
    except msgspec.MsgspecError:
        hint = "--no-libvirt-tls does without; then no VM migrates live to it"
        _check(session, done, f"libvirt's TLS on {session.target} is not in order", hint, sure=True)
        raise


def libvirt_locks(session: Session, folder: str) -> LibvirtLocks:
    """libvirt's locks of disks there. Raises `StepFailed`, `SshFailed`."""
    command = shlex.join([f"{BIN}/xsm", "host", "libvirt-locks", folder, "--yes", "-o", "json"])
    done = session.run(command, TLS_LIMIT_S)
    _check(session, done, f"libvirt on {session.target} doesn't lock disks", "or leave it out")
    return msgspec.json.decode(done.out, type=LibvirtLocks)


def answers(session: Session) -> bool:
    """Whether an xsmd runs there."""
    return session.run(f"{BIN}/xsm status -o json", LOOK_LIMIT_S).code == 0


def start(session: Session) -> None:
    """Start xsmd there, or start it anew where systemd runs it. Raises `StepFailed`, `SshFailed`."""
    done = session.run(START.format(bin=BIN, log=LOG), START_LIMIT_S)
    _check(
        session, done, f"xsmd on {session.target} was not started", "see `journalctl -u xsmd` there"
    )


def _check(session: Session, done: Done, what: str, hint: str, sure: bool = False) -> None:
    """`sure`: it has failed, whatever its exit code."""
    if done.code == 0 and not sure:
        return
    said = (done.err.strip() or done.out.strip() or f"exit code {done.code}").splitlines()
    lines = [line.strip() for line in said if line.strip()]
    raise StepFailed(f"{what}: {' '.join(lines[-4:])}", hint)
