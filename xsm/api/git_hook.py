"""git's pre-receive and post-receive hooks: ask the daemon about a push.

Run by git as `python -I -m xsm.api.git_hook pre-receive SOCKET`. Decides nothing: what the daemon
refuses is printed, and git shows it to the pusher. Only the standard library, because every push
waits
for it to start.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

ANSWER_TIMEOUT_S = 60.0
INPUT_LIMIT_BYTES = 1024 * 1024
ANSWER_LIMIT_BYTES = 4 * 1024 * 1024
OBJECTS = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH")
PASSED_ON = (*OBJECTS, "REMOTE_USER", "XSM_ROLE")


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def request_of(text: str, environ: Mapping[str, str], cwd: str) -> dict[str, Any]:
    """The body of the question: what git gave on stdin and in the environment."""
    updates = []
    for line in text.splitlines():
        old, new, ref = line.split(" ", 2)
        updates.append({"old": old, "new": new, "ref": ref})
    passed = {key: environ[key] for key in PASSED_ON if environ.get(key)}
    for key in OBJECTS:
        if key in passed:
            # git gives them relative to the repository; the daemon works elsewhere.
            paths = passed[key].split(os.pathsep)
            passed[key] = os.pathsep.join(os.path.normpath(os.path.join(cwd, p)) for p in paths)
    return {"updates": updates, "environ": passed}


def lines_of(status: int, body: bytes) -> list[str]:
    """A refusal as people read it."""
    try:
        refusal = json.loads(body)
        hint = f" ({refusal['hint']})" if refusal.get("hint") else ""
        lines = [f"xsm: {refusal['message']}{hint}"]
        for problem in refusal.get("problems", ()):
            where = problem["path"] + (f":{problem['line']}" if problem["line"] else "")
            hint = f" ({problem['hint']})" if problem.get("hint") else ""
            severity = problem.get("severity", "error")
            lines.append(f"{where}: {severity}: {problem['message']}{hint}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"xsm: xsmd answered with HTTP status {status}"]
    return lines


def main(arguments: list[str]) -> int:
    hook, path = arguments
    text = sys.stdin.read(INPUT_LIMIT_BYTES)
    body = json.dumps(request_of(text, os.environ, os.getcwd()))
    connection = _Connection(path)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"/v1/hook/{hook}", body, headers)
        answer = connection.getresponse()
        content = answer.read(ANSWER_LIMIT_BYTES)
    except (OSError, http.client.HTTPException) as error:
        print(f"xsm: xsmd can't be asked at {path}: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    if answer.status < 300:
        return 0
    for line in lines_of(answer.status, content):
        print(line, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
