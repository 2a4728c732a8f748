"""What a forgotten host has is revoked: by whoever signs, known to all, and only that."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.site.running_site import Site, running_site, wait
from xsm.api.types import RevocationList
from xsm.edge import ca, crl, crl_file

pytestmark = pytest.mark.libvirt
FIRST, SECOND, THIRD = HOSTS = ("dmz01", "dmz02", "dmz03")


def tls(site: Site, host: str) -> Path:
    return Path(site.stage.hosts[host].folder / "data/tls")


def has(site: Site, host: str) -> set[int]:
    """The serial numbers of its certificates."""
    both = ca.peer_files(tls(site, host)), ca.libvirt_files(tls(site, host))
    return {ca.identity(files.certificate.read_text()).serial for files in both}


def kept(site: Site, host: str) -> RevocationList:
    return crl_file.load(tls(site, host))


def revoked(site: Site, host: str) -> set[int]:
    """By the list that the host has."""
    ca_pem = (tls(site, FIRST) / "ca.pem").read_text()
    return set(crl.read(kept(site, host).crl_pem, ca_pem))


def forget(site: Site, by: str, name: str) -> None:
    site.stage.power_off(name)
    site.xsm(by, "host", "forget", name, "--it-is-off", "--yes", "--no-wait")


def test_a_forgotten_host_is_revoked_and_its_successor_is_not() -> None:
    with running_site(*HOSTS) as site:
        stage = site.stage
        wait("all have asked", lambda: all(kept(site, h).members_number for h in HOSTS))
        assert not any(kept(site, host).crl_pem for host in HOSTS)
        # Another signer knows what the first one gave out, and goes on alone.
        site.xsm(FIRST, "host", "signer", SECOND, "--yes")
        given = tls(site, SECOND) / "issued.pem"
        every = set().union(*(has(site, host) for host in HOSTS))
        ca_pem = (tls(site, FIRST) / "ca.pem").read_text()

        def known() -> set[int]:
            text = given.read_text() if given.exists() else ""
            return {crl.read_issued(pem, ca_pem).serial for pem in crl.blocks(text)}

        wait("the second signer knows all certificates", lambda: known() >= every)
        gone = has(site, THIRD)
        forget(site, SECOND, THIRD)
        stay = (FIRST, SECOND)
        wait("its certificates are revoked", lambda: all(revoked(site, h) == gone for h in stay))
        wait("both have one list", lambda: kept(site, FIRST) == kept(site, SECOND))
        events = site.xsm(FIRST, "events", "-n", "50") + site.xsm(SECOND, "events", "-n", "50")
        assert "certificates are revoked that these hosts had: dmz03" in events

        # Somebody else has that name now, with keys of his own. What the first one had stays revoked.
        host = stage.hosts[THIRD]
        shutil.rmtree(host.folder / "data")
        shutil.rmtree(host.checkout)
        host.config.unlink()
        stage.power_on(THIRD)
        token = site.json(FIRST, "invite", THIRD)["token"]
        stage.run(THIRD, "join", token, *stage.own_options(THIRD))
        stage.start_xsmd(THIRD)
        site.wait_whole()
        number = kept(site, FIRST).members_number
        wait("all have the list of now", lambda: all(
            kept(site, h).members_number >= number and revoked(site, h) == gone for h in HOSTS
        ))  # fmt: skip
        assert not has(site, THIRD) & gone

        # Where nobody can sign, people are told.
        for name in stay:
            (tls(site, name) / "ca.key").rename(tls(site, name) / "away")
        wait("nobody signs", lambda: not any(m["signs"] for m in site.status(FIRST)["members"]))
        last = has(site, THIRD)
        forget(site, FIRST, THIRD)
        words = f"{FIRST}: certificates of hosts that were forgotten may not be revoked here"
        wait("it is said", lambda: any(words in n for n in site.status(SECOND)["notes"]), 60.0)
        assert not last & revoked(site, SECOND)
        (tls(site, SECOND) / "away").rename(tls(site, SECOND) / "ca.key")
        wait("then it is mended", lambda: all(revoked(site, h) >= gone | last for h in stay), 60.0)
        wait("and no more said", lambda: words not in json.dumps(site.status(SECOND)["notes"]))
