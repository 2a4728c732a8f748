"""Hosts whose wall clock is wrong, or jumps while they run: who is told of it, what goes on, what is so afterwards."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from tests.site.running_site import Site, running_site, site_text, vm_entry, wait
from xsm.api.types import Reach, Status
from xsm.cli.client import Client
from xsm.demo.stage import DemoFailed

pytestmark = [
    pytest.mark.libvirt,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler for the wrong clock"),
]
HOSTS = ("dmz01", "dmz02", "dmz03")
WRONG = "dmz03"
HOUR_S, DAY_S = 3600, 86_400
LONG = pytest.mark.skipif("XSM_ATTACK" not in os.environ, reason="make attack runs it")
ANSWER_LIMIT_S = 20.0
SILENT_LIMIT_S = 60.0
"""Connections that were open stay so for a while; then a host that doesn't answer counts as silent."""


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Every host has a wall clock of its own; they are right as yet."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    preloaded = tmp_path_factory.mktemp("clock") / "wrong_clock.so"
    source = Path(__file__).with_name("wrong_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", preloaded, source], check=True)

    def prepare(site: Site) -> None:
        for host in site.stage.hosts.values():
            clock = host.folder / "clock"
            clock.write_bytes(struct.pack("=q", 0))
            host.environment = {"LD_PRELOAD": str(preloaded), "WRONG_CLOCK": str(clock)}

    with running_site(*HOSTS, prepare=prepare) as site:
        yield site
    if not request.session.testsfailed:  # else the daemons' logs are of use
        shutil.rmtree(site.stage.folder)


@pytest.fixture
def three(site: Site) -> Iterator[Site]:
    """Three VMs on as many hosts, whose clocks are right before and after."""
    site.apply("dmz01", *entries())
    yield site
    for host in HOSTS:
        set_clock(site, host, 0)


def entries(*memory_mib: int) -> list[str]:
    """web1 to web3, each on the host of its number."""
    sizes = (*memory_mib, 64, 64, 64)[:3]
    return [
        vm_entry(f"web{number}", host, size)
        for number, (host, size) in enumerate(zip(HOSTS, sizes, strict=True), start=1)
    ]


def set_clock(site: Site, host: str, ahead_s: int) -> None:
    """The clock jumps, whatever runs there."""
    with (site.stage.hosts[host].folder / "clock").open("r+b") as clock:
        clock.write(struct.pack("=q", ahead_s))


def connect_anew(site: Site) -> None:
    """Connections that are open live on whatever the clocks say; most of them end soon."""
    site.stage.relays.cut((WRONG,), ("dmz01", "dmz02"))
    site.stage.relays.heal()


def status(site: Site, host: str) -> Status:
    """Asked without a process of its own each time."""
    return Client(str(site.stage.hosts[host].folder / "xsmd.sock"), ANSWER_LIMIT_S).status()


def told(site: Site, host: str) -> dict[str, str]:
    """Of whose clock a host says something."""
    return {member.name: member.clock for member in status(site, host).members if member.clock}


def error(site: Site, host: str, of: str) -> str:
    return next(member.error for member in status(site, host).members if member.name == of)


def whole(site: Site) -> bool:
    seen = [status(site, host) for host in HOSTS]
    return len({each.revision for each in seen}) == 1 and all(
        member.reach is Reach.ALIVE for each in seen for member in each.members
    )


def edit(site: Site, host: str, *memory_mib: int) -> None:
    """An edit of all that is there, by somebody on that host."""
    work = site.stage.folder / f"edit-{host}"
    source = site.stage.hosts[host].folder / "data" / "site.git"
    shutil.rmtree(work, ignore_errors=True)
    site.git(site.stage.folder, "clone", "-q", str(source), str(work))
    (work / "site.xml").write_text(site_text(*entries(*memory_mib)))
    site.xsm(host, "apply", str(work), "--yes", "--no-wait")


def sizes(site: Site) -> list[int]:
    return [site.memory_mib(host, f"web{n}") for n, host in enumerate(HOSTS, start=1)]


def wait_sizes(site: Site, *memory_mib: int) -> None:
    wait(f"the VMs have {memory_mib} MiB", lambda: sizes(site) == list(memory_mib))


def wait_right(site: Site) -> None:
    """All see each other, agree, and have nothing to tell of clocks."""
    wait("all see all, on one revision", lambda: whole(site), SILENT_LIMIT_S)
    for host in HOSTS:
        wait("all is done", lambda host=host: status(site, host).converged)  # type: ignore[misc]
        wait("nobody's clock is told of", lambda host=host: not told(site, host))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("ahead_s", "words"),
    [
        (HOUR_S, "1 h ahead of"),
        pytest.param(-HOUR_S, "1 h behind", marks=LONG),
        pytest.param(3 * DAY_S, "3 d ahead of", marks=LONG),
    ],
)
def test_a_clock_that_certificates_allow(three: Site, ahead_s: int, words: str) -> None:
    """All goes on; edits in a row and edits at once all count; whose clock it is stands in every status."""
    before = three.ids()
    set_clock(three, WRONG, ahead_s)
    connect_anew(three)
    expected = {WRONG: f"its clock is {words} this host's"}
    wait("the others tell of it", lambda: told(three, "dmz01") == expected == told(three, "dmz02"))
    expected = {WRONG: f"its clock is {words} most others'"}
    wait("it tells of itself", lambda: told(three, WRONG) == expected)
    assert words in three.xsm("dmz01", "status")
    for host in ("dmz01", WRONG):
        wait("all reports are fresh", lambda host=host: "is old" not in three.xsm(host, "plan"))  # type: ignore[misc]
    edit(three, WRONG, 40, 41, 42)
    wait_sizes(three, 40, 41, 42)
    edit(three, "dmz01", 50, 51, 52)  # follows the one before, whatever the clocks say
    wait_sizes(three, 50, 51, 52)
    wait("all are on it", lambda: whole(three))
    edit(three, WRONG, 53, 51, 52)
    wait_sizes(three, 53, 51, 52)
    wait("all are on it", lambda: whole(three))
    three.stage.relays.cut((WRONG,), ("dmz01", "dmz02"))
    edit(three, WRONG, 53, 51, 60)
    edit(three, "dmz01", 61, 51, 52)
    three.stage.relays.heal()
    wait_sizes(three, 61, 51, 60)  # both of two at once
    wait("all are on it", lambda: whole(three))
    set_clock(three, WRONG, 0)
    wait_right(three)
    assert not status(three, "dmz02").conflicts
    assert sizes(three) == [61, 51, 60]
    assert three.ids() == before


@LONG
@pytest.mark.parametrize(
    ("ahead_s", "words", "why"),
    [
        (-3 * DAY_S, "3 d behind", "is not valid yet by this host's clock (20"),
        (400 * DAY_S, "400 d ahead of", "has expired by this host's clock (20"),
    ],
)
def test_a_clock_that_certificates_do_not_allow(
    three: Site, ahead_s: int, words: str, why: str
) -> None:
    """The host is alone, and knows why; the others go on. Edits of both sides count when the clock is right again."""
    before = three.ids()
    set_clock(three, WRONG, ahead_s)
    connect_anew(three)
    for other in ("dmz01", "dmz02"):
        wait("it says why it is alone", lambda other=other: why in error(three, WRONG, other))  # type: ignore[misc]
    wait("the others may see it", lambda: "are both clocks right?" in error(three, "dmz01", WRONG))
    assert told(three, WRONG) == {WRONG: f"its clock is {words} most others'"}
    wait("it is silent", lambda: not status(three, WRONG).majority, SILENT_LIMIT_S)
    assert status(three, "dmz01").majority

    edit(three, "dmz01", 70, 71, 64)
    wait("the others go on", lambda: sizes(three) == [70, 71, 64])
    edit(three, WRONG, 64, 64, 72)
    wait("its own VMs are changed, too", lambda: sizes(three) == [70, 71, 72])
    three.domain(WRONG, "web3").setMemoryFlags(80 * 1024, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    wait("and repaired", lambda: sizes(three) == [70, 71, 72])
    assert three.ids() == before

    set_clock(three, WRONG, 0)
    wait_right(three)
    assert sizes(three) == [70, 71, 72]
    assert not status(three, "dmz02").conflicts
    assert three.ids() == before


@LONG
@pytest.mark.parametrize(
    ("ahead_s", "why"),
    [(-3 * DAY_S, "is this host's clock right? It says 20"), (400 * DAY_S, "clock says 20")],
)
def test_a_start_by_a_wrong_clock(three: Site, ahead_s: int, why: str) -> None:
    """Refused, saying what the clock says; the VMs run on; it starts when the clock is right."""
    before = three.ids()
    three.stage.kill_xsmd(WRONG)
    set_clock(three, WRONG, ahead_s)
    with pytest.raises(DemoFailed) as failed:
        three.stage.start_xsmd(WRONG)
    last = str(failed.value).splitlines()[-1]
    assert last.startswith("xsmd: ") and "peer.pem" in last and why in last
    set_clock(three, WRONG, 0)
    three.stage.start_xsmd(WRONG)
    wait_right(three)
    assert three.ids() == before


@LONG
def test_a_push_that_the_clock_calls_days_ahead(three: Site) -> None:
    """Which of the two clocks is wrong, git can't know: the refusal names both."""
    work = three.work()
    source = three.stage.hosts[WRONG].folder / "data" / "site.git"
    three.git(work, "remote", "set-url", "origin", str(source))
    (work / "site.xml").write_text(site_text(*entries(90)))
    three.git(work, "commit", "-qam", "An edit")
    set_clock(three, WRONG, -3 * DAY_S)
    said = three.git(work, "push", "-q", code=1)
    assert "3 days ahead of this host's clock: put right the clock that is wrong" in said
    set_clock(three, WRONG, 0)
    three.git(work, "push", "-q")
    wait_sizes(three, 90, 64, 64)
    wait_right(three)


@LONG
def test_all_clocks_jump_to_and_fro(three: Site) -> None:
    """While VMs come, change and go: nothing waits for a clock."""
    kept = {key: run for key, run in three.ids().items() if key[1].startswith("web")}
    for number, ahead_s in enumerate((HOUR_S, -HOUR_S, 3 * DAY_S, 0, -HOUR_S, 0)):
        host = HOSTS[number % 3]
        set_clock(three, host, ahead_s)
        target = HOSTS[(number + 1) % 3]
        three.apply(host, *entries(64 + number), vm_entry(f"n{number}", target))
        three.wait_running(f"n{number}", target)
        wait_sizes(three, 64 + number, 64, 64)
    for host in HOSTS:
        set_clock(three, host, 0)
    three.apply("dmz02", *entries())
    wait_sizes(three, 64, 64, 64)
    wait_right(three)
    assert three.ids() == kept
