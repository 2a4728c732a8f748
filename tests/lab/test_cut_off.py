"""libvirtd dies at the very end of a live migration, when all memory was sent: is the guest here or there?"""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site

SOURCE, TARGET = "dmz01", "dmz02"
AFTER_LIMIT_S = 120.0
TLS_PORT = 16514
QUESTION_BYTES = 300
"""The question whether the guest may go on there is larger; libvirt's keepalive is smaller, three times, too."""
REST_MIB = 80
"""At 100 Mbit/s some 7 s."""
FROZEN_LIMIT_S = 12.0
"""A libvirtd that is silent for longer than its keepalive, 20 s here, is given up by the other one: that is another
case, in which a guest runs twice without virtlockd (docs/safety.md)."""


def state(lab: Lab, name: str) -> str:
    return lab[name].run("virsh", "domstate", "--reason", "end1", check=False).stdout.strip()


def unread(pid: int) -> int:
    """Bytes that came for a stopped libvirtd by TLS and wait to be read."""
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].split(":")[1], 16) for row in rows if row[1].endswith(f":{TLS_PORT:04X}"))


def flows(lab: Lab) -> bool:
    """Memory does, and not much of it is left to be sent. Asked of libvirt, which answers sooner than XSM."""
    job = lab[SOURCE].run("virsh", "domjobinfo", "end1", check=False).stdout
    left = re.search(r"Data remaining:\s+([\d.]+) MiB", job)
    return left is not None and float(left[1]) < REST_MIB


@pytest.fixture
def at_its_end(lab: Lab, site: Site, observer: Observer) -> Iterator[int]:
    """end1 has stopped on SOURCE, which waits for the word of TARGET's libvirtd; that one is stopped, and its number is
    given."""
    site.apply(VM("end1", SOURCE))
    observer.wait_ticks("end1", 5, host=SOURCE)
    with lab.slow(TARGET, 100):
        site.write(lab["dmz03"], VM("end1", TARGET))
        lab["dmz03"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", "end1 goes to dmz02")
        both = [SOURCE, TARGET]
        wait_for("it is on its way", lambda: observer.hosts("end1") == both, SOON_S)
        # From here on the two QEMUs need no libvirtd until all was sent.
        wait_for("memory flows", lambda: flows(lab), SOON_S)
        pid = lab[TARGET].daemon_pid("libvirtd")
        os.kill(pid, signal.SIGSTOP)
        try:
            before = unread(pid)
            wait_for(
                "the target is asked", lambda: unread(pid) > before + QUESTION_BYTES, FROZEN_LIMIT_S
            )
            assert state(lab, SOURCE) == "paused (migrating)"
            yield pid
        finally:
            if lab[TARGET].daemon_pid("libvirtd") == pid:
                os.kill(pid, signal.SIGCONT)


def test_a_guest_that_has_arrived_is_not_let_run_again(
    lab: Lab, site: Site, observer: Observer, at_its_end: int
) -> None:
    """Proves that what libvirt leaves paused on the source is known for what it is: nobody lets it go on, nobody says
    that the VM runs twice, and it is cleared away once the target says that the guest runs there."""
    lab[SOURCE].kill_daemon("libvirtd")
    os.kill(at_its_end, signal.SIGCONT)
    wait_for("it runs on the target", lambda: "running" in state(lab, TARGET), SOON_S)
    lab[SOURCE].start_libvirtd()
    seen = []

    def cleared() -> bool:
        told = lab["dmz03"].xsm("status", "-o", "json", check=False)
        seen.extend(word for word in ("RUNS TWICE", "paused by hand") if word in told)
        return observer.hosts("end1") == [TARGET]

    wait_for("only the target has it", cleared, AFTER_LIMIT_S)
    assert seen == []
    site.wait_converged(limit_s=AFTER_LIMIT_S)
    observer.wait_ticks("end1", 5, host=TARGET)
    assert observer.gaps("end1") == []
    assert "cleared away" in lab[SOURCE].xsmd_log()
    assert "end1" not in lab[SOURCE].virsh("list", "--all", "--name").split()


def test_a_guest_that_has_arrived_nowhere_goes_on_by_a_claim(
    lab: Lab, site: Site, observer: Observer, at_its_end: int
) -> None:
    """Proves that the guest, paused on the source after both libvirtd died, is left alone with its reason told, and
    goes on where it is, without a gap, once it is called back there."""
    lab[SOURCE].kill_daemon("libvirtd")
    lab[TARGET].kill_daemon("libvirtd")
    for name in (SOURCE, TARGET):
        lab[name].start_libvirtd()
    reason = "cut off at the end of a live migration"
    wait_for(
        "the reason is told", lambda: reason in lab["dmz03"].xsm("status", "-o", "json"), SOON_S
    )
    assert state(lab, SOURCE) == "paused (migrating)"
    lab["dmz03"].xsm("migrate", "end1", SOURCE, "--yes")
    observer.wait_ticks("end1", 5, host=SOURCE)
    assert observer.hosts("end1") == [SOURCE]
    assert observer.gaps("end1") == []
    site.wait_converged()
    site.apply()


@pytest.mark.parametrize(
    "libvirtd_dies",
    [
        pytest.param(False, id="the target lets it run"),
        pytest.param(True, id="a paused copy is left on the target"),
    ],
)
def test_the_source_dies_whole_when_all_was_sent(
    lab: Lab, site: Site, observer: Observer, at_its_end: int, libvirtd_dies: bool
) -> None:
    """Proves that of a guest whose source dies when the target has all of it (in one case with the target's libvirtd),
    one copy is left at most: it goes on there without a gap where libvirt let it, else what is left is cleared away and
    the guest is started there anew when the source is back and has let go."""
    last = observer.ticks("end1")[-1]
    lab[SOURCE].crash()
    if libvirtd_dies:
        lab[TARGET].kill_daemon("libvirtd")
        lab[TARGET].start_libvirtd()
    else:
        os.kill(at_its_end, signal.SIGCONT)
    lab[SOURCE].power_on()
    lab[SOURCE].wait_up()
    lab[SOURCE].start_xsmd()
    now = observer.wait_ticks("end1", 5, host=TARGET)
    lab.wait_whole()
    site.wait_converged(limit_s=AFTER_LIMIT_S)
    assert observer.hosts("end1") == [TARGET]
    assert now.boot != last.boot or observer.gaps("end1") == []
    for name, host in lab.hosts.items():
        assert ("end1" in host.virsh("list", "--all", "--name").split()) == (name == TARGET)
    assert "end1 goes to dmz02" in lab[TARGET].xsm("why", "end1")
    print(f"end1 {'goes on' if now.boot == last.boot else 'was started anew'}")
    site.apply()


def test_the_source_dies_whole(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that the half of a guest that a dead source leaves on the target is gone by itself, is never taken for the
    guest, and that the guest is started anew there only when the source is back and has let go."""
    vm = "end2"
    site.apply(VM(vm, SOURCE))
    observer.wait_ticks(vm, 5, host=SOURCE)
    first = observer.ticks(vm)[-1].boot
    with lab.slow(TARGET, 60):
        site.write(lab["dmz03"], VM(vm, TARGET))
        lab["dmz03"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", "end2 goes to dmz02")
        both = [SOURCE, TARGET]
        wait_for("it is on its way", lambda: observer.hosts(vm) == both, SOON_S)
        lab[SOURCE].crash()
        wait_for("the target's half is gone", lambda: observer.hosts(vm) == [], AFTER_LIMIT_S)
    lab[SOURCE].power_on()
    lab[SOURCE].wait_up()
    lab[SOURCE].start_xsmd()
    observer.wait_ticks(vm, 3, host=TARGET)
    assert {tick.boot for tick in observer.ticks(vm) if tick.host == TARGET}.isdisjoint({first})
    lab.wait_whole()
    site.wait_converged(limit_s=AFTER_LIMIT_S)
    site.apply()
