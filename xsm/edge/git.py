"""Running git: a scrubbed environment, a time limit on every call, one long-lived process that reads objects.

Decides nothing about what is stored. Every failure of git is a `GitFailed` with git's own words.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

GIT_TIMEOUT_S = 60.0
LONG_TIMEOUT_S = 600.0
"""fsck and gc of a big repository."""
LOCK_STALE_S = 5.0
"""git holds its locks on refs for milliseconds: an older one is of a git that was killed."""
READ_TIMEOUT_S = 30.0
MAX_OBJECT_BYTES = 64 << 20
MAX_ERROR_CHARS = 2_000
_CHUNK_BYTES = 1 << 16


class RepositoryError(Exception):
    """Something about a repository that a person has to know; the text says what and what would be right."""


class GitFailed(RepositoryError):
    """A git command failed. `error`: what it said on stderr. `killed`: it may have left its locks."""

    def __init__(self, command: str, error: str, killed: bool = False) -> None:
        self.killed = killed
        self.error = error.strip()[:MAX_ERROR_CHARS]
        super().__init__(f"git {command}: {self.error or 'failed without a word'}")


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What git sees of ours: nothing that starts with GIT_, no user's or system's configuration."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_ALLOW_PROTOCOL": "file",
        **(extra or {}),
    }


class Git:
    """The git program for one repository (`git_dir`), or for a working copy (`work_tree`) of it."""

    def __init__(
        self,
        git_dir: Path,
        extra: Mapping[str, str] | None = None,
        work_tree: Path | None = None,
    ) -> None:
        self.git_dir = git_dir
        self.environment = environment(git_dir, extra)
        self._prefix = ["git", f"--git-dir={git_dir}"]
        if work_tree is not None:
            self._prefix.append(f"--work-tree={work_tree}")
        # A working copy's own configuration must not make the daemon run somebody's programs.
        self._prefix += ["-c", "core.fsmonitor=false", "-c", "gc.autoDetach=false"]
        if work_tree is not None:
            self._prefix += ["-c", f"core.hooksPath={os.devnull}"]

    def run(self, *arguments: str, stdin: bytes = b"", timeout_s: float = GIT_TIMEOUT_S) -> bytes:
        """Run git; its stdout. Raises `GitFailed`."""
        code, out, error = self.attempt(*arguments, stdin=stdin, timeout_s=timeout_s)
        if code != 0:
            raise GitFailed(arguments[0], error, killed=code < 0)
        return out

    def attempt(
        self, *arguments: str, stdin: bytes = b"", timeout_s: float = GIT_TIMEOUT_S
    ) -> tuple[int, bytes, str]:
        """Run git; its exit code, stdout and stderr. Raises `GitFailed` when it can't run or takes too long."""
        try:
            done = subprocess.run(
                [*self._prefix, *arguments],
                input=stdin,
                capture_output=True,
                env=self.environment,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise GitFailed(arguments[0], f"took longer than {timeout_s:.0f} s", True) from None
        except OSError as error:
            raise GitFailed(arguments[0], f"can't be run: {error}") from error
        return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")

    def command(self, *arguments: str) -> list[str]:
        """What starts git with these arguments, in `environment`."""
        return [*self._prefix, *arguments]

    def objects(self) -> Objects:
        return Objects(self.command("cat-file", "--batch-command"), self.environment)


class Objects:
    """Reads objects through one `git cat-file` that is started when needed and kept. Safe for several threads."""

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        self._command = command
        self._env = dict(env)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = bytearray()

    def kind(self, oid: str) -> str | None:
        """The object's type, None when it isn't there."""
        with self._lock:
            found = self._ask(f"info {oid}")
            return found[0] if found else None

    def read(self, oid: str) -> tuple[str, bytes] | None:
        """An object's type and content, None when it isn't there. Raises `GitFailed` (damaged, too big, too slow)."""
        with self._lock:
            found = self._ask(f"contents {oid}")
            if found is None:
                return None
            kind, size = found
            if size > MAX_OBJECT_BYTES:
                self._stop()
                raise GitFailed("cat-file", f"{oid} has {size} bytes, more than {MAX_OBJECT_BYTES}")
            deadline = time.monotonic() + READ_TIMEOUT_S
            while len(self._buffer) < size + 1:
                self._fill(deadline)
            content = bytes(self._buffer[:size])
            del self._buffer[: size + 1]
            return kind, content

    def _ask(self, line: str) -> tuple[str, int] | None:
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        deadline = time.monotonic() + READ_TIMEOUT_S
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            self._stop()
            raise GitFailed("cat-file", f"stopped: {error}") from error
        while (end := self._buffer.find(b"\n")) < 0:
            self._fill(deadline)
        header = self._buffer[:end].decode("ascii", "replace")
        del self._buffer[: end + 1]
        parts = header.split(" ")
        if len(parts) == 3 and parts[2].isdigit():
            return parts[1], int(parts[2])
        if header.endswith((" missing", " ambiguous")):
            return None
        self._stop()
        raise GitFailed("cat-file", header)

    def _start(self) -> None:
        self._stop()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._env,
            )
        except OSError as error:
            raise GitFailed("cat-file", f"can't be run: {error}") from error

    def _fill(self, deadline: float) -> None:
        assert self._process is not None and self._process.stdout is not None
        fd = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(fd, select.POLLIN | select.POLLHUP)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            self._stop()
            raise GitFailed("cat-file", f"no answer within {READ_TIMEOUT_S:.0f} s")
        chunk = os.read(fd, _CHUNK_BYTES)
        if not chunk:
            self._stop()
            raise GitFailed(
                "cat-file", "an object is damaged or can't be read; `git fsck` says which"
            )
        self._buffer += chunk

    def _stop(self) -> None:
        process, self._process = self._process, None
        self._buffer.clear()
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.kill()
        process.wait(timeout=READ_TIMEOUT_S)
        process.stdout.close()
        with contextlib.suppress(
            BrokenPipeError
        ):  # a request that was not sent yet is of no use now
            process.stdin.close()

    def close(self) -> None:
        with self._lock:
            self._stop()
