"""The log's lines, and what systemd is told."""

import io
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from xsm.edge import log
from xsm.edge.notify import Notify


@pytest.fixture
def quiet_root() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    output, level = list(root.handlers), root.level
    yield
    root.handlers[:] = output
    root.setLevel(level)


def lines(log_format: str, message: str, **extra: object) -> str:
    stream = io.StringIO()
    log.set_up(log_format, "info", {}, stream)
    logging.getLogger("xsm.test").info("%s", message, extra=extra)
    logging.getLogger("xsm.test").debug("not shown")
    return stream.getvalue()


def test_text(quiet_root: None) -> None:
    (line,) = lines("text", "memory 96 => 128", vm="vm1", why='the "file"', n=3).splitlines()
    assert line[10] == "T" and line[23] == "Z"
    assert line[24:] == (' info xsm.test: memory 96 => 128 n=3 vm=vm1 why="the \\"file\\""')


def test_json(quiet_root: None) -> None:
    (line,) = lines("json", "memory 96 => 128", vm="vm1", n=3, message_of=Path("/x")).splitlines()
    got = json.loads(line)
    assert got.pop("at").endswith("Z")
    assert got == {
        "level": "info",
        "logger": "xsm.test",
        "message": "memory 96 => 128",
        "message_of": "/x",
        "n": 3,
        "vm": "vm1",
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_others_say_makes_no_line_of_its_own(quiet_root: None, log_format: str) -> None:
    out = lines(log_format, "vm\nerror xsm: forged\x1b[31m", vm="a\nb")
    assert len(out.splitlines()) == 1
    assert "\x1b" not in out


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets_are_masked(quiet_root: None, log_format: str) -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIGHsecret\n-----END PRIVATE KEY-----"
    out = lines(log_format, f"token xsm1.c2VjcmV0c2VjcmV0 {key} password=hunter2", x="secret=abc")
    for secret in ("c2VjcmV0", "MIGHsecret", "hunter2", "abc"):
        assert secret not in out
    try:
        raise ValueError("bad token xsm1.c2VjcmV0c2VjcmV0")
    except ValueError:
        stream = io.StringIO()
        log.set_up(log_format, "info", {}, stream)
        logging.getLogger("x").exception("failed")
    assert "c2VjcmV0" not in stream.getvalue() and "ValueError" in stream.getvalue()


def test_the_journal_gets_priorities_and_no_time() -> None:
    record = logging.LogRecord("x", logging.WARNING, "", 0, "hello", (), None)
    assert log.TextLines(journald=True).format(record) == "<4>warning x: hello"


def test_whether_it_is_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as stream:
        stat = os.fstat(stream.fileno())
        assert log.is_journal({"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}, stream)
        assert not log.is_journal({"JOURNAL_STREAM": "1:1"}, stream)
    assert not log.is_journal({}, io.StringIO())
    assert sys.stderr is not None


# --- systemd ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_what_systemd_hears(tmp_path: Path, abstract: bool) -> None:
    path = f"@xsm-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + path[1:] if abstract else path)
        systemd.settimeout(5)
        notify = Notify({"NOTIFY_SOCKET": path})
        notify.ready("revision abc\nMAINPID=1")
        assert systemd.recv(1000) == b"READY=1\nSTATUS=revision abc MAINPID=1"
        notify.watchdog()
        assert systemd.recv(1000) == b"WATCHDOG=1"
        notify.status("held: vm1")
        assert systemd.recv(1000) == b"STATUS=held: vm1"
        notify.stopping()
        assert systemd.recv(1000) == b"STOPPING=1"


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"NOTIFY_SOCKET": "odd"}):
        Notify(environ).ready("x")
    assert list(tmp_path.iterdir()) == []


def test_the_watchdogs_time() -> None:
    base = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000000"}
    assert Notify(base).watchdog_s == 30.0
    assert Notify({**base, "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 30.0
    assert Notify({**base, "WATCHDOG_PID": "1"}).watchdog_s is None
    assert Notify({**base, "WATCHDOG_USEC": "0"}).watchdog_s is None
    assert Notify({"WATCHDOG_USEC": "30000000"}).watchdog_s is None
