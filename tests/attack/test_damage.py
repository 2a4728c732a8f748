"""What is on a host's disk is damaged: told, repaired from the other members where that is safe, and else refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.site.running_site import BIN, SOON_S, Site, site_text, vm_entry, wait
from xsm.demo.stage import free_ports

pytestmark = pytest.mark.libvirt
HOSTS = ("dmz01", "dmz02")
LONG = pytest.mark.skipif("XSM_ATTACK" not in os.environ, reason="make attack runs it")


@pytest.fixture
def two(site: Site) -> Site:
    site.apply("dmz01", vm_entry("web1", "dmz01"), vm_entry("web2", "dmz02"))
    return site


def data(site: Site, host: str = "dmz02") -> Path:
    return site.stage.hosts[host].folder / "data"


def start(site: Site, config: Path) -> subprocess.CompletedProcess[str]:
    """Start an xsmd that is expected to end by itself."""
    return subprocess.run(
        [str(BIN / "xsmd"), "--config", str(config)],
        capture_output=True, text=True, timeout=SOON_S * 2, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def head_of(repository: Path) -> str:
    return (repository / "refs" / "heads" / "main").read_text().strip()


def object_file(repository: Path, oid: str) -> Path:
    return repository / "objects" / oid[:2] / oid[2:]


def tree_of(repository: Path) -> str:
    raw = zlib.decompress(object_file(repository, head_of(repository)).read_bytes())
    return raw.partition(b"\0")[2].split(b"\n")[0].removeprefix(b"tree ").decode()


def flip(path: Path, at: int = -8) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    replace(path, bytes(content))


def replace(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def pack_all(repository: Path) -> None:
    subprocess.run(["git", "-C", str(repository), "gc", "-q", "--prune=now"], check=True)
    (pack,) = (repository / "objects" / "pack").glob("*.pack")
    flip(pack, 40)


# -- a repository that is damaged -----------------------------------------------------

DAMAGES: dict[str, Callable[[Path], None]] = {
    "the head's commit: a bit": lambda r: flip(object_file(r, head_of(r))),
    "the head's tree is missing": lambda r: object_file(r, tree_of(r)).unlink(),
    "main is empty": lambda r: replace(r / "refs" / "heads" / "main", b""),
    "HEAD is empty": lambda r: replace(r / "HEAD", b""),
    "a pack: a bit": pack_all,
    "the head's commit is cut off": lambda r: replace(object_file(r, head_of(r)), b"x\x01"),
    "the head's commit is empty": lambda r: replace(object_file(r, head_of(r)), b""),
    "the head's commit is missing": lambda r: object_file(r, head_of(r)).unlink(),
    "main is zeros": lambda r: replace(r / "refs" / "heads" / "main", b"\0" * 41),
    "main names nothing": lambda r: replace(r / "refs" / "heads" / "main", b"1" * 40 + b"\n"),
    "packed-refs is garbage": lambda r: (r / "packed-refs").write_bytes(b"garbage\xff\n" * 9),
    "config is garbage": lambda r: (r / "config").write_bytes(b"[core\n\0"),
    "the heads are missing": lambda r: shutil.rmtree(r / "refs"),
    "the objects are missing": lambda r: shutil.rmtree(r / "objects"),
    "all of it is missing": shutil.rmtree,
}
QUICK = ("the head's commit: a bit",)


@pytest.mark.parametrize(
    "damage", [pytest.param(name, marks=() if name in QUICK else LONG) for name in DAMAGES]
)
def test_a_damaged_repository_is_fetched_anew(two: Site, damage: str) -> None:
    """By xsmd itself; the damaged one is kept, the votes stay, VMs run on."""
    before, revision = two.ids(), two.status("dmz01")["revision"]
    folder = data(two)
    votes = (folder / "votes.journal").read_bytes()
    two.stage.kill_xsmd("dmz02")
    kept = len(list(folder.glob("site.git.damaged-*")))
    DAMAGES[damage](folder / "site.git")
    two.stage.start_xsmd("dmz02")
    two.wait_whole()
    assert two.status("dmz02")["revision"] == revision
    assert (folder / "votes.journal").read_bytes().startswith(votes)
    assert two.ids() == before
    log = (two.stage.hosts["dmz02"].folder / "xsmd.log").read_text()
    anew = len(list(folder.glob("site.git.damaged-*"))) > kept
    if damage == "all of it is missing":
        assert "fetched anew from dmz01; there was none" in log
    elif damage != "packed-refs is garbage" or anew:  # git may do without that file
        assert anew and "fetched anew from dmz01; the damaged one is kept as" in log
    done = subprocess.run(["git", "-C", str(folder / "site.git"), "fsck", "--full"], check=False)
    assert done.returncode == 0
    two.xsm("dmz02", "apply", str(changed(two)), "--yes")
    two.wait_whole()


def changed(site: Site) -> Path:
    """A clone with other memory for web1."""
    work = site.work()
    now = site.memory_mib("dmz01", "web1")
    entries = vm_entry("web1", "dmz01", 32 if now != 32 else 40), vm_entry("web2", "dmz02")
    (work / "site.xml").write_text(site_text(*entries))
    return work


@LONG
def test_an_edit_that_only_the_damaged_repository_has_is_kept(two: Site) -> None:
    """It was acknowledged there, and nobody else has heard of it yet."""
    work = changed(two)
    two.stage.kill_xsmd("dmz01")
    two.xsm("dmz02", "apply", str(work), "--yes", "--no-wait")
    revision = two.status("dmz02")["revision"]
    two.stage.kill_xsmd("dmz02")
    replace(data(two) / "site.git" / "refs" / "heads" / "main", b"")
    two.stage.start_xsmd("dmz01")
    two.stage.start_xsmd("dmz02")
    two.wait_whole()
    assert two.status("dmz01")["revision"] == revision
    two.wait_converged("dmz01")


@LONG
def test_nobody_to_fetch_it_from_then_the_documented_command(two: Site) -> None:
    before = two.ids()
    repository = data(two) / "site.git"
    two.stage.kill_xsmd("dmz02")
    two.stage.kill_xsmd("dmz01")
    flip(object_file(repository, head_of(repository)))
    done = start(two, two.stage.hosts["dmz02"].config)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"xsmd: {repository} is damaged: "), said
    assert "It could not be fetched anew (dmz01: " in said, said
    command = f"git clone --bare root@HOST:{repository} {repository}"
    assert command in said and "The votes stay as they are" in said
    assert (repository / "HEAD").exists(), "nothing was moved"
    # As written, but for ssh.
    repository.rename(repository.with_name("away"))
    other = data(two, "dmz01") / "site.git"
    subprocess.run(
        ["git", "clone", "-q", "--bare", str(other), str(repository)], check=True, timeout=30
    )
    two.stage.start_xsmd("dmz01")
    two.stage.start_xsmd("dmz02")
    two.wait_whole()
    assert two.ids() == before
    two.xsm("dmz02", "apply", str(changed(two)), "--yes")


# -- git's locks -----------------------------------------------------

LOCKS = (
    "index.lock", "HEAD.lock", "config.lock", "packed-refs.lock", "shallow.lock", "gc.pid", "gc.pid.lock",
    "refs/heads/main.lock", "refs/xsm/heads/" + "1" * 40 + ".lock", "objects/info/commit-graph.lock",
    "objects/pack/multi-pack-index.lock", "objects/pack/tmp_pack_abc", "objects/tmp_objdir-incoming-x/a",
    "objects/pack/pack-" + "1" * 40 + ".keep", "objects/ab/tmp_obj_abc", "objects/incoming-xsm-x/a",
)  # fmt: skip


@LONG
def test_stale_locks_are_in_nobodys_way(two: Site) -> None:
    """Of a git that was killed with xsmd, and of one that was killed alone."""
    repository = data(two) / "site.git"
    two.stage.kill_xsmd("dmz02")
    for name in LOCKS:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("1234 dmz02\n")
    two.stage.start_xsmd("dmz02")
    assert [name for name in LOCKS if (repository / name).exists()] == []
    two.wait_whole()
    two.xsm("dmz02", "apply", str(changed(two)), "--yes")
    for name in ("refs/heads/main.lock", "packed-refs.lock", "HEAD.lock"):
        (repository / name).touch()
        os.utime(repository / name, (time.time() - 60, time.time() - 60))
    two.xsm("dmz02", "apply", str(changed(two)), "--yes")
    two.wait_converged("dmz01")


def test_a_checkout_that_was_cut_short_goes_on_and_a_persons_lock_is_kept(two: Site) -> None:
    checkout = two.stage.hosts["dmz02"].checkout
    lock = checkout / ".git" / "index.lock"

    def on_the_head() -> bool:
        status = two.status("dmz02")
        return bool(status["checkout_revision"] == status["revision"])

    wait("it is on the head", on_the_head)
    lock.touch()
    os.utime(lock, (time.time() - 60, time.time() - 60))
    two.xsm("dmz02", "apply", str(changed(two)), "--yes")
    wait("it says so", lambda: "is locked" in two.status("dmz02")["checkout_behind"])
    (checkout / ".git" / "xsm-at-work").touch()  # now it is our own
    wait("it goes on", lambda: not two.status("dmz02")["checkout_behind"])
    assert not lock.exists()


@LONG
def test_a_checkout_that_is_moved_away_is_made_again_and_watched(two: Site) -> None:
    checkout = two.stage.hosts["dmz02"].checkout
    for round_ in ("one", "two"):
        checkout.rename(checkout.with_name(f"site.{round_}"))
        wait("it is there again", (checkout / "site.xml").exists)
        wait("it follows", lambda: not two.status("dmz02")["checkout_behind"])
        memory_mib = 48 if round_ == "one" else 56
        entries = vm_entry("web1", "dmz01", memory_mib), vm_entry("web2", "dmz02")
        (checkout / "site.xml").write_text(site_text(*entries))
        wait("a save is seen", lambda mib=memory_mib: two.memory_mib("dmz01", "web1") == mib)


# -- daemons and what they need -----------------------------------------------------


def copied(site: Site, name: str, **values: str) -> Path:
    """Settings of dmz02 with other values, for another xsmd."""
    text = site.stage.hosts["dmz02"].config.read_text()
    lines = [line for line in text.splitlines() if line.split(" ")[0] not in values]
    path = site.stage.folder / f"{name}.toml"
    path.write_text("\n".join([*lines, *(f'{k} = "{v}"' for k, v in values.items())]) + "\n")
    return path


def refused(site: Site, config: Path, code: int, *words: str) -> None:
    done = start(site, config)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    last = done.stderr.rstrip().splitlines()[-1]
    assert all(word in last for word in words), last


@LONG
def test_a_second_daemon_with_other_data_but_the_same_port_or_socket(two: Site) -> None:
    folder = two.stage.folder / "second"
    shutil.copytree(data(two), folder / "data")
    place = two.stage.hosts["dmz02"].place
    own = {"data_dir": str(folder / "data"), "checkout_dir": str(folder / "site")}
    same_port = copied(two, "port", **own, socket=str(folder / "s"))
    refused(two, same_port, 1, "something else listens at", f"{place.ip}:{place.listen_port}")
    port = free_ports(place.ip, 1)[0]
    refused(two, copied(two, "socket", **own, listen=f"{place.ip}:{port}"), 1, "xsmd.sock")
    assert two.status("dmz02")["converged"]


@LONG
def test_settings_keys_and_votes_that_are_no_good(two: Site) -> None:
    folder = two.stage.folder / "bad"
    folder.mkdir()
    for name, content, words in (
        ("empty", b"", ("name", "is missing")),
        ("half", b'name = "dmz02', ("half.toml: ", "not TOML")),
        ("wide", 'name = "dmz02"\n'.encode("utf-16"), ("wide.toml:1", "UTF-16")),
        ("binary", b"\x80\x81", ("binary.toml:1", "not UTF-8")),
    ):
        path = folder / f"{name}.toml"
        path.write_bytes(content)
        done = start(two, path)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert all(word in done.stderr for word in words), done.stderr
    for number, (name, content, words) in enumerate(
        (
            ("tls/peer.key", None, ("peer.key",)),
            ("tls/peer.pem", b"garbage", ("peer.pem",)),
            ("tls/ca.pem", b"", ("ca.pem",)),
            ("votes.journal", None, ("votes.journal", "missing", "must not vote")),
            ("votes.journal", b"garbage\n", ("votes.journal", "damaged", "must not vote")),
        )
    ):
        there = folder / str(number)
        shutil.copytree(data(two), there)
        (there / name).unlink()
        if content is not None:
            (there / name).write_bytes(content)
        config = copied(two, f"bad{number}", data_dir=str(there), socket=str(folder / "s"))
        refused(two, config, 1, *words)
    assert two.status("dmz02")["converged"]
