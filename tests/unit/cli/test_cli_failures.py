"""Every way in which a command can fail ends in a sentence, a hint and its exit code; never in a
traceback.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.unit.cli import paper_site as paper
from tests.unit.cli.canned import Asked, Raw, Runner, Site, run_xsm
from xsm.api.types import Command, Refusal, Verb
from xsm.cli.client import MAX_SOCKET_PATH_BYTES, Client
from xsm.cli.main import COMMANDS
from xsm.site.problems import Problem


def test_no_socket(tmp_path: Path) -> None:
    path = tmp_path / "none.sock"
    ran = run_xsm("--socket", str(path), "status")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f"xsm: xsmd is not running on this host (no socket at {path})\n"
        "  hint: start the xsmd whose socket that is\n"
    )


@pytest.mark.parametrize(
    ("args", "what"),
    [(("why", ""), "VM"), (("show", ""), "VM|HOST"), (("host", "drain", ""), "HOST")],
)
def test_an_empty_name(args: tuple[str, ...], what: str) -> None:
    """`xsm why "$VM"` of a script that has no VM."""
    ran = run_xsm(*args)
    assert (ran.code, ran.out) == (2, "")
    assert f"Invalid value for '{what}': it is empty." in ran.err


def test_no_xsmd_for_these_settings(tmp_path: Path) -> None:
    settings = tmp_path / "xsmd.toml"
    data = f'data_dir = "{tmp_path}"\ncheckout_dir = "{tmp_path}/site"\nsocket = "{tmp_path}/s"\n'
    settings.write_text(f'name = "dmz01"\naddress = "127.0.0.1"\n{data}')
    ran = run_xsm("--config", str(settings), "status")
    assert ran.code == 1
    assert f"xsmd --config {settings}`" in ran.err and "hint: start it with `" in ran.err


def test_a_socket_that_nobody_listens_at(socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(socket_path))
    ran = run_xsm("status", "--socket", str(socket_path))
    assert ran.code == 1
    assert "nobody listens at" in ran.err


def test_who_waits_is_told_for_what_and_for_questions_sooner_given_up(
    socket_path: Path, site: Site
) -> None:
    said: list[str] = []
    told = threading.Event()

    def waiting(text: str) -> None:
        said.append(text)
        told.set()

    def answer_then(value: object) -> Callable[[Asked], object]:
        return lambda _asked: told.wait(20) and value

    site.answers["GET /v1/status"] = answer_then(paper.status())
    site.answers["POST /v1/command"] = answer_then(paper.applied())
    client = Client(str(socket_path), waiting=waiting, patience_s=0.05)
    assert client.status() == paper.status()
    told.clear()
    assert client.command(Command(Verb.START, vm="vm1")) == paper.applied()
    where = f"xsm: waiting for xsmd to answer at {socket_path}, up to"
    assert said == [f"{where} 15 s", f"{where} 60 s"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do anything")
def test_a_socket_that_is_not_ours(socket_path: Path, xsm: Runner) -> None:
    socket_path.chmod(0)
    assert "you may not talk to xsmd" in xsm("status").err


def test_a_socket_path_that_is_too_long() -> None:
    ran = run_xsm("--socket", "/tmp/" + "x" * MAX_SOCKET_PATH_BYTES, "status")
    assert ran.code == 1
    assert f"longer than {MAX_SOCKET_PATH_BYTES} bytes" in ran.err


def test_xsmd_that_hangs_up(socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen(1)
        program = subprocess.Popen(
            [sys.executable, "-m", "xsm.cli", "--socket", str(socket_path), "status"],
            stderr=subprocess.PIPE,
            text=True,
        )
        listener.accept()[0].close()
        err = program.communicate(timeout=30)[1]
    assert program.returncode == 1
    assert err.startswith("xsm: xsmd broke off the conversation at")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("invalid", 2),
        ("bad-request", 2),
        ("unknown", 2),
        ("moved", 1),
        ("conflict", 1),
        ("forbidden", 1),
        ("busy", 1),
        ("failed", 1),
        ("of-tomorrow", 1),
    ],
)
def test_refusals(xsm: Runner, site: Site, code: str, exit_code: int) -> None:
    problems = (Problem("site.xml", 3, "two VMs are called vm1", "rename one"),)
    site.answers["GET /v1/status"] = Refusal(code, "it can't be", "do that", problems)
    ran = xsm("status")
    assert ran.code == exit_code
    assert ran.out == ""
    assert ran.err == (
        "site.xml:3: error: two VMs are called vm1 (rename one)\n"
        "xsm: it can't be\n"
        "  hint: do that\n"
    )
    as_json = xsm("status", "-o", "json")
    assert as_json.code == exit_code
    assert as_json.out == ""
    assert msgspec.json.decode(as_json.err, type=Refusal).code == code


@pytest.mark.parametrize(
    "answer", [Raw(b"<html>no</html>"), Raw(b"{}"), Raw(b'{"host": 3}'), Raw(b"\xff\xfe")]
)
def test_answers_that_make_no_sense(xsm: Runner, site: Site, answer: Raw) -> None:
    site.answers["GET /v1/status"] = answer
    ran = xsm("status")
    assert ran.code == 1
    assert ran.err.startswith("xsm: xsmd's answer can't be understood: ")
    assert "different versions" in ran.err


def test_a_refusal_that_is_none_of_ours(xsm: Runner, site: Site) -> None:
    site.answers["GET /v1/status"] = Raw(b"<h1>Bad \x1b Gateway</h1>", 502)
    ran = xsm("status")
    assert ran.code == 1
    assert "HTTP status 502" in ran.err
    assert "\x1b" not in ran.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("statu",), "Did you mean status"),
        (("status", "--nonsense"), "No such option"),
        (("status", "-o", "toml"), "is not one of"),
        (("why",), "Missing argument"),
        (("history", "-n", "0"), "is not in the range"),
        (("apply", "--timeout", "-1"), "is not in the range"),
        (("host", "explode", "dmz01"), "No such command"),
        (("completion", "tcsh"), "is not one of"),
    ],
)
def test_usage_errors(args: tuple[str, ...], said: str) -> None:
    ran = run_xsm(*args)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"demo"}))
def test_every_command_has_help_that_matches_the_table(name: str) -> None:
    from xsm.cli.main import root

    ran = run_xsm(name, "--help")
    assert (ran.code, ran.err) == (0, "")
    found = root.get_command(None, name)  # type: ignore[arg-type]
    assert found is not None
    assert found.short_help == COMMANDS[name][2]
    if name not in ("host", "disk"):  # their own commands have it
        assert "-o, --format" in ran.out


def test_help_lists_every_command() -> None:
    out = run_xsm("--help").out
    for name in set(COMMANDS) - {"demo"}:
        assert f"\n  {name} " in out


def test_version() -> None:
    ran = run_xsm("--version")
    assert ran.code == 0
    assert ran.out.startswith("xsm 0.")


def test_the_socket_of_a_settings_file(socket_path: Path, site: Site, tmp_path: Path) -> None:
    settings = tmp_path / "xsmd.toml"
    settings.write_text(f'name = "dmz01"\naddress = "192.168.5.101"\nsocket = "{socket_path}"\n')
    assert run_xsm("--config", str(settings), "status").code == 0
    settings.write_text('name = "dmz01"\nadress = "192.168.5.101"\n')
    ran = run_xsm("status", "--config", str(settings))
    assert ran.code == 2
    assert f"{settings}:2: error: adress: unknown key (did you mean address?)" in ran.err


def test_a_pipe_that_closes_is_no_error(socket_path: Path, site: Site) -> None:
    site.answers["GET /v1/vms"] = tuple(paper.vm(f"vm{n}") for n in range(5000))
    done = subprocess.run(
        f"{sys.executable} -m xsm.cli --socket {socket_path} vms | head -1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith("VM ")
    assert done.stderr == ""


def test_status_is_quick_to_import() -> None:
    """What `xsm status` loads: nothing that is heavy (the time itself is measured by hand)."""
    code = (
        "import sys; sys.argv = ['xsm', '--socket', '/nonexistent', 'status']\n"
        "from xsm.cli.main import run; run()\n"
        "heavy = {'aiohttp', 'asyncio', 'cryptography', 'libvirt', 'ruamel', 'paramiko', 'rich',"
        " 'subprocess', 'watchdog'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_invalid_files_as_json(tmp_path: Path) -> None:
    ran = run_xsm("plan", str(tmp_path), "--against", "none.json", "-o", "json")
    assert (ran.code, ran.out) == (2, "")
    refusal = msgspec.json.decode(ran.err, type=Refusal)
    assert refusal.code == "invalid"
    assert refusal.problems[0].message == "no site file there"
