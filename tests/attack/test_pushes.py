"""Pushes that are large, odd or hostile, against a real xsmd: refused in words that git shows, or taken whole."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attack.doors import Request, Target
from tests.site.running_site import Site, site_text, vm_entry

HOSTS = ("dmz01",)
MIB = 1 << 20
GIT_LIMIT_S = 120.0
PUSH = ("push", "-q", "origin", "HEAD:main")
LONG = "XSM_ATTACK" in os.environ
QUICK = (
    "symbolic link",
    "control character",
    "long name",
    "other branch",
    "from the year 2090",
    "merge",
)
"""What `make test` tries; `make attack` tries all."""
longest_s: dict[str, float] = {}


def chosen(cases: list[Any]) -> list[Any]:
    return [pytest.param(*case, id=case[0]) for case in cases if LONG or case[0] in QUICK]


class Clone:
    """A working copy that pushes over HTTPS with an operator's certificate."""

    def __init__(self, target: Target, path: Path) -> None:
        self.path = path
        files = target.files("jo", "operator")
        self.environ = {
            **os.environ,
            "GIT_SSL_NO_VERIFY": "1",  # the stage's addresses are not those of the certificates
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "core.compression",
            "GIT_CONFIG_VALUE_0": "0",
            "GIT_SSL_CERT": str(files.certificate),
            "GIT_SSL_KEY": str(files.key),
            **{f"GIT_{who}_NAME": "Ann" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "ann@x" for who in ("AUTHOR", "COMMITTER")},
        }
        url = "https://{}:{}/git/site.git".format(*target.address)
        self.check("clone", "-q", url, str(path), cwd=path.parent)

    def git(
        self, *words: str, cwd: Path | None = None, stdin: bytes = b"", **environ: str
    ) -> tuple[int, str]:
        done = subprocess.run(
            ["git", *words],
            cwd=cwd or self.path,
            env=self.environ | environ,
            input=stdin,
            capture_output=True,
            timeout=GIT_LIMIT_S,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")

    def check(
        self, *words: str, cwd: Path | None = None, stdin: bytes = b"", **environ: str
    ) -> str:
        code, text = self.git(*words, cwd=cwd, stdin=stdin, **environ)
        assert code == 0, text
        return text.strip()

    def commit(self, message: bytes = b"an edit", **environ: str) -> None:
        self.check("add", "-A")
        self.check("commit", "-q", "--allow-empty", "-F", "-", stdin=message, **environ)

    def write(self, name: str, content: bytes) -> None:
        (self.path / name).write_bytes(content)

    def site(self, *vms: str) -> None:
        self.write("site.xml", site_text(*[vm_entry(vm) for vm in vms]).encode())

    def entry(self, mode: str, name: bytes, oid: str) -> None:
        """A commit whose tree has one entry more, without git's own checks."""
        raw = subprocess.run(
            ["git", "cat-file", "tree", "HEAD"], cwd=self.path, capture_output=True, check=True
        )
        tree = raw.stdout + mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid)
        stored = self.check("hash-object", "-t", "tree", "-w", "--stdin", "--literally", stdin=tree)
        self.check("update-ref", "HEAD", self.check("commit-tree", stored, "-p", "HEAD", "-m", "x"))


@pytest.fixture(scope="module")
def target(site: Site) -> Iterator[Target]:
    target = Target(site, "dmz01", "dmz01")
    yield target
    print("\nlongest wait for a status during a push:")
    for name, seconds in longest_s.items():
        print(f"| {name} | {seconds * 1000:.0f} ms |")
    log = target.log().read_text()
    assert "Traceback" not in log, log[log.index("Traceback") :][:4000]


@pytest.fixture
def clone(target: Target, tmp_path: Path) -> Clone:
    return Clone(target, tmp_path / "work")


def watched(target: Target, name: str, push: Callable[[], tuple[int, str]]) -> tuple[int, str]:
    """Push, while somebody else asks for the status all the time and gets it."""
    ended = threading.Event()
    answers = []

    def ask() -> None:
        door = target.door("viewer")
        while not ended.is_set():
            began = time.monotonic()
            answer = door.ask(Request("GET", "/v1/status"))
            answers.append(answer.status if answer else 0)
            longest_s[name] = max(longest_s.get(name, 0.0), time.monotonic() - began)
        door.close()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        code, text = push()
    finally:
        ended.set()
        asking.join()
    assert set(answers) == {200}
    return code, text


def big_file(clone: Clone, mib: int) -> None:
    clone.write("big.bin", os.urandom(mib * MIB))
    clone.commit()


def many_files(clone: Clone) -> None:
    (clone.path / "many").mkdir()
    for number in range(10_000):
        clone.write(f"many/{number}", str(number).encode())
    clone.commit()


def big_site(clone: Clone) -> None:
    clone.write(
        "site.xml", b"<XSMConfig>" + b"<!-- filling, more filling -->" * 1_700_000 + b"</XSMConfig>"
    )
    clone.commit()


def deep(clone: Clone) -> None:
    folder = clone.path.joinpath(*["d"] * 40)
    folder.mkdir(parents=True)
    (folder / "x").write_text("x")
    clone.commit()


def link(clone: Clone) -> None:
    (clone.path / "link").symlink_to("/etc/passwd")
    clone.commit()


def name(raw: bytes) -> Callable[[Clone], None]:
    def make(clone: Clone) -> None:
        clone.entry("100644", raw, clone.check("hash-object", "-w", "--stdin", stdin=b"x"))

    return make


def dated(date: str) -> Callable[[Clone], None]:
    def make(clone: Clone) -> None:
        clone.site("vmd")
        clone.commit(GIT_COMMITTER_DATE=date)

    return make


def stale(clone: Clone) -> None:
    clone.check("checkout", "-q", "--orphan", "other")
    clone.commit()


REFUSED: list[tuple[str, Callable[[Clone], None], tuple[str, ...], str]] = [
    ("50 MiB file", lambda c: big_file(c, 50), PUSH, "xsm: big.bin: a file may have 16 MiB"),
    ("70 MiB file", lambda c: big_file(c, 70), PUSH, "xsm: this is too large for /git/site.git/git-receive-pack"),
    ("10,000 files", many_files, PUSH, "xsm: more than 2000 files"),
    ("50 MB site file", big_site, PUSH, "xsm: site.xml: a file may have 16 MiB"),
    ("40 folders deep", deep, PUSH, "more than 16 levels"),
    ("symbolic link", link, PUSH, "link is a symbolic link"),
    ("submodule", lambda c: c.entry("160000", b"zub", "a" * 40), PUSH, "zub is a submodule"),
    (".git", name(b".git"), PUSH, "hasDotgit"),
    (".GIT", name(b"z.GIT/config"), PUSH, "fullPathname"),
    ("..", name(b".."), PUSH, "hasDotdot"),
    ("control character", name(b"zz\x1b[2J"), PUSH, r"zz\x1b[2J: error: the path has a backslash or a control"),
    ("not UTF-8", name(b"z\xff\xfe"), PUSH, "is not UTF-8"),
    ("backslash", name(b"z\\b"), PUSH, "backslash"),
    ("long name", name(b"z" * 300), PUSH, "a name in the path is too long (at most 255 bytes)"),
    ("other branch", lambda c: c.commit(), ("push", "origin", "HEAD:x"), "the site is the branch main"),
    ("tag", lambda c: c.commit(), ("push", "origin", "HEAD:refs/tags/x"), "the site is the branch main"),
    ("XSM's own refs", lambda c: c.commit(), ("push", "origin", "HEAD:refs/xsm/heads/x"), "hidden ref"),
    ("deletion", lambda c: None, ("push", "origin", ":main"), "xsm: main can't be deleted: it is the site"),
    ("other history", stale, ("push", "-f", "origin", "HEAD:main"), "non-fast-forward"),
    ("from the year 2090", dated("2090-01-01T00:00:00Z"), PUSH, "days ahead of this host's clock"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "make", "push", "words"), chosen(REFUSED))
def test_refused(
    target: Target,
    clone: Clone,
    what: str,
    make: Callable[[Clone], None],
    push: tuple[str, ...],
    words: str,
) -> None:
    make(clone)
    before = target.head()
    code, text = watched(target, what, lambda: clone.git(*push))
    assert code != 0
    assert words in text, text
    assert target.head() == before


def merge(clone: Clone) -> None:
    clone.check("checkout", "-q", "-b", "other")
    clone.site("vmq")
    clone.commit()
    clone.check("checkout", "-q", "-")
    clone.commit()
    clone.check("merge", "-q", "--no-ff", "-m", "Merge", "other")


def long_message(clone: Clone) -> None:
    clone.site("vml")
    clone.commit(b"one of 100,000 lines\n" * 100_000)


TAKEN: list[tuple[str, Callable[[Clone], None]]] = [
    ("message of 100,000 lines", long_message),
    ("from the year 1980", dated("1980-01-01T00:00:00Z")),
    ("merge", merge),
    ("empty commit", lambda c: c.commit()),
]


@pytest.mark.parametrize(("what", "make"), chosen(TAKEN))
def test_taken(target: Target, clone: Clone, what: str, make: Callable[[Clone], None]) -> None:
    make(clone)
    code, text = watched(target, what, lambda: clone.git(*PUSH))
    assert code == 0 and "accepted" in text, text
    answer = target.doors["local"].ask(Request("GET", "/v1/history?limit=5"))
    assert answer is not None and answer.status == 200
    assert clone.check("rev-parse", "HEAD") in answer.body.decode()


def test_nothing_to_push(clone: Clone) -> None:
    assert clone.check("push", "origin", "HEAD:main") == "Everything up-to-date"


def test_an_apply_while_a_big_push_comes_in(target: Target, clone: Clone) -> None:
    big_file(clone, 50 if LONG else 5)
    pushing = threading.Thread(target=lambda: clone.git(*PUSH))
    pushing.start()
    text = target.site.apply("dmz01", vm_entry("vma", "dmz01"))
    pushing.join()
    assert "vma" in text
    target.site.wait_converged("dmz01")
