"""Which certificates are revoked, and whose list counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xsm.api.types import RevocationList
from xsm.edge.revocation import (
    AHEAD_LIMIT_S,
    CHECK_EVERY_S,
    ISSUED_LIMIT,
    ISSUED_PER_NAME_LIMIT,
    REMEMBER_S,
    RETRY_LEAST_S,
    RETRY_MOST_S,
    Issued,
    Revoked,
    credible,
    kept,
    newest,
    pause_s,
    replaced,
    same,
    to_list,
    together,
)

NOW, YEAR_S = 1_000_000_000.0, 365 * 86400.0


def issued(name: str, serial: int, key: str = "", end: float = NOW + 1000) -> Issued:
    return Issued(name, serial, key or f"{name}'s", end, "")


def test_a_forgotten_hosts_certificates_are_revoked_until_they_end() -> None:
    known = (issued("a", 1), issued("b", 2), issued("b", 3, end=NOW - REMEMBER_S - 1))
    first = to_list(known, frozenset("a"), {}, NOW, YEAR_S)
    assert first == {2: Revoked(NOW)}
    # Looked at again, it is the same list, since the same time.
    assert to_list(known, frozenset("a"), first, NOW + 5, YEAR_S) == first
    after = known[1].not_after + REMEMBER_S + 1
    assert to_list(known, frozenset("a"), first, after, YEAR_S) == {}


def test_a_host_that_is_of_the_site_again_is_let_in() -> None:
    known = (issued("b", 2),)
    forgotten = to_list(known, frozenset("a"), {}, NOW, YEAR_S)
    assert to_list(known, frozenset("ab"), forgotten, NOW, YEAR_S) == {}


def test_what_was_replaced_stays_revoked_though_its_name_is_of_the_site() -> None:
    known = (issued("b", 2, "old"), issued("b", 3, "new"), issued("b", 4, "new2"), issued("a", 5))
    gone = replaced(known, "b", frozenset({"new", "new2"}))
    assert gone == {2}
    listed = {serial: Revoked(NOW, replaced=True) for serial in gone}
    assert to_list(known, frozenset("ab"), listed, NOW, YEAR_S) == listed


def test_what_only_another_signer_knows_stays_until_it_has_ended_for_sure() -> None:
    listed = {7: Revoked(NOW), 8: Revoked(NOW, replaced=True)}
    last = NOW + YEAR_S + REMEMBER_S
    assert to_list((), frozenset("a"), listed, last, YEAR_S) == listed
    assert to_list((), frozenset("a"), listed, last + 1, YEAR_S) == {}


def test_two_lists_together_say_the_same_whoever_reads_them_first() -> None:
    one = {1: Revoked(5.0), 2: Revoked(9.0)}
    other = {2: Revoked(7.0, replaced=True), 3: Revoked(1.0)}
    both = {1: Revoked(5.0), 2: Revoked(7.0, replaced=True), 3: Revoked(1.0)}
    assert together(one, other) == together(other, one) == both
    assert not same(one, other)
    assert same(one, {2: Revoked(1.0), 1: Revoked(1.0)})
    assert not same(one, {**one, 2: Revoked(9.0, replaced=True)})


def test_the_list_of_the_newest_members_counts() -> None:
    forgot = RevocationList(8, 100, "b")
    stale = RevocationList(7, 900, "a")
    assert newest((stale, forgot, RevocationList())) == forgot
    later = replace(forgot, made_at=101)
    assert newest((later, forgot)) == newest((forgot, later)) == later


def test_what_is_remembered_is_bounded() -> None:
    many = [issued("b", n) for n in range(ISSUED_PER_NAME_LIMIT + 5)]
    left = kept((issued("a", 999), *many), NOW)
    assert [c.serial for c in left] == [999, *range(5, ISSUED_PER_NAME_LIMIT + 5)]
    everybody = [issued(f"h{n}", n) for n in range(ISSUED_LIMIT + 1)]
    assert kept(everybody, NOW) == tuple(everybody[1:])
    ended = issued("b", 1, end=NOW - REMEMBER_S - 1)
    assert kept((ended, many[2], many[3], many[2]), NOW) == (many[3], many[2])


@pytest.mark.parametrize(("failures", "pause"), [(0, CHECK_EVERY_S), (1, RETRY_LEAST_S), (2, 4.0)])
def test_when_to_look_again(failures: int, pause: float) -> None:
    assert pause_s(failures) == pause
    assert pause_s(40) == RETRY_MOST_S


def test_what_is_ahead_of_the_members_or_of_the_clock_is_not_heeded() -> None:
    """Neither is signed: whoever is forgotten could have made an old list win for good before."""
    fit = (RevocationList(7, int(NOW), "a"), RevocationList(6, int(NOW + AHEAD_LIMIT_S), "b"))
    ahead = (RevocationList(8, 1, "c"), RevocationList(7, int(NOW + AHEAD_LIMIT_S) + 1, "d"))
    assert credible((*fit, *ahead), 7, NOW) == fit
