"""Where the lab's things are, and what its hosts are called.

Decides names, addresses and paths. Must not start or write anything.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

_FIRST = Path("/tmp/xsm-lab")
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
ROOT = Path(os.environ.get("XSM_LAB") or (f"{_FIRST}-{_WORKER}" if _WORKER else _FIRST))
"""The running lab: everything that `down` removes. Two labs with different roots don't touch each other: each of
pytest's workers has one of its own."""
HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
KEPT = PROJECT / ".lab"
"""The guest's kernel and initramfs, and the packages that they are made of. Kept until `make clean`."""
IMAGES = KEPT / "images"
FAILED = KEPT / "failed"
"""The files with cases that failed in the last run, in a line; none when a guest ran twice in it."""

NAMES = ("dmz01", "dmz02", "dmz03", "dmz04")
NETWORK = "192.168.5"
SHARED = "/srv/shared"
"""On each host: the directory that all hosts have, which libvirt takes for a cluster file system."""
LOCKS = "/srv/locks"
"""On each host: another such directory, in which a lock of a file is one on all hosts."""
GUEST_IMAGES = "/srv/guest"
"""On each host: the guest's kernel and initramfs, read-only."""
CONSOLES = "/var/log/guests"
"""On each host, and not shared: what the guests said while they ran on this very host."""


@dataclass(frozen=True)
class HostPlace:
    """One host's name and its things, as this machine sees them."""

    name: str
    number: int  # 1, 2, ...

    @property
    def address(self) -> str:
        return f"{NETWORK}.{100 + self.number}"

    @property
    def folder(self) -> Path:
        return ROOT / "hosts" / self.name

    @property
    def pid_file(self) -> Path:
        return ROOT / "pids" / self.name

    @property
    def port(self) -> str:
        """Its end of the cable, in the switch's namespace."""
        return f"p{self.number}"

    @property
    def machine_id(self) -> str:
        return hashlib.sha256(f"xsm-lab {self.name}".encode()).hexdigest()[:32]

    @property
    def host_uuid(self) -> str:
        return f"5e0f7c1a-1ab0-4000-8000-{self.number:012d}"

    def inside(self, path: str) -> Path:
        """A path under the host's /etc, /var, /root or /srv that the host itself has written, seen from outside."""
        return self.folder / "written" / path.lstrip("/")


HOSTS = {name: HostPlace(name, number) for number, name in enumerate(NAMES, start=1)}
SHARED_OUTSIDE = ROOT / "shared"
SWITCH_PID_FILE = ROOT / "pids" / "switch"


def workers_roots() -> list[Path]:
    """Of the labs that pytest's workers have, or were killed before they could end them."""
    return sorted(path for path in _FIRST.parent.glob(f"{_FIRST.name}-gw*") if path.is_dir())


def cgroup_name() -> str:
    """The lab's subtree in each control group hierarchy."""
    return "xsm-lab-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
