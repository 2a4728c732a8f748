"""A live migration that is watched, and called back while the guest is on its way."""

import json
import re

from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site

SOURCE, TARGET = "dmz01", "dmz02"
SLOW_MBIT = 24
"""At that rate the guest's memory takes half a minute."""


def on_its_way(lab: Lab, site: Site, observer: Observer, vm: str) -> None:
    """`vm` runs on SOURCE, and begins to move to TARGET over a slow link."""
    site.write(lab["dmz03"], VM(vm, TARGET))
    lab["dmz03"].xsm("apply", "/root/site", "--yes", "--no-wait", "-m", f"{vm} goes to {TARGET}")
    both = [SOURCE, TARGET]
    wait_for(f"{vm} is on its way", lambda: observer.hosts(vm) == both, SOON_S)


def transfers(lab: Lab, name: str) -> list[dict[str, object]]:
    return list(lab.status(name).get("transfers", []))


def test_progress_is_shown_and_abort_leaves_the_guest_where_it_is(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that memory goes over TLS between hosts that have certificates for it, that `xsm status` shows how far
    the migration is, that `xsm migrate --abort` ends it, and that the
    guest counts on at the source without a gap; nothing is left of it on the target, and the move is no
    failure that would be tried again."""
    site.apply(VM("back1", SOURCE))
    observer.wait_ticks("back1", 5, host=SOURCE)
    with lab.slow(TARGET, SLOW_MBIT):
        on_its_way(lab, site, observer, "back1")
        wait_for(
            "its progress is told on a third host",
            lambda: any(t["job"]["total_mib"] for t in transfers(lab, "dmz04")),  # type: ignore[index]
            SOON_S,
        )
        sent = lab[SOURCE].virsh(
            "qemu-monitor-command", "back1", "--hmp", "info migrate_parameters"
        )
        assert "tls-creds: 'objlibvirt_migrate_tls0'" in sent
        shown = lab["dmz04"].xsm("status")
        assert f"back1: migrating to {TARGET}: " in shown
        said = lab["dmz04"].xsm("migrate", "back1", "--abort", "--yes")
        assert "Converged" in said
    wait_for("only SOURCE has it", lambda: observer.hosts("back1") == [SOURCE], SOON_S)
    observer.wait_ticks("back1", 10, host=SOURCE)
    assert observer.gaps("back1") == []
    assert "back1" not in lab[TARGET].virsh("list", "--all", "--name").split()
    assert transfers(lab, "dmz04") == []
    log = "\n".join(line for line in lab[SOURCE].xsmd_log().splitlines() if "vm=back1" in line)
    assert "it runs on here" in log
    assert "migrate failed" not in log
    refused = lab["dmz04"].xsm("migrate", "back1", "--abort", "--yes", check=False)
    assert "nothing is migrating" in refused


def test_what_it_took_is_told_when_it_is_done(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that the migration's total time, downtime and data are in the log, and that the move can be made after it
    was called back once."""
    site.apply(VM("back1", TARGET))
    observer.wait_ticks("back1", 3, host=TARGET)
    assert observer.gaps("back1") == []
    told = [e["message"] for e in site.json(SOURCE, "why", "back1")["events"]]
    took = next(line for line in reversed(told) if f"running on {TARGET}: " in line)
    assert re.search(r": [\d.]+ s, of which the guest stood still for \d+ ms; \d+ MiB sent", took)


def test_ctrl_c_in_xsm_migrate_calls_it_back(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that Ctrl-C while `xsm migrate` follows says so and calls the move back."""
    site.apply(VM("back1", SOURCE))
    observer.wait_ticks("back1", 3, host=SOURCE)
    with lab.slow(TARGET, SLOW_MBIT):
        lab[SOURCE].run("sh", "-c", FOLLOWED)
        both = [SOURCE, TARGET]
        wait_for("back1 is on its way", lambda: observer.hosts("back1") == both, SOON_S)
        lab[SOURCE].run("sh", "-c", "kill -INT $(cat /run/move.pid)")
        ended = lab[SOURCE].place.inside("/root/code")
        wait_for("`xsm migrate` has ended", lambda: ended.exists() and ended.read_text(), SOON_S)
        said = lab[SOURCE].place.inside("/root/said").read_text()
        assert ended.read_text() == "130\n", said
        assert f"calling back1 back from {TARGET}" in said
        site.wait_converged()
    wait_for("only SOURCE has it", lambda: observer.hosts("back1") == [SOURCE], SOON_S)
    observer.wait_ticks("back1", 5, host=SOURCE)
    assert observer.gaps("back1") == []


FOLLOWED = """\
rm -f /root/code; setsid sh -c '
env --default-signal=INT xsm migrate back1 dmz02 --yes >/root/said 2>&1 & echo $! >/run/move.pid
wait $!; echo $? >/root/code' >/dev/null 2>&1 </dev/null &
until [ -s /run/move.pid ]; do :; done
"""
"""Ctrl-C reaches a command that a shell runs in the background only where the signal is not ignored."""


def test_a_guest_that_is_too_busy_is_left_where_it_is(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that a migration that doesn't come to an end is given up after the host's limit, with the figures, and not
    tried again at once; the guest runs on at the source."""
    site.apply(VM("busy1", SOURCE))
    observer.wait_ticks("busy1", 5, host=SOURCE)
    before = lab[SOURCE].run("cat", "/etc/xsm/xsmd.toml").stdout
    lab[SOURCE].run("sh", "-c", "echo converge_limit_s = 3 >>/etc/xsm/xsmd.toml")
    lab[SOURCE].stop_daemon("xsmd")
    lab[SOURCE].start_xsmd()
    try:
        lab[SOURCE].virsh("qemu-agent-command", "busy1", BUSY)
        with lab.slow(TARGET, 60):
            on_its_way(lab, site, observer, "busy1")
            wait_for("it is given up", lambda: "faster than it can be sent" in failed(lab), 60.0)
            (held,) = [r for r in lab.status("dmz04")["pending"] if "migrate failed" in r]
        assert re.search(r"again in (900|8\d\d) s", held)
        wait_for("only SOURCE has it", lambda: observer.hosts("busy1") == [SOURCE], SOON_S)
        observer.wait_ticks("busy1", 10, host=SOURCE)
        assert observer.gaps("busy1") == []
    finally:
        lab[SOURCE].run("sh", "-c", "cat >/etc/xsm/xsmd.toml", stdin=before)
        lab[SOURCE].stop_daemon("xsmd")
        lab[SOURCE].start_xsmd()
        lab.wait_whole()
        site.apply()


def failed(lab: Lab) -> str:
    return "\n".join(line for line in lab[SOURCE].xsmd_log().splitlines() if " failed" in line)


BUSY = json.dumps(
    {
        "execute": "guest-exec",
        "arguments": {
            "path": "/bin/sh",
            "arg": [
                "-c",
                "while :; do dd if=/dev/urandom of=/tmp/busy bs=1M count=24; done 2>/dev/null",
            ],
        },
    }
)
"""For the guest's agent: keep changing a quarter of the memory."""
