"""Domains changed by hand, hypervisors and daemons that die: what runs, runs on; what is wrong, is put right."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import time

import libvirt
import pytest

from tests.site.running_site import BIN, SOON_S, Site, site_text, vm_entry, wait

pytestmark = pytest.mark.libvirt
HOSTS = ("dmz01", "dmz02")
DRIFT_S = 4.0
"""About 1 s in practice; a busy machine gets some more."""
STOP_S = 3.0
RUNNING = libvirt.VIR_DOMAIN_RUNNING


@pytest.fixture
def two(site: Site) -> Site:
    """web1 on dmz01 and web2 on dmz02, as they should be."""
    site.apply("dmz01", vm_entry("web1", "dmz01"), vm_entry("web2", "dmz02"))
    assert site.running("web1") == ["dmz01"]
    assert site.running("web2") == ["dmz02"]
    return site


def stop(site: Site, host: str) -> tuple[int, float, str]:
    """SIGTERM to its xsmd: exit code, seconds, the last of its log."""
    xsmd = site.stage.hosts[host].xsmd
    assert xsmd is not None
    started = time.monotonic()
    xsmd.send_signal(signal.SIGTERM)
    code = xsmd.wait(20)
    took_s = time.monotonic() - started
    site.stage.hosts[host].xsmd = None
    return code, took_s, (site.stage.hosts[host].folder / "xsmd.log").read_text()[-3000:]


# -- drift -----------------------------------------------------


def test_drift_is_put_right(two: Site) -> None:
    def told() -> str:
        return two.xsm("dmz01", "events", "--vm", "web1", "-n", "20")

    two.domain("dmz01", "web1").destroy()
    two.wait_running("web1", "dmz01", limit_s=DRIFT_S)
    run = two.domain("dmz01", "web1").ID()
    two.domain("dmz01", "web1").suspend()
    wait("it goes on", lambda: two.domain("dmz01", "web1").state()[0] == RUNNING, DRIFT_S)
    two.domain("dmz01", "web1").setMemory(32 * 1024)
    # The event, not libvirt's word for it: memory is changed for now first, then for the next boot.
    wait("64 MiB again", lambda: "32 MiB => 64 MiB" in told(), DRIFT_S)
    assert two.memory_mib("dmz01", "web1") == 64
    two.domain("dmz01", "web1").undefine()
    wait("it is persistent", lambda: bool(two.domain("dmz01", "web1").isPersistent()), DRIFT_S)
    assert two.domain("dmz01", "web1").ID() == run, "it was restarted"
    two.wait_converged("dmz01")
    assert two.plan("dmz02")["plan"]["actions"] == []
    assert "by hand" in told()


def test_a_copy_that_is_started_by_hand_is_shouted_about_and_nothing_is_started_beside_it(
    two: Site,
) -> None:
    """From `virsh dumpxml`, without XSM's mark: nobody's domain, and the very same guest."""
    other = two.stage.hosts["dmz02"].keeper
    assert other is not None
    own = two.domain("dmz01", "web1")
    plain = re.sub("<metadata>.*</metadata>", "", own.XMLDesc(), flags=re.DOTALL)
    run = own.ID()
    copy = other.createXML(plain)
    wait("status says so", lambda: bool(two.status("dmz01")["twice"]))
    said = two.xsm("dmz01", "status")
    assert "1 VM RUNNING TWICE" in said and "converged" not in said
    assert "web1 runs on dmz01 and on dmz02: its disks may be damaged" in said
    assert "RUNS TWICE: web1 runs on" in two.xsm("dmz01", "events", "--vm", "web1")
    assert own.ID() == run and copy.isActive(), "XSM stops neither"
    own.destroy()
    wait("it is held", lambda: "web1" in " ".join(two.status("dmz01")["held"]), DRIFT_S)
    assert "a domain named web1 that XSM did not create is on dmz02" in two.xsm("dmz01", "status")
    assert not own.isActive()
    copy.destroy()
    two.wait_running("web1", "dmz01")
    two.wait_converged("dmz01")


def test_a_foreign_domain_with_a_wanted_name_is_left_alone(two: Site) -> None:
    two.stage.make_by_hand("dmz02", "mail")
    foreign = two.domain("dmz02", "mail").ID()
    entries = vm_entry("web1", "dmz01"), vm_entry("web2", "dmz02"), vm_entry("mail", "dmz02")
    work = two.work()
    (work / "site.xml").write_text(site_text(*entries))
    said = two.xsm("dmz01", "apply", str(work), "--yes", code=1)
    assert "mail" in said and "xsm adopt" in said
    assert two.domain("dmz02", "mail").ID() == foreign
    two.domain("dmz02", "mail").destroy()  # transient: it is gone with that
    two.wait_running("mail", "dmz02")
    assert two.domain("dmz02", "mail").isPersistent()


# -- hypervisors and daemons -----------------------------------------------------


def test_a_hypervisor_that_dies_is_found_again(two: Site) -> None:
    host = two.stage.hosts["dmz02"]
    assert host.xsmd is not None
    pid = host.xsmd.pid
    host.keeper = None
    host.libvirtd.kill()
    wait("status says so", lambda: "the hypervisor does not answer" in two.xsm("dmz01", "status"))
    assert two.running("web1") == ["dmz01"]
    two.stage.power_on("dmz02")
    two.wait_running("web2", "dmz02")
    assert host.xsmd.poll() is None and host.xsmd.pid == pid
    two.wait_converged("dmz01")


def test_a_daemon_that_stops_or_is_killed_touches_nothing(two: Site) -> None:
    before = two.ids()
    code, took_s, log = stop(two, "dmz01")
    assert code == 0, log
    assert took_s < STOP_S, log
    assert "stopped; the VMs run on" in log and "Traceback" not in log
    two.stage.kill_xsmd("dmz02")
    assert two.ids() == before
    refused = two.refusal("dmz01", "status")
    assert refused["message"].startswith("xsmd is not running on this host")
    two.stage.start_xsmd("dmz01")
    two.stage.start_xsmd("dmz02")
    two.wait_whole()
    two.wait_converged("dmz01")
    assert two.ids() == before


def test_a_second_daemon_is_refused(two: Site) -> None:
    done = subprocess.run(
        [str(BIN / "xsmd"), "--config", str(two.stage.hosts["dmz01"].config)],
        capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "is in use: another xsmd runs" in done.stderr
    assert two.status("dmz01")["converged"]


def test_a_daemon_stops_though_its_hypervisor_hangs(two: Site) -> None:
    host = two.stage.hosts["dmz02"]
    pid = int((host.libvirtd.directory / "libvirtd.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        two.xsm("dmz02", "status")
        code, took_s, log = stop(two, "dmz02")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (code, took_s < STOP_S) == (0, True), f"{took_s:.1f} s\n{log}"
    assert two.running("web2") == ["dmz02"]
    two.stage.start_xsmd("dmz02")
    two.wait_whole()


def test_a_daemon_that_can_not_write_its_votes_ends_and_says_so(two: Site) -> None:
    """A full disk: it must not promise what it can't remember. The VMs run on."""
    before = two.ids()
    host = two.stage.hosts["dmz02"]
    two.stage.kill_xsmd("dmz02")
    xsmd = subprocess.Popen(
        [str(BIN / "xsmd"), "--config", str(host.config)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    host.xsmd = xsmd
    wait("it answers", lambda: two.stage.run("dmz02", "status", check=False).returncode == 0)
    two.wait_whole()
    resource.prlimit(xsmd.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    work = two.work()
    entries = vm_entry("web1", "dmz01"), vm_entry("web2", "dmz02"), vm_entry("new", "dmz01")
    (work / "site.xml").write_text(site_text(*entries))
    two.xsm("dmz01", "apply", str(work), "--yes", "--no-wait")  # dmz01 asks dmz02 for its vote
    said = xsmd.communicate(timeout=SOON_S)[0].decode()
    host.xsmd = None
    assert xsmd.returncode == 1, said
    assert said.rstrip().splitlines()[-1].startswith("xsmd: votes can't be written to"), said
    assert "Traceback" not in said, said
    assert two.ids() == before
    two.stage.start_xsmd("dmz02")
    two.wait_running("new", "dmz01")


def test_libvirt_is_the_truth(two: Site) -> None:
    """What `xsm vms` shows is what libvirt says."""
    for vm in two.json("dmz02", "vms"):
        (host,) = vm["running_on"]
        domain = two.domain(host, vm["name"])
        assert domain.UUIDString() == vm["uuid"]
        assert domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
        assert domain.info()[2] // 1024 == vm["observed_memory_mib"]
        assert vm["mac"] in domain.XMLDesc()
