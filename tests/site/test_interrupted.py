"""What a crash leaves half done is taken up again."""

from __future__ import annotations

import subprocess

import pytest

from tests.site.running_site import Site, vm_entry, wait

pytestmark = pytest.mark.libvirt
HOSTS = ("dmz01", "dmz02")


def test_commits_that_came_before_a_crash_but_count_as_no_head_yet(site: Site) -> None:
    """xsmd died between unpacking a revision and taking it up: the next greeting makes it count."""
    stage = site.stage
    site.apply("dmz01", vm_entry("web1", "dmz02"))
    stage.kill_xsmd("dmz02")
    work = site.work()
    text = (work / "site.xml").read_text()
    (work / "site.xml").write_text(text.replace("<MEM>64", "<MEM>48"))
    site.xsm("dmz01", "apply", str(work), "--yes", "--no-wait")
    there, here = (stage.hosts[n].folder / "data" / "site.git" for n in HOSTS)
    fetch = ["git", "-C", str(here), "fetch", "-q", "--no-write-fetch-head", str(there), "main"]
    subprocess.run(fetch, check=True, timeout=30)
    stage.start_xsmd("dmz02")
    wait("dmz02 acts on the edit", lambda: site.memory_mib("dmz02", "web1") == 48)
