"""How xsmd is started on this host, and asked: the commands that next steps and hints name.

Decides whether systemd's unit is meant (root's usual settings on a host that systemd runs) or xsmd itself. Must not
start anything.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from xsm.edge.settings import places, settings_path

SYSTEMD = Path("/run/systemd/system")
"""There while systemd runs the host: sd_booted(3)."""
ROOT_UID = 0


def by_systemd(settings: Path, systemd: Path = SYSTEMD) -> bool:
    """Whether `xsmd.service` is the xsmd of these settings."""
    return settings == places({}, ROOT_UID).config and systemd.is_dir()


def program(name: str) -> str:
    """`xsm` or `xsmd` as the shell finds it; its whole path where that isn't on PATH (a virtual environment)."""
    beside = Path(sys.executable).with_name(name)
    return name if shutil.which(name) or not beside.exists() else shlex.quote(str(beside))


def with_settings(name: str, settings: Path) -> str:
    """The command, with --config where it would take other settings."""
    usual = places(os.environ, os.geteuid()).config
    more = "" if settings == usual else f" --config {shlex.quote(str(settings))}"
    return program(name) + more


def next_steps(settings: Path, systemd: Path = SYSTEMD) -> tuple[str, ...]:
    """What to type after `xsm init` or `xsm join` wrote these settings."""
    ask = f"{with_settings('xsm', settings)} status"
    if by_systemd(settings, systemd):
        return "systemctl enable --now xsmd", ask
    there = "" if systemd.is_dir() else "; no systemd here"
    return (
        f"{with_settings('xsmd', settings)}  # stays in the foreground{there}: see operations.md",
        f"{ask}  # in another terminal",
    )


def start_hint(socket: str, config: str) -> str:
    """What to do about an xsmd that doesn't run. `socket`, `config`: as the user gave them, "" for neither."""
    if socket or (not config and os.environ.get("XSM_SOCKET")):
        return "start the xsmd whose socket that is"
    settings = settings_path(config or None, os.environ, os.geteuid()).absolute()
    if not settings.exists() and os.geteuid() != ROOT_UID:
        return f"{settings} is missing: become root, or name the settings with --config"
    if not settings.exists():
        return f"this host is of no site yet ({settings} is missing): `xsm init` or `xsm join`"
    if by_systemd(settings):
        return "start it with `systemctl start xsmd`"
    return f"start it with `{with_settings('xsmd', settings)}`"


def log_hint() -> str:
    """Where xsmd's log is."""
    return "see `systemctl status xsmd`" if SYSTEMD.is_dir() else "see its log (xsmd's stderr)"
