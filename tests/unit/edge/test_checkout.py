"""The working copy that people edit: it follows main and never overwrites anybody's work."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from xsm.edge import loose, stale
from xsm.edge.checkout import Checkout, CheckoutError, Edited
from xsm.edge.loose import named
from xsm.edge.repository import Repository
from xsm.edge.steps import MAX_STEP_COMMITS
from xsm.edge.watch import is_temporary, watch
from xsm.peer.history import MERGE_AUTHOR

WHO = "Ann <ann@domain.com>"
ROOT = {
    "site.xml": b"<XSMConfig/>\n",
    "configs/a.cfg": b"memory = 1\n",
    "README": b"hello\r\n",
    "state/site.json": b"{}\n",
}
WAIT_S = 20.0


class Site:
    def __init__(self, path: Path) -> None:
        self.repository = Repository.create(path / "r.git")
        self.main = self.repository.write_commit(ROOT, (), WHO, 1000, "root").id
        self.repository.set_heads((self.main,), self.main)
        self.checkout = Checkout(path / "site", self.repository)
        self.checkout.follow(self.main)

    def change(self, **files: bytes | None) -> str:
        now = {**self.repository.files(self.main)}
        for name, content in files.items():
            path = name.replace("__", "/").replace("_", ".")
            now.pop(path, None)
            if content is not None:
                now[path] = content
        date = self.repository.commit(self.main).date + 1
        self.main = self.repository.write_commit(now, (self.main,), WHO, date, "change").id
        self.repository.set_heads((self.main,), self.main)
        return self.main

    def there(self) -> dict[str, bytes]:
        root = self.checkout.path
        found = [
            p for p in root.rglob("*") if p.is_file() and ".git" not in p.relative_to(root).parts
        ]
        return {str(p.relative_to(root)): p.read_bytes() for p in found}

    def git(self, *arguments: str) -> str:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        who = {
            "GIT_AUTHOR_NAME": "B",
            "GIT_AUTHOR_EMAIL": "b@x",
            "GIT_COMMITTER_NAME": "B",
            "GIT_COMMITTER_EMAIL": "b@x",
        }
        done = subprocess.run(
            ["git", "-C", str(self.checkout.path), *arguments],
            env={**clean, **who}, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return done.stdout


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.repository.close()


def test_a_new_checkout_is_a_clean_clone(site: Site) -> None:
    assert site.there() == ROOT
    assert site.git("status", "--porcelain") == ""
    assert site.git("rev-parse", "HEAD").strip() == site.main
    assert site.git("log", "--oneline", "origin/main").endswith("root\n")
    assert site.checkout.edited() is None
    assert site.checkout.follow(site.main) is False


def test_it_follows_main_with_new_changed_and_removed_files(site: Site) -> None:
    site.change(site_xml=b"<XSMConfig>1</XSMConfig>", configs__a_cfg=None, deep__er__file=b"1")
    assert site.checkout.follow(site.main) is True
    assert site.there() == dict(site.repository.files(site.main))
    assert not (site.checkout.path / "configs").exists()
    assert site.git("status", "--porcelain") == ""


def test_a_save_is_seen_relative_to_its_base(site: Site) -> None:
    (site.checkout.path / "site.xml").write_bytes(b"<XSMConfig>mine</XSMConfig>")
    (site.checkout.path / "configs" / "new.cfg").write_bytes(b"memory = 2\n")
    (site.checkout.path / "configs" / ".new.cfg.swp").write_bytes(b"vim")
    (site.checkout.path / "notes.txt").write_bytes(b"not git's yet")
    (site.checkout.path / "README").unlink()
    assert site.checkout.edited() == Edited(
        site.main,
        {"site.xml": b"<XSMConfig>mine</XSMConfig>", "configs/new.cfg": b"memory = 2\n"},
        ("README",),
    )


def test_edits_that_main_does_not_touch_stay_while_it_follows(site: Site) -> None:
    (site.checkout.path / "site.xml").write_bytes(b"not right yet")
    site.change(configs__a_cfg=b"memory = 7\n")
    assert site.checkout.follow(site.main)
    assert site.there()["configs/a.cfg"] == b"memory = 7\n"
    assert site.checkout.edited() == Edited(site.main, {"site.xml": b"not right yet"})


def test_edits_that_main_touches_are_left_alone_and_it_says_so(site: Site) -> None:
    before = site.main
    (site.checkout.path / "site.xml").write_bytes(b"not right yet")
    site.change(site_xml=b"<other/>", README=b"new")
    with pytest.raises(CheckoutError, match=r"site\.xml has edits"):
        site.checkout.follow(site.main)
    assert site.there() == {**ROOT, "site.xml": b"not right yet"}
    assert site.git("rev-parse", "HEAD").strip() == before


def test_a_save_that_the_site_took_is_no_edit_any_more(site: Site) -> None:
    (site.checkout.path / "site.xml").write_bytes(b"<mine/>")
    site.change(site_xml=b"<mine/>")
    site.change(site_xml=b"<next/>")
    assert site.checkout.follow(site.main)
    assert site.there()["site.xml"] == b"<next/>"
    (site.checkout.path / "site.xml").write_bytes(b"<merged away/>")
    taken = site.checkout.edited()
    site.change(site_xml=b"<both/>")
    with pytest.raises(CheckoutError):
        site.checkout.follow(site.main)
    assert site.checkout.follow(site.main, taken)
    assert site.there()["site.xml"] == b"<both/>"


def test_commits_that_are_not_pushed_are_left_alone(site: Site) -> None:
    (site.checkout.path / "site.xml").write_bytes(b"<mine/>")
    site.git("commit", "-q", "-a", "-m", "mine")
    site.change(README=b"new")
    with pytest.raises(CheckoutError, match="not pushed"):
        site.checkout.follow(site.main)
    with pytest.raises(CheckoutError, match="not pushed"):
        site.checkout.edited()
    site.git("pull", "-q")
    assert site.there()["README"] == b"new" and site.there()["site.xml"] == b"<mine/>"


def test_another_branch_is_the_persons_own(site: Site) -> None:
    site.git("switch", "-q", "-c", "try")
    with pytest.raises(CheckoutError, match="git switch main"):
        site.checkout.follow(site.change(README=b"new"))


def test_main_that_moves_sideways_is_followed_too(site: Site) -> None:
    """A merge over new heads does not descend from the merge before it."""
    root = site.main
    one = site.repository.write_commit({**ROOT, "README": b"1"}, (root,), WHO, 1001, "1").id
    two = site.repository.write_commit({**ROOT, "README": b"2"}, (root,), WHO, 1001, "2").id
    for head in (one, two):
        site.repository.set_heads((one, two), head)
        assert site.checkout.follow(head)
        assert site.there() == dict(site.repository.files(head))
        assert site.git("status", "--porcelain") == ""


def test_a_revision_that_main_shows_no_more_is_followed_whole(site: Site) -> None:
    """main moved on, sideways, while the checkout was on its way to the revision before."""
    one = site.repository.write_commit({**ROOT, "README": b"1"}, (site.main,), WHO, 1001, "1").id
    two = site.repository.write_commit({**ROOT, "README": b"2"}, (site.main,), WHO, 1001, "2").id
    site.repository.set_heads((one, two), two)
    assert site.checkout.follow(one)
    assert site.git("status", "--porcelain") == ""
    assert site.checkout.head() == one and site.there()["README"] == b"1"


def test_what_can_not_be_fetched_changes_nothing(site: Site) -> None:
    site.change(README=b"new")
    (site.checkout.path / ".git" / "refs" / "remotes" / "origin" / "main.lock").touch()
    with pytest.raises(CheckoutError, match="can't be brought up to date"):
        site.checkout.follow(site.main)
    assert site.there() == ROOT and site.checkout.edited() is None


def test_what_can_not_be_written_is_told_the_same_each_time(site: Site) -> None:
    """By its own name: with a temporary one the same trouble would be news each time."""
    (site.checkout.path / "notes").write_text("mine")
    new = site.change(notes__b_cfg=b"memory = 2\n")
    told = set()
    for _ in range(2):
        with pytest.raises(CheckoutError) as refused:
            site.checkout.follow(new)
        told.add(str(refused.value))
    assert told == {f"{site.checkout.path}/notes/b.cfg can't be written: File exists"}


def test_links_are_neither_read_nor_followed(site: Site, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.cfg").write_bytes(b"secret")
    (site.checkout.path / "configs" / "a.cfg").unlink()
    (site.checkout.path / "configs").rmdir()
    (site.checkout.path / "configs").symlink_to(outside)
    with pytest.raises(CheckoutError, match="symbolic link"):
        site.checkout.edited()
    with pytest.raises(CheckoutError, match="symbolic link"):
        site.checkout.follow(site.change(configs__a_cfg=b"memory = 9\n"))
    assert (outside / "a.cfg").read_bytes() == b"secret"
    (site.checkout.path / "configs").unlink()
    (site.checkout.path / "site.xml").unlink()
    (site.checkout.path / "site.xml").symlink_to("/etc/passwd")
    with pytest.raises(CheckoutError, match="can't be read"):
        site.checkout.edited()


def test_a_folder_of_somebody_else_is_not_taken(tmp_path: Path, site: Site) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "file").touch()
    with pytest.raises(CheckoutError, match="move it away"):
        Checkout(tmp_path / "x", site.repository).follow(site.main)


class Saves:
    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.count >= count, WAIT_S)


def test_an_editors_save_is_one_save(tmp_path: Path) -> None:
    saves = Saves()
    (tmp_path / ".git").mkdir()
    (tmp_path / "configs").mkdir()
    watching = watch(tmp_path, saves, quiet_s=0.8)
    try:
        (tmp_path / ".site.xml.swp").write_bytes(b"vim")
        (tmp_path / "4913").write_bytes(b"")
        (tmp_path / "4913").unlink()
        (tmp_path / ".git" / "index").write_bytes(b"git")
        (tmp_path / "site.xml~").write_bytes(b"1")
        os.replace(tmp_path / "site.xml~", tmp_path / "site.xml")
        (tmp_path / "site.xml").write_bytes(b"2")
        (tmp_path / "configs" / "a.cfg").write_bytes(b"3")
        saves.wait(1)
        (tmp_path / "site.xml").unlink()
        saves.wait(2)
        assert saves.count == 2
    finally:
        watching.stop()
    (tmp_path / "site.xml").write_bytes(b"4")
    assert saves.count == 2


@pytest.mark.parametrize(
    "name",
    [
        "4913",
        "site.xml~",
        ".site.xml.swp",
        ".#site.xml",
        "#site.xml#",
        "configs/.a.cfg.swx",
        "x.tmp",
    ],
)
def test_what_editors_leave_beside_a_file_is_known(name: str) -> None:
    assert is_temporary(name)
    assert not is_temporary("configs/a.cfg") and not is_temporary("site.yaml")


def test_locks_from_the_future_are_of_a_clock_that_was_ahead(site: Site) -> None:
    """Cut short while this host's clock was days ahead: the locks don't stay for as many days."""
    second = site.change(site_xml=b"<b/>\n")
    git_dir, repository = site.checkout.path / ".git", site.repository.path
    lock = git_dir / "index.lock"
    (git_dir / "xsm-at-work").touch()
    lock.touch()
    with pytest.raises(CheckoutError, match="cut short"):
        site.checkout.follow(second)
    new, old = repository / "HEAD.lock", repository / "refs" / "heads" / "main.lock"
    new.touch()
    for left in (lock, old):
        left.touch()
        os.utime(left, (time.time() + 3 * 86400,) * 2)
    assert site.checkout.follow(second)
    stale.clear_old_locks(repository)
    assert new.exists() and not old.exists()


def test_a_locked_checkout_is_neither_followed_nor_taken_for_a_save(site: Site) -> None:
    """A git that was cut short leaves index.lock: files that moved on without HEAD would look like somebody's edit."""
    second = site.change(site_xml=b"<b/>\n")
    lock = site.checkout.path / ".git" / "index.lock"
    lock.touch()
    for attempt in (lambda: site.checkout.follow(second), site.checkout.edited):
        with pytest.raises(CheckoutError, match=r"index\.lock"):
            attempt()
    assert (site.checkout.path / "site.xml").read_bytes() == ROOT["site.xml"]
    lock.unlink()
    assert site.checkout.edited() is None
    assert site.checkout.follow(second)


def test_what_it_goes_on_to_is_whole_there(site: Site) -> None:
    """Steps that are copied object by object: an edit, several, one over a merge; and one so long that git does it."""
    repository, root = site.repository, site.main
    tip = site.change(site_xml=b"<XSMConfig>\n</XSMConfig>\n")
    site.checkout.follow(tip)
    one = repository.write_commit({**ROOT, "new/x": b"1\n"}, (tip,), WHO, 2000, "one").id
    two = repository.write_commit({**ROOT, "README": b"2\n"}, (root,), WHO, 2001, "two").id
    both = {**ROOT, "new/x": b"1\n", "README": b"2\n"}
    merged = repository.write_commit(both, (one, two), MERGE_AUTHOR, 2001, "both").id
    line = [merged]
    for number in range(MAX_STEP_COMMITS + 3):
        files = {**both, "README": b"%d\n" % number}
        line.append(repository.write_commit(files, (line[-1],), WHO, 3000 + number, "on").id)
    assert repository.step(tip, line[-1]) is None
    copied = repository.step(tip, line[2])
    assert copied is not None
    commits = [item.oid for item in copied if item.kind == "commit"]
    assert sorted(commits[:2]) == sorted((one, two)) and commits[2:] == [merged, *line[1:3]]
    for revision in (merged, line[2], line[-1]):
        repository.set_heads(repository.ancestry.maximal({revision}), revision)
        assert site.checkout.follow(revision)
        assert site.there() == {path: bytes(c) for path, c in repository.files(revision).items()}
        assert site.git("status", "--porcelain", "--branch") == "## main...origin/main\n"
        assert site.git("fsck", "--full", "--strict", "--no-dangling") == ""


def test_git_gathers_many_small_objects(site: Site) -> None:
    """Copying them one by one must not go on for ever: where git would tidy, git is let to."""
    made = (named("blob", b"%d" % number) for number in range(40 * 256))
    objects = site.checkout.path / ".git" / "objects"
    loose.write(objects, [item for item in made if item.oid.startswith("17")])
    assert site.checkout.follow(site.change(README=b"one\n"))
    assert list(objects.glob("pack/*.pack"))
    assert site.git("fsck", "--full", "--strict", "--no-dangling") == ""


def test_what_a_kill_left_of_a_copy_is_cleared(site: Site) -> None:
    git_dir = site.checkout.path / ".git"
    (git_dir / "xsm-at-work").touch()
    (git_dir / "objects" / f"{loose.INCOMING}abc").mkdir()
    assert site.checkout.follow(site.change(README=b"one\n"))
    assert not list((git_dir / "objects").glob(f"{loose.INCOMING}*"))


def test_a_save_while_the_checkout_is_moved_on_is_kept(site: Site) -> None:
    """Git works for a moment between the look at the files and their replacement."""
    mine, path = b"<XSMConfig><!-- mine --></XSMConfig>\n", site.checkout.path / "site.xml"
    at_work = site.checkout.path / ".git" / "xsm-at-work"
    over = threading.Event()

    def save() -> None:
        while not at_work.exists() and not over.is_set():
            pass
        path.write_bytes(mine)

    person = threading.Thread(target=save)
    person.start()
    try:
        site.checkout.follow(site.change(site_xml=b"<XSMConfig>\n</XSMConfig>\n"))
    except CheckoutError as error:
        assert "site.xml was saved just now" in str(error)
    finally:
        over.set()
        person.join()
    assert path.read_bytes() == mine


def test_new_files_of_cloud_init_are_part_of_a_save(site: Site) -> None:
    for name in ("ci.user-data", "ci.network-config"):
        (site.checkout.path / "configs" / name).write_bytes(b"#cloud-config\n")
    edited = site.checkout.edited()
    assert edited is not None
    assert sorted(edited.files) == ["configs/ci.network-config", "configs/ci.user-data"]
