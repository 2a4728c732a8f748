"""At the doors of a real xsmd: floods of slow connections, wrong certificates, other versions, stolen tokens, hooks."""

from __future__ import annotations

import json
import os
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.attack.doors import Door, Request, Target
from tests.site.running_site import Site
from xsm.edge import ca
from xsm.edge.tls import client_context
from xsm.peer.messages import PROTOCOL_VERSION

HOSTS = ("dmz01", "dmz02")
FLOOD = 600
"""More than there are places for strangers, and than there are for everybody on the socket."""
STATUS = Request("GET", "/v1/status")
YEAR_S = 365 * 86400.0


@pytest.fixture(scope="module")
def target(site: Site) -> Iterator[Target]:
    target = Target(site, "dmz01", "dmz02")
    yield target
    log = target.log().read_text()
    assert "Traceback" not in log, log[log.index("Traceback") :][:4000]
    told = [line for line in log.splitlines() if "xsm.api.connection" in line]
    print(f"\n{len(told)} lines of the log tell of it all")
    assert len(told) < 30, told


def status_of(door: Door) -> int:
    answer = door.ask(STATUS)
    door.close()
    return answer.status if answer else 0


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02", b"GET / HTTP/1.1\r\n"])
def test_connections_that_never_finish(target: Target, sent: bytes) -> None:
    """TLS that is never agreed: members, people and the unix socket get through all the same."""
    held = []
    try:
        for _ in range(FLOOD):
            connection = socket.create_connection(target.address)
            held.append(connection)
            connection.sendall(sent)
        for role in ("viewer", "peer", "local"):
            assert status_of(target.door(role)) == 200, role
        assert target.site.status("dmz02")["majority"]
    finally:
        for connection in held:
            connection.close()


def test_requests_that_never_finish(target: Target) -> None:
    """TLS, then half a request, by somebody without a certificate and by a viewer."""
    held = []
    try:
        for role in ("anybody", "viewer"):
            for _ in range(100):
                try:
                    connection = target.door(role).connect()
                    held.append(connection)
                    connection.sendall(
                        b"POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
                    )
                except (ConnectionError, ssl.SSLError):
                    continue  # one connection too many for that name
        for role in ("operator", "peer", "local"):
            assert status_of(target.door(role)) == 200, role
    finally:
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    ("role", "age_s"),
    [("admin", YEAR_S + 7200), ("peer", YEAR_S + 7200), ("admin", -YEAR_S), ("peer", -7200.0)],
)
def test_a_certificate_of_another_time(target: Target, role: str, age_s: float) -> None:
    name = "dmz02" if role == "peer" else "root"
    files = target.files(name, role, time.time() - age_s)
    assert Door(role, target.address, client_context(files)).ask(STATUS) is None


def test_a_role_or_a_name_that_is_not_its_own(target: Target) -> None:
    viewer = Door("viewer", target.address, client_context(target.files("dmz02", "viewer")))
    answer = viewer.ask(Request("GET", "/v1/peer/registers"))
    assert answer is not None and answer.status == 403
    stranger = Door("peer", target.address, client_context(target.files("dmz09", "peer")))
    answer = stranger.ask(STATUS)
    assert answer is not None and json.loads(answer.body)["code"] == "not-a-member"


def test_a_certificate_signed_by_itself(target: Target) -> None:
    folder = target.site.stage.folder / "own-ca"
    folder.mkdir()
    files = ca.peer_files(folder)
    authority = ca.create_ca(folder, target.authority.site_id, time.time())
    ca.create_key(files.key)
    pem = authority.issue_client(ca.create_csr(files.key, "root"), "root", "admin", time.time())
    files.certificate.write_text(pem)
    trusting = replace(files, ca=target.data / "tls" / "ca.pem")
    assert Door("admin", target.address, client_context(trusting)).ask(STATUS) is None


@pytest.mark.parametrize("version", [PROTOCOL_VERSION, PROTOCOL_VERSION + 1])
def test_a_neighbouring_version_is_heard(target: Target, version: int) -> None:
    body = {"version": version, "more": 1, "messages": [["Gossip", {"of": "version 2"}]]}
    headers = (("X-XSM-Version", str(version)),)
    answer = target.doors["peer"].ask(
        Request("POST", "/v1/peer/messages", headers, json.dumps(body).encode())
    )
    assert answer is not None and answer.status == 200


@pytest.mark.parametrize("where", ["header", "body"])
def test_a_version_too_far_is_told_so(target: Target, where: str) -> None:
    version = PROTOCOL_VERSION + 2
    body = {"version": version if where == "body" else PROTOCOL_VERSION, "messages": []}
    headers = (("X-XSM-Version", str(version)),) if where == "header" else ()
    answer = target.doors["peer"].ask(
        Request("POST", "/v1/peer/messages", headers, json.dumps(body).encode())
    )
    assert answer is not None and answer.status == 409
    refusal = json.loads(answer.body)
    assert refusal["code"] == "version"
    assert f"version {version} of the protocol" in refusal["message"]
    assert refusal["message"].endswith("update xsmd on this host first")


def test_a_token_is_good_once_and_can_not_be_guessed(target: Target) -> None:
    answer = target.doors["local"].ask(Request("POST", "/v1/invite", body=b'{"name": "dmz07"}'))
    assert answer is not None and answer.status == 200
    token = json.loads(answer.body)["token"]
    keys = [target.site.stage.folder / name for name in ("dmz07.key", "thief.key")]
    for key in keys:
        ca.create_key(key)
    own, thiefs = (ca.create_csr(key, "dmz07") for key in keys)

    def join(token: str, name: str, csr: str = own) -> int:
        asked = {"token": token, "name": name, "address": "a", "url": "https://a:1", "csr_pem": csr}
        answer = target.doors["anybody"].ask(
            Request("POST", "/v1/join", body=json.dumps(asked).encode())
        )
        assert answer is not None
        return answer.status

    before = target.head()
    assert {join(token[:-6] + f"{n:06d}", "dmz07") for n in range(100)} == {403}
    assert join(token, "dmz08") == 403
    assert target.head() == before
    assert join(token, "dmz07") == 200
    joined = target.head()
    assert join(token, "dmz07", thiefs) == 403
    assert join(token, "dmz07") == 200, "whose answer got lost may ask again"
    assert target.head() == joined


def test_a_hook_called_by_hand(target: Target) -> None:
    """It can say nothing that the daemon doesn't check itself."""
    before = target.head()
    line = f"{before} {'f' * 40} refs/heads/main\n"
    for hook in ("pre-receive", "post-receive"):
        done = subprocess.run(
            [sys.executable, "-m", "xsm.edge.hook", hook],
            cwd=target.data / "site.git",
            input=line,
            capture_output=True,
            text=True,
            env={**os.environ, "GIT_OBJECT_DIRECTORY": "/etc"},
            timeout=60,
            check=False,
        )
        assert done.returncode == 1 and "xsm: " in done.stderr and "Traceback" not in done.stderr
    assert target.head() == before


def test_the_socket_is_for_its_owner_and_group(target: Target) -> None:
    mode = (target.host.folder / "xsmd.sock").stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660
