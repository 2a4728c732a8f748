"""Whom this host has heard of lately, and whom to greet next.

Decides who counts as alive, suspect or failed, and the rotation of greetings (anti-entropy). A majority heard lately
is the only meaning of "connected": a membership engine's "alive" proves nothing with the link down. So its hints only
hasten greetings; and where such a greeting has no answer, either, people are told at once (`shown`). What is decided
about VMs goes by `reach`, `heard_s` and `majority`, in which there are no hints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

HELLO_EVERY_S = 2.0
HELLO_FANOUT = 4
"""Members greeted each time, in rotation: a host's cost stays the same however many there are."""
FAILED_S = 30.0
"""Silence after which a member counts as failed."""
HINT_EVERY_S = 1.0
"""A member is greeted at most so often because of hints: they may come doubled, wrongly, and all the time."""
DOUBT_S = 1.0
"""A member that is said to be gone, and doesn't answer a greeting for so long, is shown as gone."""


class Reach(StrEnum):
    """A member as this host sees it."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    FAILED = "failed"
    UNKNOWN = "unknown"
    LEFT = "left"  # its xsmd was stopped, and said so; only shown


class Hint(StrEnum):
    """What a membership engine says of a member. It may be late, doubled, wrong, or never come."""

    JOINED = "joined"
    LEFT = "left"
    FAILED = "failed"
    NEWS = "news"  # it has a revision


@dataclass(frozen=True)
class Gone:
    """A member is said to have left or failed, and was greeted since; None: not yet."""

    hint: Hint
    greeted_at: float | None = None


class Contacts:
    def __init__(self, me: str) -> None:
        self.me = me
        self.heard_at: dict[str, float] = {}
        self.failed_at: dict[str, float] = {}
        self.errors: dict[str, str] = {}
        self.expels: dict[
            str, str
        ] = {}  # member -> why it says that this host is of the site no more
        self.revisions: dict[str, str] = {}
        self._told: dict[str, Reach] = {}
        self._since: dict[str, tuple[Reach, float]] = {}  # member -> what it is shown as; since
        self._gone: dict[str, Gone] = {}
        self._due: set[str] = set()  # members to be greeted because of a hint
        self._hastened_at: dict[str, float] = {}
        self._hello_at = float("-inf")
        self._turn = 0

    def heard(self, member: str, now: float) -> None:
        self.heard_at[member] = now
        self.errors.pop(member, None)
        self.expels.pop(member, None)
        self._gone.pop(member, None)

    def heard_s(self, member: str, now: float) -> float:
        """How long ago the member was heard of; without end when it never was."""
        return now - self.heard_at.get(member, float("-inf"))

    def failed(self, member: str, reason: str, now: float, expels: str = "") -> None:
        self.failed_at[member] = now
        self.errors[member] = reason
        if expels:
            self.expels[member] = expels

    def is_silent(self, member: str) -> bool:
        """Whether the last attempt to reach the member failed."""
        never = float("-inf")
        return self.failed_at.get(member, never) > self.heard_at.get(member, never)

    def hinted(self, member: str, hint: Hint) -> None:
        """Take a hint: the member is greeted as soon as may be, and what that shows is what counts."""
        self._due.add(member)
        if hint is Hint.JOINED:
            self._gone.pop(member, None)
        elif hint is not Hint.NEWS and (
            member not in self._gone or self._gone[member].hint is not hint
        ):
            self._gone[member] = Gone(hint)

    def expulsion(self, members: frozenset[str]) -> str:
        """Why this host is of the site no more, by the word of the first member that says so; "" when none does.

        One is enough: nobody says so who doesn't know more than this host.
        """
        said = sorted(members & self.expels.keys())
        return self.expels[said[0]] if said else ""

    def round_s(self, members: int) -> float:
        """How long the rotation takes to greet everybody once."""
        return HELLO_EVERY_S * max(1, -(-(members - 1) // HELLO_FANOUT))

    def reach(self, member: str, members: int, now: float) -> Reach:
        return self._reach(member, self.round_s(members), now)

    def _reach(self, member: str, round_s: float, now: float) -> Reach:
        if member == self.me:
            return Reach.ALIVE
        heard = self.heard_at.get(member)
        if heard is None:
            return Reach.UNKNOWN if member not in self.failed_at else Reach.FAILED
        silent_s = now - heard
        if silent_s > FAILED_S and silent_s > 3 * round_s:
            return Reach.FAILED
        if silent_s > 2.5 * round_s or self.failed_at.get(member, float("-inf")) > heard:
            return Reach.SUSPECT
        return Reach.ALIVE

    def shown(self, member: str, members: int, now: float) -> Reach:
        """For people: what greetings show and, where they show nobody, what is said of the member."""
        return self._shown(member, self.round_s(members), now)

    def _shown(self, member: str, round_s: float, now: float) -> Reach:
        gone = self._gone.get(member)
        if gone is None or gone.greeted_at is None or now < gone.greeted_at + DOUBT_S:
            return self._reach(member, round_s, now)
        return Reach.LEFT if gone.hint is Hint.LEFT else Reach.FAILED

    def since_s(self, member: str, reach: Reach, now: float) -> float | None:
        """For how long the member has been shown as `reach`; None where that is not known."""
        was, at = self._since.get(member, (Reach.UNKNOWN, now))
        return now - at if was is reach is not Reach.UNKNOWN else None

    def changes(self, members: frozenset[str], now: float) -> list[tuple[str, Reach, Reach]]:
        """(member, was, is) of those that came or went since this was last asked. Being suspect for a while is no
        news."""
        found: list[tuple[str, Reach, Reach]] = []
        round_s = self.round_s(len(members))
        for member in sorted(members - {self.me}):
            is_now = self._shown(member, round_s, now)
            if self._since.get(member, (Reach.UNKNOWN, now))[0] is not is_now:
                self._since[member] = is_now, now
            was = self._told.get(member, Reach.UNKNOWN)
            if is_now is was or is_now in (Reach.SUSPECT, Reach.UNKNOWN):
                continue
            self._told[member] = is_now
            # A daemon that starts finds everybody alive: that is how it should be, and no news.
            if (was, is_now) != (Reach.UNKNOWN, Reach.ALIVE):
                found.append((member, was, is_now))
        return found

    def majority(self, members: frozenset[str], now: float) -> bool:
        round_s = self.round_s(len(members))
        alive = sum(self._reach(m, round_s, now) is Reach.ALIVE for m in members)
        return alive > len(members) // 2

    def to_greet(self, members: Mapping[str, object], now: float) -> list[str]:
        """Members to be greeted now: those whose turn it is, every `HELLO_EVERY_S`, and those that a hint names."""
        chosen = self._hastened(members, now)
        return chosen + [m for m in self._in_turn(members, now) if m not in chosen]

    def _hastened(self, members: Mapping[str, object], now: float) -> list[str]:
        ready = sorted(
            m
            for m in self._due & members.keys()
            if now >= self._hastened_at.get(m, float("-inf")) + HINT_EVERY_S
        )
        for member in ready:
            self._due.discard(member)
            self._hastened_at[member] = now
            gone = self._gone.get(member)
            if gone is not None and gone.greeted_at is None:
                self._gone[member] = replace(gone, greeted_at=now)
        return ready

    def _in_turn(self, members: Mapping[str, object], now: float) -> list[str]:
        if now < self._hello_at + HELLO_EVERY_S:
            return []
        self._hello_at = now
        others = sorted(m for m in members if m != self.me)
        if not others:
            return []
        count = min(HELLO_FANOUT, len(others))
        # Start behind oneself, so that not everybody greets the same members first.
        behind = sum(m < self.me for m in others)
        chosen = [others[(behind + self._turn + i) % len(others)] for i in range(count)]
        self._turn = (self._turn + count) % len(others)
        return chosen
