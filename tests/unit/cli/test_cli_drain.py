"""`xsm host drain`: the order is shown and asked about; it goes on stage by stage, or is given up cleanly."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.cli import paper_site as paper
from tests.unit.cli.canned import Asked, Runner, Site
from tests.unit.cli.test_cli_terminal import at_terminal
from xsm.api.types import Applied, Command, PlanAnswer, Preview, Status, Verb
from xsm.plan.actions import Plan
from xsm.plan.observed import Domain, DomainState, HostReport
from xsm.plan.order import Move, Order, Pace
from xsm.site.tag import Tag

ROOM = Move("mid", "dmz03", "dmz04", 150, 1, 3.0, makes_room=True)
BIG = Move("big", "dmz02", "dmz03", 2048, 2, 20.5, stopped_for="dmz02 runs qemu and dmz03 xen")
OFF = Move("off", "dmz02", "dmz04", 64, 2, 0.0, off=True)
ORDER = Order(
    "dmz02", ((ROOM, BIG, OFF),), {"vm2": "its DOM0 pins it there: change that"}, 23.5, Pace(100.0)
)
TWO = replace(ORDER, stages=((ROOM,), (BIG, OFF)))
NOTHING = Preview(paper.HEAD, (), Plan(), order=Order("dmz02"))


@pytest.fixture(autouse=True)
def empty(site: Site, accepting: None) -> None:
    """dmz02 says that nothing runs there."""
    site.answers["GET /v1/plan"] = seen()


def seen(*domains: Domain, away: str = "") -> PlanAnswer:
    """`away`: why dmz02 said nothing just now."""
    report = HostReport("dmz02", paper.DAY, paper.HEAD, paper.facts(), domains)
    return PlanAnswer(paper.HEAD, Plan(), {"dmz02": report}, {"dmz02": away} if away else {})


def domain(name: str, state: DomainState = DomainState.RUNNING, site_id: str = "") -> Domain:
    tag = Tag(site_id or paper.status().site_id, name, "", {})
    return Domain(name, f"uuid-{name}", state, 96, 96, 1, 1, tag=tag)


def preview(order: Order) -> Preview:
    return paper.preview(changes=("big: placed on dmz03 (was dmz02)",), plan=Plan(), order=order)


def verbs(site: Site) -> list[tuple[Verb, bool]]:
    sent = (c for c in site.bodies("/v1/command", Command) if isinstance(c, Command))
    return [(c.verb, c.stay) for c in sent]


def test_the_order_is_shown_step_by_step_and_asked_about(xsm: Runner, site: Site) -> None:
    site.answers["POST /v1/preview-command"] = preview(ORDER)
    ran = xsm("host", "drain", "dmz02")
    assert ran.code == 2  # nobody is there to answer
    assert verbs(site) == []
    assert "The order (3 moves in 2 steps, about 24 s):" in ran.out
    assert "  1.  mid  dmz03 => dmz04  (150 MiB, 3 s; to make room)\n" in ran.out
    assert "(2048 MiB, 20 s; STOPPED for it: dmz02 runs qemu and dmz03 xen)" in ran.out
    assert "off  dmz02 => dmz04  (it is off)" in ran.out
    assert "100 MiB/s for each, an assumption: none was measured; 2 at once from" in ran.out
    assert "What stays on dmz02:\n  =  vm2  its DOM0 pins it there: change that\n" in ran.out


def test_the_order_is_part_of_the_answer_for_programs(xsm: Runner, site: Site) -> None:
    site.answers["POST /v1/preview-command"] = preview(ORDER)
    ran = xsm("host", "drain", "dmz02", "-y", "-o", "json")
    assert '"total_s": 23.5' in ran.out
    assert '"makes_room": true' in ran.out


def test_each_stage_is_an_edit_of_its_own_made_when_the_one_before_is_done(
    xsm: Runner, site: Site
) -> None:
    site.answers["POST /v1/preview-command"] = [preview(TWO), preview(ORDER)]
    ran = xsm("host", "drain", "dmz02", "-y")
    assert (ran.code, verbs(site)) == (0, [(Verb.DRAIN, False)] * 2)
    assert "It takes 2 edits, each made when the one before is carried out" in ran.out


def test_what_is_not_followed_is_not_gone_on_with(xsm: Runner, site: Site) -> None:
    site.answers["POST /v1/preview-command"] = preview(TWO)
    assert xsm("host", "drain", "dmz02", "-y", "--no-wait").code == 0
    assert verbs(site) == [(Verb.DRAIN, False)]


def given_up(site: Site) -> None:
    """From giving up on the site is settled."""
    told = {"leaving": True}
    line = "big on dmz02: migrate live: host dmz02 => dmz03 (the site placed it there)"

    def command(asked: Asked) -> Applied:
        sent = asked.read(Command)
        assert isinstance(sent, Command)
        told["leaving"] = sent.verb is Verb.DRAIN
        return paper.applied(changes=("big: placed on dmz03 (was dmz02)",))

    def status(_asked: Asked) -> Status:
        leaving = paper.status(revision=paper.NEW, converged=False, pending=(line,))
        return leaving if told["leaving"] else paper.settled()

    site.answers["POST /v1/command"] = command
    site.answers["GET /v1/status"] = status
    site.answers["POST /v1/preview-command"] = preview(ORDER)


def test_when_the_time_is_up_it_is_given_up(xsm: Runner, site: Site) -> None:
    given_up(site)
    ran = xsm("host", "drain", "dmz02", "-y", "--timeout", "1")
    assert (ran.code, verbs(site)) == (1, [(Verb.DRAIN, False), (Verb.UNDRAIN, True)])
    assert "giving up: what is under way ends, nothing else leaves dmz02" in ran.err
    assert "`xsm host resume dmz02 --bring-home` brings back what has left" in ran.err


def test_so_it_is_by_ctrl_c(socket_path: Path, site: Site) -> None:
    given_up(site)
    terminal = at_terminal(socket_path, "host", "drain", "dmz02", "-y", width=160)
    terminal.until("big on dmz02: migrate live")
    terminal.program.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "dmz02 may run VMs again" in terminal.seen
    assert verbs(site) == [(Verb.DRAIN, False), (Verb.UNDRAIN, True)]


def test_an_empty_host_is_not_asked_about(xsm: Runner, site: Site) -> None:
    site.answers["POST /v1/preview-command"] = NOTHING
    ran = xsm("host", "drain", "dmz02")
    assert (ran.code, ran.out) == (0, "dmz02 is drained already.\n")


def test_it_is_done_only_when_no_vm_of_the_site_runs_there(xsm: Runner, site: Site) -> None:
    """`until xsm host drain h2; do sleep 60; done; reboot`"""
    site.answers["POST /v1/preview-command"] = NOTHING
    site.answers["GET /v1/plan"] = seen(domain("vm2"), domain("vm7", DomainState.PAUSED))
    ran = xsm("host", "drain", "192.168.5.102")
    assert ran.code == 1
    assert "2 VMs of the site still run on dmz02: vm2, vm7 (`xsm plan` says why)" in ran.err


def test_what_is_off_or_not_the_sites_keeps_no_host_from_being_empty(
    xsm: Runner, site: Site
) -> None:
    foreign = Domain("web", "77aa", DomainState.RUNNING, 512, 512, 1, 1)
    other = domain("vm1", site_id="another")
    site.answers["POST /v1/preview-command"] = NOTHING
    site.answers["GET /v1/plan"] = seen(domain("vm2", DomainState.SHUTOFF), foreign, other)
    assert xsm("host", "drain", "dmz02").code == 0


def test_a_host_that_says_nothing_is_not_known_to_be_empty(xsm: Runner, site: Site) -> None:
    site.answers["POST /v1/preview-command"] = NOTHING
    site.answers["GET /v1/plan"] = seen(away="timed out")
    ran = xsm("host", "drain", "dmz02")
    assert ran.code == 1
    assert "dmz02 doesn't say what runs there" in ran.err
