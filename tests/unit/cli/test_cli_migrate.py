"""`xsm migrate` while the guest moves: what is shown, and calling it back."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.cli import paper_site as paper
from tests.unit.cli.canned import Asked, Runner, Site
from tests.unit.cli.test_cli_terminal import at_terminal
from xsm.api.types import Applied, Command, Refusal, Status, Verb
from xsm.plan.observed import Job, Transfer
from xsm.site.model import Migration

MOVING = Transfer("vm1", "dmz01", "dmz02", Job(3.0, 96, 70, 12, 31, 0, 1))
PENDING = "vm1 on dmz01: migrate live: host dmz01 => dmz02 (the site file says so)"
BACK = "c" * 40


pytestmark = pytest.mark.usefixtures("accepting")


def on_its_way(**changes: object) -> Status:
    status = paper.status(revision=paper.NEW, converged=False, pending=(PENDING,))
    return replace(status, transfers=(MOVING,), **changes)


def called_back(site: Site) -> None:
    """From the command that calls it back on, the site is settled on a revision of its own."""
    told = {"on_its_way": True}

    def command(asked: Asked) -> Applied:
        sent = asked.read(Command)
        assert isinstance(sent, Command)
        told["on_its_way"] = sent.verb is Verb.MIGRATE
        return replace(paper.applied(), revision=paper.NEW if told["on_its_way"] else BACK)

    def status(_asked: Asked) -> Status:
        settled = paper.settled()
        members = tuple(replace(m, revision=BACK) for m in settled.members)
        back = replace(settled, revision=BACK, members=members)
        return on_its_way() if told["on_its_way"] else back

    site.answers["POST /v1/command"] = command
    site.answers["GET /v1/status"] = status


def test_progress_is_told_while_it_moves(xsm: Runner, site: Site) -> None:
    further = replace(MOVING, job=replace(MOVING.job, remaining_mib=2))
    site.answers["GET /v1/status"] = [
        on_its_way(),
        on_its_way(),
        replace(on_its_way(), transfers=(further,)),
        paper.settled(),
    ]
    out = xsm("migrate", "vm1", "dmz02").out
    assert out.count("vm1: migrating to dmz02: 84 of 96 MiB, 31 MiB/s") == 1
    assert out.count("vm1: migrating to dmz02: 94 of 96 MiB, 31 MiB/s") == 1


def test_status_shows_what_moves(xsm: Runner, site: Site) -> None:
    site.answers["GET /v1/status"] = on_its_way()
    assert "1 moving:\n  vm1: migrating to dmz02: 84 of 96 MiB" in xsm("status").out
    assert '"sent_mib": 70' in xsm("status", "-o", "json").out


def test_abort_is_an_edit_of_its_own(xsm: Runner, site: Site) -> None:
    assert xsm("migrate", "vm1", "--abort").code == 0
    (sent,) = site.bodies("/v1/command", Command)
    assert sent == Command(Verb.CALL_BACK, vm="vm1", expect=paper.HEAD)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("vm1",), "HOST is missing"),
        (("vm1", "dmz02", "--abort"), "--abort takes neither HOST nor --cold"),
    ],
)
def test_a_target_or_its_opposite(
    xsm: Runner, site: Site, args: tuple[str, ...], said: str
) -> None:
    ran = xsm("migrate", *args)
    assert ran.code == 2
    assert said in ran.err
    assert site.paths("POST") == []


def test_ctrl_c_calls_it_back(socket_path: Path, site: Site) -> None:
    called_back(site)
    terminal = at_terminal(socket_path, "migrate", "vm1", "dmz02")
    terminal.until("84 of 96 MiB")
    terminal.program.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "calling vm1 back from dmz02 (Ctrl-C again leaves" in terminal.seen
    verbs = [c.verb for c in site.bodies("/v1/command", Command) if isinstance(c, Command)]
    assert verbs == [Verb.MIGRATE, Verb.CALL_BACK]
    assert "Traceback" not in terminal.seen


def test_what_cold_set_is_taken_back_with_it(socket_path: Path, site: Site) -> None:
    called_back(site)
    terminal = at_terminal(socket_path, "migrate", "vm1", "dmz02", "--cold", "-y")
    terminal.until("84 of 96 MiB")
    terminal.program.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    back = Command(Verb.CALL_BACK, vm="vm1", expect=paper.HEAD, migration=Migration.LIVE)
    assert site.bodies("/v1/command", Command)[-1] == back


def test_ctrl_c_after_it_has_arrived_has_nothing_to_call_back(
    socket_path: Path, site: Site
) -> None:
    refused = Refusal("conflict", "vm1 runs on dmz02, where it belongs: nothing is migrating")
    site.answers["GET /v1/status"] = on_its_way()
    site.answers["POST /v1/preview-command"] = [paper.preview(), refused]
    terminal = at_terminal(socket_path, "migrate", "vm1", "dmz02")
    terminal.until("84 of 96 MiB")
    terminal.program.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "nothing is migrating: there is nothing to call back" in terminal.seen


def test_ctrl_c_in_apply_tells_how_to_call_it_back(
    socket_path: Path, site: Site, folder: Path
) -> None:
    site.answers["GET /v1/status"] = on_its_way()
    terminal = at_terminal(socket_path, "apply", str(folder), "--yes", width=160)
    terminal.until("84 of 96 MiB")
    terminal.program.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "`xsm migrate vm1 --abort` calls it back" in terminal.seen
