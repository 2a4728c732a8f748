"""What this host is doing and has failed to do: actions in flight, backoff after failures, shutdown clocks.

Decides which of the planned actions may go now. Must not know how an action is done, nor about claims.
"""

from __future__ import annotations

from dataclasses import dataclass

from xsm.plan.actions import Action, Step

ACTIONS_LIMIT = 8
"""Actions in flight at once on one host."""
MIGRATIONS_LIMIT = 2
"""Of these, outgoing live migrations."""
STUCK_AFTER = 3
"""Failures in a row after which an action is shown as held."""
BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Pause after the first, second, ... failure in a row of one VM's actions; the last one repeats."""


@dataclass(frozen=True)
class Flight:
    action: Action
    since: float


@dataclass(frozen=True)
class Failure:
    """The last failure of one VM's actions. `step` says of which: another step may go at once."""

    step: Step
    count: int
    until: float
    reason: str


class Work:
    """The volatile memory of one host's doing. A restarted daemon starts with none and observes anew."""

    def __init__(self) -> None:
        self.in_flight: dict[str, Flight] = {}
        self.failures: dict[str, Failure] = {}
        self.shutdowns: dict[
            tuple[str, str], float
        ] = {}  # (host, uuid) -> when the guest was first asked
        self.ended_at: dict[str, float] = {}  # VM -> when its last action ended

    def begin(self, action: Action, now: float) -> None:
        self.in_flight[action.vm] = Flight(action, now)

    def end(self, action: Action, error: str, now: float) -> None:
        """An action ended; a failure makes the VM (and nobody else) wait."""
        self.in_flight.pop(action.vm, None)
        self.ended_at[action.vm] = now
        if not error:
            self.failures.pop(action.vm, None)
            if action.step is Step.SHUTDOWN:
                self.shutdowns.setdefault((action.host, action.uuid), now)
            return
        last = self.failures.get(action.vm)
        count = last.count + 1 if last and last.step is action.step else 1
        pause_s = BACKOFF_S[min(count, len(BACKOFF_S)) - 1]
        self.failures[action.vm] = Failure(action.step, count, now + pause_s, error)

    def forget_failures(self) -> None:
        """Somebody edited the site: what failed may go at once again."""
        self.failures.clear()

    def keep_shutdowns(self, going_off: frozenset[tuple[str, str]]) -> None:
        """Drop the clocks of all domains but these (host, UUID): a stale one would power a guest off at once."""
        self.shutdowns = {k: t for k, t in self.shutdowns.items() if k in going_off}

    def keeps_failing(self, vm: str) -> bool:
        """The VM's action failed so often that a person should know."""
        failure = self.failures.get(vm)
        return failure is not None and failure.count >= STUCK_AFTER

    def hindrance(self, action: Action, observed_at: float, now: float) -> str:
        """Why `action` can't go now, "" when it can. `observed_at`: when the observation it was planned from began."""
        flight = self.in_flight.get(action.vm)
        if flight is not None:
            return f"{flight.action.step} under way for {now - flight.since:.0f} s"
        if self.ended_at.get(action.vm, float("-inf")) > observed_at:
            return "looking again after the last action"
        failure = self.failures.get(action.vm)
        if failure is not None and failure.step is action.step and now < failure.until:
            times = f", {failure.count} times" if failure.count > 1 else ""
            return f"{action.step} failed{times}: {failure.reason}; again in {failure.until - now:.0f} s"
        if len(self.in_flight) >= ACTIONS_LIMIT:
            return f"{ACTIONS_LIMIT} other actions are under way"
        migrations = sum(f.action.step is Step.MIGRATE for f in self.in_flight.values())
        if action.step is Step.MIGRATE and migrations >= MIGRATIONS_LIMIT:
            return f"{MIGRATIONS_LIMIT} other migrations are under way"
        return ""
