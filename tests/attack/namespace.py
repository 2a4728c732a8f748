"""A mount namespace in which parts of a host's disk are small, so that they can be full or read-only. Needs root.

Decides how a file or folder gets a file system of its own. Must not know what xsmd makes of it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.site.running_site import BIN, Site, wait

SIZE = "4m"
LIMIT_S = 30.0
_MOUNT = """set -e
part=$1 store=$2
mkdir "$store" && mount -t tmpfs -o size=$3,mode=755 xsm-test "$store"
cp -a "$part" "$store/part"
mount --bind "$store/part" "$part"
echo ready
read -r end || true
"""


def usable() -> str:
    """Why there can be none here; "" when it can."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=LIMIT_S)
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else "mounts in a namespace of one's own are not allowed here"


class SmallDisk:
    """`part`, a file or a folder, on a file system of a few MiB that only this namespace sees."""

    def __init__(self, part: Path, store: Path) -> None:
        self.part = part
        self._store = store
        self._holder = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", _MOUNT, "sh", str(part), str(store), SIZE],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"

    @property
    def _inside(self) -> Path:
        """The namespace's file system, seen from outside."""
        return Path(f"/proc/{self._holder.pid}/root")

    def command(self, *command: str) -> list[str]:
        """A command that sees the small disk."""
        return ["nsenter", "-t", str(self._holder.pid), "-m", *command]

    def fill(self) -> None:
        """Until there is no room for another byte."""
        with (self._inside / str(self._store / "filler")[1:]).open("wb", buffering=0) as stream:
            for size in (1 << 16, 1):
                try:
                    while stream.write(b"x" * size) == size:
                        pass
                except OSError:
                    continue

    def empty(self) -> None:
        (self._inside / str(self._store / "filler")[1:]).unlink()

    def remount(self, option: str) -> None:
        """`option`: ro, rw."""
        command = self.command("mount", "-o", f"remount,bind,{option}", str(self.part))
        subprocess.run(command, check=True, timeout=LIMIT_S)

    def close(self) -> None:
        """What is on the small disk goes back to the real one."""
        inside = self._inside / str(self._store / "part")[1:]
        if inside.is_dir():
            shutil.rmtree(self.part)
        subprocess.run(["cp", "-aT", str(inside), str(self.part)], check=True, timeout=LIMIT_S)
        self._holder.communicate("end\n", timeout=LIMIT_S)
        self._store.rmdir()


@contextmanager
def small_disk(site: Site, host: str, part: Path) -> Iterator[SmallDisk]:
    """`host`'s xsmd runs with `part` on a small disk; afterwards without, on what was written meanwhile."""
    stage = site.stage
    stage.kill_xsmd(host)
    disk = SmallDisk(part, stage.folder / "small")
    try:
        start(site, host, disk)
        yield disk
    finally:
        stage.kill_xsmd(host)
        disk.close()
        stage.start_xsmd(host)


def start(site: Site, host: str, disk: SmallDisk) -> None:
    """Start xsmd so that it sees the small disk."""
    there = site.stage.hosts[host]
    command = disk.command(str(BIN / "xsmd"), "--config", str(there.config))
    with (there.folder / "xsmd.log").open("ab") as log:
        there.xsmd = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    wait("it answers", lambda: site.stage.run(host, "status", check=False).returncode == 0)
    site.wait_whole()
