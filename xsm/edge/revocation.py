"""Which certificates are revoked, whose list of them counts, and when a host asks again.

Decides by what signers wrote down of the certificates that they gave out, and by who is of the site. Must not know how
a list is signed (`crl.py`), where it is kept (`crl_file.py`), nor how it comes to other hosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xsm.api.types import RevocationList

ISSUED_PER_NAME_LIMIT = 32
"""Certificates of one host that a signer remembers, the last ones; in a year a host gets two or three pairs."""
ISSUED_LIMIT = 2000
"""...and of all: 30 hosts have about 200. Those fit into one request (`access.py`)."""
REMEMBER_S = 86400.0
"""How long after its end a certificate is remembered still: by another host's clock it may not have ended."""
AHEAD_LIMIT_S = 86400.0
"""A list that is dated further ahead of this host's clock is not heeded: it would win for as long."""
CHECK_EVERY_S = 3600.0
"""How often a host asks the signers when nothing changed: what one of them knew alone has come to the others."""
RETRY_LEAST_S, RETRY_MOST_S = 2.0, 60.0
"""How long after a look that did not succeed the next one comes: twice as long each time. A minute at most: until the
signer that was away is asked again, the forgotten host gets in."""
TROUBLE_AFTER_TRIES = 3
"""So many looks fail before people are told, a few seconds: a signer may have heard of a forget later than others."""


@dataclass(frozen=True)
class Issued:
    """A certificate of a host, as it says itself."""

    name: str
    serial: int
    key_id: str  # SHA-256 of its public key: renewed certificates have the same
    not_after: float  # wall clock, seconds since the epoch
    pem: str


@dataclass(frozen=True)
class Revoked:
    """An entry of the list. `replaced`: for good, whoever is of the site; else because its host is not."""

    since: float  # wall clock, seconds since the epoch
    replaced: bool = False


Listed = Mapping[int, Revoked]
"""By serial number."""


def kept(issued: Iterable[Issued], now: float) -> tuple[Issued, ...]:
    """What a signer goes on remembering, oldest first. Of doubles the later one stays where it came last."""
    newest_first: dict[int, Issued] = {}
    count: dict[str, int] = {}
    for each in reversed(tuple(issued)):
        full = count.get(each.name, 0) >= ISSUED_PER_NAME_LIMIT or len(newest_first) >= ISSUED_LIMIT
        if each.serial in newest_first or full or each.not_after + REMEMBER_S < now:
            continue
        newest_first[each.serial] = each
        count[each.name] = count.get(each.name, 0) + 1
    return tuple(reversed(newest_first.values()))


def replaced(issued: Iterable[Issued], name: str, keys: frozenset[str]) -> frozenset[int]:
    """What is no good any more once `name` joined, or was vouched for anew, with these keys: the certificates of
    whoever had that name with other ones."""
    return frozenset(c.serial for c in issued if c.name == name and c.key_id not in keys)


def to_list(
    issued: Iterable[Issued],
    present: frozenset[str],
    listed: Listed,
    now: float,
    longest_life_s: float,
) -> dict[int, Revoked]:
    """What the list has to say now, by serial number.

    `present`: the members, and the hosts that were fenced, which come back with the certificates that they have.
    `listed`: what any list of this site has said. What became of a host that is of the site again is taken back, but
    for what was replaced. Of a certificate that isn't known here the entry stays until it has ended for sure.
    """
    result: dict[int, Revoked] = {}
    known = {each.serial: each for each in issued}
    for serial, each in known.items():
        before = listed.get(serial)
        for_good = before is not None and before.replaced
        if (for_good or each.name not in present) and each.not_after + REMEMBER_S >= now:
            result[serial] = Revoked(before.since if before else now, for_good)
    for serial, entry in listed.items():
        if serial not in known and entry.since + longest_life_s + REMEMBER_S >= now:
            result[serial] = entry
    return dict(sorted(result.items()))


def together(one: Listed, other: Listed) -> dict[int, Revoked]:
    """What two lists say: each entry since when it was first revoked, for good where either says so."""
    result = dict(one)
    for serial, entry in other.items():
        mine = one.get(serial, entry)
        since, for_good = min(mine.since, entry.since), mine.replaced or entry.replaced
        result[serial] = Revoked(since, for_good)
    return result


def same(one: Listed, other: Listed) -> bool:
    """Whether two lists revoke the same."""
    return {s: e.replaced for s, e in one.items()} == {s: e.replaced for s, e in other.items()}


def credible(
    lists: Iterable[RevocationList], members_number: int, now: float
) -> tuple[RevocationList, ...]:
    """Those that another host may have. Only the list itself is signed: with a number of its own making a host could
    have an old one, or none, win for ever, also after it was forgotten. Of new members this host hears soon itself.
    """
    latest = now + AHEAD_LIMIT_S
    return tuple(
        each for each in lists if each.members_number <= members_number and each.made_at <= latest
    )


def newest(lists: Iterable[RevocationList]) -> RevocationList:
    """The list that counts: of the newest list of members; of two of these the one that was made later.

    Everybody who has seen the same ones says the same. A signer that hasn't heard of a forget yet makes lists that
    lose against those that have.
    """
    return max(lists, key=lambda each: (each.members_number, each.made_at, each.crl_pem))


def pause_s(failures: int) -> float:
    """Until the next look; `failures`: how many in a row didn't succeed."""
    if failures == 0:
        return CHECK_EVERY_S
    return min(RETRY_MOST_S, RETRY_LEAST_S * 2 ** min(failures - 1, 16))
