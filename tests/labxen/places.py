"""Where the Xen lab's things are, and what its hosts are called.

Decides names, addresses, ports and paths. Must not start or write anything.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(os.environ.get("XSM_LAB_XEN", "/tmp/xsm-lab-xen"))
"""The running lab: everything that `down` removes."""
HERE = Path(__file__).resolve().parent
KEPT = Path(os.environ.get("XSM_LAB_XEN_CACHE", "/var/cache/xsm-lab-xen"))
"""Debian's packages and what is made of them, by the hash of what it is made of. Kept outside the repository: several
clones share it."""

NAMES = ("xen01", "xen02")
NETWORK = "10.77.0"
FIRST_SSH_PORT = 42201
"""Of this machine's loopback: each host's sshd is behind one."""
GUEST_IMAGES = "/srv/guest"
"""On each host: the guests' kernel and initramfs."""
CONSOLES = "/var/log/xen/console"
"""On each host: what the guests said while they ran there, written by xenconsoled."""


@dataclass(frozen=True)
class HostPlace:
    """One host's name and its things, as this machine sees them."""

    name: str
    number: int  # 1, 2, ...

    @property
    def address(self) -> str:
        """On the link between the hosts."""
        return f"{NETWORK}.{self.number}"

    @property
    def ssh_port(self) -> int:
        return FIRST_SSH_PORT - 1 + self.number

    @property
    def folder(self) -> Path:
        return ROOT / self.name

    @property
    def pid_file(self) -> Path:
        return self.folder / "qemu.pid"

    @property
    def log(self) -> Path:
        """Its serial console: Xen's own words and Domain-0's."""
        return self.folder / "serial.log"

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    @property
    def uuid(self) -> str:
        return f"5e0f7c1a-1ab1-4000-8000-{self.number:012d}"


HOSTS = {name: HostPlace(name, number) for number, name in enumerate(NAMES, start=1)}
