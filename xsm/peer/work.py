"""What this host is doing and has failed to do: actions in flight, backoff after failures and for guests that don't
follow, shutdown clocks.

Decides which of the planned actions may go now. Must not know how an action is done, nor about claims.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from xsm.plan.actions import Action, Step

ACTIONS_LIMIT = 8
"""Actions in flight at once on one host."""
MIGRATIONS_LIMIT = 2
"""Of these, live migrations away from here, unless the host's settings say otherwise. Two use a link better than one,
and more only make each of them last longer."""
STUCK_AFTER = 3
"""Failures in a row after which an action is shown as held."""
BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Pause after the first, second, ... failure in a row of one VM's actions; the last one repeats."""
HEEDED = frozenset({Step.SET_MEMORY, Step.SET_VCPUS, Step.RESUME})
"""Steps that a guest has to heed: they succeed at once, and show only when its balloon or its kernel has followed. One
that goes on is stopped again at once where its disk has still no room."""
UNHEEDED_AFTER = len(BACKOFF_S) + 1
"""Askings in vain after which that is shown as held: two minutes. A guest that boots has no balloon driver yet."""


@dataclass(frozen=True)
class Flight:
    action: Action
    since: float
    called_back: str = ""  # a migration: why it was told to end


@dataclass(frozen=True)
class Failure:
    """The last failure of one VM's actions. `step` says of which: another step may go at once."""

    step: Step
    count: int
    until: float
    reason: str


@dataclass(frozen=True)
class Asked:
    """What a guest was asked for last, by a step of `HEEDED`. `count`: how often, without any progress since."""

    action: Action
    count: int
    until: float


class Work:
    """The volatile memory of one host's doing. A restarted daemon starts with none and observes anew."""

    def __init__(self, migrations_limit: int = MIGRATIONS_LIMIT) -> None:
        self.migrations_limit = migrations_limit
        self.in_flight: dict[str, Flight] = {}
        self.failures: dict[str, Failure] = {}
        self.asked: dict[str, Asked] = {}
        self.shutdowns: dict[
            tuple[str, str], float
        ] = {}  # (host, uuid) -> when the guest was first asked
        self.ended_at: dict[str, float] = {}  # VM -> when its last action ended

    def begin(self, action: Action, now: float) -> None:
        self.in_flight[action.vm] = Flight(action, now)

    def call_back(self, vm: str, why: str) -> None:
        """The migration of the VM is told to end; it is in flight until it has."""
        self.in_flight[vm] = replace(self.in_flight[vm], called_back=why)

    def end(self, action: Action, error: str, now: float, least_pause_s: float = 0.0) -> None:
        """An action ended; a failure makes the VM (and nobody else) wait."""
        self.in_flight.pop(action.vm, None)
        self.ended_at[action.vm] = now
        if not error:
            self.failures.pop(action.vm, None)
            if action.step is Step.SHUTDOWN:
                self.shutdowns.setdefault((action.host, action.uuid), now)
            self._asked(action, now)
            return
        last = self.failures.get(action.vm)
        count = last.count + 1 if last and last.step is action.step else 1
        pause_s = BACKOFF_S[min(count, len(BACKOFF_S)) - 1]
        until = now + max(pause_s, least_pause_s)
        self.failures[action.vm] = Failure(action.step, count, until, error)

    def _asked(self, action: Action, now: float) -> None:
        """Note what the guest is to heed; each time that it has done nothing towards it, the next one is later."""
        last = self.asked.pop(action.vm, None)
        if action.step not in HEEDED:
            return
        count = 1
        if last is not None and _same(last.action, action) and last.action.old == action.old:
            pause_s = BACKOFF_S[min(last.count, len(BACKOFF_S)) - 1]
            # Long after: it had followed, and somebody changed it since.
            count = last.count + 1 if now <= last.until + pause_s else 1
        until = now + BACKOFF_S[min(count, len(BACKOFF_S)) - 1]
        self.asked[action.vm] = Asked(action, count, until)

    def forget_failures(self) -> None:
        """Somebody edited the site: what failed may go at once again."""
        self.failures.clear()
        self.asked.clear()

    def keep_shutdowns(self, going_off: frozenset[tuple[str, str]]) -> None:
        """Drop the clocks of all domains but these (host, UUID): a stale one would power a guest off at once."""
        self.shutdowns = {k: t for k, t in self.shutdowns.items() if k in going_off}

    def is_unsettled(self, vm: str, observed_at: float) -> bool:
        """Whether something is under way with the VM, or ended after a look that began then."""
        return vm in self.in_flight or self.ended_at.get(vm, float("-inf")) > observed_at

    def keeps_failing(self, vm: str) -> bool:
        """The VM's action failed so often that a person should know."""
        failure, asked = self.failures.get(vm), self.asked.get(vm)
        return (failure is not None and failure.count >= STUCK_AFTER) or (
            asked is not None and asked.count >= UNHEEDED_AFTER
        )

    def hindrance(self, action: Action, observed_at: float, now: float) -> str:
        """Why `action` can't go now, "" when it can. `observed_at`: when the observation it was planned from began."""
        flight = self.in_flight.get(action.vm)
        if flight is not None:
            back = f", called back: {flight.called_back}" if flight.called_back else ""
            return f"{flight.action.step} under way for {now - flight.since:.0f} s{back}"
        if self.ended_at.get(action.vm, float("-inf")) > observed_at:
            return "looking again after the last action"
        failure = self.failures.get(action.vm)
        if failure is not None and failure.step is action.step and now < failure.until:
            times = f", {failure.count} times" if failure.count > 1 else ""
            return f"{action.step} failed{times}: {failure.reason}; again in {failure.until - now:.0f} s"
        asked = self.asked.get(action.vm)
        if asked is not None and _same(asked.action, action) and now < asked.until:
            times = f" {asked.count} times" if asked.count > 1 else ""
            return (
                f"asked{times}, its guest has not followed yet; again in {asked.until - now:.0f} s"
            )
        if len(self.in_flight) >= ACTIONS_LIMIT:
            return f"{ACTIONS_LIMIT} other actions are under way"
        migrations = sum(f.action.step is Step.MIGRATE for f in self.in_flight.values())
        if action.step is Step.MIGRATE and migrations >= self.migrations_limit:
            return f"{migrations} other {'migration is' if migrations == 1 else 'migrations are'} under way"
        return ""


def _same(one: Action, other: Action) -> bool:
    """Whether both ask the same domain for the same value."""
    return (one.step, one.uuid, one.value) == (other.step, other.uuid, other.value)
