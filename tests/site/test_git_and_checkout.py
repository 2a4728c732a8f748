"""Edits that come by git or by saving the checked-out file, on a running site."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.site.running_site import GIT_LIMIT_S, Site, site_text, vm_entry, wait
from xsm.edge import ca

pytestmark = pytest.mark.libvirt
HOSTS = ("dmz01", "dmz02")


def commit(site: Site, work: Path, *entries: str, message: str = "Ann's edit") -> None:
    (work / "site.xml").write_text(site_text(*entries))
    site.git(work, "commit", "-q", "-a", "-m", message)


def problems(text: str) -> list[str]:
    """The lines that name a place in site.xml, without what git and the shell put before it."""
    return [
        line[line.index("site.xml:") :].rstrip()
        for line in text.splitlines()
        if "site.xml:" in line
    ]


# -- git -----------------------------------------------------


def test_a_push_is_carried_out_and_what_floats_is_placed(site: Site) -> None:
    work = site.work()
    commit(
        site, work, vm_entry("web1", "dmz01"), vm_entry("web2"), vm_entry("web9", "dmz02", 99_999)
    )
    planned = problems(site.xsm("dmz01", "plan", str(work)))
    said = site.git(work, "push", "-q")
    new = site.git(work, "rev-parse", "HEAD")
    assert f"remote: xsm: {new[:10]} accepted; 4 changes: web1: added (64 MiB" in said
    assert "`git pull` brings it" in said  # where web2 was placed
    assert problems(said) == planned
    assert "web9 needs 99999 MiB" in planned[0]
    site.wait_running("web1", "dmz01")
    wait("web2 runs somewhere", lambda: len(site.running("web2")) == 1)
    revisions = site.json("dmz02", "history", "-n", "2")
    where = site.running("web2")[0]
    assert revisions[0]["message"] == f"web2: placed on {where}"
    assert revisions[0]["author"] == revisions[1]["author"] == "Ann <ann@domain.com>"
    assert revisions[1]["message"].strip() == "Ann's edit"
    assert site.vm("dmz01", "web2")["wanted_host"] == where
    site.git(work, "pull", "-q")
    assert f'"web2": "{where}"' in (work / "state" / "placement.json").read_text()


def test_an_invalid_push_is_refused_like_an_apply(site: Site) -> None:
    work = site.work()
    before = site.status("dmz01")["revision"]
    wrong = vm_entry("web1", "dmz01").replace(">64<", ">lots<")
    commit(site, work, wrong, vm_entry("web1", "dmz02"), vm_entry("a b"))
    pushed = problems(site.git(work, "push", code=1))
    applied = problems(site.xsm("dmz01", "apply", str(work), "--yes", code=2))
    assert pushed == applied
    assert [line.split(" ")[0] for line in pushed] == ["site.xml:4:", "site.xml:5:", "site.xml:6:"]
    assert site.status("dmz01")["revision"] == before
    assert site.status("dmz02")["revision"] == before


def test_only_main_and_only_forward(site: Site) -> None:
    work, other = site.work(), site.work()
    entries = vm_entry("web1", "dmz01", 72), vm_entry("web2")
    commit(site, work, *entries)
    site.git(work, "push", "-q")
    commit(site, other, vm_entry("web1", "dmz01", 74), vm_entry("web2"))
    assert "git pull" in site.git(other, "push", code=1)
    forced = site.git(other, "push", "--force", code=1)
    assert "the site has moved on" in forced or "non-fast-forward" in forced
    branch = site.git(work, "push", "origin", "HEAD:refs/heads/other", code=1)
    assert "refs/heads/other can't be pushed: the site is the branch main" in branch
    tag = site.git(work, "push", "origin", "HEAD:refs/tags/v1", code=1)
    assert "refs/tags/v1 can't be pushed" in tag
    gone = site.git(work, "push", "origin", ":main", code=1)
    assert "main can't be deleted" in gone
    assert site.git(work, "ls-remote", "origin").split()[1:] == [
        "HEAD",
        site.status("dmz01")["revision"],
        "refs/heads/main",
    ]
    wait("web1 has 72 MiB", lambda: site.memory_mib("dmz01", "web1") == 72)


def test_state_is_not_pushed(site: Site) -> None:
    work = site.work()
    site.git(work, "rm", "-q", "state/members.json")
    site.git(work, "commit", "-q", "-m", "No members")
    assert "state/members.json is missing" in site.git(work, "push", code=1)


def test_git_over_https_with_a_client_certificate(site: Site, tmp_path: Path) -> None:
    host = site.stage.hosts["dmz01"]
    files = ca.peer_files(tmp_path)
    ca.create_key(files.key)
    authority = ca.load_ca(host.folder / "data" / "tls")
    pem = authority.issue_client(ca.create_csr(files.key, "ann"), "ann", "operator", time.time())
    ca.install(files, authority.pem, pem)
    # The certificate is for the host's name and its address 192.168.5.101, which this machine hasn't got.
    place = f"{ca.server_name('dmz01')}:{host.place.listen_port}"
    resolve = f"http.curloptResolve={place}:{host.place.ip}"
    env = {
        **os.environ,
        "GIT_SSL_CAINFO": str(files.ca),
        "GIT_SSL_CERT": str(files.certificate),
        "GIT_SSL_KEY": str(files.key),
        "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@domain.com",
        "GIT_COMMITTER_NAME": "Ann", "GIT_COMMITTER_EMAIL": "ann@domain.com",
    }  # fmt: skip

    def git(*args: str, at: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "-c", resolve, *args], cwd=at, env=env, capture_output=True, text=True,
            timeout=GIT_LIMIT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    cloned = git("clone", "-q", f"https://{place}/git/site.git", "clone", at=tmp_path)
    assert cloned.returncode == 0, cloned.stderr
    work = tmp_path / "clone"
    (work / "site.xml").write_text(site_text(vm_entry("web1", "dmz01", 76), vm_entry("web2")))
    assert git("commit", "-q", "-a", "-m", "By https", at=work).returncode == 0
    pushed = git("push", "-q", at=work)
    assert pushed.returncode == 0, pushed.stderr
    wait("web1 has 76 MiB", lambda: site.memory_mib("dmz01", "web1") == 76)
    (work / "site.xml").write_text("<XSMConfig>\n<Set/>\n</XSMConfig>\n")
    assert git("commit", "-q", "-a", "-m", "Wrong", at=work).returncode == 0
    pushed = git("push", at=work)
    assert pushed.returncode != 0
    assert "remote: xsm: site.xml:2: error:" in pushed.stderr


def test_a_push_without_xsmd_is_refused(site: Site) -> None:
    work = site.work()
    commit(site, work, vm_entry("web1", "dmz01", 80), vm_entry("web2"))
    site.stage.kill_xsmd("dmz01")
    try:
        said = site.git(work, "push", code=1)
    finally:
        site.stage.start_xsmd("dmz01")
    assert "xsmd does not run on this host, so that nothing can be checked" in said
    assert "push to another host" in said
    site.wait_whole()
    assert site.status("dmz02")["subject"] != "Ann's edit 80"


# -- apply from a clone -----------------------------------------------------


def test_a_clone_that_was_applied_from_pulls_as_before(site: Site) -> None:
    """The clone is of dmz01, the apply goes to dmz02, and somebody else edits in between."""
    site.apply("dmz01", vm_entry("web1", "dmz01"), vm_entry("web2"), message="As it begins")
    work, other = site.work(), site.work()
    for mib in (98, 100):
        (work / "site.xml").write_text(site_text(vm_entry("web1", "dmz01", mib), vm_entry("web2")))
        said = site.xsm("dmz02", "apply", str(work), "--yes", "-m", "Mine")
        head = site.status("dmz02")["revision"]
        assert f"your clone is on {head[:10]} now" in said
        assert site.git(work, "rev-parse", "HEAD").strip() == head
        assert site.git(work, "status", "--porcelain") == ""
    site.git(other, "pull", "-q")
    (other / "site.xml").write_text(
        site_text(vm_entry("web1", "dmz01", 100), vm_entry("web2", memory_mib=98))
    )
    site.xsm("dmz01", "apply", str(other), "--yes", "-m", "Somebody else's")
    site.git(work, "pull", "-q")
    assert "<MEM>98<" in (work / "site.xml").read_text()


def test_a_clone_whose_edit_was_merged_stays_and_says_how_to_go_on(site: Site) -> None:
    site.apply("dmz01", vm_entry("web1", "dmz01"), vm_entry("web2"), message="As it begins")
    work = site.work()
    mine = site_text(vm_entry("web1", "dmz01", 102), vm_entry("web2"))
    (work / "site.xml").write_text(mine)
    site.apply("dmz01", vm_entry("web1", "dmz01"), vm_entry("web2", memory_mib=104))
    said = site.xsm("dmz01", "apply", str(work), "--yes", "-m", "Mine")
    assert "your clone stays on" in said and "merged this edit with others" in said
    assert (work / "site.xml").read_text() == mine
    site.git(work, "stash", "-q", "-u")
    site.git(work, "pull", "-q", "--rebase")
    text = (work / "site.xml").read_text()
    assert "<MEM>102<" in text and "<MEM>104<" in text


def test_a_loose_copy_is_warned_of_a_checkouts_copy_knows_its_base(
    site: Site, tmp_path: Path
) -> None:
    site.apply("dmz01", vm_entry("web1", "dmz01"), vm_entry("web2"), message="As it begins")
    checkout = site.stage.hosts["dmz01"].checkout
    follows(site, checkout, "dmz01")
    loose, whole = tmp_path / "loose", tmp_path / "whole"
    shutil.copytree(checkout, loose, ignore=shutil.ignore_patterns(".git"))
    shutil.copytree(checkout, whole)
    site.apply("dmz01", vm_entry("web1", "dmz01", 106), vm_entry("web2"), message="Somebody else's")
    for copy in (loose, whole):
        file = copy / "site.xml"
        file.write_text(file.read_text().replace("</Set>", vm_entry("mine", "dmz02") + "</Set>"))
    said = site.xsm("dmz01", "plan", str(loose))
    assert "isn't a git clone of the site" in said
    assert "takes back web1: MEM 64 => 106" in said
    said = site.xsm("dmz01", "plan", str(whole))
    assert "mine: added" in said and "web1: MEM" not in said and "git clone" not in said


# -- saves in the checkout -----------------------------------------------------


@pytest.fixture
def checkout(site: Site) -> Path:
    """dmz02's checkout, with web1 as it should be, and nothing going on."""
    site.apply("dmz02", vm_entry("web1", "dmz01"), vm_entry("web2"), message="As it begins")
    path = site.stage.hosts["dmz02"].checkout
    follows(site, path)
    return path


def follows(site: Site, path: Path, host: str = "dmz02") -> None:
    head = site.status(host)["revision"]
    wait("the checkout follows", lambda: site.git(path, "rev-parse", "HEAD").strip() == head)
    wait("it is clean", lambda: not site.git(path, "status", "--porcelain"))


def test_a_save_in_place_and_one_as_vim_makes_it(site: Site, checkout: Path) -> None:
    file = checkout / "site.xml"
    file.write_text(site_text(vm_entry("web1", "dmz01", 82), vm_entry("web2")))
    wait("web1 has 82 MiB", lambda: site.memory_mib("dmz01", "web1") == 82)
    follows(site, checkout)
    # vim: the old file becomes a backup, a new one is written, the backup goes.
    (checkout / "4913").touch()
    (checkout / "4913").unlink()
    file.rename(checkout / "site.xml~")
    file.write_text(site_text(vm_entry("web1", "dmz01", 84), vm_entry("web2")))
    (checkout / "site.xml~").unlink()
    wait("web1 has 84 MiB", lambda: site.memory_mib("dmz01", "web1") == 84)
    follows(site, checkout)
    revision = site.json("dmz02", "history", "-n", "1")[0]
    assert revision["changes"] == ["web1: MEM 82 => 84"]


def test_an_invalid_save_changes_nothing_until_it_is_right(site: Site, checkout: Path) -> None:
    before, ids = site.status("dmz02")["revision"], site.ids()
    bad = site_text(vm_entry("web1", "dmz01").replace(">64<", ">lots<"), vm_entry("web2"))
    (checkout / "site.xml").write_text(bad)
    wait("status shows it", lambda: bool(site.status("dmz02")["checkout_problems"]))
    said = site.xsm("dmz02", "status")
    assert f"the last save in {checkout} was not applied:" in said
    assert "site.xml:4: error: VM web1: <MEM> 'lots' is not a whole number" in said
    assert (site.status("dmz01")["revision"], site.ids()) == (before, ids)
    assert (checkout / "site.xml").read_text() == bad  # nobody's work is overwritten
    (checkout / "site.xml").write_text(site_text(vm_entry("web1", "dmz01", 86), vm_entry("web2")))
    wait("web1 has 86 MiB", lambda: site.memory_mib("dmz01", "web1") == 86)
    wait("the problem is gone", lambda: not site.status("dmz02")["checkout_problems"])


def test_a_save_removes_no_vm_before_somebody_says_so(site: Site, checkout: Path) -> None:
    """As when an editor, or a script, has written half of the file."""
    before, ids = site.status("dmz02")["revision"], site.ids()
    (checkout / "site.xml").write_text(site_text(vm_entry("web1", "dmz01")))
    wait("status shows it", lambda: bool(site.status("dmz02")["checkout_problems"]))
    said = site.xsm("dmz02", "status")
    assert "it would remove web2, and a save alone removes nothing" in said
    assert f"`xsm apply {checkout}` shows the plan and asks" in said
    assert (site.status("dmz01")["revision"], site.ids()) == (before, ids)
    site.xsm("dmz02", "apply", str(checkout), "--yes", "-m", "web2 goes")
    wait("web2 is gone", lambda: "web2" not in site.ids())
    follows(site, checkout)
    wait("the problem is gone", lambda: not site.status("dmz02")["checkout_problems"])


def test_an_edit_in_progress_is_kept_and_merged_when_it_is_right(
    site: Site, checkout: Path
) -> None:
    """The head moves on while somebody has an unfinished edit: the file stays theirs, and their save is merged."""
    file = checkout / "site.xml"
    unfinished = site_text(vm_entry("web1", "dmz01", 88), vm_entry("web2")).replace("</Set>", "")
    file.write_text(unfinished)
    wait("status shows it", lambda: bool(site.status("dmz02")["checkout_problems"]))
    site.apply(
        "dmz01", vm_entry("web1", "dmz01"), vm_entry("web2", memory_mib=90), message="Meanwhile"
    )
    assert file.read_text() == unfinished
    file.write_text(site_text(vm_entry("web1", "dmz01", 88), vm_entry("web2")))
    wait("web1 has 88 MiB", lambda: site.memory_mib("dmz01", "web1") == 88)
    where = site.running("web2")[0]
    assert site.memory_mib(where, "web2") == 90, "the other's edit is lost"
    follows(site, checkout)
    assert "<MEM>88<" in file.read_text() and "<MEM>90<" in file.read_text()


def test_an_edit_that_is_put_back_lets_the_checkout_catch_up(site: Site, checkout: Path) -> None:
    before = site.status("dmz02")["revision"]
    (checkout / "site.xml").write_text("<XSMConfig>")
    wait("status shows it", lambda: bool(site.status("dmz02")["checkout_problems"]))
    site.apply("dmz01", vm_entry("web1", "dmz01", 92), vm_entry("web2"), message="Meanwhile")
    wait("status says it", lambda: "has edits" in site.status("dmz02")["checkout_behind"])
    assert site.status("dmz02")["checkout_revision"] == before
    said = site.xsm("dmz02", "status")
    assert f"{checkout} (behind, on {before[:10]})" in said
    assert "the checkout is behind: " in said and "site.xml has edits" in said
    site.git(checkout, "restore", "site.xml")
    follows(site, checkout)
    wait("status says it", lambda: not site.status("dmz02")["checkout_behind"])
    assert not site.status("dmz02")["checkout_problems"]
    assert "<MEM>92<" in (checkout / "site.xml").read_text()


def test_the_checkouts_follow_the_merge_of_edits_made_apart(site: Site, checkout: Path) -> None:
    """main moves sideways: the merge has not the one side's head as its first parent, but both checkouts follow."""
    one, other = site.work(), site.work()
    (one / "site.xml").write_text(site_text(vm_entry("web1", "dmz01", 94), vm_entry("web2")))
    (other / "site.xml").write_text(
        site_text(vm_entry("web1", "dmz01"), vm_entry("web2", memory_mib=96))
    )
    site.stage.relays.cut(("dmz01",), ("dmz02",))
    try:
        site.xsm("dmz01", "apply", str(one), "--yes", "--no-wait")
        site.xsm("dmz02", "apply", str(other), "--yes", "--no-wait")
        follows(site, checkout)
        assert site.status("dmz01")["revision"] != site.status("dmz02")["revision"]
    finally:
        site.stage.relays.heal()
    site.wait_whole()
    assert len(site.status("dmz01")["heads"]) == 2
    for host in HOSTS:
        path = site.stage.hosts[host].checkout
        follows(site, path, host)
        text = (path / "site.xml").read_text()
        assert "<MEM>94<" in text and "<MEM>96<" in text


def test_a_save_that_git_could_not_store_is_tried_again(site: Site, checkout: Path) -> None:
    """A git that was killed left its lock on main (found by kill_at_writes)."""
    lock = site.stage.hosts["dmz02"].folder / "data" / "site.git" / "refs" / "heads" / "main.lock"
    lock.touch()
    (checkout / "site.xml").write_text(site_text(vm_entry("web1", "dmz01", 80), vm_entry("web2")))
    wait("the save waits", lambda: bool(site.status("dmz02")["checkout_problems"]))
    lock.unlink()
    wait("web1 has 80 MiB", lambda: site.memory_mib("dmz01", "web1") == 80)
    wait("the problem is gone", lambda: not site.status("dmz02")["checkout_problems"])
