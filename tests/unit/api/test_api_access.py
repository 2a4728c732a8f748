"""Who may ask what."""

import aiohttp
import pytest
from running_server import Remote, Running

from xsm.api.access import GATE_LIMITS, RULES, Caller, Gate, Least, Role, allowed, git_least
from xsm.api.routes import ROUTES

ROLE_NAMES = ("", "viewer", "operator", "admin", "peer")

# Written out by hand: what each kind of caller gets, so that a change of the table shows here.
EXPECTED = {
    Least.ANYBODY: {"", "viewer", "operator", "admin", "peer"},
    Least.VIEWER: {"viewer", "operator", "admin", "peer"},
    Least.OPERATOR: {"operator", "admin", "peer"},
    Least.ADMIN: {"admin"},
    Least.PEER: {"peer"},
    Least.LOCAL: set(),
}


def test_every_route_has_one_rule_and_every_rule_a_route() -> None:
    assert sorted(rule.key for rule in RULES) == sorted(ROUTES)
    assert len(RULES) == len({rule.key for rule in RULES})


def test_every_gate_has_a_limit() -> None:
    assert set(GATE_LIMITS) == set(Gate)


def test_only_a_joining_host_may_come_without_a_certificate() -> None:
    assert {rule.path for rule in RULES if rule.least is Least.ANYBODY} == {"/v1/ca", "/v1/join"}


def test_what_changes_something_is_for_no_viewer() -> None:
    reading = {"/v1/preview", "/v1/preview-command", "/v1/join", "/git/site.git/git-upload-pack"}
    for rule in RULES:
        if rule.method == "POST" and rule.path not in reading:
            assert rule.least not in (Least.ANYBODY, Least.VIEWER), rule


@pytest.mark.parametrize("least", list(Least))
def test_each_role_gets_what_it_should(least: Least) -> None:
    got = {
        name
        for name in ROLE_NAMES
        if allowed(Caller("x", Role(name), "h", False) if name else None, least)
    }
    assert got == EXPECTED[least]


def test_hooks_are_for_local_callers_only() -> None:
    assert allowed(Caller("root", Role.ADMIN, "dmz01", True), Least.LOCAL)


def test_announcing_a_push_needs_an_operator() -> None:
    rule = next(rule for rule in RULES if rule.path.endswith("/info/refs"))
    assert git_least(rule, "git-upload-pack") is Least.VIEWER
    assert git_least(rule, "git-receive-pack") is Least.OPERATOR


@pytest.mark.parametrize("role", ROLE_NAMES)
async def test_the_server_goes_by_the_table(running: Running, remote: Remote, role: str) -> None:
    session = remote("somebody", role)
    for rule in RULES:
        path = rule.path.replace("{id}", "abc").replace("{vm}", "vm1")
        # Bad bodies, so that what is allowed does nothing: 400 or better is "allowed".
        async with session.request(rule.method, path, data=b"x" if rule.body_bytes else None) as r:
            text = await r.text()
            words = ("needs a certificate", "this is for")
            refused = r.status == 403 and any(word in text for word in words)
            if rule.path.endswith("/info/refs"):
                continue  # without ?service= it is refused for another reason
            assert refused == (role not in EXPECTED[rule.least]), (rule, r.status)


async def test_a_forgotten_host_is_refused(remote: Remote) -> None:
    async with remote("forgotten", "peer").get("/v1/peer/heads") as response:
        assert response.status == 403
        assert "not of this site any more" in (await response.json())["message"]


async def test_over_the_socket_one_is_an_admin(
    running: Running, local: aiohttp.ClientSession
) -> None:
    async with local.post("/v1/invite", json={"name": "dmz05"}) as response:
        assert response.status == 200
    async with local.post("/v1/peer/messages", data=b"m") as response:
        assert response.status == 403  # an admin is no peer: it could not say which
    assert running.control.asked == [("invite", "dmz05")]


def test_authors() -> None:
    assert Caller("root", Role.ADMIN, "dmz01", True).author == "root <root@dmz01>"
    named = Caller("jo@example.com", Role.OPERATOR, "192.0.2.7", False)
    assert named.author == "jo@example.com <jo@example.com>"
