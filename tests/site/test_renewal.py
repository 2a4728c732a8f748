"""Certificates renew themselves on daemons that run; and a second host that signs takes over from the first."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.site.running_site import CONFIG, Site, running_site, site_text, vm_entry, wait
from xsm.demo.stage import DemoFailed
from xsm.edge import ca

pytestmark = pytest.mark.libvirt

LIFE_S = 30
SOON_S = 60.0
HOSTS = ("dmz01", "dmz02")


def own(site: Site, host: str) -> ca.Identity:
    return ca.verify(ca.peer_files(site.stage.hosts[host].folder / "data/tls"), time.time())


def short_lived(site: Site) -> None:
    """The first host signs for half a minute only, itself too."""
    stage, host = site.stage, site.stage.hosts["dmz01"]
    signs_shortly(host.config)
    tls_dir = host.folder / "data/tls"
    authority = ca.load_ca(tls_dir, LIFE_S)
    files = ca.peer_files(tls_dir)
    request = ca.create_csr(files.key, "dmz01")
    pem = authority.issue_peer(request, "dmz01", host.address, time.time())
    ca.install_beside(files, authority.pem, pem)
    stage.start_xsmd("dmz01")


def signs_shortly(config: Path) -> None:
    text = config.read_text()
    assert 'certificate_life = "365d"' in text
    config.write_text(text.replace("365d", f"{LIFE_S}s"))


def start(site: Site) -> None:
    stage = site.stage
    stage.relays.start()
    for name in HOSTS:
        stage.power_on(name)
    folder = stage.folder / "first"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs/web.cfg").write_text(CONFIG)
    (folder / "site.xml").write_text(site_text())
    stage.run("dmz01", "init", str(folder), *stage.own_options("dmz01"))
    short_lived(site)
    token = site.json("dmz01", "invite", "dmz02")["token"]
    stage.run("dmz02", "join", token, *stage.own_options("dmz02"))
    signs_shortly(stage.hosts["dmz02"].config)
    stage.start_xsmd("dmz02")
    site.wait_whole()


def signers(site: Site, host: str) -> list[str]:
    return [m["name"] for m in site.status(host)["members"] if m["signs"]]


def told(site: Site, host: str, words: str) -> bool:
    return any(words in note for note in site.status(host)["notes"])


def test_certificates_renew_themselves_while_somebody_signs() -> None:
    site = Site(*HOSTS)
    stage = site.stage
    try:
        start(site)
        first = {name: own(site, name) for name in HOSTS}
        # Both have new ones, and have spoken on with them since the first ones ended.
        last_end = max(each.not_after for each in first.values())
        wait("the first certificates end", lambda: time.time() > last_end + 1, SOON_S)
        assert all(own(site, name).serial != first[name].serial for name in HOSTS)
        site.wait_whole()
        site.apply("dmz02", vm_entry("web1", "dmz01"))
        assert site.running("web1") == ["dmz01"]
        events = [
            json.loads(line) for line in site.xsm("dmz02", "events", "-o", "json").splitlines()
        ]
        renewals = [e["message"] for e in events if "certificates renewed by" in e["message"]]
        assert any("renewed by dmz01" in text for text in renewals)
        assert any("renewed by itself" in text for text in renewals)

        # Only one host signs until it is told to share; the key is the same then.
        assert signers(site, "dmz02") == ["dmz01"]
        refused = site.refusal("dmz02", "invite", "dmz03")
        assert "the site's CA key is on: dmz01" in refused["hint"]
        assert "dmz01" in site.refusal("dmz02", "host", "signer", "dmz01", "--yes")["hint"]
        site.xsm("dmz01", "host", "signer", "dmz02", "--yes")
        keys = [stage.hosts[name].folder / "data/tls/ca.key" for name in HOSTS]
        assert keys[0].read_bytes() == keys[1].read_bytes()
        assert keys[1].stat().st_mode & 0o777 == 0o600
        wait("both know", lambda: all(signers(site, h) == list(HOSTS) for h in HOSTS))
        assert site.json("dmz02", "invite", "dmz03")["token"]
        assert site.xsm("dmz02", "hosts").count("signs certificates") == 2

        # Without the key on a host that answers nobody can renew, and everybody is told in time.
        stage.kill_xsmd("dmz01")
        keys[1].unlink()
        wait(
            "dmz02 says so",
            lambda: told(site, "dmz02", "dmz02: this host's certificate ends on"),
            SOON_S,
        )
        # The key is back: the next try succeeds, and nothing is left to say.
        keys[1].write_bytes(keys[0].read_bytes())
        wait("dmz02 is content", lambda: not told(site, "dmz02", "certificate"), SOON_S)
        shown = stage.run("dmz02", "host", "forget", "dmz01", "--it-is-off", check=False)
        assert "dmz01 holds the site's CA key" in shown.stderr + shown.stdout
    finally:
        site.close()
    shutil.rmtree(stage.folder)


def ended(site: Site, name: str, authority: ca.Authority) -> None:
    """Its xsmd is off, and by now its certificate has ended."""
    site.stage.kill_xsmd(name)
    host = site.stage.hosts[name]
    files = ca.peer_files(host.folder / "data/tls")
    request = ca.create_csr(files.key, name)
    pem = authority.issue_peer(request, name, host.address, time.time() - 2 * LIFE_S)
    ca.install_beside(files, authority.pem, pem)
    with pytest.raises(DemoFailed, match=r"peer\.pem expired on"):
        site.stage.start_xsmd(name)


def test_a_site_that_was_off_until_its_certificates_had_ended() -> None:
    with running_site(*HOSTS) as site:
        stage = site.stage
        site.apply("dmz01", vm_entry("web1", "dmz02"))
        authority = ca.load_ca(stage.hosts["dmz01"].folder / "data/tls", LIFE_S)
        for name in HOSTS:
            ended(site, name, authority)
        # Whoever signs begins; the others are vouched for.
        assert "--yes" in site.xsm("dmz01", "host", "renew", code=2)
        site.xsm("dmz01", "host", "renew", "--yes")
        assert "doesn't hold the site's CA key" in site.xsm(
            "dmz02", "host", "renew", "--yes", code=1
        )
        stage.start_xsmd("dmz01")
        assert "is a member already" in site.xsm("dmz01", "invite", "dmz02", code=1)
        assert "is no member" in site.xsm("dmz01", "invite", "dmz03", "--again", code=1)
        token = site.json("dmz01", "invite", "dmz02", "--again")["token"]
        votes = (stage.hosts["dmz02"].folder / "data/votes.journal").read_bytes()
        site.xsm("dmz02", "join", token, *stage.own_options("dmz02"))
        assert (stage.hosts["dmz02"].folder / "data/votes.journal").read_bytes() == votes
        # Given again, as after a kill, it is fine; on another host the token is no good.
        site.xsm("dmz02", "join", token, *stage.own_options("dmz02"))
        other = site.json("dmz01", "invite", "dmz02", "--again")["token"]
        assert "and the token is for dmz02" in site.xsm(
            "dmz01", "join", other, *stage.own_options("dmz01"), code=2
        )
        stage.start_xsmd("dmz02")
        site.wait_whole()
        assert site.running("web1") == ["dmz02"]
