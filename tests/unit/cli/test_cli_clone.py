"""A clone after an apply from it: it goes on to the revision, or stays whole and says why. Real git."""

from __future__ import annotations

import base64
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.cli import paper_site as paper
from tests.unit.cli.canned import Runner, Site
from xsm.cli.client import Client
from xsm.cli.site_clone import bring_along
from xsm.cli.site_folder import undoes
from xsm.edge.folder import read_folder

FIRST = {
    "site.xml": b"<XSMConfig>1</XSMConfig>\n",
    "configs/a.cfg": b"memory = 1\n",
    "configs/gone.cfg": b"memory = 2\n",
    "state/site.json": b"{}\n",
    "README": b"hello\n",
}
APPLIED = {
    "site.xml": b"<XSMConfig>2</XSMConfig>\n",
    "configs/a.cfg": b"memory = 1\n",
    "configs/new.cfg": b"memory = 3\n",
    "state/site.json": b"{}\n",
    "state/placement.json": b'{"vm1": "dmz01"}\n',
    "README": b"hello\n",
}


def git(folder: Path, *args: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", *identity, "-C", str(folder), *args],
        check=True, capture_output=True, text=True, env=environment,
    ).stdout.strip()  # fmt: skip


def write(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


@dataclass
class Work:
    """A user's clone, with an edit that was applied, and the host that it was cloned from."""

    path: Path
    host: Path
    client: Client
    head: str
    revision: str

    def bring(self) -> str:
        return bring_along(
            read_folder(str(self.path), with_state=False), self.client, self.revision
        )

    def at(self) -> str:
        return git(self.path, "rev-parse", "HEAD")

    def dirty(self) -> str:
        return git(self.path, "status", "--porcelain")

    def there(self) -> dict[str, bytes]:
        found = (p for p in self.path.rglob("*") if p.is_file())
        files = {str(p.relative_to(self.path)): p.read_bytes() for p in found}
        return {path: content for path, content in files.items() if not path.startswith(".git/")}


@pytest.fixture
def work(tmp_path: Path, site: Site, socket_path: Path) -> Work:
    host, path = tmp_path / "host", tmp_path / "work"
    host.mkdir()
    git(host, "init", "-q", "-b", "main")
    write(host, FIRST)
    git(host, "add", ".")
    git(host, "commit", "-q", "-m", "first")
    head = git(host, "rev-parse", "HEAD")
    git(tmp_path, "clone", "-q", str(host), str(path))
    write(host, APPLIED)
    (host / "configs" / "gone.cfg").unlink()
    git(host, "add", "-A")
    git(host, "commit", "-q", "-m", "applied")
    revision = git(host, "rev-parse", "HEAD")
    site.answers[f"GET /v1/files?revision={revision}"] = {
        name: base64.b64encode(content).decode() for name, content in APPLIED.items()
    }
    write(path, {k: v for k, v in APPLIED.items() if not k.startswith("state/")})
    (path / "configs" / "gone.cfg").unlink()
    return Work(path, host, Client(str(socket_path)), head, revision)


def test_a_clone_goes_on_to_what_was_applied_from_it(work: Work) -> None:
    write(work.path, {"notes.txt": b"mine"})
    assert work.bring() == f"your clone is on {work.revision[:10]} now"
    assert work.at() == work.revision
    assert work.dirty() == "?? notes.txt"
    assert work.there() == {**APPLIED, "notes.txt": b"mine"}
    git(work.path, "pull", "-q")
    assert work.bring() == ""


def test_what_is_staged_and_edited_beside_it_stays_so(work: Work) -> None:
    write(work.path, {"README": b"mine\n", "notes.txt": b"mine"})
    git(work.path, "add", "notes.txt", "site.xml")
    work.bring()
    assert work.at() == work.revision
    assert work.dirty() == "M README\nA  notes.txt"
    assert work.there() == {**APPLIED, "README": b"mine\n", "notes.txt": b"mine"}


def stays(work: Work, why: str) -> None:
    """Nothing of the clone has changed, and the line says why."""
    before = (work.at(), work.dirty(), work.there())
    said = work.bring()
    assert said.startswith("your clone stays on ") and why in said, said
    assert f"`git stash -u; git pull --rebase` brings it to {work.revision[:10]}" in said
    assert "\n" not in said
    assert (work.at(), work.dirty(), work.there()) == before
    assert not list((work.path / ".git").glob("index.lock*"))


def test_other_work_in_its_way_is_not_touched(work: Work) -> None:
    write(work.path, {"state/placement.json": b"mine"})
    stays(work, "state/placement.json")
    (work.path / "state" / "placement.json").unlink()
    write(work.path, {"site.xml": b"staged"})
    git(work.path, "add", "site.xml")
    write(work.path, {"site.xml": APPLIED["site.xml"]})
    stays(work, "site.xml is staged otherwise")


def test_an_edit_that_was_merged_or_changed_since_is_not_touched(work: Work) -> None:
    write(work.path, {"site.xml": b"<XSMConfig>3</XSMConfig>\n"})
    stays(work, "merged this edit with others")
    # Saved again while the hosts were followed.
    write(work.path, {"site.xml": APPLIED["site.xml"]})
    folder = read_folder(str(work.path), with_state=False)
    write(work.path, {"site.xml": b"next"})
    assert "it was edited meanwhile" in bring_along(folder, work.client, work.revision)
    assert (work.path / "site.xml").read_bytes() == b"next" and work.at() == work.head


def test_own_commits_other_branches_and_lost_origins_stay(work: Work) -> None:
    git(work.path, "switch", "-q", "-c", "try")
    stays(work, "it is on try, not on main")
    git(work.path, "switch", "-q", "main")
    (work.path / ".git" / "index.lock").touch()
    said = work.bring()
    assert "another git is at work" in said
    (work.path / ".git" / "index.lock").unlink()
    work.host.rename(work.host.with_name("away"))
    git(work.path, "update-ref", "-d", "refs/remotes/origin/main")
    git(work.path, "gc", "-q", "--prune=now")
    (work.path / ".git" / "FETCH_HEAD").unlink()
    git(work.path, "gc", "-q", "--prune=now")
    stays(work, "origin can't be asked for the new revision")
    work.host.with_name("away").rename(work.host)
    git(work.path, "commit", "-q", "-a", "-m", "mine")
    stays(work, "it has commits of its own")
    # What the line advises works, and loses nothing.
    git(work.path, "stash", "-q", "-u")
    git(work.path, "pull", "-q", "--rebase")
    assert work.at() == work.revision


def test_a_folder_that_is_no_clone_is_left_alone(work: Work, folder: Path) -> None:
    loose = read_folder(str(folder), with_state=False)
    assert bring_along(loose, work.client, work.revision) == ""


# -- a loose copy -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "earlier", "undone"),
    [
        ("vm1: MEM 160 => 96", "vm1: MEM 96 => 128", True),
        ("vm1: MEM 128 => 160", "vm1: MEM 96 => 128", False),
        ("vm10: MEM 128 => 96", "vm1: MEM 96 => 128", False),
        ("vm1: VCPUS 2 => 96", "vm1: MEM 96 => 128", False),
        ("vm5: removed", "vm5: added (64 MiB, 1 VCPU, floating)", True),
        ("vm5: added (64 MiB, 1 VCPU, on dmz01)", "vm5: removed", True),
        ("vm6: removed", "vm5: added (64 MiB, 1 VCPU, floating)", False),
        ("set web: owner b c => a b", "set web: owner a b => b c", True),
        ("vm1: placed on dmz02", "vm1: placed on dmz01", False),
    ],
)
def test_what_undoes_what(change: str, earlier: str, undone: bool) -> None:
    assert undoes(change, earlier) is undone


def test_a_loose_copy_that_takes_back_others_edits_is_warned_of(
    xsm: Runner, site: Site, folder: Path
) -> None:
    change = "vm1: MEM 128 => 96"
    site.answers["POST /v1/preview"] = paper.Preview(
        paper.HEAD, (change,), paper.plan_answer().plan
    )
    site.answers["GET /v1/history"] = (paper.revision(changes=("vm1: MEM 96 => 128",)),)
    warning = (
        f"{folder}/site.xml: warning: this folder isn't a git clone of the site: it was compared with "
        "the present head, and takes back vm1: MEM 96 => 128"
    )
    assert warning in xsm("plan", str(folder)).err
    assert warning in xsm("apply", str(folder), "--yes", "--no-wait").err
    site.answers["GET /v1/history"] = (paper.revision(changes=("vm2: MEM 96 => 128",)),)
    assert "warning" not in xsm("plan", str(folder)).err


def test_only_what_still_holds_is_taken_back(xsm: Runner, site: Site, folder: Path) -> None:
    """A pause that a resume has ended is nobody's word any more, and a merge is nobody's at all."""
    site.answers["POST /v1/preview"] = paper.Preview(
        paper.HEAD, ("vm1: STATE stopped => running",), paper.plan_answer().plan
    )
    site.answers["GET /v1/history"] = (
        paper.revision("e" * 40, changes=("vm1: STATE running => stopped",), merge=True),
        paper.revision("d" * 40, changes=("vm1: STATE running => stopped",)),
        paper.revision("c" * 40, changes=("vm1: STATE paused => running",)),
        paper.revision("b" * 40, changes=("vm1: STATE running => paused",)),
    )
    (said,) = [line for line in xsm("plan", str(folder)).err.splitlines() if "warning" in line]
    assert (
        "takes back vm1: STATE running => stopped (dddddddddd by Root <root@domain.com>) (" in said
    )
