"""How fast VMs move between the site's hosts, by what their migrations took so far.

Decides from the events of all hosts that this one knows of. Must not know what is to be moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from xsm.api.types import Event
from xsm.plan.observed import Moved
from xsm.plan.order import ASSUMED_MIB_S, Pace

MEASURED_LIMIT = 20
"""The last migrations that count: hosts and links change."""
LEAST_MIB = 8
"""What carried less tells of the preparations, not of the link."""


def pace_of(events: Iterable[Event], out: int, into: int) -> Pace:
    """The middle rate of the last migrations; where there was none, that of a usual link, shared by as many as may
    go at once. `out`, `into`: how many from and to one host; this host's own limits, for the others' are not known."""
    told = sorted((e for e in events if e.kind == "action"), key=lambda e: (e.at, e.seq))
    took = [moved for moved in (Moved.told_in(e.message) for e in told) if moved]
    rates = [moved.rate_mib_s for moved in took if moved.sent_mib >= LEAST_MIB][-MEASURED_LIMIT:]
    if rates:
        return Pace(round(median(rates), 1), True, out, into)
    return Pace(ASSUMED_MIB_S / out, False, out, into)
