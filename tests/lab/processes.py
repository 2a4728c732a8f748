"""The processes that the lab started, known by a file that each writes before it does anything else.

Decides whether a process is still the one that the file means (its number may have been given to another since), and
ends it by a pidfd. Waits are on conditions, with limits. Must not know what the processes do.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

POLL_S = 0.02
START_LIMIT_S = 15.0
END_LIMIT_S = 15.0
"""A host's end takes its guests along; the kernel needs some time for that on a busy machine."""

_WRITE_OWN_FILE = (
    "read -r line </proc/$$/stat && "
    "printf '%s %s\\n' $$ \"$(printf '%s' \"${line##*) }\" | cut -d' ' -f20)\" >\"$0.new\" && "
    'mv "$0.new" "$0" && exec "$@"'
)
"""For sh -c: writes "PID START" into the file $0, then becomes the command."""


class LabFailed(Exception):
    """Something is not as it should be. The message says what was expected and what was seen."""


def wait_for(what: str, condition: Callable[[], object], limit_s: float) -> float:
    """Wait until something is so; gives the seconds that it took. Raises `LabFailed` after the limit."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit_s:
            raise LabFailed(f"not within {limit_s:.0f} s: {what}")
        time.sleep(POLL_S)
    return time.monotonic() - began


def start_time(pid: int) -> str:
    """When the process started, in the kernel's ticks; "" when there is none, or it has ended already (a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def start(
    pid_file: Path, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
) -> None:
    """Start a process of its own session, which is in `pid_file` before it does anything."""
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    pid_file.unlink(missing_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            ["sh", "-c", _WRITE_OWN_FILE, str(pid_file), *command],
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True, env=env,
        )  # fmt: skip

    def written() -> bool:
        if process.poll() is not None:
            raise LabFailed(
                f"{command[0]} ended with {process.returncode}: {log.read_text()[-2000:]}"
            )
        return pid_file.exists()

    wait_for(f"{command[0]} starts", written, START_LIMIT_S)


def pid_of(pid_file: Path) -> int:
    """The process that the file means, 0 when it has ended."""
    try:
        pid, started = pid_file.read_text().split()
    except FileNotFoundError:
        return 0
    return int(pid) if start_time(int(pid)) == started else 0


def child_of(pid: int) -> int:
    """The only child (of `unshare --fork`: the first process of the new namespace), 0 while there is none."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(children[0]) if children else 0


def kill(pid: int, started: str, sig: signal.Signals = signal.SIGKILL) -> None:
    """Signal the process of that start time and wait until it has ended, whoever reaps it."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if (
            start_time(pid) != started
        ):  # looked at after the pidfd was opened: it can't become another one's now
            return
        signal.pidfd_send_signal(pidfd, sig)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(END_LIMIT_S * 1000):
            raise LabFailed(f"process {pid} has not ended within {END_LIMIT_S:.0f} s of {sig.name}")
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def end(pid_file: Path) -> bool:
    """End the process that the file means, and drop the file. Tells whether there was one."""
    pid = pid_of(pid_file)
    if pid:
        kill(pid, start_time(pid))
        reap(pid)
    pid_file.unlink(missing_ok=True)
    return bool(pid)


def reap(pid: int) -> None:
    """Take note of a child's end, so that no zombie stays; somebody else's child is not ours to reap."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def in_namespace_of(pid: int) -> list[int]:
    """All processes in the process namespace of `pid`."""
    space = namespace(pid)
    return [p for p in all_pids() if space and namespace(p) == space]


def namespace(pid: int, kind: str = "pid") -> str:
    """The kernel's name of a namespace of the process, "" when it is gone, or none that we may look at."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


@contextmanager
def turn(root: Path) -> Iterator[None]:
    """One `up` or `down` of the lab at `root` at a time on this machine."""
    with open(f"{root}.lock", "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LabFailed(
                f"another process brings the lab at {root} up or down just now"
            ) from None
        try:
            yield
        finally:
            os.unlink(stream.name)
