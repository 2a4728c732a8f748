"""Following a revision until every host has done its part of one change.

Decides, from one `Status` after another, whether the change is carried out, waits for a person, or
is still worked on (`judge`, a pure function). Must not know what the change is beyond its `Errand`,
nor how the way there is shown (`followview.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum

from xsm.api.types import Reach, Status
from xsm.cli.client import Client
from xsm.cli.errand import Errand, subject_of
from xsm.cli.failures import Refused, Unreachable
from xsm.cli.followview import display
from xsm.cli.screen import Screen
from xsm.cli.standing import Standing, standing
from xsm.cli.texts import age, count, listed, short
from xsm.plan.actions import Consequence

POLL_S = 0.25
POLL_TIMEOUT_S = 10.0
SILENCE_S = 20.0  # xsmd may restart while it is followed
HELD_SETTLE_S = 3.0  # what is held for a moment (a claim under way) isn't held for good
DEFAULT_TIMEOUT_S = 300.0


class Verdict(StrEnum):
    WORKING = "working"
    CONVERGED = "converged"  # the whole site is as it should be
    DONE = "done"  # this change is carried out; other things are still pending or held
    HELD = "held"
    FROZEN = "frozen"
    TIMEOUT = "timeout"
    SILENT = "silent"


CARRIED_OUT = frozenset({Verdict.CONVERGED, Verdict.DONE})


@dataclass(frozen=True)
class Progress:
    """How a followed change stands. `reasons`: one line for each thing of it that is not done."""

    verdict: Verdict
    revision: str
    seconds: float
    reasons: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()  # members that don't answer; they will catch up
    restart_needed: tuple[str, ...] = ()  # differences that only a restart takes away
    others: tuple[str, ...] = ()  # pending or held, but not for this change
    others_wait: bool = False  # some of them are not held
    unable: tuple[str, ...] = ()  # members that answer and can't act, and why


def judge(
    status: Status, stands: Standing, held_for_s: float, elapsed_s: float, timeout_s: float
) -> Verdict:
    """What one status means after `elapsed_s`, when only held things were left for `held_for_s`."""
    if status.frozen:
        return Verdict.FROZEN
    if not stands.left:
        return Verdict.CONVERGED if status.converged else Verdict.DONE
    if stands.held_only and held_for_s >= HELD_SETTLE_S:
        return Verdict.HELD
    return Verdict.TIMEOUT if elapsed_s >= timeout_s else Verdict.WORKING


def reasons(status: Status, stands: Standing, verdict: Verdict) -> tuple[str, ...]:
    """Why the change is not carried out, one line each."""
    if verdict in CARRIED_OUT:
        return ()
    lines = [f"{status.host} is frozen: {status.frozen}"] if status.frozen else []
    if not status.majority:
        lines.append("a majority of the hosts doesn't answer: nothing is started or moved")
    return (*lines, *stands.behind, *stands.held, *stands.waiting)


def follow(
    client: Client,
    screen: Screen | None,
    revision: str,
    errand: Errand,
    timeout_s: float,
    ctrl_c: str = "stops only the following",
) -> Progress:
    """Poll until there is a verdict. `screen` None: silently, for `-o json`."""
    quick = Client(client.socket_path, POLL_TIMEOUT_S)
    started = answered = time.monotonic()
    held_since: float | None = None
    with display(screen, revision, ctrl_c) as shown:
        while True:
            status = _ask(quick)
            now = time.monotonic()
            if status is None:
                if now - answered > SILENCE_S or now - started > timeout_s:
                    reason = f"xsmd did not answer for {age(now - answered)}"
                    return Progress(Verdict.SILENT, revision, now - started, (reason,))
            else:
                answered = now
                stands = standing(status, errand, revision)
                held_since = (held_since or now) if stands.held_only else None
                held_for_s = now - held_since if held_since else 0.0
                shown.update(status, stands)
                verdict = judge(status, stands, held_for_s, now - started, timeout_s)
                if verdict is not Verdict.WORKING:
                    return _progress(status, stands, errand, verdict, now - started)
            time.sleep(POLL_S)


def _ask(client: Client) -> Status | None:
    try:
        return client.status()
    except Unreachable:
        return None
    except Refused as refused:
        if refused.code == "busy":
            return None
        raise


def _progress(
    status: Status, stands: Standing, errand: Errand, verdict: Verdict, seconds: float
) -> Progress:
    mark = f": {Consequence.NEXT_BOOT}: "
    return Progress(
        verdict,
        status.revision,
        seconds,
        reasons(status, stands, verdict),
        tuple(m.name for m in status.members if not m.myself and m.reach is not Reach.ALIVE),
        tuple(note for note in errand.own(status.notes) if mark in note),
        stands.others,
        stands.others_wait,
        tuple(f"{m.name}: {m.error}" for m in status.members if m.error and m.reach is Reach.ALIVE),
    )


def show_progress(screen: Screen, progress: Progress) -> None:
    """The last word on what was followed."""
    took = f"{progress.seconds:.1f} s"
    for name in progress.absent:
        screen.line(f"{name} does not answer; it catches up when it is back", "care")
    for line in (*progress.unable, *progress.restart_needed):
        screen.line(line, "care")
    if progress.verdict in CARRIED_OUT:
        word = "Converged" if progress.verdict is Verdict.CONVERGED else "Done"
        if word == "Converged" and progress.absent:
            word = f"Converged but for {listed(progress.absent)}"
        screen.line(f"{word} on {short(progress.revision)} after {took}.", "good")
    else:
        number = count(things(progress.reasons), "thing")
        words = {
            Verdict.HELD: f"Not converged: {number} held",
            Verdict.FROZEN: "Not converged: this host acts on nothing",
            Verdict.TIMEOUT: f"Not converged after {took}: {number} left (xsmd goes on trying)",
            Verdict.SILENT: "Lost sight of it",
        }
        screen.line(words[progress.verdict] + ":", "bad")
        for line in progress.reasons:
            screen.line(line, indent=2)
    if progress.others:
        still = earlier(things(progress.others), progress.others_wait)
        screen.line(f"{still} (`xsm plan`).", "care")


def things(lines: tuple[str, ...]) -> int:
    """How many VMs or hosts the lines are about: a VM that can't move is told by both hosts."""
    return len({subject_of(line) for line in lines})


def earlier(number: int, some_wait: bool) -> str:
    """`2 earlier things are still held`."""
    verb = "is" if number == 1 else "are"
    state = "pending or held" if some_wait else "held"
    return f"{count(number, 'earlier thing')} {verb} still {state}"
