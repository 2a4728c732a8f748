"""The repository on disk, with real git: byte for byte, one id everywhere, nothing bad gets in."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from xsm.edge.git import GitFailed
from xsm.edge.packs import PackRefused
from xsm.edge.repository import MAIN, MainMoved, Repository, RepositoryError, Unreadable
from xsm.peer.derive import derive
from xsm.peer.history import MERGE_AUTHOR

ROOT = {
    "site.xml": b"<XSMConfig/>\r\n",
    "configs/a.cfg": b"\xff\0\n",
    'odd "\\ name': b"",
    "a/b/c": b"1",
}
WHO = "Ann <ann@domain.com>"


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    made = Repository.create(tmp_path / "one.git")
    yield made
    made.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Repository]:
    made = Repository.create(tmp_path / "two.git")
    yield made
    made.close()


def git(path: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    identity = {
        "GIT_AUTHOR_NAME": "Bob",
        "GIT_AUTHOR_EMAIL": "b@x",
        "GIT_COMMITTER_NAME": "Bob",
        "GIT_COMMITTER_EMAIL": "b@x",
    }
    return subprocess.run(
        ["git", "-C", str(path), *arguments],
        env={**clean, **identity, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_revision_is_read_back_byte_for_byte(repository: Repository) -> None:
    commit = repository.write_commit(ROOT, (), WHO, 1000, "first\n\nbecause é")
    assert repository.files(commit.id) == ROOT
    assert (commit.parents, commit.author, commit.date, commit.message) == (
        (),
        WHO,
        1000,
        "first\n\nbecause é",
    )
    assert not commit.merge
    assert commit.id in repository and "f" * 40 not in repository and "x" not in repository
    assert repository.missing([commit.id, "f" * 40]) == ("f" * 40,)
    with pytest.raises(KeyError):
        repository.commit("f" * 40)


def test_equal_revisions_have_one_id_on_every_host(
    repository: Repository, other: Repository
) -> None:
    ids = []
    for store in (repository, other):
        root = store.write_commit(ROOT, (), WHO, 1000, "root")
        one = store.write_commit({**ROOT, "x": b"1"}, (root.id,), WHO, 1001, "one")
        two = store.write_commit({**ROOT, "y": b"2"}, (root.id,), WHO, 1002, "two")
        ids.append(store.write_derived(derive((one.id, two.id), store)))
        made = store.commit(ids[-1])
        assert (made.merge, made.parents, made.date) == (
            True,
            tuple(sorted((one.id, two.id))),
            1002,
        )
        assert store.files(made.id) == {**ROOT, "x": b"1", "y": b"2"}
        assert store.write_derived(derive((one.id,), store)) == one.id
    assert ids[0] == ids[1]


def test_a_small_edit_of_a_big_site_is_stored_quickly(repository: Repository) -> None:
    files = {
        **ROOT,
        "site.xml": b"".join(b"<VM name='vm%d'>" % i + b"x" * 200 for i in range(1000)),
    }
    parent = repository.write_commit(files, (), WHO, 1, "0").id
    took = []
    for i in range(5):
        started = time.perf_counter()
        edited = {**files, "site.xml": files["site.xml"].replace(b"vm7'", b"vm%d'" % (5000 + i))}
        parent = repository.write_commit(edited, (parent,), WHO, 2 + i, str(i)).id
        took.append(time.perf_counter() - started)
    assert min(took) < 0.25  # 15 ms on an idle machine; the limit is for a busy one


def test_an_executable_file_stays_one(repository: Repository, tmp_path: Path) -> None:
    work = tmp_path / "work"
    git(tmp_path, "init", "-q", "-b", "main", str(work))
    (work / "run.sh").write_text("#!/bin/sh\n")
    (work / "run.sh").chmod(0o755)
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "x")
    made = git(work, "rev-parse", "HEAD").stdout.strip()
    repository.store_pack(_pack(work, made))
    after = repository.write_commit({"run.sh": b"#!/bin/bash\n"}, (made,), WHO, 5, "bash")
    assert git(repository.path, "ls-tree", after.id).stdout.startswith("100755")


def _pack(work: Path, *ids: str) -> bytes:
    return subprocess.run(
        ["git", "-C", str(work), "pack-objects", "--revs", "--stdout", "-q"],
        input="".join(f"{i}\n" for i in ids).encode(), capture_output=True, check=True, timeout=60,
    ).stdout  # fmt: skip


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", ".git/config", "a/.GIT/b", "", "x\0"])
def test_paths_that_no_site_has_are_refused(repository: Repository, path: str) -> None:
    with pytest.raises(Unreadable):
        repository.write_commit({path: b""}, (), WHO, 1, "x")


def test_nobody_commits_under_the_name_of_the_merge(repository: Repository) -> None:
    with pytest.raises(RepositoryError):
        repository.write_commit(ROOT, (), MERGE_AUTHOR, 1, "x")


def test_heads_and_main_survive_a_restart(tmp_path: Path) -> None:
    store = Repository.create(tmp_path / "r.git")
    assert (store.main(), store.heads()) == (None, ())
    root = store.write_commit(ROOT, (), WHO, 1000, "root").id
    store.set_heads((root,), root)
    one = store.write_commit({"x": b"1"}, (root,), WHO, 1001, "one").id
    two = store.write_commit({"y": b"1"}, (root,), WHO, 1001, "two").id
    merged = store.write_derived(derive((one, two), store))
    store.set_heads((one, two), merged)
    store.set_heads((one, two), merged)
    with pytest.raises(RepositoryError, match="in use"):
        Repository.open(store.path)
    store.close()
    (store.path / "refs" / "heads" / "main.lock").touch()
    (store.path / "index.lock").touch()
    (store.path / "objects" / "tmp_objdir-incoming-x").mkdir()
    again = Repository.open(store.path)
    assert (again.main(), again.heads()) == (merged, tuple(sorted((one, two))))
    assert again.log(1)[0].id == merged
    assert [c.id for c in again.log(10)][-1] == root
    assert again.resolve(root[:8]) == root and again.resolve("main") == merged
    assert (
        again.resolve("main~1")
        and again.resolve("--help") is None
        and again.resolve("beef") is None
    )
    assert not list(again.path.glob("**/*.lock"))
    again.close()


def test_what_was_pushed_meanwhile_is_not_overwritten(repository: Repository) -> None:
    root = repository.write_commit(ROOT, (), WHO, 1000, "root").id
    repository.set_heads((root,), root)
    pushed = repository.write_commit({"x": b"1"}, (root,), WHO, 1001, "pushed").id
    git(repository.path, "update-ref", MAIN, pushed)
    mine = repository.write_commit({"y": b"1"}, (root,), WHO, 1002, "mine").id
    with pytest.raises(MainMoved):
        repository.set_heads((mine,), mine)
    assert repository.heads() == (pushed,)


def test_a_thin_pack_carries_one_edit(repository: Repository, other: Repository) -> None:
    files = {**ROOT, "site.xml": os.urandom(50_000).hex().encode()}
    root = repository.write_commit(files, (), WHO, 1000, "root").id
    edit = repository.write_commit(
        {**files, "site.xml": files["site.xml"] + b"1"}, (root,), WHO, 1001, "edit"
    ).id
    thin = repository.pack([edit], [root])
    assert len(thin) < 1000
    with pytest.raises(PackRefused, match="not here"):
        other.store_pack(thin)
    assert other.missing([root, edit]) == tuple(sorted((root, edit)))
    assert other.store_pack(repository.pack([root])) == (root,)
    assert other.store_pack(thin) == (edit,)
    assert other.files(edit) == repository.files(edit)
    assert other.verify() == ()


def test_a_pack_of_many_objects_is_kept_as_a_pack(
    repository: Repository, other: Repository
) -> None:
    parent: tuple[str, ...] = ()
    for i in range(60):
        parent = (repository.write_commit({"x": b"%d" % i}, parent, WHO, i, str(i)).id,)
    assert len(other.store_pack(repository.pack(parent))) == 60
    assert len(list((other.path / "objects" / "pack").glob("*.pack"))) == 1
    assert [c.message for c in other.log(2, parent[0])] == ["59", "58"]
    assert other.verify() == ()
    other.collect()


def test_a_commit_without_its_parent_is_refused(repository: Repository, other: Repository) -> None:
    root = repository.write_commit(ROOT, (), WHO, 1000, "root").id
    edit = repository.write_commit({"z": b"9"}, (root,), WHO, 1001, "edit").id
    with pytest.raises(PackRefused):
        other.store_pack(repository.pack([edit], [root]))
    assert edit not in other and not list((other.path / "objects").glob("incoming*"))


@pytest.mark.parametrize(
    "pack", [b"", b"PACK", b"nonsense" * 10, b"PACK\0\0\0\2\0\0\0\1" + b"\0" * 40]
)
def test_no_pack_at_all_is_refused(repository: Repository, pack: bytes) -> None:
    with pytest.raises(PackRefused):
        repository.store_pack(pack)


def test_a_pack_that_is_too_big_is_refused(repository: Repository, other: Repository) -> None:
    root = repository.write_commit({"x": os.urandom(5000)}, (), WHO, 1, "x").id
    with pytest.raises(PackRefused, match="more than 100"):
        other.store_pack(repository.pack([root]), max_bytes=100)


def test_links_and_submodules_do_not_get_in(repository: Repository, tmp_path: Path) -> None:
    work = tmp_path / "work"
    git(tmp_path, "init", "-q", "-b", "main", str(work))
    (work / "site.xml").symlink_to("/etc/passwd")
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "x")
    made = git(work, "rev-parse", "HEAD").stdout.strip()
    with pytest.raises(PackRefused, match="symbolic link"):
        repository.store_pack(_pack(work, made))
    assert made not in repository


def test_damage_is_found_and_explained(repository: Repository) -> None:
    root = repository.write_commit(ROOT, (), WHO, 1000, "root").id
    repository.set_heads((root,), root)
    assert repository.verify() == ()
    blob = git(repository.path, "rev-parse", f"{root}:site.xml").stdout.strip()
    loose = repository.path / "objects" / blob[:2] / blob[2:]
    loose.chmod(0o644)
    loose.write_bytes(b"rubbish")
    found = repository.verify()
    assert found and all("damaged" in line and "xsm join" in line for line in found)
    repository.close()
    again = Repository.open(repository.path)
    with pytest.raises((GitFailed, Unreadable)):
        again.files(root)
    again.close()


def test_git_of_the_users_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", "/nowhere")
    store = Repository.create(tmp_path / "r.git")
    assert store.files(store.write_commit(ROOT, (), WHO, 1, "x").id) == ROOT
    store.close()


def test_a_reader_that_was_killed_is_started_again(repository: Repository) -> None:
    root = repository.write_commit(ROOT, (), WHO, 1000, "root").id
    assert "e" * 40 not in repository
    process = repository._objects._objects._process
    assert process is not None
    process.kill()
    process.wait(10)
    assert "f" * 40 not in repository and root in repository


def test_no_repository_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="xsm init"):
        Repository.open(tmp_path)
    (tmp_path / "x").touch()
    with pytest.raises(RepositoryError, match="not empty"):
        Repository.create(tmp_path)
