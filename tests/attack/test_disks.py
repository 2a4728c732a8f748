"""Disks that are full or read-only, part by part: an edit is made or refused, VMs run on, then all goes on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.attack import namespace
from tests.site.running_site import BIN, SOON_S, Site, site_text, vm_entry, wait

pytestmark = [
    pytest.mark.libvirt,
    pytest.mark.skipif(bool(namespace.usable()), reason=namespace.usable() or "-"),
]
HOSTS = ("dmz01", "dmz02")
LONG = pytest.mark.skipif("XSM_ATTACK" not in os.environ, reason="make attack runs it")
SAYS = {"full": ("No space left on device", "Disk quota"), "ro": ("Read-only file system",)}


@pytest.fixture
def two(site: Site) -> Site:
    site.apply("dmz01", vm_entry("web1", "dmz01"), vm_entry("web2", "dmz02"))
    return site


def edited(site: Site, memory_mib: int) -> Path:
    """A clone with another memory for web1."""
    work = site.work()
    entries = vm_entry("web1", "dmz01", memory_mib), vm_entry("web2", "dmz02")
    (work / "site.xml").write_text(site_text(*entries))
    return work


def spoil(disk: namespace.SmallDisk, how: str) -> None:
    disk.fill() if how == "full" else disk.remount("ro")


def mend(disk: namespace.SmallDisk, how: str) -> None:
    disk.empty() if how == "full" else disk.remount("rw")


@LONG
def test_no_room_in_the_repository(two: Site) -> None:
    before, revision = two.ids(), two.status("dmz02")["revision"]
    work = edited(two, 32)
    part = two.stage.hosts["dmz02"].folder / "data" / "site.git"
    with namespace.small_disk(two, "dmz02", part) as disk:
        disk.fill()
        said = two.xsm("dmz02", "apply", str(work), "--yes", code=1)
        assert any(words in said for words in SAYS["full"]), said
        assert two.status("dmz02")["revision"] == revision
        two.xsm("dmz01", "apply", str(work), "--yes", "--no-wait")
        wait("dmz01 does it", lambda: two.memory_mib("dmz01", "web1") == 32)
        assert two.status("dmz02")["revision"] == revision, "it can't take that"
        assert two.ids() == before
        disk.empty()
        wait("dmz02 takes it", lambda: two.status("dmz02")["revision"] != revision)
        two.xsm("dmz02", "apply", str(edited(two, 48)), "--yes")
    two.wait_whole()
    two.wait_converged("dmz01")
    assert two.memory_mib("dmz01", "web1") == 48
    assert two.ids() == before


@LONG
@pytest.mark.parametrize("how", ["full", "ro"])
def test_no_room_in_the_checkout(two: Site, how: str) -> None:
    before = two.ids()
    with namespace.small_disk(two, "dmz02", two.stage.hosts["dmz02"].checkout) as disk:
        spoil(disk, how)
        two.xsm("dmz02", "apply", str(edited(two, 56)), "--yes")
        wait("status says why", lambda: bool(two.status("dmz02")["checkout_behind"]))
        behind = two.status("dmz02")["checkout_behind"]
        assert any(words in behind for words in SAYS[how]), behind
        assert two.memory_mib("dmz01", "web1") == 56
        mend(disk, how)
        wait("it follows", lambda: not two.status("dmz02")["checkout_behind"], SOON_S)
        assert not two.status("dmz02")["checkout_problems"]
    assert two.ids() == before


@LONG
def test_no_room_for_events(two: Site) -> None:
    """They are for people: all else goes on."""
    part = two.stage.hosts["dmz02"].folder / "data" / "events.jsonl"
    with namespace.small_disk(two, "dmz02", part) as disk:
        disk.fill()
        two.xsm("dmz02", "apply", str(edited(two, 72)), "--yes")
        assert two.memory_mib("dmz01", "web1") == 72
        assert "72 MiB" in two.xsm("dmz02", "events", "-n", "20")


@LONG
def test_a_read_only_disk_at_the_start(two: Site) -> None:
    """Refused in one sentence; VMs run on; xsmd starts when it can write again."""
    before = two.ids()
    host = two.stage.hosts["dmz02"]
    with namespace.small_disk(two, "dmz02", host.folder / "data") as disk:
        two.stage.kill_xsmd("dmz02")
        disk.remount("ro")
        command = disk.command(str(BIN / "xsmd"), "--config", str(host.config))
        done = subprocess.run(command, capture_output=True, text=True, timeout=SOON_S, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("xsmd: ") and done.stderr.count("\n") == 1, done.stderr
        assert "Read-only file system" in done.stderr and "votes.journal" in done.stderr
        assert two.ids() == before
        disk.remount("rw")
        namespace.start(two, "dmz02", disk)
        two.wait_converged("dmz01")
    assert two.ids() == before
