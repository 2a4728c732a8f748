"""The commands that need no xsmd: validate, convert, domxml, plan against an observation."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from tests.unit.cli import paper_site as paper
from tests.unit.cli.canned import Ran, Runner, Site, run_xsm
from xsm.api.types import PlanAnswer, Preview
from xsm.cli.observation import Observation
from xsm.site import state_file
from xsm.site.state import Member, State

STATE = State(
    site_id="6f1d7a52-37f5-4a9e-9f60-0e5e4ac10001",
    members={
        f"dmz0{n}": Member(f"dmz0{n}", f"192.168.5.10{n}", f"https://192.168.5.10{n}:8701")
        for n in (1, 2)
    },
)


@pytest.fixture(autouse=True)
def no_site(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks a daemon here fails."""
    monkeypatch.setenv("XSM_SOCKET", "/nonexistent/xsmd.sock")


def test_a_valid_folder(folder: Path) -> None:
    ran = run_xsm("validate", str(folder))
    assert ran == Ran(0, f"{folder}: valid: 1 VM on 1 host\n", "")
    assert run_xsm("validate", str(folder / "site.xml")).code == 0


def test_the_present_folder_is_the_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert run_xsm("validate").code == 0
    (folder / "site.xml").write_text("<XSMConfig><Sett/></XSMConfig>")
    assert run_xsm("validate").err.startswith("site.xml:1: error: ")


def test_hosts_are_counted_once_listed_or_named(folder: Path) -> None:
    hosts = b'<Host name="dmz01"><ADDRESS>192.168.5.101</ADDRESS></Host><Host name="dmz02"/>'
    text = (folder / "site.xml").read_bytes()
    (folder / "site.xml").write_bytes(text.replace(b"<XSMConfig>", b"<XSMConfig>" + hosts))
    assert run_xsm("validate", str(folder)).out == f"{folder}: valid: 1 VM on 2 hosts\n"


def test_the_present_folder_is_told_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_xsm("validate").err.startswith(f"{tmp_path}: error: no site file there")


def test_every_problem_is_told_with_its_line(folder: Path) -> None:
    text = (folder / "site.xml").read_text()
    text = text.replace("<MEM>128<", "<MEM>much<").replace("<VCPUS>4<", "<VCPUS>0<")
    (folder / "site.xml").write_text(text)
    ran = run_xsm("validate", str(folder / "site.xml"))
    assert (ran.code, ran.out) == (2, "")
    first, second, last = ran.err.splitlines()
    assert first.startswith(f"{folder}/site.xml:6: error: ")
    assert second.startswith(f"{folder}/site.xml:9: error: ")
    assert last == f"{folder}/site.xml: 2 errors"
    as_json = run_xsm("validate", str(folder / "site.xml"), "-o", "json")
    assert as_json.code == 2
    told = as_json.json()
    assert isinstance(told, dict)
    assert told["valid"] is False
    assert [p["line"] for p in told["problems"]] == [6, 9]
    assert told["problems"][0]["path"] == f"{folder}/site.xml"


def test_a_missing_config_is_a_problem(folder: Path) -> None:
    (folder / "configs" / "apache_svr.cfg").unlink()
    ran = run_xsm("validate", str(folder))
    assert ran.code == 2
    assert "apache_svr" in ran.err


def test_a_folder_without_a_site_is_invalid_input(tmp_path: Path) -> None:
    ran = run_xsm("validate", str(tmp_path))
    assert ran.code == 2
    assert f"{tmp_path}: error: no site file there" in ran.err
    assert run_xsm("validate", str(tmp_path / "none.xml")).code == 2


HOSTILE = {
    "entities": b'<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><XSMConfig>&d;</XSMConfig>',
    "external": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><XSMConfig>&b;</XSMConfig>',
    "deep": b"<a>" * 200_000,
    "no text": bytes(range(256)),
    "empty": b"",
    "cut off": b"<XSMConfig><Set name=",
}


@pytest.mark.parametrize("kind", sorted(HOSTILE))
@pytest.mark.parametrize("command", ["validate", "convert", "domxml", "plan"])
def test_hostile_files_are_invalid_input(tmp_path: Path, kind: str, command: str) -> None:
    path = tmp_path / "site.xml"
    path.write_bytes(HOSTILE[kind])
    seen = tmp_path / "seen.json"
    seen.write_bytes(observation())
    more = {"domxml": ["vm1"], "plan": ["--against", str(seen)]}.get(command, [])
    ran = run_xsm(command, str(path), *more)
    assert (ran.code, ran.out) == (2, "")
    assert f"{path}" in ran.err
    assert "passwd" not in ran.err
    assert "Traceback" not in ran.err


def test_convert_there_and_back(folder: Path, tmp_path: Path) -> None:
    source = folder / "site.xml"
    yaml = run_xsm("convert", str(source), "--output", str(tmp_path / "out.yaml"))
    assert yaml == Ran(0, "", "")
    assert "vm1" in (tmp_path / "out.yaml").read_text()
    assert (
        run_xsm("convert", str(tmp_path / "out.yaml"), "--output", str(tmp_path / "b.xml")).code
        == 0
    )
    assert (tmp_path / "b.xml").read_text().count("<MEM>128</MEM>") == 1


@pytest.mark.parametrize("name", ["site.xml.bak", "old", "site.YAML"])
def test_convert_looks_into_files_of_other_names(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\xef\xbb\xbf \n" + (folder / "site.xml").read_bytes())
    ran = run_xsm("convert", str(folder / name), "-o", "json")
    assert (ran.code, ran.err) == (0, "")
    assert "name: vm1" in ran.out
    (folder / name).write_bytes(b"sets:\n- name: x\n  vm: []\n")
    ran = run_xsm("convert", str(folder / name))
    assert ran.code == 2
    assert ran.err.startswith(f"{folder / name}:3: error: vm: is not known")


def test_convert_never_overwrites_unasked(folder: Path) -> None:
    target = folder / "mine.yaml"
    target.write_text("mine")
    args = ("convert", str(folder / "site.xml"), "--output", str(target))
    ran = run_xsm(*args)
    assert (ran.code, target.read_text()) == (2, "mine")
    assert ran.err == f"xsm: {target} is there already\n  hint: give --force to replace it\n"
    umask = os.umask(0o027)
    try:
        assert run_xsm(*args, "--force").code == 0
    finally:
        os.umask(umask)
    assert target.read_text() != "mine"
    assert target.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in folder.iterdir()) == ["configs", "mine.yaml", "site.xml"]


def test_convert_of_files_that_cant_be_read_or_written(folder: Path) -> None:
    assert run_xsm("convert", str(folder / "none.xml")).err == (
        f"xsm: {folder}/none.xml can't be read: No such file or directory\n"
    )
    ran = run_xsm("convert", str(folder / "site.xml"), "--output", "/nonexistent/out.yaml")
    assert (ran.code, ran.err) == (
        2,
        "xsm: /nonexistent/out.yaml can't be written: No such file or directory\n",
    )


def test_convert_as_json(folder: Path) -> None:
    told = run_xsm("convert", str(folder / "site.xml"), "-o", "json").json()
    assert isinstance(told, dict)
    assert told["format"] == "yaml"
    assert "vm1" in told["text"]


@pytest.mark.parametrize("kind", ["xen", "kvm", "qemu", "test"])
def test_domxml(folder: Path, kind: str) -> None:
    ran = run_xsm("domxml", str(folder), "vm1", "--kind", kind)
    assert ran.code == 0
    assert "<name>vm1</name>" in ran.out
    assert "aa:00:00:00:00:01" in ran.out
    assert "(not of a site yet: derived UUIDs and MACs will be others)" in ran.err


def test_domxml_of_a_site_has_its_identity(folder: Path) -> None:
    for path, content in state_file.write(STATE).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    ran = run_xsm("domxml", str(folder), "vm1", "-o", "json")
    assert ran.err == ""
    told = ran.json()
    assert isinstance(told, dict)
    assert "<uuid>" in told["xml"]


def test_domxml_of_an_unknown_vm(folder: Path) -> None:
    ran = run_xsm("domxml", str(folder), "vm2")
    assert ran.code == 2
    assert ran.err == f"xsm: {folder}/site.xml has no VM vm2\n  hint: did you mean vm1?\n"


def observation(**changes: object) -> bytes:
    values: dict[str, object] = {
        "version": 1,
        "revision": paper.HEAD,
        "saved_at": paper.DAY + 1,
        "files": state_file.write(STATE),
        "reports": {"dmz01": paper.report("dmz01"), "dmz02": paper.report("dmz02")},
        "unreachable": {},
    }
    return msgspec.json.encode(Observation(**{**values, **changes}))  # type: ignore[arg-type]


def test_a_plan_against_a_saved_observation(folder: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    seen.write_bytes(observation(reports={f"dmz0{n}": empty_report(n) for n in (1, 2)}))
    ran = run_xsm("plan", str(folder), "--against", str(seen))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Create:\n  +  vm1  dmz01  ")
    assert ran.out.endswith("Plan: 1 to create.\n")
    assert run_xsm("plan", str(folder), "--against", str(seen)) == ran
    as_json = run_xsm("plan", str(folder), "--against", str(seen), "-o", "json")
    preview = msgspec.json.decode(as_json.out, type=Preview)
    assert [action.vm for action in preview.plan.actions] == ["vm1"]


def empty_report(number: int) -> object:
    from dataclasses import replace

    return replace(paper.report(f"dmz0{number}"), domains=())


def test_a_floating_vm_is_placed_in_the_offline_plan(folder: Path, tmp_path: Path) -> None:
    text = (folder / "site.xml").read_text().replace("<DOM0>192.168.5.101</DOM0>", "")
    (folder / "site.xml").write_text(text)
    seen = tmp_path / "seen.json"
    seen.write_bytes(observation(reports={f"dmz0{n}": empty_report(n) for n in (1, 2)}))
    ran = run_xsm("plan", str(folder), "--against", str(seen))
    assert ran.code == 0
    assert "+  vm1  dmz0" in ran.out


def test_the_observation_is_what_the_site_says(
    xsm: Runner, site: Site, folder: Path, tmp_path: Path
) -> None:
    """Saved from a running site, read back without it."""
    site.answers[f"GET /v1/files?revision={paper.HEAD}"] = {
        "site.xml": paper.SITE_XML,
        **state_file.write(STATE),
    }
    site.answers["GET /v1/plan"] = PlanAnswer(
        paper.HEAD, paper.plan(), {"dmz01": paper.report("dmz01")}, {"dmz02": "timed out"}
    )
    seen = tmp_path / "seen.json"
    ran = xsm("plan", "--save-observation", str(seen))
    assert ran.code == 0
    assert ran.err == f"saved the observation of 1 host to {seen}\n"
    saved = msgspec.json.decode(seen.read_bytes(), type=Observation)
    assert sorted(saved.files) == ["state/members.json", "state/site.json"]
    offline = run_xsm("plan", str(folder), "--against", str(seen))
    assert offline.code == 0
    assert "no fresh report of dmz02: timed out" in offline.out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no saved observation"),
        (b"{}", "is no saved observation"),
        (b"[1]", "is no saved observation"),
        (observation(version=2), "has format 2, this xsm knows 1"),
        (observation(files={"site.xml": b""}), "holds more than state tables"),
    ],
)
def test_observations_that_are_none(
    folder: Path, tmp_path: Path, content: bytes, said: str
) -> None:
    seen = tmp_path / "seen.json"
    seen.write_bytes(content)
    ran = run_xsm("plan", str(folder), "--against", str(seen))
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_an_offline_plan_of_a_damaged_state_is_refused(folder: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    seen.write_bytes(observation(files={"state/members.json": b"[]"}))
    ran = run_xsm("plan", str(folder), "--against", str(seen))
    assert ran.code == 2
    assert "state/members.json" in ran.err


def test_against_and_save_exclude_each_other(tmp_path: Path) -> None:
    ran = run_xsm("plan", "--against", "a", "--save-observation", "b")
    assert ran.code == 2


def test_plan_of_a_file_is_a_preview(xsm: Runner, site: Site, folder: Path) -> None:
    site.answers["POST /v1/preview"] = paper.preview()
    ran = xsm("plan", str(folder))
    assert ran.code == 0
    assert ran.out.startswith("1 change of the site:\n  vm1: MEM 96 => 128\n\nChange live")
    assert "/v1/apply" not in site.paths()


def test_diff_in_the_words_of_the_history(xsm: Runner, site: Site) -> None:
    config = {"configs/apache_svr.cfg": paper.CONFIG}
    new = paper.SITE_XML.replace(b">96<", b">128<")
    site.answers[f"GET /v1/files?revision={paper.OLD}"] = {"site.xml": paper.SITE_XML, **config}
    site.answers[f"GET /v1/files?revision={paper.HEAD}"] = {"site.xml": new, **config}
    ran = xsm("diff")
    assert ran == Ran(0, "0badcafe0b => a1b2c3d4e5\n  vm1: MEM 96 => 128\n", "")
    assert xsm("diff", paper.OLD) == ran
    assert xsm("diff", paper.OLD, paper.HEAD) == ran
    assert xsm("diff", paper.HEAD, paper.OLD).out.endswith("  vm1: MEM 128 => 96\n")
    assert xsm("diff", paper.OLD, paper.OLD).out.endswith("  no difference\n")
    text = xsm("diff", "--text").out
    assert text.startswith("--- a/site.xml\n+++ b/site.xml\n@@ ")
    assert "\n-   <MEM>96</MEM>\n+   <MEM>128</MEM>\n" in text
    told = xsm("diff", "-o", "json").json()
    assert told == {"old": paper.OLD, "new": paper.HEAD, "lines": ["vm1: MEM 96 => 128"]}


def test_diff_of_the_first_revision_lists_its_files(xsm: Runner, site: Site) -> None:
    site.answers["GET /v1/status"] = paper.status(revision=paper.OLD)
    site.answers[f"GET /v1/files?revision={paper.OLD}"] = {"site.xml": b"broken", "x.bin": b"\0"}
    assert xsm("diff").out == "- => 0badcafe0b\n  site.xml: added\n  x.bin: added\n"
    assert "Files a/x.bin and b/x.bin differ\n" in xsm("diff", "--text").out
