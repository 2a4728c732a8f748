"""libvirt's own locks of disks, by virtlockd on shared storage: a second belt beside XSM's claims.

Decides what belongs into libvirt's files, and when a folder can't be meant. Must not know how the user is asked. What
libvirt wants is in its guide to virtlockd (libvirt.org/kbase/locking-lockd.html).
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from xsm.edge.libvirt_tls import (
    KEPT_SUFFIX,
    NotPossible,
    Run,
    Todo,
    Write,
    check_daemon,
    with_setting,
)

QEMU_CONF = "etc/libvirt/qemu.conf"
LOCKD_CONF = "etc/libvirt/qemu-lockd.conf"
MANAGER = "lockd"
PROGRAM = "virtlockd"
SOCKET_UNIT, LIBVIRTD_UNIT = "virtlockd.socket", "libvirtd.service"
BY_HAND = f"start `{PROGRAM} --daemon`, at each boot before libvirtd, then start libvirtd anew; guests run on"


def todo(folder: Path, *, root: Path = Path("/"), program: str = PROGRAM) -> Todo:
    """What is missing on this host. `folder`: on storage that all hosts share. `root`: what libvirt's paths begin with.

    Raises `NotPossible`, `OSError`; nothing is changed.
    """
    check_daemon(root)
    if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin") is None:
        raise NotPossible(f"there is no {program} on this host", "apt-get install libvirt-daemon")
    _check_folder(folder)
    writes = []
    for name, settings, told in (
        (QEMU_CONF, {"lock_manager": MANAGER}, f'lock_manager = "{MANAGER}"'),
        (LOCKD_CONF, {"file_lockspace_dir": str(folder)}, f'file_lockspace_dir = "{folder}"'),
    ):
        path = root / name
        text = path.read_text() if path.exists() else ""
        new = text
        for key, value in settings.items():
            new = with_setting(new, key, value)
        if new != text:
            # Debian's qemu.conf is for root alone: it may hold passwords.
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
            kept = path.with_name(path.name + KEPT_SUFFIX)
            writes.append(Write(path, new.encode(), mode, "", told, copies=not kept.exists()))
    if not writes:
        return Todo((), ())
    if not (root / "run/systemd/system").is_dir():
        return Todo(tuple(writes), (), BY_HAND)
    runs = (
        Run(("systemctl", "enable", "--now", SOCKET_UNIT), f"{PROGRAM} runs when it is needed"),
        Run(("systemctl", "restart", LIBVIRTD_UNIT), "libvirtd reads it; guests run on"),
    )
    return Todo(tuple(writes), runs)


def _check_folder(folder: Path) -> None:
    """Raises `NotPossible` for what can't be a folder that hosts share."""
    if not folder.is_absolute() or '"' in str(folder) or not str(folder).isprintable():
        raise NotPossible(f"{folder} is not an absolute path", "/srv/shared/locks")
    if not folder.is_dir():
        raise NotPossible(
            f"{folder} is not there", "make it once, on storage that all hosts of the site share"
        )
    if folder.stat().st_dev == Path("/").stat().st_dev:
        raise NotPossible(
            f"{folder} is on this host's own root file system: locks there hold back nobody else",
            "take a folder on storage that all hosts of the site share (NFS, a cluster file system)",
        )


def manager(root: Path = Path("/")) -> str:
    """The lock manager that this host's QEMU driver is told to have, "" for none, or where that can't be read."""
    try:
        text = (root / QEMU_CONF).read_text()
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.findall(r'^\s*lock_manager\s*=\s*"([^"]*)"', text, re.MULTILINE)
    return found[-1] if found else ""
