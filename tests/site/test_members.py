"""Members come and go: what is known of claims goes along."""

from __future__ import annotations

import pytest

from tests.site.running_site import Site, vm_entry
from xsm.edge.register_file import RegisterFile

pytestmark = pytest.mark.libvirt


def known(site: Site, host: str) -> dict[str, str]:
    """VM -> whom the host's vote file names as its newest claimant. Its xsmd must not run."""
    votes = RegisterFile(site.stage.hosts[host].folder / "data" / "votes.journal")
    try:
        return {vm: entry["claimant"] for vm, entry in votes.load().items()}
    finally:
        votes.close()


def test_a_host_that_joins_knows_who_runs_what() -> None:
    site = Site("dmz01", "dmz02")
    stage = site.stage
    try:
        site.names = ("dmz01",)
        site.start()  # powers on and joins only those in `names`
        site.apply("dmz01", vm_entry("web1", "dmz01"))
        assert stage.running_on("web1") == ["dmz01"]
        stage.power_on("dmz02")
        token = site.json("dmz01", "invite", "dmz02")["token"]
        stage.run("dmz02", "join", token, *stage.own_options("dmz02"))
        assert known(site, "dmz02") == {"web1": "dmz01"}
        run = site.domain("dmz01", "web1").ID()
        stage.start_xsmd("dmz02")
        site.names = ("dmz01", "dmz02")
        site.wait_whole()
        assert site.domain("dmz01", "web1").ID() == run
        # The host that stays knows enough to go on alone, on the operator's word.
        stage.power_off("dmz02")
        refused = site.xsm("dmz01", "host", "forget", "dmz02", "--yes", code=1)
        assert "--it-is-off" in refused
        site.xsm("dmz01", "host", "forget", "dmz02", "--it-is-off", "--yes")
        site.names = ("dmz01",)
        site.domain("dmz01", "web1").destroy()
        site.wait_running("web1", "dmz01")
    finally:
        site.close()
