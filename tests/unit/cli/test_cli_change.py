"""Apply and the small commands: preview, ask, do, follow; each way in which they can end."""

from __future__ import annotations

import base64
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.unit.cli import paper_site as paper
from tests.unit.cli.canned import Asked, Raw, Runner, Site
from xsm.api.types import Command, PlanAnswer, Preview, Proposal, Refusal, Verb
from xsm.cli.carry_out import MAX_MOVES, Outcome
from xsm.peer.contacts import Reach
from xsm.plan.actions import Consequence, Plan
from xsm.site.problems import Problem, Severity

pytestmark = pytest.mark.usefixtures("accepting")


def test_apply_shows_commits_and_follows(xsm: Runner, site: Site, folder: Path) -> None:
    site.answers["GET /v1/status"] = [
        paper.status(
            revision=paper.NEW,
            members=(paper.member(1, paper.NEW), paper.member(2)),
            converged=False,
            pending=("vm1 on dmz01: live: memory 96 MiB => 128 MiB (so) [set-memory under way]",),
        ),
        paper.settled(),
    ]
    ran = xsm("apply", str(folder), "--yes", "-m", "fair")
    assert (ran.code, ran.err) == (0, "")
    *lines, last = ran.out.splitlines()
    assert lines == [
        "1 change of the site:",
        "  vm1: MEM 96 => 128",
        "",
        "Change live (no restart):",
        "  ~  vm1  dmz01  memory 96 MiB => 128 MiB  (the site file says so)",
        "Plan: 1 to change live.",
        "Committed feedbeeffe.",
        "Following feedbeeffe on all hosts (Ctrl-C stops only the following).",
        "dmz01: on feedbeeffe",
        "pending: vm1 on dmz01: live: memory 96 MiB => 128 MiB (so)",
        "dmz02: on feedbeeffe",
        "done: vm1 on dmz01: live: memory 96 MiB => 128 MiB",
    ]
    assert last.startswith("Converged on feedbeeffe after ")
    (previewed,) = site.bodies("/v1/preview", Proposal)
    (applied,) = site.bodies("/v1/apply", Proposal)
    assert isinstance(previewed, Proposal)
    assert previewed.base == previewed.expect == ""
    assert previewed.message == "fair"
    assert sorted(previewed.files) == ["configs/apache_svr.cfg", "site.xml"]
    assert base64.b64decode(previewed.files["site.xml"]) == (folder / "site.xml").read_bytes()
    assert applied == replace(previewed, expect=paper.HEAD)


def test_apply_without_a_terminal_needs_yes(xsm: Runner, site: Site, folder: Path) -> None:
    ran = xsm("apply", str(folder))
    assert ran.code == 2
    assert ran.out.endswith("Plan: 1 to change live.\n")
    assert ran.err == "xsm: this needs a confirmation: give --yes\n"
    assert "/v1/apply" not in site.paths("POST")


def test_apply_of_nothing_new(xsm: Runner, site: Site, folder: Path) -> None:
    site.answers["POST /v1/preview"] = paper.preview(changes=(), plan=Plan())
    ran = xsm("apply", str(folder))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "Nothing to change: the site is as it should be.\n"
    site.answers["POST /v1/preview"] = paper.preview(changes=())
    ran = xsm("apply", str(folder))
    assert ran.code == 0
    assert ran.out == (
        "Nothing to change in the file; 1 earlier thing is still pending or held (`xsm plan`).\n"
    )
    assert "/v1/apply" not in site.paths("POST")


def test_apply_of_something_invalid(xsm: Runner, site: Site, folder: Path) -> None:
    problems = (
        Problem("configs/apache_svr.cfg", 2, "no such disk", "", Severity.WARNING),
        Problem("site.xml", 8, "MEM is not a number", "MiB, like 96"),
    )
    site.answers["POST /v1/preview"] = paper.preview(changes=(), problems=problems)
    ran = xsm("apply", str(folder), "--yes")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        f"{folder}/configs/apache_svr.cfg:2: warning: no such disk\n"
        f"{folder}/site.xml:8: error: MEM is not a number (MiB, like 96)\n"
        "xsm: not applied: 1 error; nothing was changed\n"
    )
    as_json = xsm("apply", str(folder), "--yes", "-o", "json")
    assert as_json.code == 2
    outcome = msgspec.json.decode(as_json.out, type=Outcome)
    assert (outcome.changed, outcome.problems) == (False, problems)


def test_warnings_do_not_stop_an_apply(xsm: Runner, site: Site, folder: Path) -> None:
    warning = Problem("site.xml", 3, "odd", "", Severity.WARNING)
    site.answers["POST /v1/preview"] = paper.preview(problems=(warning,))
    site.answers["POST /v1/apply"] = paper.applied(problems=(warning,))
    ran = xsm("apply", str(folder), "--yes")
    assert ran.code == 0
    assert ran.err == f"{folder}/site.xml:3: warning: odd\n"


def test_a_head_that_moved_is_looked_at_again(xsm: Runner, site: Site, folder: Path) -> None:
    site.answers["POST /v1/preview"] = [paper.preview(), paper.preview(head=paper.OLD)]
    site.answers["POST /v1/apply"] = [Refusal("moved", "moved on"), paper.applied()]
    ran = xsm("apply", str(folder), "--yes")
    assert ran.code == 0
    assert ran.err == "Somebody else has changed the site meanwhile; looking again.\n"
    assert [p.expect for p in site.bodies("/v1/apply", Proposal)] == [paper.HEAD, paper.OLD]  # type: ignore[attr-defined]


def test_a_head_that_moves_for_ever(xsm: Runner, site: Site, folder: Path) -> None:
    site.answers["POST /v1/apply"] = Refusal("moved", "moved on")
    ran = xsm("apply", str(folder), "--yes")
    assert ran.code == 1
    assert f"the site changed {MAX_MOVES} times" in ran.err
    assert site.paths("POST").count("/v1/apply") == MAX_MOVES


def test_an_edit_that_disagrees_with_another(xsm: Runner, site: Site, folder: Path) -> None:
    site.answers["POST /v1/preview"] = Refusal(
        "conflict", "vm1: MEM: yours 128, theirs 256", "pull"
    )
    ran = xsm("apply", str(folder), "--yes")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "xsm: vm1: MEM: yours 128, theirs 256\n  hint: pull\n"


def test_no_wait_does_not_follow(xsm: Runner, site: Site, folder: Path) -> None:
    ran = xsm("apply", str(folder), "--yes", "--no-wait")
    assert ran.code == 0
    assert ran.out.endswith("Committed feedbeeffe.\n")
    assert "/v1/status" not in site.paths()


def test_what_is_held_ends_the_following_with_its_reason(
    xsm: Runner, site: Site, folder: Path
) -> None:
    """And a pending line that turns into a held one is not done."""
    line = "vm1 on dmz01: memory 96 MiB => 128 MiB: held: no room, seen 3 s ago"
    held = replace(paper.settled(), converged=False, held=(line,))
    site.answers["GET /v1/status"] = [
        replace(held, held=(), pending=("vm1 on dmz01: live: memory 96 MiB => 128 MiB (so)",)),
        held,
        replace(held, held=(line.replace("3 s", "4 s"),)),
    ]
    ran = xsm("apply", str(folder), "--yes")
    assert ran.code == 1
    assert ran.out.count("held: vm1 on dmz01") == 1
    assert "done:" not in ran.out
    assert ran.out.endswith(f"Not converged: 1 thing held:\n  {line.replace('3 s', '4 s')}\n")


def test_a_time_limit_ends_the_following_with_what_is_left(
    xsm: Runner, site: Site, folder: Path
) -> None:
    site.answers["GET /v1/status"] = replace(
        paper.settled(), converged=False, pending=("vm1 on dmz01: start [failed, again in 4 s]",)
    )
    ran = xsm("apply", str(folder), "--yes", "--timeout", "0.3")
    assert ran.code == 1
    assert "1 thing left (xsmd goes on trying):\n  vm1 on dmz01: start [failed" in ran.out


EARLIER = paper.action(
    "vm2", Consequence.HELD, what="host", old="dmz02", new="dmz03", host="dmz02", held="since 9:01"
)
HELD_EARLIER = (  # the one host holds the move, the other one what would come of it
    "vm2 on dmz02: host dmz02 => dmz03: held: since 9:02",
    "vm2 on dmz03: running, 96 MiB: held: dmz02 keeps it: since 9:02",
)


def before() -> PlanAnswer:
    """The site before the change: vm2 is held."""
    reports = {
        f"dmz0{n}": replace(paper.report(f"dmz0{n}"), held=(HELD_EARLIER[n - 2],)) for n in (2, 3)
    }
    return PlanAnswer(paper.HEAD, Plan((EARLIER,)), reports, {})


@pytest.mark.parametrize("args", [("pause", "vm1"), ("host", "resume", "dmz01"), ("apply",)])
def test_what_was_held_before_is_not_this_changes_fault(
    xsm: Runner, site: Site, folder: Path, args: tuple[str, ...]
) -> None:
    site.answers["GET /v1/plan"] = before()
    both = paper.preview(plan=Plan((paper.action("vm1", Consequence.LIVE), EARLIER)))
    site.answers |= {"POST /v1/preview": both, "POST /v1/preview-command": both}
    site.answers["GET /v1/status"] = replace(paper.settled(), converged=False, held=HELD_EARLIER)
    ran = xsm(*args, *([str(folder), "--yes"] if args == ("apply",) else []))
    assert (ran.code, ran.err) == (0, "")
    done, last, still = ran.out.splitlines()[-3:]
    assert done == "done: vm1 on dmz01: live: memory 96 MiB => 128 MiB"
    assert last.startswith("Done on feedbeeffe after ")
    assert still == "1 earlier thing is still held (`xsm plan`)."


def test_of_the_changes_own_vm_only_what_is_new_counts(xsm: Runner, site: Site) -> None:
    """vm2 can't move, which was so before; pausing it is done all the same. That it can't be paused is news."""
    paused = paper.action("vm2", Consequence.PAUSE, what="power", host="dmz02")
    site.answers["GET /v1/plan"] = before()
    site.answers["POST /v1/preview-command"] = paper.preview(plan=Plan((paused, EARLIER)))
    left = replace(paper.settled(), converged=False, held=HELD_EARLIER)
    site.answers["GET /v1/status"] = left
    assert xsm("pause", "vm2").code == 0
    new = "vm2 on dmz02: power running => paused: held: it crashed"
    site.answers["GET /v1/status"] = replace(left, held=(*HELD_EARLIER, new))
    ran = xsm("pause", "vm2")
    assert ran.code == 1
    assert f"Not converged: 1 thing held:\n  {new}\n1 earlier thing is still held" in ran.out


def test_an_edit_that_lets_a_held_thing_go_waits_for_it(
    xsm: Runner, site: Site, folder: Path
) -> None:
    freed = replace(EARLIER, consequence=Consequence.MIGRATE_COLD, held="", target="dmz03")
    site.answers["GET /v1/plan"] = before()
    site.answers["POST /v1/preview"] = paper.preview(plan=Plan((freed,)))
    members = tuple(paper.member(n, paper.NEW) for n in (1, 2, 3))
    status = replace(paper.settled(), members=members)
    left = "vm2 on dmz03: create: running, 96 MiB (so) [waits]"
    site.answers["GET /v1/status"] = [replace(status, converged=False, pending=(left,)), status]
    out = xsm("apply", str(folder), "--yes").out
    assert out.index("pending: vm2 on dmz03: create") < out.index(
        "done: vm2 on dmz02: migrate cold: host dmz02 => dmz03"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reach": Reach.FAILED}, "dmz01 does not answer; it catches up"),
        ({"error": "frozen: merge rule 9"}, "dmz01: frozen: merge rule 9"),
    ],
)
def test_a_host_that_cant_do_its_part_holds_it(
    xsm: Runner, site: Site, folder: Path, changes: dict[str, object], said: str
) -> None:
    """It lists nothing as pending, for it doesn't answer, or doesn't look."""
    members = (paper.member(1, paper.NEW, **changes), paper.member(2, paper.NEW, myself=True))
    site.answers["GET /v1/status"] = replace(paper.settled(), members=members)
    ran = xsm("apply", str(folder), "--yes")
    assert ran.code == 1
    assert f"  vm1 on dmz01: memory 96 MiB => 128 MiB: held: {said}\n" in ran.out
    assert "done:" not in ran.out


def test_nothing_is_done_on_hosts_that_have_gone_on_to_another_revision(
    xsm: Runner, site: Site, folder: Path
) -> None:
    site.answers["GET /v1/status"] = paper.settled(paper.OLD)
    ran = xsm("apply", str(folder), "--yes")
    assert ran.code == 0
    assert "done:" not in ran.out


def test_a_vm_that_was_placed_elsewhere_than_previewed_is_not_said_to_be_done(
    xsm: Runner, site: Site, folder: Path
) -> None:
    site.answers["POST /v1/apply"] = paper.applied(changes=("vm1: placed on dmz02",))
    ran = xsm("apply", str(folder), "--yes")
    assert ran.code == 0
    assert "done:" not in ran.out


def test_a_frozen_host_ends_the_following_at_once(xsm: Runner, site: Site, folder: Path) -> None:
    site.answers["GET /v1/status"] = replace(
        paper.settled(), converged=False, frozen="unknown merge version 2"
    )
    ran = xsm("apply", str(folder), "--yes")
    assert ran.code == 1
    assert "dmz01 is frozen: unknown merge version 2" in ran.out


def test_xsmd_may_restart_while_it_is_followed(xsm: Runner, site: Site, folder: Path) -> None:
    site.answers["GET /v1/status"] = [Refusal("busy", "starting"), paper.settled()]
    assert xsm("apply", str(folder), "--yes").code == 0


def test_absent_hosts_and_needed_restarts_are_told(xsm: Runner, site: Site, folder: Path) -> None:
    absent = paper.member(3, "", reach=Reach.FAILED)
    done = paper.settled()
    site.answers["GET /v1/status"] = replace(
        done,
        members=(*done.members, absent),
        notes=("vm1 on dmz01: restart needed: kernel a => b (site file)", "dmz02: web: foreign"),
    )
    ran = xsm("apply", str(folder), "--yes")
    assert ran.code == 0
    assert "dmz03 does not answer; it catches up when it is back\n" in ran.out
    assert "vm1 on dmz01: restart needed: kernel a => b (site file)\n" in ran.out
    assert "foreign" not in ran.out
    assert "Converged but for dmz03 on feedbeeffe after" in ran.out


def test_apply_as_json_is_one_outcome(xsm: Runner, site: Site, folder: Path) -> None:
    ran = xsm("apply", str(folder), "--yes", "-o", "json")
    assert (ran.code, ran.err) == (0, "")
    outcome = msgspec.json.decode(ran.out, type=Outcome)
    assert outcome.changed
    assert outcome.revision == paper.NEW
    assert outcome.progress is not None
    assert outcome.progress.verdict == "converged"
    assert xsm("apply", str(folder), "-o", "json").code == 2


def test_restart_permission_is_passed_on(xsm: Runner, site: Site, folder: Path) -> None:
    xsm("apply", str(folder), "--yes", "--restart", "vm2", "--restart", "vm1")
    (sent,) = site.bodies("/v1/apply", Proposal)
    assert isinstance(sent, Proposal)
    assert sent.restart == ("vm1", "vm2")


def test_a_change_of_format_removes_the_old_site_file(
    xsm: Runner, site: Site, folder: Path
) -> None:
    (folder / "site.xml").rename(folder / "site.yaml")
    xsm("apply", str(folder), "--yes")
    (sent,) = site.bodies("/v1/apply", Proposal)
    assert isinstance(sent, Proposal)
    assert sent.remove == ("site.xml",)
    assert "site.yaml" in sent.files


def git(folder: Path, *args: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", *identity, "-C", str(folder), *args], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_clone_is_edited_from_its_base(xsm: Runner, site: Site, folder: Path) -> None:
    """Own commits on top of a pulled one are looked through; a config deleted in the clone goes."""
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "pulled")
    base = git(folder, "rev-parse", "HEAD")
    git(folder, "commit", "-q", "--allow-empty", "-m", "mine")
    (folder / "state").mkdir()
    (folder / "state" / "members.json").write_text("{}")
    site.answers[f"GET /v1/revision/{base}"] = paper.revision(base)
    site.answers[f"GET /v1/files?revision={base}"] = {
        "site.xml": paper.SITE_XML,
        "configs/apache_svr.cfg": paper.CONFIG,
        "configs/old.cfg": b"",
        "README": b"",
    }
    assert xsm("apply", str(folder), "--yes").code == 0
    (sent,) = site.bodies("/v1/apply", Proposal)
    assert isinstance(sent, Proposal)
    assert sent.base == base
    assert sent.remove == ("configs/old.cfg",)
    assert sorted(sent.files) == ["configs/apache_svr.cfg", "site.xml"]


def test_a_folder_inside_somebody_elses_repository_has_no_base(
    xsm: Runner, site: Site, folder: Path
) -> None:
    git(folder.parent, "init", "-q")
    assert xsm("apply", str(folder), "--yes").code == 0
    (sent,) = site.bodies("/v1/apply", Proposal)
    assert isinstance(sent, Proposal)
    assert sent.base == ""


@pytest.mark.parametrize(
    ("args", "command"),
    [
        (("migrate", "vm1", "dmz02"), Command(Verb.MIGRATE, vm="vm1", to="dmz02")),
        (
            ("migrate", "vm1", "dmz02", "--cold"),
            Command(Verb.MIGRATE, vm="vm1", to="dmz02", cold=True),
        ),
        (("start", "vm1"), Command(Verb.START, vm="vm1")),
        (("stop", "vm1", "--yes"), Command(Verb.STOP, vm="vm1")),
        (("pause", "vm1", "-m", "why"), Command(Verb.PAUSE, vm="vm1", message="why")),
        (("resume", "vm1"), Command(Verb.RESUME, vm="vm1")),
        (("restart", "vm1", "-y"), Command(Verb.RESTART, vm="vm1")),
        (("host", "resume", "dmz02"), Command(Verb.UNDRAIN, host="dmz02")),
        (
            ("host", "resume", "dmz02", "--bring-home"),
            Command(Verb.UNDRAIN, host="dmz02", home=True),
        ),
        (("host", "forget", "dmz02", "-y"), Command(Verb.FORGET, host="dmz02")),
        (
            ("host", "forget", "dmz02", "-y", "--it-is-off"),
            Command(Verb.FORGET, host="dmz02", sure=True),
        ),
        (("resolve", "vm1"), Command(Verb.RESOLVE, vm="vm1")),
        (("disk", "make", "vm1", "a", "-y"), Command(Verb.MAKE_DISK, vm="vm1", disk="a")),
        (("rollback", paper.OLD, "-y"), Command(Verb.ROLLBACK, to=paper.OLD)),
        (
            ("adopt", "dmz01", "web", "db", "-y"),
            Command(Verb.ADOPT, host="dmz01", vms=("db", "web")),
        ),
    ],
)
def test_small_commands(xsm: Runner, site: Site, args: tuple[str, ...], command: Command) -> None:
    ran = xsm(*args)
    assert (ran.code, ran.err) == (0, "")
    assert site.bodies("/v1/preview-command", Command) == [command]
    assert site.bodies("/v1/command", Command) == [replace(command, expect=paper.HEAD)]
    assert "Converged on feedbeeffe" in ran.out


@pytest.mark.parametrize(
    "args",
    [
        ("stop", "vm1"),
        ("restart", "vm1"),
        ("host", "forget", "dmz02"),
        ("rollback", paper.OLD),
        ("adopt", "dmz01"),
    ],
)
def test_disruptive_commands_ask(xsm: Runner, site: Site, args: tuple[str, ...]) -> None:
    ran = xsm(*args)
    assert ran.code == 2
    assert "give --yes" in ran.err
    assert "/v1/command" not in site.paths("POST")


@pytest.mark.parametrize(
    ("vm", "consequence", "held", "asks"),
    [
        ("vm1", Consequence.MIGRATE_LIVE, "", False),
        ("vm1", Consequence.MIGRATE_COLD, "", True),
        ("vm1", Consequence.MIGRATE_COLD, "never by policy", False),
        ("vm9", Consequence.MIGRATE_COLD, "", False),  # somebody else's, pending from before
    ],
)
def test_a_migration_asks_only_when_its_vm_must_stop(
    xsm: Runner, site: Site, *, vm: str, consequence: Consequence, held: str, asks: bool
) -> None:
    plan = Plan((paper.action(vm, consequence, held=held),))
    site.answers["POST /v1/preview-command"] = paper.preview(plan=plan)
    ran = xsm("migrate", "vm1", "dmz02")
    assert ran.code == (2 if asks else 0)


def test_draining_asks_when_any_vm_must_stop(xsm: Runner, site: Site) -> None:
    plan = Plan((paper.action("vm9", Consequence.MIGRATE_COLD),))
    site.answers["POST /v1/preview-command"] = paper.preview(plan=plan)
    assert xsm("host", "drain", "dmz02").code == 2


def test_a_small_command_counts_the_actions_of_others(xsm: Runner, site: Site) -> None:
    site.answers["POST /v1/preview-command"] = paper.preview(plan=paper.plan())
    out = xsm("pause", "vm1").out
    assert "(4 actions of other VMs: `xsm plan`)" in out
    assert "vm4" not in out


def test_a_small_command_that_changes_nothing(xsm: Runner, site: Site) -> None:
    site.answers["POST /v1/preview-command"] = Preview(paper.HEAD, (), Plan())
    ran = xsm("start", "vm1")
    assert ran.code == 0
    assert ran.out.startswith("vm1 is ")
    assert xsm("stop", "vm1").code == 0
    held = paper.action("vm1", Consequence.HELD, held="dmz01 does not answer")
    others = paper.action("vm2", Consequence.LIVE)
    site.answers["POST /v1/preview-command"] = Preview(paper.HEAD, (), Plan((held, others)))
    ran = xsm("start", "vm1")
    assert (ran.code, ran.out) == (
        0,
        "Nothing to change in the file; 1 earlier thing is still held (`xsm why vm1`).\n",
    )


def test_a_small_command_that_is_refused(xsm: Runner, site: Site) -> None:
    site.answers["POST /v1/preview-command"] = Refusal("conflict", "vm1 is held", "resolve it")
    ran = xsm("start", "vm1")
    assert (ran.code, ran.err) == (1, "xsm: vm1 is held\n  hint: resolve it\n")


def test_rollback_to_something_unknown(xsm: Runner) -> None:
    assert xsm("rollback", "deadbeef").code == 2


def test_adopt_shows_the_entries_that_the_site_file_got(xsm: Runner, site: Site) -> None:
    entry = b' <VM name="web" config="web">\n  </VM>\n'
    site.answers[f"GET /v1/files?revision={paper.NEW}"] = {
        "site.xml": paper.SITE_XML.replace(b"</Set>\n", entry + b"</Set>\n")
    }
    out = xsm("adopt", "dmz01", "--yes").out
    assert 'site.xml has now:\n   <VM name="web" config="web">\n    </VM>\n' in out


def test_invite_prints_the_very_command(xsm: Runner, site: Site) -> None:
    from xsm.api.types import Invitation

    site.answers["POST /v1/invite"] = Invitation("tok.en", "https://192.168.5.101:8701", paper.DAY)
    ran = xsm("invite", "dmz05")
    assert f"{time.strftime('%Z', time.localtime(paper.DAY))}. Run this on dmz05:" in ran.err
    assert ran.code == 0
    assert ran.out.startswith("xsm join tok.en --name dmz05 --address ")
    assert site.asked[-1].body == b'{"name":"dmz05"}'


def test_an_answer_can_be_refused_late(xsm: Runner, site: Site, folder: Path) -> None:
    """The head is fine at preview; at apply a problem has come up."""
    problem = (Problem("site.xml", 1, "two VMs have this MAC"),)
    site.answers["POST /v1/apply"] = Refusal("invalid", "the site can't be like that", "", problem)
    ran = xsm("apply", str(folder), "--yes")
    assert ran.code == 2
    assert ran.err.startswith("site.xml:1: error: two VMs have this MAC\n")


def test_a_body_that_is_refused_before_it_is_read(xsm: Runner, site: Site, folder: Path) -> None:
    def refuse(_asked: Asked) -> Raw:
        return Raw(msgspec.json.encode(Refusal("bad-request", "too big")), 413)

    site.answers["POST /v1/preview"] = refuse
    assert xsm("apply", str(folder)).err == "xsm: too big\n"


def test_a_host_that_is_vouched_to_be_off_is_looked_at(xsm: Runner, site: Site) -> None:
    """What it ran is named, and that its address answers: only the machine itself can refuse a connection."""
    why = "nobody listens at https://192.168.5.102:8701 (xsmd is not running there)"
    silent = paper.member(2, reach=Reach.FAILED, error=why)
    site.answers["GET /v1/status"] = [
        paper.status(members=(paper.member(1), silent)),
        paper.settled(),
    ]
    site.answers["GET /v1/vms"] = (
        paper.vm("vm1"),
        paper.vm("vm2", running_on=("dmz02",)),
        paper.vm("vm3", wanted_host="dmz02", running_on=(), state="unknown"),
    )
    assert xsm("host", "forget", "dmz02", "-y", "--it-is-off").err == (
        "dmz02 ran, or may run: vm2, vm3\n"
        "dmz02 is on: its address answers that only xsmd is not running there. Its VMs may well run\n"
    )
