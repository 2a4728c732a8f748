"""Two hosts and a witness, which has no libvirt: one of the two dies, and the other still starts VMs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import libvirt
import pytest

from tests.site.running_site import Site, running_site, site_text, vm_entry, wait
from xsm.demo.stage import DemoFailed

pytestmark = pytest.mark.libvirt
NO_LIBVIRT = """\
raise ImportError("libvirt.so.0: cannot open shared object file: No such file or directory")
"""


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Site]:
    """On the witness `import libvirt` fails, as where the library is not installed."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    modules = tmp_path_factory.mktemp("modules")
    (modules / "libvirt.py").write_text(NO_LIBVIRT)

    def prepare(site: Site) -> None:
        site.stage.hosts["w"].environment["PYTHONPATH"] = str(modules)

    with running_site("dmz01", "dmz02", "w", witness="w", prepare=prepare) as site:
        yield site
    if not request.session.testsfailed:  # else the daemons' logs are of use
        shutil.rmtree(site.stage.folder)


def test_a_host_and_the_witness_are_a_majority(site: Site) -> None:
    site.apply("dmz01", vm_entry("web1", "dmz01"), vm_entry("flo"), vm_entry("flu"))
    for name in ("flo", "flu"):
        assert site.running(name) in (["dmz01"], ["dmz02"])
    assert "w      alive" in site.xsm("dmz01", "hosts")
    report = site.json("w", "hosts")["reports"]["w"]
    assert report["facts"]["kind"] == "none" and report["domains"] == []
    site.stage.power_off("dmz02")
    # Half of the site would not be enough for a claim.
    said = site.xsm(
        "dmz01", "apply", *_with(site, vm_entry("web1", "dmz01"), vm_entry("new", "dmz01"))
    )
    assert "new" in said
    site.wait_running("new", "dmz01", limit_s=40)
    site.stage.power_on("dmz02")
    site.stage.start_xsmd("dmz02")
    site.wait_whole()


def _with(site: Site, *entries: str) -> tuple[str, ...]:
    work = site.work()
    (work / "site.xml").write_text(site_text(*entries))
    return (str(work), "--yes", "--no-wait", "-m", "While dmz02 is dead")


def test_nothing_comes_to_the_witness(site: Site) -> None:
    site.apply("dmz01", vm_entry("web1", "dmz01"))
    refused = site.refusal("dmz01", "migrate", "web1", "w", "--yes")
    assert "w is a witness, which runs no VMs" in refused["message"]
    drained = site.refusal("dmz01", "host", "drain", "w", "--yes")
    assert drained["message"] == "w is a witness, which runs no VMs"
    site.apply("w", vm_entry("web1", "dmz01"), message="An edit on the witness")
    site.stage.kill_xsmd("w")  # from here on only the table of members tells
    for host in ("w", site.stage.hosts["w"].address):
        refused = site.xsm("dmz01", "apply", *_with(site, vm_entry("web1", host)), code=2)
        assert "VM web1: w is a witness, which runs no VMs" in refused
    site.apply("dmz01", vm_entry("web1", "dmz01"), vm_entry("flo"), vm_entry("flu"))
    for name in ("web1", "flo", "flu"):
        assert site.running(name) in (["dmz01"], ["dmz02"])
    row = next(line for line in site.xsm("dmz01", "hosts").splitlines() if line.startswith("w "))
    assert "witness" in row and " alive " not in row
    table = json.loads((site.work() / "state" / "members.json").read_text())
    assert {name: member["witness"] for name, member in table.items()} == {
        "dmz01": False, "dmz02": False, "w": True
    }  # fmt: skip
    site.stage.start_xsmd("w")
    site.wait_whole()


def test_it_is_a_witness_after_a_restart_and_no_host_turns_into_one(site: Site) -> None:
    site.stage.kill_xsmd("w")
    site.stage.start_xsmd("w")
    wait(
        "it reports", lambda: site.json("dmz01", "hosts")["reports"]["w"]["facts"]["kind"] == "none"
    )
    config = site.stage.hosts["dmz02"].config
    before = config.read_text()
    site.stage.kill_xsmd("dmz02")
    config.write_text(before + 'hypervisor = "none"\n')
    with pytest.raises(DemoFailed, match="did not join as a witness"):
        site.stage.start_xsmd("dmz02")
    config.write_text(before)
    site.stage.start_xsmd("dmz02")
    site.wait_whole()
