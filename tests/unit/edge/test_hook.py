"""A push is checked by xsmd: real git, real hooks, and a small xsmd on a unix socket."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from xsm.edge.hook import (
    MAX_CHANGES,
    Refused,
    accepted_lines,
    check_updates,
    read_updates,
    refusal_lines,
)
from xsm.edge.packs import PackRefused
from xsm.edge.repository import Repository
from xsm.peer.history import MERGE_AUTHOR

ROOT = {"site.xml": b"<XSMConfig/>\n", "state/site.json": b"{}\n"}
Asked = tuple[str, dict[str, Any]]
Answer = Callable[[str, dict[str, Any]], tuple[int, dict[str, Any]]]


class Xsmd(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers the hooks with `answer`, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, path: Path, answer: Answer) -> None:
        self.asked: list[Asked] = []
        self.answer = answer
        super().__init__(str(path), _Request)
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join(10)
        self.server_close()


class _Request(BaseHTTPRequestHandler):
    server: Xsmd

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))
        status, answer = self.server.answer(self.path, body)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr: the test reads git's."""


class Push:
    """A clone of a host's repository, to push from."""

    def __init__(self, path: Path) -> None:
        self.socket = path / "xsmd.sock"
        self.repository = Repository.create(path / "r.git", socket=self.socket)
        self.root = self.repository.write_commit(ROOT, (), "a <a@b>", 1000, "root").id
        self.repository.set_heads((self.root,), self.root)
        self.work = path / "work"
        self.git("clone", "-q", str(self.repository.path), str(self.work), at=path)
        self.environ: dict[str, str] = {}

    def git(
        self, *arguments: str, at: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        who = {
            f"GIT_{role}_{what}": "b@x"
            for role in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        return subprocess.run(
            ["git", *arguments], cwd=at or self.work, env={**clean, **who, **env},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def commit(self, text: str, **env: str) -> str:
        (self.work / "site.xml").write_text(text)
        assert self.git("commit", "-q", "-a", "-m", "edit", **env).returncode == 0
        return self.git("rev-parse", "HEAD").stdout.strip()

    def quarantined(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """What xsmd does: read the pushed files, and refuse some."""
        if path.endswith("post-receive"):
            return 204, {}
        try:
            files = self.repository.read_quarantined(body["updates"][0]["new"], body["environ"])
        except PackRefused as refused:
            return 422, {"message": str(refused), "problems": []}
        if b"bad" not in files["site.xml"]:
            return 200, {}
        problem = {
            "path": "site.xml",
            "line": 3,
            "message": "bad",
            "hint": "be good",
            "severity": "error",
        }
        return 422, {
            "code": "invalid",
            "message": "the site can't be like that",
            "hint": "",
            "problems": [problem],
        }


@pytest.fixture
def push(tmp_path: Path) -> Iterator[Push]:
    made = Push(tmp_path)
    yield made
    made.repository.close()


@pytest.fixture
def xsmd(push: Push) -> Iterator[Xsmd]:
    server = Xsmd(push.socket, push.quarantined)
    yield server
    server.stop()


def test_a_valid_push_is_stored_and_told(push: Push, xsmd: Xsmd) -> None:
    new = push.commit("<XSMConfig>1</XSMConfig>")
    done = push.git("push", "-q", "origin", "main")
    assert done.returncode == 0, done.stderr
    assert push.repository.main() == new
    assert push.repository.heads() == (new,)
    assert [path for path, _ in xsmd.asked] == ["/v1/hook/pre-receive", "/v1/hook/post-receive"]
    assert xsmd.asked[0][1]["updates"] == [{"old": push.root, "new": new, "ref": "refs/heads/main"}]


def test_an_invalid_push_is_refused_with_file_and_line(push: Push, xsmd: Xsmd) -> None:
    new = push.commit("bad")
    done = push.git("push", "-q", "origin", "main")
    assert done.returncode != 0
    assert "site.xml:3: error: bad (be good)" in done.stderr
    assert push.repository.main() == push.root and new not in push.repository
    assert [path for path, _ in xsmd.asked] == ["/v1/hook/pre-receive"]


def test_without_xsmd_nothing_is_stored(push: Push) -> None:
    push.commit("<XSMConfig>1</XSMConfig>")
    done = push.git("push", "-q", "origin", "main")
    assert done.returncode != 0 and "xsmd does not run on this host" in done.stderr
    assert push.repository.main() == push.root


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("main:refs/heads/other",), "is the branch main"),
        (("main:refs/xsm/heads/x",), ""),
        ((":main",), ""),
    ],
)
def test_only_main_can_be_pushed(
    push: Push, xsmd: Xsmd, arguments: tuple[str, ...], says: str
) -> None:
    push.commit("<XSMConfig>1</XSMConfig>")
    done = push.git("push", "-q", "origin", *arguments)
    assert done.returncode != 0 and says in done.stderr
    assert xsmd.asked == []
    assert push.repository.main() == push.root


def test_history_cannot_be_rewritten(push: Push, xsmd: Xsmd) -> None:
    push.commit("<XSMConfig>1</XSMConfig>")
    push.git("commit", "-q", "--amend", "-m", "again")
    push.git("push", "-q", "origin", "main")
    push.git("commit", "-q", "--amend", "-m", "and again")
    before = push.repository.main()
    assert push.git("push", "-q", "--force", "origin", "main").returncode != 0
    assert push.repository.main() == before


def test_what_xsm_does_not_store_is_refused(push: Push, xsmd: Xsmd) -> None:
    (push.work / "link").symlink_to("/etc/passwd")
    push.git("add", ".")
    push.commit("<XSMConfig>1</XSMConfig>")
    (push.work / "link").unlink()
    push.commit("<XSMConfig>2</XSMConfig>")
    done = push.git("push", "-q", "origin", "main")
    assert "link is a symbolic link" in done.stderr
    push.git("reset", "-q", "--hard", push.root)
    name, _, mail = MERGE_AUTHOR.partition(" <")
    push.commit("<XSMConfig>3</XSMConfig>", GIT_AUTHOR_NAME=name, GIT_AUTHOR_EMAIL=mail.rstrip(">"))
    assert "XSM's own name" in push.git("push", "-q", "origin", "main").stderr
    push.git("reset", "-q", "--hard", push.root)
    push.git("rm", "-q", "-r", "state")
    push.commit("<XSMConfig>4</XSMConfig>")
    assert "state/site.json is missing" in push.git("push", "-q", "origin", "main").stderr
    assert push.repository.main() == push.root


def test_a_hooks_word_on_its_folder_is_not_trusted(push: Push, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for folder in (str(tmp_path / "elsewhere"), "../work/.git/objects", "objects/gone"):
        with pytest.raises(PackRefused):
            push.repository.read_quarantined(push.root, {"GIT_OBJECT_DIRECTORY": folder})
    assert push.repository.read_quarantined(push.root, {}) == ROOT


def test_what_git_says_is_read_with_care() -> None:
    assert read_updates(["a b c\n"]) == [("a", "b", "c")]
    for lines in (["a b\n"], ["a b c d\n"], ["a b c\n"] * 200):
        with pytest.raises(Refused):
            read_updates(lines)
    with pytest.raises(Refused, match="branch main"):
        check_updates([("1", "2", "refs/tags/x")])
    with pytest.raises(Refused, match="deleted"):
        check_updates([("1", "0" * 40, "refs/heads/main")])


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"message": 1, "problems": [1]}', b"[" * 100_000]
)
def test_an_answer_that_is_no_refusal_is_said_to_be_so(content: bytes) -> None:
    assert "500" in refusal_lines(content, 500)[0]


def test_a_push_is_told_what_it_changed() -> None:
    updates = [("0" * 40, "a" * 40, "refs/heads/main")]

    def told(**answer: object) -> list[str]:
        return accepted_lines(json.dumps([answer]).encode(), updates)

    assert told(revision="a" * 40, changes=["vm1: MEM 1 => 2"]) == [
        "aaaaaaaaaa accepted; 1 change: vm1: MEM 1 => 2"
    ]
    assert told(revision="b" * 40, changes=["x", "y"]) == [
        "aaaaaaaaaa accepted; 2 changes: x; y (with what the site added: bbbbbbbbbb, `git pull` brings it)"
    ]
    assert told(revision="a" * 40, changes=[]) == ["aaaaaaaaaa accepted; 0 changes"]
    many = told(revision="a" * 40, changes=[str(n) for n in range(MAX_CHANGES + 2)])
    assert many[0].endswith("4; and 2 more")
    warning = {
        "path": "site.xml",
        "line": 4,
        "message": "a lot",
        "hint": "less",
        "severity": "warning",
    }
    assert told(revision="a" * 40, changes=[], problems=[warning]) == [
        "site.xml:4: warning: a lot (less)",
        "aaaaaaaaaa accepted; 0 changes",
    ]
    # An xsmd of an older version answers nothing.
    for old in (b"", b"{}", b"null", b'["x"]'):
        assert accepted_lines(old, updates) == ["aaaaaaaaaa accepted"]
