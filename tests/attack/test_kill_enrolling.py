"""kill -9 of `xsm init` and `xsm join` at calls that write: the same command again does it, and the site goes on.

One of them here, each third with `make attack`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.attack.tracing import Traced, Victims, usable
from tests.site.running_site import BIN, Site, wait
from xsm.demo.stage import free_ports

pytestmark = [
    pytest.mark.libvirt,
    pytest.mark.skipif(bool(usable()), reason=usable() or "-"),
]
HOSTS = ("dmz01",)
"""A newcomer that is counted and never comes leaves this site without a majority."""
LONG = "XSM_ATTACK" in os.environ
EVERY = range(1, 2_000, 3)
JOIN_AT = EVERY if LONG else (25,)  # it is a member, with half a repository
COMMAND_LIMIT_S = 60.0
IP = "127.0.5.101"


def command(folder: Path, name: str, *what: str) -> list[str]:
    """`xsm init` or `xsm join` of a host whose files are all in that folder."""
    listen, url = free_ports(IP, 2)
    return [
        str(BIN / "xsm"), "--config", str(folder / "xsmd.toml"), *what,
        "--name", name, "--address", f"192.168.9.{listen % 250 + 1}", "--listen", f"{IP}:{listen}",
        "--url", f"https://{IP}:{url}", "--uri", "test:///default", "--data", str(folder / "data"),
        "--checkout", str(folder / "site"), "--control-socket", str(folder / "xsmd.sock"),
    ]  # fmt: skip


def killed(argv: list[str], folder: Path, at: int) -> str:
    """Run it, killed at that call that writes; the call, "" when it ended before."""
    traced = Traced(argv, [folder], folder.parent / "killed.log", at, Victims.ALL)
    traced.arm()
    traced.wait()
    return traced.last


def again(argv: list[str]) -> tuple[int, str]:
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def check_whole(folder: Path, name: str) -> None:
    """What xsmd starts with is there, and nothing that is half made."""
    data = folder / "data"
    for path in (folder / "xsmd.toml", data / "votes.journal", data / "tls" / "peer.pem"):
        assert path.exists(), path
    git = ["git", "-C", str(data / "site.git"), "fsck", "--full", "--no-dangling"]
    assert subprocess.run(git, capture_output=True, check=False).returncode == 0
    assert name in (folder / "xsmd.toml").read_text()
    assert (folder / "site" / "site.xml").exists()
    left = [p.name for p in (*data.iterdir(), *(data / "tls").iterdir()) if p.name.startswith(".")]
    assert not [name for name in left if name.startswith(".votes")], left
    assert not (data / "init.unfinished").exists() and not (data / "site.git.new").exists()


@pytest.mark.skipif(not LONG, reason="make attack runs it")
def test_init_killed(tmp_path: Path) -> None:
    """Where it was only the checkout or the settings that came too late, it says what is to be moved away."""
    kills = 0
    for at in EVERY:
        folder = tmp_path / f"i{at}"
        folder.mkdir()
        argv = command(folder, "h1", "init")
        call = killed(argv, folder, at)
        if not call:
            break
        kills += 1
        code, said = again(argv)
        while code != 0:
            where = f"at {at}, {call}: {said}"
            assert "move " in said and " away" in said, where
            if "belongs to a site already" in said and (folder / "xsmd.toml").exists():
                break  # all was done but the last word
            moved = [p for p in (folder / "site", *pieces(folder)) if p.exists() and str(p) in said]
            assert moved, where
            for path in moved:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            code, said = again(argv)
        check_whole(folder, "h1")
        shutil.rmtree(folder)
    assert kills


def pieces(folder: Path) -> list[Path]:
    data = folder / "data"
    named = [data / "site.git", data / "votes.journal"]
    return [*named, *(data / "tls" / name for name in ("ca.key", "ca.pem"))]


def test_join_killed(site: Site) -> None:
    """Each time a new host, forgotten afterwards: a site of one has no majority while that one is counted."""
    kills = 0
    for at in JOIN_AT:
        name = f"new{at}"
        folder = site.stage.folder / name
        folder.mkdir()
        token = site.json("dmz01", "invite", name)["token"]
        argv = command(folder, name, "join", token)
        call = killed(argv, folder, at)
        if call:
            kills += 1
            code, said = again(argv)
            done = (folder / "xsmd.toml").exists() and "belongs to a site already" in said
            assert code == 0 or done, f"at {at}, {call}: {said}"
            check_whole(folder, name)
        site.xsm("dmz01", "host", "forget", name, "--it-is-off", "--yes", "--no-wait")
        wait("the site goes on", lambda: site.status("dmz01")["majority"])
        shutil.rmtree(folder)
        if not call:
            break
    assert kills
