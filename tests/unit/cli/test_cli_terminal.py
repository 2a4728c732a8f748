"""The command line at a real terminal (a pty): questions, colours, narrow screens, Ctrl-C,
completion.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.cli import paper_site as paper
from tests.unit.cli.canned import Site

pytestmark = pytest.mark.usefixtures("accepting")

LIMIT_S = 30.0


@dataclass
class Terminal:
    """One run of `xsm` at a terminal."""

    program: subprocess.Popen[bytes]
    master: int
    seen: str = ""

    def until(self, text: str) -> str:
        """Read until `text` has come; all that was seen."""
        end = time.monotonic() + LIMIT_S
        while text not in self.seen:
            assert time.monotonic() < end, f"never saw {text!r} in {self.seen!r}"
            if not self._read(0.5) and self.program.poll() is not None:
                raise AssertionError(f"ended without {text!r}: {self.seen!r}")
        return self.seen

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until_it_waits(self, text: str) -> None:
        """Read until `text` has come and the program sleeps: it waits for what is typed."""
        self.until(text)
        end = time.monotonic() + LIMIT_S
        stat = Path(f"/proc/{self.program.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < end, "never waits"

    def end(self) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + LIMIT_S
        while self.program.poll() is None or self._read(0):
            assert time.monotonic() < end, f"did not end: {self.seen!r}"
            self._read(0.1)
        return self.program.returncode

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self.master], [], [], timeout_s)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux's way of saying that the other end is closed
            return False
        self.seen += data.decode().replace("\r\n", "\n")
        return bool(data)


def at_terminal(socket_path: Path, *args: str, width: int = 100, **environ: str) -> Terminal:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    base = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "LINES")}
    program = subprocess.Popen(
        [sys.executable, "-m", "xsm.cli", "--socket", str(socket_path), *args],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={**base, "TERM": "xterm", **environ},
    )
    os.close(slave)
    return Terminal(program, master)


@pytest.mark.parametrize(("answer", "code", "applied"), [("y", 0, True), ("n", 1, False)])
def test_apply_asks(
    socket_path: Path, site: Site, folder: Path, *, answer: str, code: int, applied: bool
) -> None:
    terminal = at_terminal(socket_path, "apply", str(folder))
    terminal.until("Apply this? [y/N]: ")
    assert "/v1/apply" not in site.paths("POST")
    terminal.type(f"{answer}\n")
    assert terminal.end() == code
    assert ("/v1/apply" in site.paths("POST")) is applied
    assert ("Converged" if applied else "Nothing was changed.") in terminal.seen


def test_ctrl_c_at_the_question_changes_nothing(
    socket_path: Path, site: Site, folder: Path
) -> None:
    terminal = at_terminal(socket_path, "apply", str(folder))
    terminal.until_it_waits("Apply this? [y/N]: ")
    terminal.program.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "interrupted" in terminal.seen
    assert "Traceback" not in terminal.seen
    assert "/v1/apply" not in site.paths("POST")


def test_ctrl_c_while_following_says_what_goes_on(
    socket_path: Path, site: Site, folder: Path
) -> None:
    site.answers["GET /v1/status"] = paper.status(
        revision=paper.NEW, converged=False, pending=("vm1 on dmz01: start",)
    )
    terminal = at_terminal(socket_path, "apply", str(folder), "--yes")
    terminal.until("vm1 on dmz01: start")
    terminal.program.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "interrupted: feedbeeffe is committed, and the hosts go on with it" in terminal.seen
    assert "Traceback" not in terminal.seen


def test_colours_and_no_colours(socket_path: Path) -> None:
    coloured = at_terminal(socket_path, "status")
    assert coloured.end() == 0
    assert "\x1b[32mconverged\x1b[0m" in coloured.seen
    for environ in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = at_terminal(socket_path, "status", **environ)
        assert plain.end() == 0
        assert "\x1b" not in plain.seen


@pytest.mark.parametrize("width", [40, 60, 80])
def test_narrow_terminals(socket_path: Path, site: Site, width: int) -> None:
    site.answers["GET /v1/status"] = paper.troubled()
    for command in (("status",), ("vms",), ("hosts",), ("plan",), ("why", "vm1"), ("history",)):
        terminal = at_terminal(socket_path, *command, width=width, NO_COLOR="1")
        assert terminal.end() == 0
        assert max(len(line) for line in terminal.seen.splitlines()) <= width


def completions(socket_path: Path, line: str) -> list[str]:
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", "from xsm.cli.main import main; main()"],
        env={
            **os.environ,
            "_XSM_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            "XSM_SOCKET": str(socket_path),
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_S,
    )
    assert done.stderr == ""
    return [line.split(",", 1)[1] for line in done.stdout.splitlines() if line]


def test_completion_knows_commands_vms_hosts_and_revisions(socket_path: Path, site: Site) -> None:
    assert completions(socket_path, "xsm sta") == ["status", "start"]
    assert completions(socket_path, "xsm why v") == ["vm1", "vm2", "vm5"]
    assert completions(socket_path, "xsm migrate vm1 dmz") == ["dmz01", "dmz02"]
    assert completions(socket_path, "xsm host drain dmz02") == ["dmz02"]
    assert completions(socket_path, "xsm rollback 0") == [paper.OLD[:10]]
    subject = "vm1 gets more memory"
    assert completions(socket_path, "xsm rollback ") == [
        f"{paper.HEAD[:10]}  ({subject})",
        f"{paper.OLD[:10]}  ({subject})",
    ]
    assert "web" not in completions(socket_path, "xsm stop ")


def test_completion_is_silent_without_xsmd(tmp_path: Path) -> None:
    assert completions(tmp_path / "none.sock", "xsm why v") == []
    assert completions(tmp_path / "none.sock", "xsm migrate vm1 d") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xsm.cli", "completion", shell],
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_S,
    )
    assert f"{shell}_complete" in done.stdout
    assert "_XSM_COMPLETE" in done.stdout


def test_events_follow_through_a_restart_of_xsmd(socket_path: Path, site: Site) -> None:
    """The stream ends and comes back; nothing is shown twice."""
    site.answers["GET /v1/events"] = [paper.event(1), paper.event(1), paper.event(2)]
    terminal = at_terminal(socket_path, "events", "--follow", NO_COLOR="1", TZ="UTC")
    terminal.until("22:13:22.000")
    terminal.program.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert terminal.seen.count("22:13:21.000") == 1
    assert "connecting again" in terminal.seen
    assert "interrupted" not in terminal.seen
    assert "/v1/events?since=1&follow=1" in site.paths()


def test_events_end_when_their_reader_has_gone(socket_path: Path, site: Site) -> None:
    """`xsm events -f | head -1`, while nothing happens."""
    quiet = threading.Event()
    site.answers["GET /v1/events?since=1&follow=1"] = lambda _asked: quiet.wait(LIMIT_S)
    command = [sys.executable, "-m", "xsm.cli", "--socket", str(socket_path), "events", "-f"]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program.stdout
    assert program.stderr
    try:
        assert b"xsmd starts" in program.stdout.readline()
        program.stdout.close()
        assert program.wait(LIMIT_S / 2) == 141
        assert program.stderr.read() == b""
    finally:
        quiet.set()
        program.kill()
        program.wait()
        program.stderr.close()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_as_if_nobody_looked(
    socket_path: Path, site: Site, closed: str
) -> None:
    command = f"{sys.executable} -m xsm.cli --socket {socket_path} vms {closed}"
    done = subprocess.run(
        ["sh", "-c", command], check=False, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ("vm1" in done.stdout) is (" >&-" not in f" {closed}")
    assert "/v1/vms" in site.paths()
