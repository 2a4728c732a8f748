"""The working copy that people edit on a host: it follows main, and what they save in it becomes an edit.

Decides which files of it may be replaced: only those that nobody touched. Whether a save is accepted, and when to
look, is the daemon's. Must not know what the files mean.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xsm.edge import loose, refs
from xsm.edge.durable import sync_dir
from xsm.edge.git import LOCK_STALE_S, Git, GitFailed, RepositoryError
from xsm.edge.repository import MAIN, Repository
from xsm.edge.trees import MAX_FILE_BYTES, MAX_FILES
from xsm.edge.watch import Watch, is_temporary, watch
from xsm.site.document import SITE_FILES, Files

MAX_LOOK_BACK = 200
"""Revisions in which a save is looked for, to see that it was taken."""
_CONFIG_FILE = re.compile(r"configs/[^/]+\.(cfg|xml|user-data|network-config)")
_UNFINISHED = (
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "rebase-merge",
    "rebase-apply",
)
_NEW = ".xsm-new"
"""Where the checkout is cloned to, in its own folder, before its .git is moved into place."""
_AT_WORK = "xsm-at-work"
"""In .git while XSM moves the checkout on. A lock that is there together with it may be our own git's."""
_OUR_LOCKS = (
    "index.lock",
    "HEAD.lock",
    "ORIG_HEAD.lock",
    "packed-refs.lock",
    "shallow.lock",
    "refs/heads/main.lock",
    "refs/remotes/origin/main.lock",
    "objects/maintenance.lock",
    "gc.pid.lock",
)
_LOOSE_LIMIT = 27
"""Objects in one folder of 256 from which on git gathers them (its gc.auto, 6700 in all)."""
_ORIGIN = "refs/remotes/origin/main"
_CONFIG = {"core.autocrlf": "false", "pull.rebase": "true", "push.default": "simple"}


class CheckoutError(RepositoryError):
    """The working copy can't be used or followed; the text says why and what to do."""


@dataclass(frozen=True)
class Edited:
    """What people changed relative to `base`, the revision that the working copy is on.

    `files` may hold new content of known files, and new site files and configs. Others that git doesn't know yet
    stay the person's own until they commit and push them.
    """

    base: str
    files: Files
    removed: tuple[str, ...] = field(default=())


class Checkout:
    """A working copy at `path` of `repository`'s main. Made by the first `follow` where it is missing."""

    def __init__(self, path: Path, repository: Repository) -> None:
        self.path = Path(path).absolute()
        self._repository = repository
        self._git = Git(self.path / ".git", work_tree=self.path)

    # -- making -----------------------------------------------------

    @property
    def exists(self) -> bool:
        return (self.path / ".git").exists()

    def create(self) -> None:
        """Clone, without any file yet: `follow` writes them. Raises `CheckoutError`.

        The clone is made aside, so that one that was cut short is no checkout.
        """
        new = self.path / _NEW
        if self.path.exists() and (
            not self.path.is_dir() or any(path != new for path in self.path.iterdir())
        ):
            raise CheckoutError(
                f"{self.path} is there already and is no checkout of the site: move it away"
            )
        try:
            new.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(new)
        except OSError as error:
            raise CheckoutError(f"the checkout {self.path} can't be made: {error}") from error
        source = str(self._repository.path)
        clone = Git(self._repository.path)
        made = Git(new / ".git", work_tree=new)
        try:
            clone.run(
                "clone",
                "-q",
                "--no-checkout",
                "--no-hardlinks",
                "--template=",
                "-b",
                "main",
                source,
                str(new),
            )
            for key, value in _CONFIG.items():
                made.run("config", "--local", key, value)
            os.replace(new / ".git", self.path / ".git")
            new.rmdir()
        except (GitFailed, OSError) as error:
            raise CheckoutError(f"the checkout {self.path} can't be made: {error}") from error

    # -- following -----------------------------------------------------

    def follow(self, revision: str, taken: Edited | None = None) -> bool:
        """Bring the working copy to `revision` (main); False when it was there already.

        `taken`: a save that became part of `revision`, whose files therefore count as untouched. All or nothing.
        Raises `CheckoutError` where that would overwrite somebody's work; then nothing was changed.
        """
        if not self.exists:
            self.create()
        self._clear_ours()
        head = self.head()
        new = head is None or not (self.path / ".git" / "index").exists()
        if head == revision and not new:
            return False
        self._ready()
        here = {} if new or head is None else self._repository.files(head)
        there = self._repository.files(revision)
        changed = sorted(p for p in {*here, *there} if here.get(p) != there.get(p))
        write: dict[str, bytes | None] = {}  # what is there now
        blocked = []
        for path in changed:
            now = self._now(path)
            if now == there.get(path):
                continue
            if now is not None or here.get(path) is not None:
                fine = now == here.get(path) or self._was_taken(path, now, taken, head, revision)
                if not fine:
                    blocked.append(path)
                    continue
            write[path] = now
        if blocked:
            raise CheckoutError(
                f"{self.path} stays on {(head or 'nothing')[:10]}: {', '.join(blocked)} has edits that the "
                f"site doesn't have, and {revision[:10]} changes it; save it right, or put it back with "
                "`git restore`"
            )
        at_work = self.path / ".git" / _AT_WORK
        at_work.touch()
        self._fetch(head, revision)  # before the first file changes: what fails, fails here
        self._write_all({path: (now, there.get(path)) for path, now in write.items()})
        self._git.run("reset", "-q", "--mixed", revision, "--")
        at_work.unlink(missing_ok=True)
        return True

    def _clear_ours(self) -> None:
        """What was left when XSM, or its git, was killed while it moved the checkout on.

        Raises `CheckoutError` while a lock is so new that somebody may be at work; the daemon tries again soon.
        """
        git_dir = self.path / ".git"
        if not (git_dir / _AT_WORK).exists():
            return
        for name in _OUR_LOCKS:
            lock = git_dir / name
            # One from the future is of a time when this host's clock was ahead: it would stay for as long.
            if lock.exists() and abs(time.time() - lock.stat().st_mtime) < LOCK_STALE_S:
                raise CheckoutError(
                    f"{self.path} was cut short while XSM moved it on; soon it goes on"
                )
        for name in _OUR_LOCKS:
            (git_dir / name).unlink(missing_ok=True)
        for folder in sorted((git_dir / "objects").glob(f"{loose.INCOMING}*")):
            shutil.rmtree(folder, ignore_errors=True)
        for left in sorted(self.path.rglob(".xsm-*.tmp")):
            left.unlink(missing_ok=True)
        (git_dir / _AT_WORK).unlink(missing_ok=True)

    def _ready(self) -> None:
        """Raises `CheckoutError` while a person is in the middle of something in the working copy."""
        git_dir = self.path / ".git"
        unfinished = [name for name in _UNFINISHED if (git_dir / name).exists()]
        if unfinished:
            raise CheckoutError(
                f"{self.path} is in the middle of a git operation ({unfinished[0]}): finish it first"
            )
        lock = git_dir / "index.lock"
        if lock.exists():
            # Files could be written now, but HEAD not moved: they would look like somebody's save.
            raise CheckoutError(
                f"{self.path} is locked: a git command is at work there or was cut short; "
                f"if none is, remove {lock}"
            )
        branch = MAIN
        if not refs.on_branch(git_dir, MAIN):
            out = self._git.attempt("symbolic-ref", "-q", "HEAD")[1]
            branch = out.decode("utf-8", "replace").strip()
        if branch != MAIN:
            raise CheckoutError(
                f"{self.path} is on {branch or 'no branch'}, not on main: `git switch main`"
            )
        head = self.head()
        if head is not None and head not in self._repository:
            raise CheckoutError(
                f"{self.path} has commits that are not pushed: `git pull`, then `git push`"
            )

    def head(self) -> str | None:
        """The commit that the working copy is on; None before the first. Raises `CheckoutError`."""
        if refs.on_branch(self.path / ".git", MAIN):
            with contextlib.suppress(refs.UnusualRef):
                return refs.read_ref(self.path / ".git", MAIN)
        code, out, error = self._git.attempt("rev-parse", "--verify", "-q", "HEAD^{commit}")
        if code != 0 and error.strip():
            raise CheckoutError(f"{self.path} can't be read: {error.strip()}")
        return out.decode("ascii").strip() or None

    def _fetch(self, head: str | None, revision: str) -> None:
        """Get the objects of `revision`, straight from the repository.

        By its id, not by main's name: somebody may push to main at this moment, and a merge over new heads need
        not contain the one before it. The everyday step of a few commits is copied: git starts six processes for it.
        """
        git_dir = self.path / ".git"
        step = None
        if head is not None and not self._is_crowded():  # else git fetches, and tidies after it
            step = self._repository.step(head, revision)
        try:
            if step is not None:
                loose.write(git_dir / "objects", step)
                self._git.run("update-ref", _ORIGIN, revision)
            else:
                source, where = str(self._repository.path), f"+{revision}:{_ORIGIN}"
                self._git.run("fetch", "-q", "--no-tags", "--no-write-fetch-head", source, where)
        except (GitFailed, OSError) as error:
            if not (isinstance(error, GitFailed) and error.killed):
                (git_dir / _AT_WORK).unlink(missing_ok=True)
            raise CheckoutError(f"{self.path} can't be brought up to date: {error}") from error

    def _is_crowded(self) -> bool:
        """Whether git would gather loose objects now; it looks into the same one of their 256 folders."""
        folder = self.path / ".git" / "objects" / "17"
        return folder.is_dir() and len(os.listdir(folder)) > _LOOSE_LIMIT

    def _was_taken(
        self, path: str, now: bytes | None, taken: Edited | None, head: str | None, revision: str
    ) -> bool:
        """True when what stands in the working copy is in the site's history since `head`: nothing is lost."""
        if taken is not None and (
            taken.files.get(path) == now if now is not None else path in taken.removed
        ):
            return True
        for commit in self._repository.log(MAX_LOOK_BACK, revision):
            if commit.id == head:
                return False
            if self._repository.files(commit.id).get(path) == now:
                return True
        return False

    # -- saves -----------------------------------------------------

    def edited(self) -> Edited | None:
        """What people saved and the site doesn't have; None when nothing. Raises `CheckoutError`."""
        if not self.exists:
            return None
        self._clear_ours()
        self._ready()
        head = self.head()
        if head is None:
            return None
        here = self._repository.files(head)
        files: dict[str, bytes] = {}
        removed = []
        for path in sorted(here):
            now = self._now(path)
            if now is None:
                removed.append(path)
            elif now != here[path]:
                files[path] = now
        for path in self._untracked():
            now = self._now(path)
            if path not in here and now is not None:
                files[path] = now
        return Edited(head, files, tuple(removed)) if files or removed else None

    def _untracked(self) -> list[str]:
        out = self._git.run(
            "ls-files", "-z", "--others", "--exclude-standard", "--", *SITE_FILES, "configs"
        )
        paths = [p for p in out.decode("utf-8", "replace").split("\0") if p and not is_temporary(p)]
        found = sorted(p for p in paths if p in SITE_FILES or _CONFIG_FILE.fullmatch(p))
        if len(found) > MAX_FILES:
            raise CheckoutError(f"{len(found)} new files in {self.path}, more than {MAX_FILES}")
        return found

    # -- files -----------------------------------------------------

    def _place(self, path: str) -> Path:
        """Raises `CheckoutError` when a folder on the way is a link: nothing outside is read or written."""
        place = self.path
        for part in path.split("/")[:-1]:
            place = place / part
            if place.is_symlink():
                raise CheckoutError(
                    f"{place} is a symbolic link: XSM follows none; make it a folder"
                )
        return self.path / path

    def _now(self, path: str) -> bytes | None:
        """A file of the working copy; None when there is none. Raises `CheckoutError` for links, pipes, big ones."""
        place = self._place(path)
        try:
            fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CheckoutError(f"{place} can't be read: {error.strerror}") from error
        with os.fdopen(fd, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CheckoutError(f"{place} is no plain file")
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise CheckoutError(f"{place} has more than {MAX_FILE_BYTES >> 20} MiB")
        return content

    def _write_all(self, files: Mapping[str, tuple[bytes | None, bytes | None]]) -> None:
        """Write or remove files (path -> what is there, what is to be there); on disk when this returns.

        They must be there before HEAD moves: after a power failure an old file under a new HEAD, or an empty one,
        would be taken for somebody's save.
        """
        folders = set()
        for path in sorted(files):
            self._write(path, *files[path])
            parts = path.split("/")[:-1]
            folders |= {self.path.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)}
        for folder in sorted(folders):
            if folder.is_dir():
                sync_dir(folder)

    def _write(self, path: str, before: bytes | None, content: bytes | None) -> None:
        """Raises `CheckoutError`, which names the file itself: a temporary name would be another one each time.
        Also when it isn't as `before` any more: somebody saved it while git worked."""
        place = self._place(path)
        try:
            if content is None:
                self._check_untouched(path, before)
                place.unlink(missing_ok=True)
                self._drop_empty(place.parent)
            else:
                self._replace(place, content, lambda: self._check_untouched(path, before))
        except OSError as error:
            immutable = ": is it immutable (`lsattr`)?" if error.errno == errno.EPERM else ""
            raise CheckoutError(f"{place} can't be written: {error.strerror}{immutable}") from error

    def _check_untouched(self, path: str, before: bytes | None) -> None:
        if self._now(path) != before:
            raise CheckoutError(f"{self.path / path} was saved just now")

    def _replace(self, place: Path, content: bytes, check: Callable[[], None]) -> None:
        """`check` is called last of all before the file is replaced."""
        mode = 0o644
        if place.exists():
            mode = stat.S_IMODE(place.stat().st_mode)
        place.parent.mkdir(parents=True, exist_ok=True)
        fd, temporary = tempfile.mkstemp(dir=place.parent, prefix=".xsm-", suffix=".tmp")
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
            check()
            os.replace(temporary, place)
        except (OSError, CheckoutError):
            Path(temporary).unlink(missing_ok=True)
            raise

    def _drop_empty(self, folder: Path) -> None:
        while folder != self.path and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent


__all__ = ["Checkout", "CheckoutError", "Edited", "Watch", "watch"]
