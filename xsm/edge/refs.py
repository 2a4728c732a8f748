"""The repository's refs: read from git's files, changed by one long-lived `git update-ref`.

Decides nothing about what they show. Reading follows gitrepository-layout(5): a loose ref counts, else its line in
packed-refs. Changing is git's own: its locks, its checks, its order on disk. A git process for every look and every
change cost more than the commit itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from xsm.edge.git import GIT_TIMEOUT_S, Git, GitFailed

_ID = re.compile(r"[0-9a-f]{40}")
_CHUNK_BYTES = 1 << 16
_DONE = b"commit: ok\n"
MAX_SAID_BYTES = 1 << 20
"""Of one transaction's answers: three short lines, and what git says when it fails."""
END_LIMIT_S = 5.0


class UnusualRef(Exception):
    """A ref that is not simply a commit's id: git has to be asked what it means."""


def read_ref(git_dir: Path, name: str) -> str | None:
    """What one ref shows, None when there is none. Raises `UnusualRef`."""
    loose = _loose(git_dir / name)
    return loose if loose is not None else _packed(git_dir).get(name)


def on_branch(git_dir: Path, name: str) -> bool:
    """Whether HEAD is plainly on this branch; False: git has to be asked."""
    try:
        return (git_dir / "HEAD").read_bytes() == f"ref: {name}\n".encode()
    except OSError:
        return False


def read_folder(git_dir: Path, folder: str) -> dict[str, str]:
    """The refs right under `folder` ("refs/xsm/heads/"), by full name. Raises `UnusualRef`."""
    found = {}
    try:
        names = sorted(os.listdir(git_dir / folder))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    for name in names:
        # Names that git gives to nothing but its locks.
        if not name.endswith(".lock") and (oid := _loose(git_dir / folder / name)) is not None:
            found[folder + name] = oid
    # After the loose ones, as git does: packing first writes the packed ones, then removes the loose.
    for name, oid in _packed(git_dir).items():
        if name.startswith(folder) and "/" not in name[len(folder) :]:
            found.setdefault(name, oid)
    return found


def _loose(path: Path) -> str | None:
    try:
        text = path.read_text("ascii").strip()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UnusualRef(str(path)) from error
    if not _ID.fullmatch(text):
        raise UnusualRef(str(path))
    return text


def _packed(git_dir: Path) -> dict[str, str]:
    try:
        text = (git_dir / "packed-refs").read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UnusualRef("packed-refs") from error
    found = {}
    for line in text.splitlines():
        oid, space, name = line.partition(" ")
        if line.startswith(("#", "^")):  # a header, or what the tag of the line before points to
            continue
        if not space or not _ID.fullmatch(oid):
            raise UnusualRef("packed-refs")
        found[name] = oid
    return found


class RefUpdates:
    """Transactions on refs through one `git update-ref --stdin`, started when needed. For one thread at a time."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._process: subprocess.Popen[bytes] | None = None

    def commit(self, updates: Sequence[str]) -> str:
        """Make all these updates or none; "" when they are on disk, else why not. Raises `GitFailed`."""
        text = "\n".join(["start", *updates, "prepare", "commit", ""])
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        # Where git ended just now its reason is read below.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()
        said = self._answer(time.monotonic() + GIT_TIMEOUT_S)
        if said is None:
            return ""
        self.close()
        return said or "it ended without a word"

    def _answer(self, deadline: float) -> str | None:
        """None: done. Else what git said before it ended."""
        assert self._process is not None
        assert self._process.stdout is not None and self._process.stderr is not None
        out, error = self._process.stdout.fileno(), self._process.stderr.fileno()
        said = {out: b"", error: b""}
        poll = select.poll()
        for descriptor in said:
            poll.register(descriptor, select.POLLIN | select.POLLHUP)
        still_open = set(said)
        while still_open:
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready or sum(map(len, said.values())) > MAX_SAID_BYTES:
                self.close()
                raise GitFailed("update-ref", f"no answer within {GIT_TIMEOUT_S:.0f} s")
            for descriptor, _ in ready:
                chunk = os.read(descriptor, _CHUNK_BYTES)
                said[descriptor] += chunk
                if not chunk:
                    poll.unregister(descriptor)
                    still_open.discard(descriptor)
            if said[out].endswith(_DONE):
                return None
        return said[error].decode("utf-8", "replace").strip()

    def _start(self) -> None:
        self.close()
        try:
            self._process = subprocess.Popen(
                self._git.command("update-ref", "--stdin"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._git.environment,
            )
        except OSError as error:
            raise GitFailed("update-ref", f"can't be run: {error}") from error

    def close(self) -> None:
        """End the process. A transaction that is not committed leaves nothing; its locks are removed."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        assert process.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # at the end of its input git gives up what is not committed
        try:
            process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()
