"""When a live migration that doesn't come to an end is switched to post-copy, or given up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xsm.peer.converging import Course, course, why_given_up
from xsm.plan.observed import Job

JOB = Job(
    elapsed_s=400.0, total_mib=96, remaining_mib=80, rate_mib_s=30, dirty_mib_s=90, iteration=9
)


@pytest.mark.parametrize(
    ("job", "copied_at_s", "allowed", "expected"),
    [
        (JOB, None, True, Course.GO_ON),  # the first pass of a large guest
        (JOB, 101.0, True, Course.GO_ON),
        (JOB, 100.0, True, Course.POST_COPY),
        (JOB, 100.0, False, Course.GIVE_UP),
        (replace(JOB, post_copy=True), 100.0, True, Course.GO_ON),
    ],
)
def test_only_what_was_sent_once_and_goes_on_for_long(
    job: Job, copied_at_s: float | None, *, allowed: bool, expected: Course
) -> None:
    assert course(job, copied_at_s, 300.0, allowed) is expected


def test_the_reason_has_figures_and_says_what_would_help() -> None:
    why = why_given_up(JOB, 300.0)
    assert "90 MiB/s changed, 30 MiB/s sent, 80 MiB left 300 s after the first pass" in why
    assert "POSTCOPY allowed" in why
