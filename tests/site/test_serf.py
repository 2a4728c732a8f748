"""Hosts whose xsmd have Serf beside them: who stops is seen to have left, and without Serf all works as ever."""

import os
import signal
from pathlib import Path

from tests.site.running_site import Site, running_site, vm_entry, wait

NAMES = ("dmz01", "dmz02")
SERF_LIMIT_S = 60.0
"""For agents that find each other, on a busy machine; one whose key is made by the second host takes 10 s."""


def agent(site: Site, name: str) -> int:
    """The agent's process, a child of that host's xsmd."""
    xsmd = site.stage.hosts[name].xsmd
    assert xsmd is not None
    children = Path(f"/proc/{xsmd.pid}/task/{xsmd.pid}/children").read_text().split()
    agents = [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "serf\n"]
    return agents[0] if agents else 0


def keys(site: Site) -> set[bytes]:
    paths = [site.stage.hosts[name].folder / "data" / "serf" / "key.json" for name in NAMES]
    return {path.read_bytes() if path.exists() else b"" for path in paths}


def reach(site: Site, host: str, of: str) -> str:
    return str(next(m["reach"] for m in site.status(host)["members"] if m["name"] == of))


def test_a_site_with_serf() -> None:
    with running_site(*NAMES, serf=True) as site:
        one, other = site.stage.hosts["dmz01"], site.stage.hosts["dmz02"]
        wait("Serf runs", lambda: all(site.status(n)["serf"] == "" for n in NAMES), SERF_LIMIT_S)
        wait(
            "both have one key",
            lambda: len(keys(site)) == 1 and b"" not in keys(site),
            SERF_LIMIT_S,
        )

        # Who stops on purpose is seen to have left, which only Serf can tell.
        killed = agent(site, "dmz02")
        os.kill(killed, signal.SIGKILL)
        wait("another agent runs", lambda: agent(site, "dmz02") not in (0, killed), SERF_LIMIT_S)
        wait("and is well", lambda: site.status("dmz02")["serf"] == "", SERF_LIMIT_S)
        assert other.xsmd is not None
        other.xsmd.send_signal(signal.SIGTERM)
        other.xsmd.wait(SERF_LIMIT_S)
        wait("dmz02 has left", lambda: reach(site, "dmz01", "dmz02") == "left", SERF_LIMIT_S)

        # Where it can't run, all works, and every host says so.
        lines = [line for line in other.config.read_text().splitlines() if "serf_port" not in line]
        taken = f"serf_port = {other.place.listen_port}"
        other.config.write_text("\n".join([*lines, taken, ""]))
        site.stage.start_xsmd("dmz02")
        site.wait_whole()
        site.apply("dmz01", vm_entry("web1", "192.168.5.102"))
        site.wait_running("web1", "dmz02")
        wait("dmz02 says why", lambda: "does not run: it ended" in site.status("dmz02")["serf"])
        assert "does not run" in site.xsm("dmz02", "status")
        said = "dmz02: Serf does not run: it ended"
        wait(
            "dmz01, too",
            lambda: any(said in n for n in site.status("dmz01")["notes"]),
            SERF_LIMIT_S,
        )
        assert site.status("dmz01")["serf"] == ""
        assert one.place.ip in (one.folder / "data" / "serf" / "agent.json").read_text()
