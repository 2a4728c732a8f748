"""Each host's part of this machine's control groups, so that its libvirt can limit guests.

Decides which hierarchies the lab uses: memory is left out, it belongs to whoever runs the lab. Version 1 (also hybrid,
without systemd) was seen working; version 2 is written after the documentation and has not been tried.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.lab.places import ROOT, cgroup_name
from tests.lab.processes import END_LIMIT_S, POLL_S, LabFailed

TOP = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "devices", "freezer", "blkio")
LIBVIRT_NAMES = ("cpu", "devices", "blkio", "cpuset", "cpuacct")
V2 = "v2"
SHARES = 8192
"""CPU shares of the whole lab: with the usual 1024 all of its hosts and guests together get what one other process of
this machine gets, and a busy machine makes a site of them that falls apart."""
WEIGHT = 800
"""The same for version 2, whose usual is 100."""


def usable() -> list[str]:
    """The controllers of version 1 that may be used here; of version 2 those that are passed on, by the same names."""
    if (TOP / "cgroup.controllers").exists():
        return (TOP / "cgroup.controllers").read_text().split()
    return [
        name for name in CONTROLLERS if (TOP / name).is_dir() and os.access(TOP / name, os.W_OK)
    ]


def prepare() -> None:
    """Find out what there is, make the lab's subtrees, and note for the hosts which they are."""
    if (TOP / "cgroup.controllers").exists():
        found = V2
        _prepare_v2()
    else:
        names = usable()
        found = " ".join(names)
        for name in names:
            (TOP / name / cgroup_name()).mkdir(exist_ok=True)
        if "cpu" in names:
            (TOP / "cpu" / cgroup_name() / "cpu.shares").write_text(str(SHARES))
        if "cpuset" in names:
            top, ours = TOP / "cpuset", TOP / "cpuset" / cgroup_name()
            (ours / "cgroup.clone_children").write_text("1")
            for file in ("cpuset.cpus", "cpuset.mems"):
                (ours / file).write_text((top / file).read_text())
    (ROOT / "cgroups").write_text(found + "\n")


def _prepare_v2() -> None:
    ours = TOP / cgroup_name()
    ours.mkdir(exist_ok=True)
    for name in ("cpu", "io", "cpuset"):
        for folder in (TOP, ours):
            try:
                (folder / "cgroup.subtree_control").write_text(f"+{name}")
            except OSError as error:
                raise LabFailed(
                    f"control group {folder} doesn't pass on {name}: {error}"
                ) from error
    (ours / "cpu.weight").write_text(str(WEIGHT))


def _noted() -> str:
    path = ROOT / "cgroups"
    return path.read_text().strip() if path.exists() else ""


def for_libvirt() -> list[str]:
    """The controllers that libvirt may use, as qemu.conf names them."""
    noted = _noted()
    if noted == V2:
        return ["cpu", "io", "cpuset", "cpuacct", "devices"]
    return [name for name in LIBVIRT_NAMES if name in noted.split()]


def _groups(host: str) -> list[Path]:
    noted = _noted()
    if noted == V2:
        return [TOP / cgroup_name() / host]
    return [TOP / name / cgroup_name() / host for name in noted.split()]


def make(host: str) -> str:
    """The host's groups; gives the shell commands by which a process enters them."""
    for group in _groups(host):
        group.mkdir(exist_ok=True)
    return joins(host)


def joins(host: str) -> str:
    """Shell commands by which a process enters the host's groups."""
    # Version 2 has processes only in leaves: the host's own are in the group `init` below.
    leaf = "init/" if _noted() == V2 else ""
    return "".join(
        f"echo $$ >{group}/{leaf}cgroup.procs || echo $$ >{group}/cgroup.procs; " if leaf
        else f"echo $$ >{group}/cgroup.procs; "
        for group in _groups(host)
    )  # fmt: skip


def remove(host: str = "") -> None:
    """The host's groups, or all of the lab's; their processes have been killed."""
    places = [TOP / cgroup_name(), *(TOP / name / cgroup_name() for name in CONTROLLERS)]
    for place in places:
        top = place / host if host else place
        if top.is_dir():
            _remove_tree(top)


def _remove_tree(top: Path) -> None:
    """Deepest first. The kernel needs a moment until the group of a killed process is empty."""
    began = time.monotonic()
    while top.exists():
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(folder)
            except OSError as error:
                if time.monotonic() - began > END_LIMIT_S:
                    raise LabFailed(f"control group {folder} can't be removed: {error}") from error
        if top.exists():
            time.sleep(POLL_S)
