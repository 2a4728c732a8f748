"""A host that the site forgot while it was away, and that comes back knowing nothing of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.site.running_site import Site, site_text, vm_entry, wait
from xsm.edge import ca, crl, crl_file

pytestmark = pytest.mark.libvirt
HOSTS = ("dmz01", "dmz02", "dmz03")


def test_a_forgotten_host_that_comes_back_is_told_and_takes_no_edit(site: Site) -> None:
    site.apply("dmz01", vm_entry("web1", "dmz01"), vm_entry("web3", "dmz03"))
    work = site.work()
    site.stage.power_off("dmz03")
    site.xsm("dmz01", "host", "forget", "dmz03", "--it-is-off", "--yes", "--no-wait")
    commit = site.json("dmz01", "history", "-n", "1")[0]
    _revoked_by_whoever_signs(site)
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


# -- its certificates, for libvirt and QEMU, which know nothing of members


def tls(site: Site, host: str) -> Path:
    return Path(site.stage.hosts[host].folder / "data/tls")


def serials(site: Site, host: str) -> set[int]:
    """Of the certificates that the host has."""
    both = ca.peer_files(tls(site, host)), ca.libvirt_files(tls(site, host))
    return {ca.identity(files.certificate.read_text()).serial for files in both}


def revoked(site: Site, host: str) -> set[int]:
    """By the list that the host has."""
    ca_pem = (tls(site, "dmz01") / "ca.pem").read_text()
    return set(crl.read(crl_file.load(tls(site, host)).crl_pem, ca_pem))


def known(site: Site, host: str) -> set[int]:
    """Of all certificates that the host wrote down as one that signs."""
    path, ca_pem = tls(site, host) / "issued.pem", (tls(site, host) / "ca.pem").read_text()
    text = path.read_text() if path.exists() else ""
    return {crl.read_issued(pem, ca_pem).serial for pem in crl.blocks(text)}


def _revoked_by_whoever_signs(site: Site) -> None:
    """The first host alone has given out certificates; the second one signs, too, and knows them all."""
    gone = serials(site, "dmz03")
    for host in ("dmz01", "dmz02"):
        wait(f"{host} has the list", lambda h=host: revoked(site, h) == gone)  # type: ignore[misc]
    assert "certificates are revoked that these hosts had: dmz03" in site.xsm("dmz01", "events")
    site.xsm("dmz01", "host", "signer", "dmz02", "--yes")
    every = set().union(*(serials(site, host) for host in HOSTS))
    wait("the second signer knows all certificates", lambda: known(site, "dmz02") >= every)


def test_who_joins_by_a_forgotten_hosts_name_is_let_in_and_the_other_is_not(site: Site) -> None:
    stage, host, gone = site.stage, site.stage.hosts["dmz03"], serials(site, "dmz03")
    assert revoked(site, "dmz01") == gone
    stage.kill_xsmd("dmz03")
    for folder in (host.folder / "data", host.checkout):
        shutil.rmtree(folder)
    host.config.unlink()
    token = site.json("dmz02", "invite", "dmz03")["token"]
    stage.run("dmz03", "join", token, *stage.own_options("dmz03"))
    stage.start_xsmd("dmz03")
    site.wait_whole()
    mine = serials(site, "dmz03")
    wait("dmz02 knows that it has them", lambda: known(site, "dmz02") >= mine)
    number = crl_file.load(tls(site, "dmz02")).members_number
    for name in HOSTS:
        wait(
            f"{name} has the list of now",
            lambda n=name: crl_file.load(tls(site, n)).members_number >= number,  # type: ignore[misc]
        )
        assert revoked(site, name) == gone

    # Where nobody can sign, people are told of it.
    for name in ("dmz01", "dmz02"):
        (tls(site, name) / "ca.key").unlink()
    wait("nobody signs", lambda: not any(m["signs"] for m in site.status("dmz01")["members"]))
    stage.power_off("dmz03")
    site.xsm("dmz01", "host", "forget", "dmz03", "--it-is-off", "--yes", "--no-wait")
    words = "dmz01: certificates of hosts that were forgotten may not be revoked here"
    wait("it is said", lambda: any(words in n for n in site.status("dmz02")["notes"]), 60.0)
    assert revoked(site, "dmz02") == gone
