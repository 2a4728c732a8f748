"""xsmd under strace, stopped after every call that writes, so that it can be killed at exactly the n-th.

Decides which calls count and how the processes are killed. Must not know what xsmd is doing meanwhile, nor what is
right afterwards. strace's own `when=` counts each thread by itself; here all threads and all git children count as one.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

END_LIMIT_S = 30.0
STOPPED_AT = (
    "write,pwrite64,writev,pwritev,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,"
    "ftruncate,truncate,link,linkat,symlink,symlinkat,mkdir,mkdirat,rmdir,chmod,fchmod,fchmodat"
)
_LINE = re.compile(r"(\d+) +(.*)")
_CALL = re.compile(r"(\w+)\(")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>")
_UNFINISHED = "<unfinished ...>"


class Victims(Enum):
    """Who dies at the n-th write."""

    ALL = "xsmd and its git children"
    DAEMON = "xsmd; a git child goes on"
    CHILD = "the git child; xsmd goes on"


def usable() -> str:
    """Why nothing can be traced here; "" when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed (make setup installs it)"
    done = subprocess.run(["strace", "-f", "true"], capture_output=True, check=False, timeout=30)
    return "" if done.returncode == 0 else "ptrace is not allowed here"


class Traced:
    """A process and its children under strace. `counted`: paths; a call on one of them, or below, counts."""

    def __init__(
        self,
        command: Sequence[str],
        counted: Sequence[Path],
        output: Path,
        kill_at: int = 0,
        victims: Victims = Victims.ALL,
    ) -> None:
        """`kill_at`: 0 never, else the number of the call; it counts from `arm` on."""
        self._counted = [str(path) for path in counted]
        self._kill_at = kill_at
        self._victims = victims
        self._armed = False
        self._half: dict[int, str] = {}
        self._alive: set[int] = set()
        self.pid = 0  # of the daemon itself
        self.calls: Counter[str] = Counter()
        self.last = ""  # the call at which it was killed
        self.killed = threading.Event()
        self.ended = threading.Event()
        reading, writing = os.pipe()
        options = ["-f", "-y", "-s", "4096", "--seccomp-bpf", "-o", f"/dev/fd/{writing}"]
        options += ["-e", f"trace={STOPPED_AT},openat", "-e", f"inject={STOPPED_AT}:signal=STOP"]
        with output.open("ab") as stream:
            self._strace = subprocess.Popen(
                ["strace", *options, "--", *command],
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                pass_fds=[writing], start_new_session=True,
            )  # fmt: skip
        os.close(writing)
        self._thread = threading.Thread(target=self._read, args=(reading,), daemon=True)
        self._thread.start()

    def arm(self) -> None:
        """From now on calls count."""
        self._armed = True

    def disarm(self) -> None:
        """Nothing counts any more, and nothing is killed."""
        self._armed = False

    @property
    def count(self) -> int:
        return self.calls.total()

    def kill(self) -> None:
        """kill -9 of all of it."""
        self._kill(Victims.ALL)
        self.wait()

    def wait(self) -> None:
        """Until all traced processes are gone."""
        self._strace.wait(END_LIMIT_S)
        self._thread.join(END_LIMIT_S)

    # -- the reading thread -----------------------------------------------------

    def _read(self, reading: int) -> None:
        with os.fdopen(reading, "r", errors="replace") as lines:
            for line in lines:
                if found := _LINE.fullmatch(line.rstrip("\n")):
                    self._take(int(found[1]), found[2])
        self.ended.set()

    def _take(self, pid: int, text: str) -> None:
        if not self.pid:
            self.pid = pid
        if text.startswith("+++"):
            self._alive.discard(pid)
            return
        self._alive.add(pid)
        if text == "--- stopped by SIGSTOP ---":
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        elif text.endswith(_UNFINISHED):
            self._half[pid] = text.removesuffix(_UNFINISHED)
        elif resumed := _RESUMED.match(text):
            self._called(pid, self._half.pop(pid, resumed[1] + "(") + text[resumed.end() :])
        else:
            self._called(pid, text)

    def _called(self, pid: int, text: str) -> None:
        call = _CALL.match(text)
        if call is None or not self._armed or self.killed.is_set() or not self._counts(text):
            return
        by_child = pid != self.pid and not Path(f"/proc/{self.pid}/task/{pid}").exists()
        if self._victims is not Victims.ALL and not by_child:
            return  # without a child at work there is nothing else to kill
        self.calls[call[1]] += 1
        if self.count == self._kill_at:
            self.last = text[:200]
            self.killed.set()
            self._kill(self._victims, pid)

    def _counts(self, text: str) -> bool:
        if text.startswith("openat(") and "O_CREAT" not in text:
            return False
        return " = -1 " not in text and any(path in text for path in self._counted)

    def _kill(self, victims: Victims, child: int = 0) -> None:
        wanted = {child} if victims is Victims.CHILD else {self.pid}
        if victims is Victims.ALL:
            wanted |= self._alive
        for pid in sorted(wanted, key=lambda pid: pid != self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
