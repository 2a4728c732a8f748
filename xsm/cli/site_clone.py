"""After an apply from a git clone of the site: the clone goes on to the revision that the edit became.

Decides when that is safe: only a fast-forward of main, only where the clone's site file and configs are that revision's
already, and never over anything else that somebody has there. Otherwise the clone is left as it is, and why is told.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xsm.cli.client import Client
from xsm.cli.site_folder import same_as
from xsm.cli.texts import short
from xsm.edge.folder import Folder, read_folder
from xsm.site.document import SITE_FILES
from xsm.site.problems import Invalid

FETCH_TIMEOUT_S = 10.0
"""The clone's origin may be another host, or gone."""
GIT_TIMEOUT_S = 10.0
MAIN = "refs/heads/main"
UNFINISHED = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD")
PLACES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
)
"""What git would take another repository from."""


class Stays(Exception):
    """The clone is left as it is; the text says why."""


def bring_along(folder: Folder, client: Client, revision: str) -> str:
    """Bring the clone at `folder` to `revision`, which was applied from it. A line to tell; "" when there is none."""
    clone = Clone(folder.root)
    head = clone.ask("rev-parse", "--verify", "-q", "HEAD")
    top = clone.ask("rev-parse", "--show-toplevel")
    if not head or head == revision or os.path.realpath(top) != os.path.realpath(folder.root):
        return ""
    try:
        _may_go(clone, folder, client, head, revision)
        clone.fast_forward(head, revision, sorted(folder.proposed()))
    except (Stays, OSError) as why:
        return (
            f"your clone stays on {short(head)}: {why}; `git stash -u; git pull --rebase` brings it "
            f"to {short(revision)}, which has this edit"
        )
    return f"your clone is on {short(revision)} now"


def _may_go(clone: Clone, folder: Folder, client: Client, head: str, revision: str) -> None:
    """Raises `Stays`."""
    if clone.folder("HEAD").stat().st_uid != os.geteuid():
        raise Stays("it belongs to another user")
    branch = clone.ask("symbolic-ref", "-q", "HEAD")
    if branch != MAIN:
        raise Stays(f"it is on {branch.removeprefix('refs/heads/') or 'no branch'}, not on main")
    if any(clone.folder(name).exists() for name in UNFINISHED):
        raise Stays("it is in the middle of a git operation")
    if os.path.basename(folder.site_file) not in SITE_FILES:
        raise Stays("its site file has another name")
    if not same_as(folder, client.files(revision)):
        raise Stays("the site has merged this edit with others")
    clone.get(revision)
    if not clone.works("merge-base", "--is-ancestor", head, revision):
        raise Stays("it has commits of its own, or main was merged anew")
    try:
        now = read_folder(folder.root, with_state=False)
    except Invalid:
        now = None
    if now is None or now.files != folder.files:
        raise Stays("it was edited meanwhile")


class Clone:
    """git in one work tree of the user's."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.environment = {k: v for k, v in os.environ.items() if k not in PLACES}
        # Nobody is there to be asked for a password: this is a courtesy after an apply that is done.
        self.environment |= {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "SSH_ASKPASS_REQUIRE": "never",
            "GIT_LITERAL_PATHSPECS": "1",
            "LC_ALL": "C",
        }

    # -- running -----------------------------------------------------

    def run(self, *arguments: str, stdin: bytes = b"", timeout_s: float = GIT_TIMEOUT_S) -> bytes:
        """Raises `Stays` with git's own words."""
        command = ["git", "-c", f"core.hooksPath={os.devnull}", "-C", self.root, *arguments]
        try:
            # A session of its own: ssh finds no terminal to ask at, and goes when git does.
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=self.environment, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise Stays(f"git can't be run: {error.strerror}") from None
        with process:
            try:
                out, error_text = process.communicate(stdin, timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise Stays(f"git {arguments[0]} took longer than {timeout_s:.0f} s") from None
        if process.returncode != 0:
            said = error_text.decode("utf-8", "replace").strip().splitlines()
            raise Stays(said[0] if said else f"git {arguments[0]} failed")
        return out

    def ask(self, *arguments: str) -> str:
        """Output without its newline; "" when git can't say."""
        try:
            return self.run(*arguments).decode("utf-8", "replace").strip()
        except Stays:
            return ""

    def works(self, *arguments: str) -> bool:
        try:
            self.run(*arguments)
        except Stays:
            return False
        return True

    def folder(self, name: str) -> Path:
        """A path within git's own folder."""
        return Path(self.root, self.run("rev-parse", "--git-path", name).decode().strip())

    # -- going on -----------------------------------------------------

    def get(self, revision: str) -> None:
        """Have the revision here, from where main is pulled from. Raises `Stays`."""
        known = ("cat-file", "-e", f"{revision}^{{commit}}")
        if self.works(*known):
            return
        remote = self.ask("config", "--get", "branch.main.remote") or "origin"
        try:
            self.run("fetch", "-q", "--no-tags", remote, "main", timeout_s=FETCH_TIMEOUT_S)
        except Stays as why:
            raise Stays(f"{remote} can't be asked for the new revision ({why})") from None
        if not self.works(*known):
            raise Stays(f"{remote} doesn't have the new revision yet")

    def fast_forward(self, head: str, revision: str, taken: list[str]) -> None:
        """Move main, the index and the other files on. `taken`: paths whose files are the revision's already.

        Everything is tried in git's own lock file of the index first; git refuses where it would lose something.
        Raises `Stays`, and then nothing of the user's has changed.
        """
        new = self._entries("ls-tree", "-r", "-z", revision, "--", *taken)
        old = self._entries("ls-tree", "-r", "-z", head, "--", *taken)
        with self._locked_index():
            staged = self._entries("ls-files", "-s", "-z", "--", *taken)
            for path in taken:
                if staged.get(path) not in (old.get(path), new.get(path), None):
                    raise Stays(f"{path} is staged otherwise than it was applied")
            lines = "".join(f"{entry}\t{path}\0" for path, entry in sorted(new.items()))
            self.run("update-index", "-z", "--index-info", stdin=lines.encode())
            self.works("update-index", "-q", "--refresh")  # fails where other files are edited
            self.run("read-tree", "-m", "-u", head, revision)
            self.run("update-ref", "-m", "xsm apply", MAIN, revision, head)

    def _entries(self, *arguments: str) -> dict[str, str]:
        """Path -> "mode id stage", for `git update-index --index-info`."""
        found = {}
        for line in self.run(*arguments).decode("utf-8", "surrogateescape").split("\0"):
            entry, _, path = line.partition("\t")
            if path:
                parts = entry.split()  # ls-tree: mode type id; ls-files: mode id stage
                mode, blob, stage = parts if parts[1] != "blob" else (parts[0], parts[2], "0")
                found[path] = f"{mode} {blob} {stage}"
        return found

    @contextmanager
    def _locked_index(self) -> Iterator[None]:
        """Let git work on a copy of the index, in the index's lock file; it becomes the index when all went well."""
        index = self.folder("index").absolute()
        lock = index.with_name(index.name + ".lock")
        try:
            descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            raise Stays("another git is at work there") from None
        try:
            with os.fdopen(descriptor, "wb") as copy:
                copy.write(index.read_bytes())
            self.environment["GIT_INDEX_FILE"] = str(lock)
            yield
            os.replace(lock, index)
        finally:
            self.environment.pop("GIT_INDEX_FILE", None)
            lock.unlink(missing_ok=True)
