"""When a certificate is renewed, and how long to wait before looking again.

Decides by the dates alone. Must not know who signs, nor how a renewed certificate is put in place.
"""

from __future__ import annotations

from xsm.edge.certificate import Identity

LEFT_OF_LIFE = 1 / 3
"""A certificate is renewed when less than this part of its life is left: with a year's that is four months for somebody
to notice that it can't be."""
CHECK_EVERY_S = 3600.0
"""How often a host looks at its certificates at least; clocks jump, and files are put back from backups."""
RETRY_MOST_S = 600.0
"""How long after a renewal that failed the next one is tried at most."""
RETRY_LEAST_S = 2.0
"""And at least, however little of the life is left."""
TRIES_OF_REST = 20
"""A retry comes after this part of what is left, where that is sooner: a short life has as many tries as a long one."""


def renew_at(identity: Identity) -> float:
    """The moment (wall clock) from which a certificate is to be renewed."""
    return identity.not_after - (identity.not_after - identity.not_before) * LEFT_OF_LIFE


def due(identity: Identity, now: float) -> bool:
    return now >= renew_at(identity)


def pause_s(identity: Identity, now: float, failed: bool) -> float:
    """Until the next look. `failed`: a renewal that was due just didn't succeed."""
    if failed:
        return min(RETRY_MOST_S, max(RETRY_LEAST_S, (identity.not_after - now) / TRIES_OF_REST))
    return min(CHECK_EVERY_S, max(RETRY_LEAST_S, renew_at(identity) - now))
