"""Hosts in trouble: a full disk, a hypervisor that hangs or crawls, clocks an hour apart, a day of edits missed."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.hosts import LabHost
from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.places import PROJECT, SHARED
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site

NO_ROOM = "No space left on device"
HOUR_S = 3600


@contextmanager
def small(host: LabHost, folder: str, mib: int) -> Iterator[None]:
    """The folder is on a file system of that size, with all that was in it; afterwards on its own again, with all that
    is in it then."""
    into = 'mount -t tmpfs -o size="$1"m tmpfs /mnt && cp -a "$0/." /mnt/ && mount --move /mnt "$0"'
    host.run("sh", "-c", into, folder, str(mib))
    try:
        yield
    finally:
        host.run("sh", "-c", 'mkdir /run/kept && cp -a "$0/." /run/kept/ && umount -l "$0"', folder)
        host.run("sh", "-c", 'cp -a /run/kept/. "$0/" && rm -rf /run/kept', folder)


def fill(host: LabHost, folder: str) -> None:
    """Until nothing goes in any more."""
    done = host.run("sh", "-c", 'cat /dev/zero >"$0/filler"', folder, check=False)
    assert NO_ROOM in done.stderr, done.stderr


def test_no_room_for_xsm_on_one_host(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that a full disk under /var/lib/xsm stops no guest and no other host; that an edit made there is refused
    with the reason, and one made elsewhere is carried out there once there is room again."""
    folder, two = "/var/lib/xsm", lab["dmz02"]
    site.apply(VM("dis1", "dmz02"), VM("dis2", "dmz01"))
    observer.wait_ticks("dis1", 3, host="dmz02")
    before = observer.machines("dis1")
    two.kill_daemon("xsmd")
    with small(two, folder, 32):
        two.start_xsmd()
        lab.wait_whole()
        fill(two, folder)
        site.write(two, VM("dis1", "dmz02", memory_mib=112), VM("dis2", "dmz01"))
        said = two.xsm("apply", "/root/site", "--yes", "-m", "No room for it", check=False)
        assert NO_ROOM in said, said
        site.write(
            lab["dmz01"], VM("dis1", "dmz02", memory_mib=104), VM("dis2", "dmz01", memory_mib=104)
        )
        lab["dmz01"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", "dmz02 is full")
        wait_for("dmz01 does its part", lambda: has(site, "dis2", 104), SOON_S)
        observer.wait_ticks("dis1", 3, host="dmz02")
        two.run("rm", f"{folder}/filler")
        if not two.daemon_pid("xsmd"):
            two.start_xsmd()
        lab.wait_whole()
        site.wait_converged()
        assert site.vm("dmz02", "dis1")["observed_memory_mib"] == 104
        assert "dmz02 is full" in two.xsm("why", "dis1")
        two.kill_daemon("xsmd")
    two.start_xsmd()
    lab.wait_whole()
    assert observer.machines("dis1") == before
    assert observer.gaps("dis1") == []


def test_no_room_for_a_guests_disk(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that a guest whose disk has no room to grow is told of as what it is, that nobody starts it a second time,
    and that it goes on by itself, and writes, when there is room."""
    folder, two = f"{SHARED}/disks", lab["dmz02"]
    site.apply()
    with small(two, folder, 64):
        site.write(lab["dmz01"], VM("dis3", "dmz02"))
        two.run("qemu-img", "create", "-q", "-f", "qcow2", f"{folder}/dis3.qcow2", "16M")
        fill(two, folder)
        lab["dmz01"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", "dis3 has no room")
        wait_for("QEMU has stopped it", lambda: "I/O" in reason(two, "dis3"), SOON_S)
        wait_for(
            "its story says so", lambda: "I/O error" in lab["dmz01"].xsm("why", "dis3"), SOON_S
        )
        machines = observer.machines("dis3")
        two.run("rm", f"{folder}/filler")
        observer.wait_ticks("dis3", 10, host="dmz02")
        assert observer.machines("dis3") == machines
        site.wait_converged()
        site.apply()


def has(site: Site, vm: str, memory_mib: int) -> bool:
    return bool(site.vm("dmz01", vm)["observed_memory_mib"] == memory_mib)


def reason(host: LabHost, vm: str) -> str:
    return host.run("virsh", "domstate", "--reason", vm, check=False).stdout


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_hypervisor_that_hangs_for_a_while(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that a libvirtd that answers nothing is told of with its host, that the other hosts go on meanwhile, and
    that what its host was to do is done once it answers, without any guest being started anew."""
    site.apply(VM("slo1", "dmz01"))
    observer.wait_ticks("slo1", 3, host="dmz01")
    before = observer.machines("slo1")
    with stopped(lab["dmz01"].daemon_pid("libvirtd")):
        site.write(lab["dmz03"], VM("slo1", "dmz01", memory_mib=112), VM("slo2", "dmz02"))
        lab["dmz03"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", "While libvirt hangs")
        observer.wait_ticks("slo2", 3, host="dmz02")
        observer.wait_ticks("slo1", 3, host="dmz01")
        wait_for("somebody says so", lambda: "dmz01" in slow_words(lab), SOON_S)
    site.wait_converged(limit_s=2 * SOON_S)
    assert site.vm("dmz03", "slo1")["observed_memory_mib"] == 112
    assert observer.machines("slo1") == before
    assert observer.gaps("slo1") == []
    assert "While libvirt hangs" in lab["dmz01"].xsm("why", "slo1")


def slow_words(lab: Lab) -> str:
    """What dmz03 tells of hosts that don't get on."""
    status = lab.status("dmz03")
    lines = [*status["pending"], *status["held"], *status["notes"]]
    lines += [f"{m['name']}: {m['error']}" for m in status["members"] if m["error"]]
    return "\n".join(line for line in lines if "under way for" in line or "answer" in line)


class Crawling:
    """A process that gets the processor for a tenth of the time, as on a host that is overloaded."""

    RUN_S, STOP_S = 0.01, 0.09

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._slow)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _slow(self) -> None:
        while not self._ending.is_set():
            os.kill(self._pid, signal.SIGSTOP)
            self._ending.wait(self.STOP_S)
            os.kill(self._pid, signal.SIGCONT)
            self._ending.wait(self.RUN_S)


def test_a_hypervisor_that_crawls(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that creating, moving and removing are done through a libvirtd that is slow for all of it."""
    with Crawling(lab["dmz02"].daemon_pid("libvirtd")):
        site.apply(VM("cra1", "dmz02"))
        first = observer.wait_ticks("cra1", 3, host="dmz02")
        site.apply(VM("cra1", "dmz03"))
        assert observer.wait_ticks("cra1", 3, host="dmz03").boot == first.boot
        assert observer.gaps("cra1") == []
    with Crawling(lab["dmz03"].daemon_pid("libvirtd")):
        site.apply()
    assert observer.hosts("cra1") == []


def test_clocks_an_hour_apart(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that hosts whose clocks are an hour ahead and an hour behind edit, move and stay whole as the others; that
    `xsm status` says whose clocks are wrong; and that the later edit wins by what it was made from, not by its time."""
    three, four = lab["dmz03"], lab["dmz04"]
    site.apply(VM("clo1", "dmz03"))
    observer.wait_ticks("clo1", 3, host="dmz03")
    boot = observer.ticks("clo1")[-1].boot
    try:
        for host, ahead_s in ((three, HOUR_S), (four, -HOUR_S)):
            host.kill_daemon("xsmd")
            start_with_clock(host, ahead_s)
        lab.wait_whole()
        wrong = {m["name"] for m in lab.status("dmz01")["members"] if m["clock"]}
        assert wrong == {"dmz03", "dmz04"}
        site.apply(VM("clo1", "dmz03", memory_mib=112), host="dmz03", message="An hour ahead")
        site.apply(VM("clo1", "dmz04", memory_mib=104), host="dmz04", message="An hour behind")
        assert observer.wait_ticks("clo1", 3, host="dmz04").boot == boot
        assert site.vm("dmz01", "clo1")["observed_memory_mib"] == 104
        assert not lab.status("dmz01")["conflicts"]
        why = lab["dmz01"].xsm("why", "clo1")
        assert "An hour behind" in why and "An hour ahead" in why, why
    finally:
        for host in (three, four):
            if host.daemon_pid("xsmd"):
                host.kill_daemon("xsmd")
            host.start_xsmd()
    lab.wait_whole()
    site.wait_converged()
    assert observer.gaps("clo1") == []


def start_with_clock(host: LabHost, ahead_s: int) -> None:
    source = PROJECT / "tests" / "attack" / "wrong_clock.c"
    preloaded, clock = Path("/root/wrong_clock.so"), host.place.inside("/root/clock")
    outside = host.place.inside(str(preloaded))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", outside, source], check=True, timeout=SOON_S)
    clock.write_bytes(struct.pack("=q", ahead_s))
    host.start_xsmd(f"LD_PRELOAD={preloaded} WRONG_CLOCK=/root/clock ")


EDITS = 60
"""Of a busy day."""


def test_a_host_that_was_away_for_a_day_of_edits(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that a host that missed many edits gets all of them when it is back, makes its VMs as the last one says in
    one go, and starts nothing anew that no edit asked to be."""
    site.apply(VM("day1", "dmz02"), VM("day2", "dmz02"), VM("day3", "dmz01"))
    for vm in ("day1", "day2"):
        observer.wait_ticks(vm, 3, host="dmz02")
    before = observer.machines("day1")
    lab.cut("dmz02")
    try:
        wait_for("it is missed", lambda: away(lab, "dmz02"), SOON_S)
        one = lab["dmz01"]
        site.write(
            one, VM("day1", "dmz02", memory_mib=112), VM("day4", "dmz02"), VM("day3", "dmz01")
        )
        script = (
            "cd site && git config user.name root && git config user.email root@domain.com && git add -A && "
            f"for n in $(seq {EDITS}); do "
            'sed -i "s/<Owner>.*<.Owner>/<Owner>root$n@domain.com<\\/Owner>/" site.xml && '
            'git commit -qam "Edit $n of the day"; done && git push -q'
        )
        one.run("sh", "-c", script)
        observer.wait_ticks("day1", 3, host="dmz02")
        assert observer.hosts("day4") == []
    finally:
        lab.plug("dmz02")
    lab.wait_whole()
    observer.wait_ticks("day4", 3, host="dmz02")
    site.wait_converged()
    assert observer.hosts("day2") == []
    assert site.vm("dmz02", "day1")["observed_memory_mib"] == 112
    assert observer.machines("day1") == before
    assert observer.gaps("day1") == []
    assert f"Edit {EDITS} of the day" in lab["dmz02"].xsm("history")
    assert "Edit 1 of the day" in lab["dmz02"].xsm("why", "day4")


def away(lab: Lab, name: str) -> bool:
    members = lab.status("dmz01").get("members", [])
    return any(m["name"] == name and m["reach"] != "alive" for m in members)
