"""Serf in the lab: hosts that have it notice a dead one sooner, and a site whose agents are all dead works."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import processes
from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.places import HOSTS
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site

SETTINGS = "/etc/xsm/xsmd.toml"


def agent(lab: Lab, name: str) -> int:
    """The host's Serf agent, as this machine numbers it; 0 while there is none."""
    for pid in processes.in_namespace_of(lab[name].pid):
        comm = Path(f"/proc/{pid}/comm")
        if comm.exists() and comm.read_text() == "serf\n":
            return pid
    return 0


def signal_agents(lab: Lab, sig: signal.Signals) -> None:
    for name in HOSTS:
        pid = agent(lab, name)
        if pid:  # one that is dumb is ended by its xsmd after a while
            os.kill(pid, sig)


def wait_serf(lab: Lab, *names: str) -> None:
    wait_for(
        "Serf runs",
        lambda: all(agent(lab, n) and lab.status(n)["serf"] == "" for n in names),
        SOON_S,
    )


def reach(lab: Lab, host: str, of: str) -> str:
    return str(next(m["reach"] for m in lab.status(host)["members"] if m["name"] == of))


@contextmanager
def without_serf(lab: Lab, name: str) -> Iterator[None]:
    """One host's xsmd runs with `serf = "off"`."""
    host = lab[name]
    before = host.run("cat", SETTINGS).stdout

    def restart(text: str) -> None:
        host.run("sh", "-c", f"cat >{SETTINGS}", stdin=text)
        host.stop_daemon("xsmd")
        wait_for(f"xsmd of {name} ends", lambda: not host.daemon_pid("xsmd"), SOON_S)
        host.start_xsmd()

    restart(before + 'serf = "off"\n')
    try:
        lab.wait_whole()
        yield
    finally:
        restart(before)
        lab.wait_whole()


def test_a_dead_host_is_noticed_sooner_with_serf(lab: Lab) -> None:
    """Proves that, of two hosts, the one with Serf shows a third one as failed while the other one, without Serf, still
    has patience with it; and that a host whose xsmd was stopped is shown to have left."""
    wait_serf(lab, *HOSTS)
    with without_serf(lab, "dmz02"):
        wait_serf(lab, "dmz01", "dmz03", "dmz04")
        lab["dmz04"].stop_daemon("xsmd")
        wait_for("dmz04 has left", lambda: reach(lab, "dmz01", "dmz04") == "left", SOON_S)
        assert reach(lab, "dmz02", "dmz04") == "suspect"
        lab["dmz04"].start_xsmd()
        lab.wait_whole()
        wait_serf(lab, "dmz04")
        began = time.monotonic()
        lab["dmz04"].crash()
        wait_for(
            "dmz01 says that dmz04 failed", lambda: reach(lab, "dmz01", "dmz04") == "failed", SOON_S
        )
        with_s = time.monotonic() - began
        assert reach(lab, "dmz02", "dmz04") == "suspect"
        wait_for("dmz02, too", lambda: reach(lab, "dmz02", "dmz04") == "failed", SOON_S)
        print(
            f"host dead -> shown as failed: {with_s:.1f} s with Serf, {time.monotonic() - began:.1f} s without"
        )
        lab["dmz04"].power_on()
        lab["dmz04"].wait_up()
        lab["dmz04"].start_xsmd()
        lab.wait_whole()


def test_a_site_whose_agents_are_dumb_or_dead_works(
    lab: Lab, site: Site, observer: Observer
) -> None:
    """Proves that edits go to all hosts and VMs start and move with no agent that says anything, and that agents that
    are killed come back."""
    wait_serf(lab, *HOSTS)
    signal_agents(lab, signal.SIGSTOP)
    try:
        site.apply(VM("serf1", "dmz02"))
        observer.wait_ticks("serf1", 2, host="dmz02")
        site.apply(VM("serf1", "dmz03"))
        observer.wait_ticks("serf1", 2, host="dmz03")
    finally:
        killed = [agent(lab, name) for name in HOSTS]
        signal_agents(lab, signal.SIGKILL)
    wait_for("others run", lambda: all(agent(lab, n) not in (0, *killed) for n in HOSTS), SOON_S)
    wait_serf(lab, *HOSTS)
    site.apply()
