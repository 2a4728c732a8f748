"""git's hooks: a push to any host is checked by the running xsmd, by the rules of `xsm apply`, before it is stored.

Decides nothing itself: `python -m xsm.edge.hook pre-receive|post-receive` asks xsmd over its unix socket (git's
configuration says where: xsm.socket) and prints its answer. Without xsmd nothing can be checked, so that the push
is refused.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any

MAIN = "refs/heads/main"
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
CONFIG_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 4 << 20
MAX_REFS = 100
MAX_CHANGES = 5
"""Told of one push; the rest is counted."""
SHORT = 10
HOOKS = ("pre-receive", "post-receive")
_PASSED_ON = (
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
    "REMOTE_USER",
    "XSM_ROLE",
)


class Refused(Exception):
    """The push is not accepted. `lines`: why, for the person who pushes."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("xsmd", timeout=ANSWER_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_TIMEOUT_S)
        self.sock.connect(self._path)
        self.sock.settimeout(ANSWER_TIMEOUT_S)


def read_updates(lines: Iterable[str]) -> list[tuple[str, str, str]]:
    """What git tells a hook on stdin: (old, new, ref) a line. Raises `Refused`."""
    updates: list[tuple[str, str, str]] = []
    for line in lines:
        parts = line.split()
        if len(parts) != 3 or len(updates) >= MAX_REFS:
            raise Refused("git told the hook something that XSM doesn't understand, or too much")
        updates.append((parts[0], parts[1], parts[2]))
    return updates


def check_updates(updates: list[tuple[str, str, str]]) -> None:
    """Only main, and not away. Raises `Refused`."""
    for _, new, ref in updates:
        if ref != MAIN:
            raise Refused(f"{ref} can't be pushed: the site is the branch main")
        if not new.strip("0"):
            raise Refused("main can't be deleted: it is the site")


def ask(
    socket_path: str,
    hook: str,
    updates: list[tuple[str, str, str]],
    environ: Mapping[str, str],
) -> bytes:
    """Ask xsmd; its answer. Raises `Refused` with its reasons, or because it doesn't answer."""
    body = {
        "updates": [{"old": old, "new": new, "ref": ref} for old, new, ref in updates],
        "environ": {key: environ[key] for key in _PASSED_ON if environ.get(key)},
    }
    connection = _UnixConnection(socket_path)
    try:
        connection.request(
            "POST",
            f"/v1/hook/{hook}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        content = answer.read(MAX_ANSWER_BYTES)
    except (FileNotFoundError, ConnectionRefusedError):
        raise Refused(
            "xsmd does not run on this host, so that nothing can be checked",
            "start it, or push to another host",
        ) from None
    except PermissionError:
        raise Refused(
            f"you may not talk to xsmd: no access to {socket_path}",
            "ask for membership in its group",
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"xsmd does not answer: {error or type(error).__name__}") from None
    finally:
        connection.close()
    if not 200 <= answer.status < 300:
        raise Refused(*refusal_lines(content, answer.status))
    return content


def accepted_lines(content: bytes, updates: list[tuple[str, str, str]]) -> list[str]:
    """What a push came to, from xsmd's `api.types.Applied` for each update; it is stored, so nothing fails here."""
    try:
        answers: Any = json.loads(content)
        return [
            line
            for (_, new, _), answer in zip(updates, answers, strict=True)
            for line in _told(new, answer)
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        return [f"{new[:SHORT]} accepted" for _, new, _ in updates]


def _told(new: str, answer: Mapping[str, Any]) -> list[str]:
    changes = [str(change) for change in answer["changes"]]
    warnings = [_problem_line(problem) for problem in answer.get("problems") or ()]
    return [*warnings, _accepted_line(new, str(answer["revision"]), changes)]


def _accepted_line(new: str, revision: str, changes: list[str]) -> str:
    number = f"{len(changes)} change{'' if len(changes) == 1 else 's'}"
    shown = "; ".join(changes[:MAX_CHANGES])
    more = f"; and {len(changes) - MAX_CHANGES} more" if len(changes) > MAX_CHANGES else ""
    line = f"{new[:SHORT]} accepted; {number}{': ' if shown else ''}{shown}{more}"
    if revision != new:
        line += f" (with what the site added: {revision[:SHORT]}, `git pull` brings it)"
    return line


def refusal_lines(content: bytes, status: int) -> list[str]:
    """xsmd's `api.types.Refusal` as lines: the problems as file:line, what is wrong, what would be right."""
    try:
        refusal: Any = json.loads(content)
        lines = [_problem_line(problem) for problem in refusal.get("problems") or ()]
        hint = refusal.get("hint")
        return [*lines, str(refusal["message"]), *([str(hint)] if hint else [])]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return [f"xsmd answered {status} without a reason that can be read"]


def _problem_line(problem: Mapping[str, Any]) -> str:
    line, hint = problem.get("line") or 0, problem.get("hint")
    where = f"{problem['path']}:{line}" if line else f"{problem['path']}"
    return f"{where}: {problem.get('severity', 'error')}: {problem['message']}" + (
        f" ({hint})" if hint else ""
    )


def socket_path() -> str:
    """Where the repository's configuration says that xsmd listens. Raises `Refused`."""
    done = subprocess.run(
        ["git", "config", "--local", "--get", "xsm.socket"],
        capture_output=True,
        timeout=CONFIG_TIMEOUT_S,
        check=False,
    )
    path = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode != 0 or not path:
        raise Refused(
            "this repository doesn't say where xsmd listens (git config xsm.socket); start xsmd once"
        )
    return path


def main(arguments: list[str]) -> int:
    """The hook. Exit code 1 refuses the push (pre-receive) or tells that xsmd didn't hear of it (post-receive)."""
    if len(arguments) != 1 or arguments[0] not in HOOKS:
        print(f"usage: python -m xsm.edge.hook {'|'.join(HOOKS)}", file=sys.stderr)
        return 2
    hook = arguments[0]
    try:
        updates = read_updates(sys.stdin)
        check_updates(updates)
        content = ask(socket_path(), hook, updates, os.environ)
        if hook == "post-receive":
            for line in accepted_lines(content, updates):
                print(f"xsm: {line}", file=sys.stderr)
    except Refused as refused:
        for line in refused.lines:
            print(f"xsm: {line}", file=sys.stderr)
        return 1
    except subprocess.TimeoutExpired:
        print("xsm: git config did not answer", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
