"""Whether a live migration comes to an end by itself: guests can change their memory faster than it can be sent.

Decides, from one look at its job after the other, when it goes on in another way or is given up. Must not know how.
"""

from __future__ import annotations

from enum import StrEnum

from xsm.plan.observed import Job

CONVERGE_LIMIT_S = 300.0
"""How long it may go on after all memory was sent once, unless the host's settings say otherwise. QEMU slows the guest
down step by step meanwhile (auto-converge), which takes some passes to show."""
TRY_AGAIN_S = 900.0
"""Pause after one that was given up: the guest is as busy a minute later, and was slowed down all the time."""


class Course(StrEnum):
    GO_ON = "go on"
    POST_COPY = "switch to post-copy"
    GIVE_UP = "give up"


def course(job: Job, copied_at_s: float | None, limit_s: float, post_copy: bool) -> Course:
    """`copied_at_s`: its age when all memory had been sent once, None before. The first pass may last as long as it
    takes: a large guest on a slow link does come to its end. `post_copy`: the VM's entry allows it."""
    if copied_at_s is None or job.post_copy or job.elapsed_s - copied_at_s < limit_s:
        return Course.GO_ON
    return Course.POST_COPY if post_copy else Course.GIVE_UP


def why_given_up(job: Job, limit_s: float) -> str:
    return (
        f"its guest changes its memory faster than it can be sent: {job.dirty_mib_s} MiB/s changed, "
        f"{job.rate_mib_s} MiB/s sent, {job.remaining_mib} MiB left {limit_s:.0f} s after the first pass; "
        "make it less busy, or let the site file say POSTCOPY allowed"
    )
