"""Garbage at every route of a real xsmd, through every door: it says no in its own words, and nothing comes of it.

`make test` runs a few requests of each kind, `make attack` 10,000 to every route.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.attack import garbage
from tests.attack.doors import ROLES, Answer, Request, Target
from tests.site.running_site import Site
from xsm.api.access import MAY, RULES, Least, Role, Rule

HOSTS = ("dmz01", "dmz02")
EACH = int(os.environ.get("XSM_ATTACK", "8"))
"""Requests to each route."""
GROWTH_LIMIT_KIB = 100 * 1024
"""What the daemon may grow by: caches fill, nothing piles up."""
LOG_LIMIT_BYTES = 4 * 1024 * 1024
seen: dict[str, Counter[int]] = {}

many = settings(
    max_examples=EACH,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


@pytest.fixture(scope="module")
def target(site: Site) -> Iterator[Target]:
    target = Target(site, "dmz01", "dmz02")
    before_kib = target.resident_kib()
    yield target
    after_kib = target.resident_kib()
    print(f"\nmemory before {before_kib} KiB, after {after_kib} KiB")
    for route, statuses in sorted(seen.items()):
        told = ", ".join(f"{status}: {n}" for status, n in sorted(statuses.items()))
        print(f"| `{route}` | {sum(statuses.values())} | {told} |")
    log = target.log().read_text()
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:4000]
    assert " error " not in log
    assert len(log) < LOG_LIMIT_BYTES
    assert after_kib - before_kib < GROWTH_LIMIT_KIB


def may(role: str, least: Least) -> bool:
    if role == "anybody":
        return least is Least.ANYBODY
    if role == "local":
        return least is Least.LOCAL or least in MAY[Role.ADMIN]
    return least in MAY[Role(role)]


def check(request: Request, answer: Answer | None, least: Least | None, role: str) -> None:
    """What every answer has to be."""
    assert answer is not None, "it hung up without an answer"
    assert answer.status != 500 and answer.status < 600
    if least is not None and not may(role, least):
        assert answer.status in (400, 403, 404, 417), answer
    if answer.status >= 400 and request.method != "HEAD":
        refusal = json.loads(answer.body)
        assert refusal["code"] and refusal["message"], answer
        assert answer.headers["x-xsm-version"]
        assert "Traceback" not in refusal["message"] and "object at 0x" not in refusal["message"]


def harmless(request: Request) -> bool:
    """All but a valid request to forget the member whose certificate the attack uses."""
    return not (b"forget" in request.body and b"dmz02" in request.body)


def roles(least: Least) -> st.SearchStrategy[str]:
    """Every second request comes from somebody who may."""
    return st.sampled_from([role for role in ROLES if may(role, least)]) | st.sampled_from(ROLES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.method} {rule.path}")
def test_garbage(target: Target, rule: Rule) -> None:
    statuses = seen.setdefault(f"{rule.method} {rule.path}", Counter())

    @many
    @given(request=garbage.requests(rule).filter(harmless), role=roles(rule.least))
    def attack(request: Request, role: str) -> None:
        before = target.head()
        answer = target.doors[role].ask(request)
        check(request, answer, rule.least, role)
        assert answer is not None
        statuses[answer.status] += 1
        if target.head() != before:
            assert answer.status == 200 and may(role, Least.OPERATOR)

    promised = votes(target)
    attack()
    after = votes(target)
    for vm, before in promised.items():
        now = after[vm]
        assert all(now.get(key, 0) >= before.get(key, 0) for key in ("voted", "bar")), (
            vm,
            before,
            now,
        )
    still_there(target)


def votes(target: Target) -> dict[str, dict[str, int]]:
    """What the daemon has promised: garbage may raise it, never lower it."""
    answer = target.doors["peer"].ask(Request("GET", "/v1/peer/registers"))
    assert answer is not None and answer.status == 200
    registers: dict[str, dict[str, int]] = json.loads(answer.body)
    return registers


def test_what_is_not_there(target: Target) -> None:
    statuses = seen.setdefault("(unknown)", Counter())

    @many
    @given(request=garbage.wrong_requests(), role=st.sampled_from(ROLES))
    def attack(request: Request, role: str) -> None:
        before = target.head()
        answer = target.doors[role].ask(request)
        check(request, answer, None, role)
        assert answer is not None
        statuses[answer.status] += 1
        assert target.head() == before

    attack()
    still_there(target)


def test_what_is_no_http(target: Target) -> None:
    statuses = seen.setdefault("(no HTTP)", Counter())

    @many
    @given(raw=garbage.broken(), role=st.sampled_from(ROLES))
    def attack(raw: bytes, role: str) -> None:
        before = target.head()
        answer = target.doors[role].send(raw)
        statuses[int(answer[9:12]) if answer[:5] == b"HTTP/" else 0] += 1
        assert b" 500 " not in answer[:20]
        assert target.head() == before

    attack()
    still_there(target)


def still_there(target: Target) -> None:
    answer = target.doors["local"].ask(Request("GET", "/v1/status"))
    assert answer is not None and answer.status == 200, answer
