"""Values as people read them: ages, dates, revisions, counts. Must not print anything."""

from __future__ import annotations

import time
from collections.abc import Sequence

SHORT_REVISION = 10  # as in events and messages of xsmd


def short(revision: str) -> str:
    return revision[:SHORT_REVISION] if revision else "-"


def age(seconds: float | None) -> str:
    """`3 s`, `5 min`, `2 h`, `9 d`; None: never."""
    if seconds is None:
        return "never"
    whole = max(0, round(seconds))
    for limit, unit_s, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if whole < limit:
            return f"{whole // unit_s} {name}"
    return f"{whole // 86_400} d"


def date(seconds: float) -> str:
    """Local time, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def date_and_zone(seconds: float) -> str:
    """The same, with the time zone's name: for what is passed on to somebody elsewhere."""
    return f"{date(seconds)} {time.strftime('%Z', time.localtime(seconds))}".rstrip()


def clock(seconds: float) -> str:
    """Local date and time of an event, to the millisecond, so that orders can be seen."""
    return f"{date(seconds)}.{int(seconds * 1000) % 1000:03d}"


def first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def count(number: int, singular: str, plural: str = "") -> str:
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def listed(names: Sequence[str], limit: int = 8) -> str:
    """`a, b, c`, and how many more there are beyond `limit`."""
    shown = ", ".join(names[:limit])
    more = len(names) - limit
    return f"{shown} and {more} more" if more > 0 else shown
