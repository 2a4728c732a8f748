"""The claimant's side: this host's attempts to win the claim of a VM before it starts it.

Decides whom to ask, when to ask again, and when a claim is won. Must not know why the VM is wanted here,
nor about libvirt: `machine.py` opens an attempt for a planned start and drops it when the plan changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from xsm.peer.messages import ClaimAnswer, ClaimAsk, EvictAnswer, EvictAsk, Message
from xsm.peer.register import JUMP_LIMIT, Register, may_start, next_epoch
from xsm.plan.observed import HypervisorFacts, cannot_receive
from xsm.site.model import HypervisorKind

ASK_AGAIN_S = 1.0
"""How long an unanswered question waits before it is asked again."""
DUEL_PAUSE_S = 1.5
"""How long a refused claimant waits before it claims a higher epoch: two of them must not drive each other up."""


VOICES_S = 1.0
"""How long a claim with a majority waits for the members that answer but have not voted yet: one of them may run the VM
without a claim (somebody migrated it there by hand), and only that one knows."""


@dataclass(frozen=True)
class Attempt:
    """One claim under way. Volatile: after a restart of the daemon a new attempt asks everybody anew (rule 4)."""

    vm: str
    epoch: int
    number: int = 0  # of all that this host has begun for this VM
    members: int = 0  # the member list by which it counts: votes of hosts with another one are none
    voters: frozenset[str] = frozenset()
    earlier: frozenset[str] = frozenset()
    evicted: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)  # voter -> whom it voted for instead
    least: int = 0  # epochs below can't win any more
    reasons: Mapping[str, str] = field(default_factory=dict)  # claimant -> why it has not let go
    keeping: frozenset[str] = frozenset()  # who won't let go before somebody does something
    round: int = 1  # of asking the earlier claimants
    asked_at: float = float("-inf")
    pause_until: float = float("-inf")
    agreed_at: float | None = None  # when it had a majority first
    runs_on: str = ""  # an earlier claimant that says that it runs there


def open_attempt(vm: str, register: Register, me: str, least: int = 0, members: int = 0) -> Attempt:
    """`register`: with this attempt counted already. `members`: the number of the member list."""
    epoch = next_epoch(register, me, least)
    return Attempt(vm, epoch, register.attempts, members, least=least)


def to_evict(
    attempt: Attempt, register: Register, me: str, members: frozenset[str]
) -> frozenset[str]:
    """Earlier claimants who still have to let go. One who is no longer a member counts as gone: `xsm host forget`
    is the operator's word for that."""
    if register.held == attempt.epoch:
        return frozenset()
    return ((attempt.earlier - {me}) & members) - attempt.evicted


def won(attempt: Attempt, register: Register, me: str, members: frozenset[str]) -> bool:
    if register.held != attempt.epoch and _asks_twice(attempt, me):
        return False
    forgotten = attempt.earlier - members
    return may_start(
        register,
        attempt.epoch,
        me,
        attempt.voters,
        members,
        attempt.evicted | forgotten,
        attempt.earlier,
    )


def _asks_twice(attempt: Attempt, me: str) -> bool:
    """Whether the earlier claimants have to be asked a second time, when all of them have let go.

    One may have let go and then have received the VM from another, by a migration that was agreed before this claim
    and began after its answer; the sender may be off and forgotten by now. Once all of them have let go nobody is
    left who could send it: the second answers hold.
    """
    return attempt.round == 1 and len(attempt.earlier - {me}) > 1


def next_round(attempt: Attempt, register: Register, me: str, members: frozenset[str]) -> Attempt:
    """Begin the second round when the first one is over and does not suffice."""
    over = has_majority(attempt, members) and not to_evict(attempt, register, me, members)
    if over and register.held != attempt.epoch and _asks_twice(attempt, me):
        return replace(attempt, round=2, evicted=frozenset(), asked_at=float("-inf"))
    return attempt


def has_majority(attempt: Attempt, members: frozenset[str]) -> bool:
    return len(attempt.voters & members) > len(members) // 2


def agreed(attempt: Attempt, members: frozenset[str], now: float) -> Attempt:
    """Note when the majority came together."""
    if attempt.agreed_at is None and has_majority(attempt, members):
        return replace(attempt, agreed_at=now)
    return attempt


def awaits_voices(
    attempt: Attempt, members: frozenset[str], silent: Callable[[str], bool], now: float
) -> bool:
    """Whether members that answer have not voted yet, and may still do so in time."""
    since = now if attempt.agreed_at is None else attempt.agreed_at
    return now < since + VOICES_S and any(not silent(m) for m in members - attempt.voters)


def stuck(
    attempt: Attempt,
    register: Register,
    me: str,
    members: frozenset[str],
    silent: Callable[[str], bool],
) -> bool:
    """Whether the claim waits for somebody who does not answer: a person may have to say or do something."""
    if has_majority(attempt, members):
        left = to_evict(attempt, register, me, members)
        return any(silent(m) or m in attempt.keeping for m in left)
    possible = {m for m in members if m in attempt.voters or not silent(m)}
    return len(possible) <= len(members) // 2


def kept(
    attempt: Attempt,
    register: Register,
    me: str,
    members: frozenset[str],
    silent: Callable[[str], bool],
) -> bool:
    """Whether it only waits for hosts that answer and say why they keep the VM. They tell of it themselves."""
    if not has_majority(attempt, members):
        return False
    left = to_evict(attempt, register, me, members)
    return bool(left) and all(m in attempt.keeping and not silent(m) for m in left)


def questions(
    attempt: Attempt,
    register: Register,
    me: str,
    members: frozenset[str],
    facts: HypervisorFacts | None,
    now: float,
) -> tuple[Attempt, list[tuple[str, Message]]]:
    """What to ask now, and whom; nothing before `ASK_AGAIN_S` has gone by since the last time."""
    if now < max(attempt.asked_at + ASK_AGAIN_S, attempt.pause_until):
        return attempt, []
    asked = replace(attempt, asked_at=now)
    if not has_majority(attempt, members):
        ask = ClaimAsk(attempt.vm, attempt.epoch, attempt.number, attempt.members)
        return asked, [(m, ask) for m in sorted(members - attempt.voters - {me})]
    left = sorted(to_evict(attempt, register, me, members))
    evict = EvictAsk(
        attempt.vm,
        attempt.epoch,
        facts.kind if facts else HypervisorKind.TEST,
        cannot_receive(facts) if facts else "the target's hypervisor does not answer",
        facts.migrate_uri if facts else "",
        attempt.round,
        attempt.number,
        last=len(left) == 1,
        migrate_tls=facts.migrate_tls if facts else False,
    )
    return asked, [(m, evict) for m in left]


def hear_vote(
    attempt: Attempt, sender: str, answer: ClaimAnswer, register: Register, me: str, now: float
) -> Attempt:
    """Count a voter's answer. A refusal opens a higher epoch after a pause; earlier claimants stay known."""
    if (answer.epoch, answer.attempt) != (attempt.epoch, attempt.number):
        return attempt
    if answer.granted and sender in answer.earlier and register.held == attempt.epoch:
        # It runs there, though this host's claim was complete before: only a new epoch evicts anybody.
        least = max(attempt.least, attempt.epoch + 1)
        epoch = next_epoch(register, me, least)
        return Attempt(attempt.vm, epoch, attempt.number, attempt.members, least=least)
    if answer.granted:
        earlier = attempt.earlier | frozenset(answer.earlier)
        heard = replace(attempt, voters=attempt.voters | {sender}, earlier=earlier)
        if earlier != attempt.earlier:
            heard = replace(heard, round=1, evicted=frozenset())
        # The next question (evictions) must not wait for the resend timer of this one.
        return replace(heard, asked_at=float("-inf"))
    if answer.highest > attempt.epoch + JUMP_LIMIT:
        return attempt  # nobody has voted so often: its vote file or its word is not to be followed
    least = max(attempt.least, answer.highest + (answer.claimant != me))
    epoch = next_epoch(register, me, least)
    return Attempt(
        attempt.vm,
        epoch,
        attempt.number,
        attempt.members,
        least=least,
        refused={**attempt.refused, sender: answer.claimant},
        reasons=attempt.reasons,
        pause_until=now + DUEL_PAUSE_S if attempt.refused else now,
    )


def hear_eviction(
    attempt: Attempt, sender: str, answer: EvictAnswer, register: Register, me: str, now: float
) -> Attempt:
    """Count an earlier claimant's answer. One that knows of a newer epoch makes this attempt claim a higher one."""
    if (answer.epoch, answer.attempt) != (attempt.epoch, attempt.number):
        return attempt
    if answer.round != attempt.round:
        return attempt
    if answer.done:
        gone = attempt.evicted | {sender}
        heard = replace(attempt, evicted=gone, keeping=attempt.keeping - {sender})
        # The last one must not wait for the resend timer to hear that it is.
        only_one = len(attempt.earlier - gone - {me}) == 1
        return replace(heard, asked_at=float("-inf")) if only_one else heard
    reasons = {**attempt.reasons, sender: answer.reason}
    runs_on = sender if answer.runs else attempt.runs_on * (attempt.runs_on != sender)
    if attempt.epoch < answer.newest <= attempt.epoch + JUMP_LIMIT:
        least = max(attempt.least, answer.newest + 1)
        epoch = next_epoch(register, me, least)
        pause_until = now + DUEL_PAUSE_S
        return Attempt(
            attempt.vm,
            epoch,
            attempt.number,
            attempt.members,
            least=least,
            reasons=reasons,
            pause_until=pause_until,
        )
    keeping = attempt.keeping | {sender} if answer.held else attempt.keeping - {sender}
    return replace(attempt, reasons=reasons, keeping=keeping, runs_on=runs_on)


def waiting_for(
    attempt: Attempt,
    register: Register,
    me: str,
    members: frozenset[str],
    silent: Callable[[str], bool],
) -> str:
    """Why the VM can't start yet, for people."""
    if not has_majority(attempt, members):
        missing = [m for m in sorted(members - attempt.voters - {me}) if silent(m)]
        refused = sorted(f"{voter} voted for {other}" for voter, other in attempt.refused.items())
        why = "; ".join(refused) or (
            f"no answer from {', '.join(missing)}" if missing else "asking"
        )
        agree = f"{len(attempt.voters & members)} of {len(members)} hosts agree"
        return f"no majority for its claim yet: {why} ({agree})"
    waits = []
    for claimant in sorted(to_evict(attempt, register, me, members)):
        if claimant in attempt.keeping:
            waits.append(f"{claimant} keeps it: {attempt.reasons[claimant]}")
        elif claimant in attempt.reasons and not silent(claimant):
            waits.append(f"{claimant}: {attempt.reasons[claimant]}")
        elif silent(claimant):
            waits.append(
                f"{claimant} may still run it and does not answer "
                f"(if it is off: `xsm host forget {claimant} --it-is-off`)"
            )
        else:
            waits.append(f"{claimant} has to let go of it first")
    return "; ".join(waits)
