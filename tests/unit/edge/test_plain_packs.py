"""Packs that are read without git: what git's own packs say, byte for byte, and no verdict on anything unusual."""

import hashlib
import os
import random
import subprocess
import zlib
from pathlib import Path

import pytest

from xsm.edge import loose, plain_packs, refs, trees
from xsm.edge.loose import Object, named
from xsm.edge.repository import HEADS, MAIN, PackRefused, Repository

AUTHOR = "Ann <ann@domain.com>"


@pytest.fixture
def repository(tmp_path):
    made = Repository.create(tmp_path / "r.git")
    yield made
    made.close()


@pytest.fixture
def other(tmp_path):
    made = Repository.create(tmp_path / "other.git")
    yield made
    made.close()


def git(repository: Repository, *args: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(
        ["git", f"--git-dir={repository.path}", *args], input=stdin, capture_output=True, check=True
    ).stdout


def big(seed: int, lines: int = 400) -> bytes:
    chance = random.Random(seed)
    return b"".join(b"%d line %d\n" % (chance.randrange(10**9), i) for i in range(lines))


def line_of_edits(repository: Repository, count: int) -> list[str]:
    """Commits that each change a line of a file that is long enough for deltas."""
    text = big(1).splitlines(keepends=True)
    ids: list[str] = []
    for number in range(count):
        text[number * 7 % len(text)] = b"edited %d\n" % number
        files = {"site.xml": b"".join(text), "configs/a.cfg": b"x", "state/site.json": b"{}"}
        parents = (ids[-1],) if ids else ()
        ids.append(repository.write_commit(files, parents, AUTHOR, 1000 + number, f"{number}").id)
    return ids


def raw(objects: list[tuple[int, bytes]]) -> bytes:
    """A pack of whole objects."""
    body = b"PACK" + (2).to_bytes(4, "big") + len(objects).to_bytes(4, "big")
    for kind, content in objects:
        size, header = len(content) >> 4, bytearray([kind << 4 | len(content) & 15])
        while size:
            header[-1] |= 0x80
            header.append(size & 0x7F)
            size >>= 7
        body += bytes(header) + zlib.compress(content)
    return body + hashlib.sha1(body).digest()


def read(pack: bytes, repository: Repository | None = None) -> list[Object] | None:
    if repository is None:
        return plain_packs.read(pack, lambda _: None, lambda _: None)
    objects = repository.git.objects()
    try:
        return plain_packs.read(pack, objects.read, objects.kind)
    finally:
        objects.close()


def test_what_is_written_is_what_git_writes(repository):
    files = {
        "site.xml": b"<XSMConfig/>\n", "a.b": b"", "a/x": b"1", "a0": b"2", "a/b/c": b"3",
        "configs/w.cfg": b"4", "state/site.json": b"{}",
    }  # fmt: skip
    commit = repository.write_commit(files, (), AUTHOR, 1_700_000_000, "Why\n\nfor a reason").id
    assert repository.verify() == ()
    tree = git(repository, "rev-parse", f"{commit}^{{tree}}").decode().strip()
    listing = git(repository, "ls-tree", "-r", commit)
    index = {**os.environ, "GIT_INDEX_FILE": str(repository.path / "i")}
    run = {"env": index, "capture_output": True}
    base = ["git", f"--git-dir={repository.path}"]
    subprocess.run([*base, "update-index", "--index-info"], check=True, input=listing, **run)
    assert subprocess.run([*base, "write-tree"], check=True, **run).stdout.decode().strip() == tree
    again = git(
        repository,
        "hash-object",
        "-t",
        "commit",
        "--stdin",
        stdin=git(repository, "cat-file", "commit", commit),
    )
    assert again.decode().strip() == commit
    assert repository.files(commit) == files


def test_packs_of_git_with_deltas_are_read_as_git_reads_them(repository, other):
    ids = line_of_edits(repository, 12)
    repository.set_heads([ids[-1]], ids[-1])
    git(repository, "gc", "-q", "--prune=now")
    for have, want in ((0, 1), (1, 5), (5, 11)):
        pack = repository.pack([ids[want]], [ids[have]])
        if have == 0:
            other.store_pack(repository.pack([ids[0]]))
        found = read(pack, other)
        assert found is not None
        commits = [item.oid for item in found if item.kind == "commit"]
        assert commits == ids[have + 1 : want + 1]  # parents first
        for item in found:
            assert git(repository, "cat-file", item.kind, item.oid) == item.content
        assert other.store_pack(pack) == tuple(sorted(commits))
    assert other.verify() == ()
    assert other.files(ids[-1]) == repository.files(ids[-1])


def test_a_thin_pack_whose_base_is_missing_is_refused(repository, other):
    ids = line_of_edits(repository, 3)
    pack = repository.pack([ids[2]], [ids[1]])
    assert read(pack, other) is None
    with pytest.raises(PackRefused, match="builds on commits that are not here"):
        other.store_pack(pack)


def test_every_damaged_byte_is_noticed(repository):
    ids = line_of_edits(repository, 1)
    pack = repository.pack([ids[0]])
    assert read(pack) is not None
    for at in range(0, len(pack), 7):
        broken = bytearray(pack)
        broken[at] ^= 0x10
        assert read(bytes(broken)) is None, at
    for end in (0, 11, 12, 31, len(pack) - 1):
        assert read(pack[:end]) is None


@pytest.mark.parametrize("seed", range(40))
def test_a_pack_with_a_right_checksum_and_wrong_content_is_no_accident(repository, seed):
    """Whatever is changed, either git has to look, or the objects are named by their content."""
    pack = repository.pack([line_of_edits(repository, 4)[-1]])[:-20]
    chance = random.Random(seed)
    broken = bytearray(pack)
    for _ in range(3):
        broken[chance.randrange(12, len(broken))] = chance.randrange(256)
    found = read(bytes(broken) + hashlib.sha1(broken).digest())
    for item in found or []:
        assert loose.object_id(item.kind, item.content) == item.oid


TREE = named("tree", b"")
WHO = b"author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n"


def entry(mode: bytes, name: bytes, oid: str) -> bytes:
    return mode + b" " + name + b"\0" + bytes.fromhex(oid)


BLOB = named("blob", b"x")


@pytest.mark.parametrize(
    "objects",
    [
        [(1, b"tree %s\n" % TREE.oid.encode() + WHO + b"\nno tree in the pack")],
        [(2, b""), (1, b"tree %s\n" % TREE.oid.encode() + WHO + b"gpgsig x\n\nextra header")],
        [(2, b""), (1, b"tree %s\n" % TREE.oid.encode() + b"parent " + b"1" * 40 + b"\n" + WHO + b"\nlost parent")],
        [(2, b""), (1, b"tree %s\n" % TREE.oid.encode() + WHO.replace(b" 1 +", b" 01 +") + b"\nodd date")],
        [(4, b"object " + b"1" * 40 + b"\ntype commit\ntag a\n")],
        [(3, b"x"), (2, entry(b"120000", b"a", BLOB.oid))],
        [(3, b"x"), (2, entry(b"160000", b"a", BLOB.oid))],
        [(3, b"x"), (2, entry(b"100664", b"a", BLOB.oid))],
        [(3, b"x"), (2, entry(b"0100644", b"a", BLOB.oid))],
        [(3, b"x"), (2, entry(b"100644", b".git", BLOB.oid))],
        [(3, b"x"), (2, entry(b"100644", b".GIT", BLOB.oid))],
        [(3, b"x"), (2, entry(b"100644", b"git~1", BLOB.oid))],
        [(3, b"x"), (2, entry(b"100644", b".gitmodules", BLOB.oid))],
        [(3, b"x"), (2, entry(b"100644", b"..", BLOB.oid))],
        [(3, b"x"), (2, entry(b"100644", b".", BLOB.oid))],
        [(3, b"x"), (2, entry(b"100644", b"a/b", BLOB.oid))],
        [(3, b"x"), (2, entry(b"100644", b"", BLOB.oid))],
        [(3, b"x"), (2, entry(b"100644", ".g\u200cit".encode(), BLOB.oid))],
        [(3, b"x"), (2, entry(b"100644", b"b", BLOB.oid) + entry(b"100644", b"a", BLOB.oid))],
        [(3, b"x"), (2, entry(b"100644", b"a", BLOB.oid) * 2)],
        [(3, b"x"), (2, b""), (2, entry(b"100644", b"a", BLOB.oid) + entry(b"40000", b"a", TREE.oid))],
        [(3, b"x"), (2, entry(b"40000", b"a", BLOB.oid))],
        [(2, entry(b"100644", b"a", BLOB.oid))],
        [(3, b"x"), (2, entry(b"100644", b"a", BLOB.oid) + b"1")],
    ],
)  # fmt: skip
def test_what_is_unusual_is_left_to_git(objects):
    assert read(raw(objects)) is None


def test_what_is_usual_is_not():
    tree = entry(b"100644", b".gitignore", BLOB.oid) + entry(b"100644", b"a.b", BLOB.oid)
    tree += entry(b"40000", b"a", TREE.oid) + entry(b"100755", b"a0", BLOB.oid)
    commit = b"tree %s\n" % named("tree", tree).oid.encode() + WHO + b"\nWhy"
    found = read(raw([(1, commit), (2, tree), (3, b"x"), (2, b"")]))
    assert found is not None and [item.kind for item in found][-1] == "commit" and len(found) == 4


def test_too_much_is_left_to_git():
    content = bytes(plain_packs.MAX_OBJECT_BYTES + 1)
    assert read(raw([(3, content)])) is None
    bomb = [(3, bytes(plain_packs.MAX_OBJECT_BYTES - n)) for n in range(5)]
    assert read(raw(bomb)) is None


def test_refs_are_read_as_git_reads_them(repository):
    ids = line_of_edits(repository, 4)
    assert repository.main() is None and repository.heads() == ()
    repository.set_heads([ids[1]], ids[1])
    assert refs.read_folder(repository.path, HEADS) == {HEADS + ids[1]: ids[1]}
    git(repository, "pack-refs", "--all")
    assert not (repository.path / MAIN).exists()
    assert (repository.main(), repository.heads()) == (ids[1], (ids[1],))
    repository.set_heads([ids[2]], ids[2])
    assert (repository.main(), repository.heads()) == (ids[2], (ids[2],))
    git(repository, "update-ref", MAIN, ids[3])  # a push, behind the back of the long-lived git
    assert repository.heads() == (ids[3],)
    repository.set_heads([ids[3]], ids[3])
    shown = (
        git(repository, "for-each-ref", "--format=%(objectname) %(refname)").decode().split("\n")
    )
    assert sorted(filter(None, shown)) == [f"{ids[3]} {MAIN}", f"{ids[3]} {HEADS}{ids[3]}"]


def test_a_ref_that_is_not_plain_is_asked_of_git(repository):
    ids = line_of_edits(repository, 1)
    repository.set_heads([ids[0]], ids[0])
    git(repository, "update-ref", "refs/heads/side", ids[0])
    git(repository, "symbolic-ref", MAIN, "refs/heads/side")
    with pytest.raises(refs.UnusualRef):
        refs.read_ref(repository.path, MAIN)
    assert repository.main() == ids[0]


def test_a_lock_that_is_held_is_told_and_the_next_change_works(repository):
    ids = line_of_edits(repository, 2)
    repository.set_heads([ids[0]], ids[0])
    lock = Path(f"{repository.path / MAIN}.lock")
    lock.touch()
    with pytest.raises(Exception, match=r"update-ref.*main\.lock"):
        repository.set_heads([ids[1]], ids[1])
    assert repository.heads() == (ids[0],)
    lock.unlink()
    repository.set_heads([ids[1]], ids[1])
    assert repository.heads() == (ids[1],)


def test_a_commit_is_never_there_without_what_it_holds(tmp_path):
    """Where writing stops, the commit's name is not there yet."""
    objects = tmp_path / "objects"
    objects.mkdir()
    blob, tree = named("blob", b"1"), trees.tree_objects({"a": b"1"}, ())[-1]
    commit = trees.commit_object(tree.oid, (), AUTHOR, 1, "x")
    (objects / tree.oid[:2]).write_text("in the way of the folder")
    with pytest.raises(OSError, match=r"exist|directory"):
        loose.write(objects, [commit, blob, tree])
    assert not loose.place(objects, commit.oid).exists()
    assert [p.name for p in objects.iterdir() if p.name.startswith(loose.INCOMING)] == []
