"""A host that the site forgot while it was away, and that comes back knowing nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.site.running_site import Site, site_text, vm_entry, wait

pytestmark = pytest.mark.libvirt
HOSTS = ("dmz01", "dmz02", "dmz03")


def test_a_forgotten_host_that_comes_back_is_told_and_takes_no_edit(site: Site) -> None:
    site.apply("dmz01", vm_entry("web1", "dmz01"), vm_entry("web3", "dmz03"))
    work = site.work()
    site.stage.power_off("dmz03")
    site.xsm("dmz01", "host", "forget", "dmz03", "--it-is-off", "--yes", "--no-wait")
    commit = site.json("dmz01", "history", "-n", "1")[0]
    site.stage.power_on("dmz03")
    site.stage.start_xsmd("dmz03")
    gone = "this host, dmz03, is no longer a member of the site"
    by = f"(forgotten by {commit['author']} in {commit['id'][:10]})"
    wait("status says who forgot it", lambda: site.status("dmz03")["frozen"] == f"{gone} {by}")
    assert site.xsm("dmz03", "status").splitlines()[0].endswith(f"frozen: {gone} {by}")
    assert gone in site.xsm("dmz03", "events", "-n", "20")
    assert gone in (site.stage.hosts["dmz03"].folder / "xsmd.log").read_text()
    before = site.status("dmz03")["revision"]
    _refuses_every_edit(site, work, f"{gone} {by}")
    assert site.status("dmz03")["revision"] == before
    assert site.running("web3") == []  # it has no majority, and acts on nothing
    assert site.status("dmz01")["majority"] and not site.status("dmz01")["frozen"]


def _refuses_every_edit(site: Site, work: Path, why: str) -> None:
    (work / "site.xml").write_text(site_text(vm_entry("web1", "dmz01", 80)))
    for command in (
        ("apply", str(work), "--yes"),
        ("stop", "web1", "--yes"),
        ("adopt", "dmz03", "--yes"),
        ("invite", "dmz09"),
        ("rollback", "main~1", "--yes"),
    ):
        assert site.refusal("dmz03", *command)["message"] == why, command
    site.git(work, "commit", "-q", "-a", "-m", "Ann's edit")
    other = site.stage.hosts["dmz03"].folder / "data" / "site.git"
    assert why in site.git(work, "push", str(other), "main", code=1)
    checkout = site.stage.hosts["dmz03"].checkout
    (checkout / "site.xml").write_text(site_text(vm_entry("web1", "dmz01", 80)))
    wait(
        "the save is refused",
        lambda: any(why in p["message"] for p in site.status("dmz03")["checkout_problems"]),
    )


def test_a_name_that_is_taken_is_not_invited(site: Site) -> None:
    mine = site.refusal("dmz01", "invite", "dmz01")
    assert mine["message"] == "dmz01 is this host" and "forget" not in mine["hint"]
    other = site.refusal("dmz01", "invite", "dmz02")
    assert other["message"] == "dmz02 is a member already"
    nobody = site.refusal("dmz01", "adopt", "dmz09", "--yes")
    assert "no host dmz09" in nobody["message"]
    assert "dmz01" in nobody["hint"] and "dmz02" in nobody["hint"]
