"""This host's git repository: the site's history on disk, byte for byte, fsynced, checked on every way in.

Decides how revisions are stored and read. Which heads there are and what main shows is `peer.derive`'s. Layout:
refs/xsm/heads/<id> are the user commits that no other contains, refs/heads/main is what they come to (what people
clone, pull and push). One process at a time: the daemon holds a flock.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from math import inf
from pathlib import Path
from types import MappingProxyType

import xsm
from xsm.edge import loose, packs, refs, stale, steps, trees
from xsm.edge.durable import sync_dir
from xsm.edge.git import LONG_TIMEOUT_S, Git, GitFailed, Objects, RepositoryError
from xsm.edge.known import KnownObjects
from xsm.edge.loose import Object
from xsm.edge.packs import MAX_PACK_BYTES, PackRefused
from xsm.edge.trees import Blob, Unreadable
from xsm.peer.derive import Derived
from xsm.peer.history import MERGE_AUTHOR, Ancestry, Commit
from xsm.site.document import Files

MAIN = "refs/heads/main"
HEADS = "refs/xsm/heads/"
ZERO = "0" * 40

MAX_COMMITS_CACHED = 100_000
"""About 500 bytes each; ancestry walks all commits once."""
MAX_TREES_CACHED = 256
MAX_PUSHED_COMMITS = 1_000
"""In one push."""
AHEAD_LIMIT_S = 86_400.0
"""How far a pushed commit may be dated ahead of this host's clock. Of two edits the later one is shown, and every later
edit gets at least its date: one from the year 2090 would win for long. Only where an edit is made: what another host
accepted is never refused.
"""
MAX_HEADS = 256
NEW_SUFFIX = ".new"
"""Of a repository that is being made."""
SET_HEADS_TRIES = 3

_ID = re.compile("[0-9a-f]{40}")
_NAMED = re.compile("[0-9a-f]{4,40}|main(~[0-9]{1,5})?")

_CONFIG = {
    "core.fsync": "all",
    "core.fsyncMethod": "fsync",
    "core.logAllRefUpdates": "false",
    "core.bigFileThreshold": "16m",
    "core.sharedRepository": "umask",
    "gc.auto": "1000",
    "gc.autoDetach": "false",
    "gc.autoPackLimit": "50",
    "receive.autogc": "false",  # the daemon runs gc when it has time
    "receive.denyNonFastForwards": "true",
    "receive.denyDeletes": "true",
    "receive.fsckObjects": "true",
    "receive.maxInputSize": str(MAX_PACK_BYTES),
    "transfer.fsckObjects": "true",
    "transfer.hideRefs": "refs/xsm",
    "http.receivepack": "true",
    "http.uploadpack": "true",
}


class RepositoryInUse(RepositoryError):
    """Another process has it."""


class MainMoved(RepositoryError):
    """main was pushed to meanwhile: derive the heads again."""


class Repository:
    """A bare git repository, and its commits as `peer.history.History`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock_fd = lock
        self.git = Git(path)
        self._objects = KnownObjects(self.git.objects())
        self._updates = refs.RefUpdates(self.git)
        self._folder = path / "objects"
        self._mutex = threading.RLock()
        self._commits: OrderedDict[str, tuple[Commit, str]] = OrderedDict()
        self._trees: OrderedDict[str, Mapping[str, Blob]] = OrderedDict()
        self.ancestry = Ancestry(self)

    # -- opening -----------------------------------------------------

    @classmethod
    def create(cls, path: Path, socket: Path | None = None) -> Repository:
        """A new, empty repository. `socket`: where its hooks find xsmd. Raises `RepositoryError`."""
        path = Path(path)
        if path.exists() and any(path.iterdir()):
            raise RepositoryError(f"{path} is not empty: there is something already")
        # It is there whole or not at all: half of one could be neither opened nor made again.
        new = path.with_name(path.name + NEW_SUFFIX)
        if new.exists():
            shutil.rmtree(new)
        new.mkdir(parents=True)
        Git(new).run(
            "init", "-q", "--bare", "--object-format=sha1", "--template=", "-b", "main", str(new)
        )
        os.replace(new, path)
        sync_dir(path.parent)
        return cls.open(path, socket)

    @classmethod
    def open(cls, path: Path, socket: Path | None = None) -> Repository:
        """Open the repository, alone: a second process is refused. Clears what a crash left behind."""
        path = Path(path).absolute()
        if not (path / "objects").is_dir() or not (path / "HEAD").is_file():
            raise RepositoryError(
                f"{path} is no git repository; `xsm init` or `xsm join` makes one"
            )
        lock = _take_lock(path)
        try:
            stale.clear(path)
            _configure(Git(path), socket)
            _install_hooks(path)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, lock)

    def close(self) -> None:
        """Stop git's processes and let go of the lock."""
        self._objects.close()
        self._updates.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    # -- reading -----------------------------------------------------

    def __contains__(self, commit_id: object) -> bool:
        if not isinstance(commit_id, str) or not _ID.fullmatch(commit_id):
            return False
        with self._mutex:
            return commit_id in self._commits or self._objects.kind(commit_id) == "commit"

    def commit(self, commit_id: str) -> Commit:
        """Raises `KeyError` for a commit that isn't here."""
        return self._commit(commit_id)[0]

    def files(self, commit_id: str) -> Files:
        """The commit's tree. Raises `KeyError` for a commit that isn't here, `Unreadable`."""
        with self._mutex:
            blobs = self._tree(self._commit(commit_id)[1])
            return MappingProxyType(trees.read_files(blobs, self._objects.read))

    def blob_ids(self, commit_id: str) -> Mapping[str, str]:
        """Path -> git's name of the content: tells which files differ without reading them."""
        with self._mutex:
            return {path: blob.oid for path, blob in self._tree(self._commit(commit_id)[1]).items()}

    def _commit(self, commit_id: str) -> tuple[Commit, str]:
        with self._mutex:
            known = self._commits.get(commit_id)
            if known is not None:
                self._commits.move_to_end(commit_id)
                return known
            entry = self._objects.read(commit_id) if _ID.fullmatch(commit_id) else None
            if entry is None or entry[0] != "commit":
                raise KeyError(commit_id)
            known = self._commits[commit_id] = trees.parse_commit(commit_id, entry[1])
            if len(self._commits) > MAX_COMMITS_CACHED:
                self._commits.popitem(last=False)
            return known

    def _tree(self, oid: str) -> Mapping[str, Blob]:
        known = self._trees.get(oid)
        if known is None:
            known = self._trees[oid] = trees.read_tree(oid, self._objects.read)
            if len(self._trees) > MAX_TREES_CACHED:
                self._trees.popitem(last=False)
        else:
            self._trees.move_to_end(oid)
        return known

    def resolve(self, named: str) -> str | None:
        """The full id of what a person named: an id, its first digits, main, main~3; None: none or several."""
        if not _NAMED.fullmatch(named):
            return None
        code, out, _ = self.git.attempt("rev-parse", "--verify", "--quiet", f"{named}^{{commit}}")
        return out.decode("ascii").strip() if code == 0 else None

    def missing(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Those of `ids` that are not here, sorted."""
        return tuple(sorted(i for i in set(ids) if i not in self))

    def log(self, limit: int, start: str | None = None) -> tuple[Commit, ...]:
        """Commits from `start` (main) backwards, newest first, children before their parents."""
        main = start or self.main()
        if main is None or limit < 1:
            return ()
        out = self.git.run("rev-list", "--date-order", f"--max-count={limit}", main, "--")
        return tuple(self.commit(line) for line in out.decode("ascii").split())

    # -- writing -----------------------------------------------------

    def write_commit(
        self, files: Files, parents: tuple[str, ...], author: str, date: int, message: str
    ) -> Commit:
        """Store a revision, on disk when this returns; no ref moves. Equal arguments give one id on every host.

        `date`: seconds since the epoch (`peer.derive.commit_date`). Raises `Unreadable` for paths that a site
        can't have, `KeyError` for a parent that isn't here, `GitFailed`.
        """
        if author == MERGE_AUTHOR and len(parents) < 2:
            raise RepositoryError("only a merge commit is made by XSM itself")
        return self._write(files, parents, author, date, message)

    def _write(
        self, files: Files, parents: tuple[str, ...], author: str, date: int, message: str
    ) -> Commit:
        trees.check_paths(files)
        with self._mutex:
            known: dict[str, list[Blob]] = {}
            for parent in parents:
                for path, blob in self._tree(self._commit(parent)[1]).items():
                    known.setdefault(path, []).append(blob)
            programs = [path for path in files if any(b.program for b in known.get(path, ()))]
            new = trees.tree_objects(files, programs)
            new.append(trees.commit_object(new[-1].oid, parents, author, date, message))
            here = {blob.oid for blobs in known.values() for blob in blobs}
            try:
                loose.write(self._folder, [item for item in new if item.oid not in here])
            except OSError as error:
                why = error.strerror or str(error)
                raise RepositoryError(f"{self._folder} can't be written: {why}") from error
            self._objects.keep(new)
            return self.commit(new[-1].oid)

    def write_derived(self, derived: Derived) -> str:
        """The commit that main is to show: the one head itself, or the merge commit, the same on every host."""
        if derived.commit is not None:
            return derived.commit.id
        return self._write(
            derived.files, derived.parents, derived.author, derived.date, derived.message
        ).id

    def collect(self) -> None:
        """Gather loose objects and packs when there are many; for when nothing else is to do."""
        self.git.run("gc", "--auto", "--quiet", timeout_s=LONG_TIMEOUT_S)

    # -- heads -----------------------------------------------------

    def _refs(self) -> tuple[str | None, tuple[str, ...]]:
        try:
            main, there = refs.read_ref(self.path, MAIN), refs.read_folder(self.path, HEADS)
        except refs.UnusualRef:
            return self._refs_of_git()
        return main, tuple(sorted(oid for name, oid in there.items() if name == HEADS + oid))

    def _refs_of_git(self) -> tuple[str | None, tuple[str, ...]]:
        out = self.git.run("for-each-ref", "--format=%(objectname) %(refname)", MAIN, HEADS)
        main, heads = None, []
        for line in out.decode("utf-8").splitlines():
            oid, name = line.split(" ", 1)
            if name == MAIN:
                main = oid
            elif name == HEADS + oid:
                heads.append(oid)
        return main, tuple(sorted(heads))

    def main(self) -> str | None:
        """What main shows; None in a repository without any revision."""
        return self._refs()[0]

    def heads(self) -> tuple[str, ...]:
        """User commits that no other contains, sorted. What was pushed to main a moment ago counts already."""
        main, heads = self._refs()
        return self.ancestry.maximal({*heads, *([main] if main else [])})

    def set_heads(self, heads: Iterable[str], main: str) -> None:
        """Remember the heads and what main shows for them, in one transaction.

        Raises `MainMoved` when main shows a commit that `heads` do not contain (it was just pushed).
        """
        wanted = tuple(sorted(set(heads)))
        if len(wanted) > MAX_HEADS:
            raise RepositoryError(
                f"{len(wanted)} heads, more than {MAX_HEADS}: somebody floods the site with edits"
            )
        for _ in range(SET_HEADS_TRIES):
            old_main, old_heads = self._refs()
            if old_main == main and old_heads == wanted:
                return
            if old_main and self.ancestry.maximal({*wanted, old_main}) != wanted:
                raise MainMoved(f"main shows {old_main[:10]}, which is not in the heads")
            lines = [f"update {MAIN} {main} {old_main or ZERO}"]
            lines += [f"update {HEADS}{head} {head}" for head in wanted if head not in old_heads]
            lines += [f"delete {HEADS}{head}" for head in old_heads if head not in wanted]
            error = self._updates.commit(lines)
            if not error:
                return
            if ".lock': File exists" in error:
                stale.clear_old_locks(self.path)
        raise GitFailed("update-ref", error)

    # -- exchange -----------------------------------------------------

    def step(self, old: str, new: str) -> list[Object] | None:
        """What a copy of `old` lacks of `new`; None: too much to copy it object by object. Raises as `steps.step`."""
        with self._mutex:
            return steps.step(old, new, self._commit, self.ancestry, self._objects.read)

    def pack(self, want: Iterable[str], have: Iterable[str] = ()) -> bytes:
        """A thin pack of `want` for somebody who has `have`. All of them must be here. Raises `GitFailed`."""
        return packs.make_pack(self.git, sorted(set(want)), sorted(set(have)))

    def store_pack(self, pack: bytes, max_bytes: int = MAX_PACK_BYTES) -> tuple[str, ...]:
        """Store a pack; the ids of its commits. Raises `PackRefused`, and then nothing was stored."""
        return packs.store_pack(self.git, self._objects, pack, max_bytes, _check_commit)

    def read_quarantined(self, new: str, env: Mapping[str, str], now: float = inf) -> Files:
        """What a push wants to make of main, while git still keeps it apart. `now`: this host's wall clock.

        `env`: GIT_OBJECT_DIRECTORY (and the like) of the hook. Raises `PackRefused` for commits that can't be
        accepted: too many, links or submodules in them, or XSM's own name as their author.
        """
        if not _ID.fullmatch(new) or new == ZERO:
            raise PackRefused("main can't be deleted")
        git = Git(self.path, self._quarantine(env))
        code, out, error = git.attempt(
            "rev-list", f"--max-count={MAX_PUSHED_COMMITS + 1}", new, "--not", "--glob=refs/*", "--"
        )
        if code != 0:
            raise PackRefused(f"the pushed commits can't be read: {error.strip()}")
        commits = out.decode("ascii").split()
        if len(commits) > MAX_PUSHED_COMMITS:
            raise PackRefused(f"more than {MAX_PUSHED_COMMITS} commits in one push")
        objects = git.objects()
        try:
            for commit_id in reversed(commits):
                self._check_pushed(objects, commit_id, now)
            entry = objects.read(new)
            if entry is None or entry[0] != "commit":
                raise PackRefused(f"{new} is no commit")
            blobs = trees.read_tree(trees.parse_commit(new, entry[1])[1], objects.read)
            self._check_forward(git, new)
            self._check_state_kept(blobs)
            return trees.read_files(blobs, objects.read)
        except Unreadable as unreadable:
            raise PackRefused(str(unreadable)) from unreadable
        finally:
            objects.close()

    def _check_forward(self, git: Git, pushed: str) -> None:
        """git refuses to drop revisions, too, but only after what such a push lacks has been told as if it mattered."""
        main = self.main()
        if main is not None and git.attempt("merge-base", "--is-ancestor", main, pushed)[0] == 1:
            raise PackRefused(
                "the site has moved on, and no push can take that back: `git pull`, then push again; "
                "`xsm rollback` brings an older revision back as a new one"
            )

    def _check_state_kept(self, pushed: Mapping[str, Blob]) -> None:
        """A commit is stored as it was pushed: without the state tables the site would forget its members."""
        main = self.main()
        there = self.blob_ids(main) if main is not None else {}
        gone = [path for path in sorted(there) if path.startswith("state/") and path not in pushed]
        if gone:
            raise PackRefused(
                f"{gone[0]} is missing: state/ is written by XSM itself; `git checkout origin/main -- state` "
                "puts it back"
            )

    def _check_pushed(self, objects: Objects, commit_id: str, now: float) -> None:
        if commit_id in self:
            return  # a merge commit that main showed before, and that the pushed commits build on
        commit = _check_commit(objects, commit_id)
        if commit.date > now + AHEAD_LIMIT_S:
            raise PackRefused(
                f"commit {commit_id[:10]} is dated {(commit.date - now) / 86400:,.0f} days ahead of this host's "
                "clock: put right the clock that is wrong, this one or the one where it was made, and then there "
                "`git commit --amend --reset-author --no-edit`"
            )
        if commit.merge:
            raise PackRefused(
                f"commit {commit_id[:10]} is by {MERGE_AUTHOR}, which is XSM's own name"
            )

    def _quarantine(self, env: Mapping[str, str]) -> dict[str, str]:
        """The hook's object folders, as far as they are in this repository: a hook's word is not trusted."""
        objects = (self.path / "objects").resolve()
        folder = env.get("GIT_OBJECT_DIRECTORY") or env.get("GIT_QUARANTINE_PATH") or str(objects)
        found = (self.path / folder).resolve()
        if found != objects and objects not in found.parents:
            raise PackRefused(f"{folder} is not in this repository")
        if not found.is_dir():
            raise PackRefused(f"{folder} is gone: the push was given up")
        return {
            "GIT_OBJECT_DIRECTORY": str(found),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        }

    # -- checking -----------------------------------------------------

    def verify(self) -> tuple[str, ...]:
        """What is wrong with the repository, one sentence each; () when all objects are there and whole."""
        code, out, error = self.git.attempt(
            "fsck", "--full", "--strict", "--no-dangling", "--no-progress", timeout_s=LONG_TIMEOUT_S
        )
        lines = [line.strip() for line in (out.decode("utf-8", "replace") + error).splitlines()]
        lines = [line for line in lines if line and not line.startswith("notice:")]
        if code == 0 and not lines:
            return ()
        hint = f"move {self.path} away and `xsm join` again: every other host has the whole history"
        return tuple(
            f"the repository is damaged: {line} ({hint})" for line in lines or [f"git fsck: {code}"]
        )


def _check_commit(objects: packs.Reader, commit_id: str) -> Commit:
    """A received commit that can be read later on. Raises `Unreadable`."""
    entry = objects.read(commit_id)
    if entry is None or entry[0] != "commit":
        raise Unreadable(f"{commit_id} is no commit")
    commit, tree = trees.parse_commit(commit_id, entry[1])
    trees.read_tree(tree, objects.read)
    return commit


def _take_lock(path: Path) -> int:
    lock = os.open(path / "xsm.flock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise RepositoryInUse(f"{path} is in use: another xsmd runs on it") from None
    return lock


def _configure(git: Git, socket: Path | None) -> None:
    wanted = {**_CONFIG, **({"xsm.socket": str(socket)} if socket else {})}
    code, out, _ = git.attempt("config", "--local", "--list", "-z")
    there = (
        dict(item.partition("\n")[::2] for item in out.decode("utf-8", "replace").split("\0"))
        if code == 0
        else {}
    )
    for key, value in wanted.items():
        if there.get(key.lower()) != value:
            git.run("config", "--local", key, value)


def _install_hooks(path: Path) -> None:
    """The hooks ask xsmd (`edge.hook`); they run with the Python and the XSM of this process."""
    folder = path / "hooks"
    folder.mkdir(exist_ok=True)
    root = Path(xsm.__file__).resolve().parent.parent
    for name in ("pre-receive", "post-receive"):
        text = (
            "#!/bin/sh\n# Written by xsmd: asks it about what is pushed.\n"
            f"PYTHONPATH={shlex.quote(str(root))} exec {shlex.quote(sys.executable)} -P -m xsm.edge.hook {name}\n"
        )
        hook = folder / name
        if not hook.exists() or hook.read_text() != text:
            temporary = folder / f".{name}"
            temporary.write_text(text)
            temporary.chmod(0o755)
            os.replace(temporary, hook)


__all__ = [
    "MainMoved",
    "PackRefused",
    "Repository",
    "RepositoryError",
    "RepositoryInUse",
    "Unreadable",
]
