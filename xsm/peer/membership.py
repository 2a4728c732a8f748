"""Who may change the site's members, and which list of members counts: docs/safety.md, "Members come and go".

Decides a host's vote for a change, whether enough hosts take part, and by which list a claim may be counted. Each list
has a number, which is part of the document. Must not know how hosts are asked, nor what a document is.

This host's vote for a change is kept with its other votes, as the register of a VM that can't be:
`voted` the number of the change that it voted for, `claimant` who makes it, `bar` the list that it was made from,
`claimants` the hosts that leave by it while they are alive; `held` is above `bar` when it voted for several makers'
changes of that list.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from xsm.peer.events import ChangeAsked
from xsm.peer.messages import MemberAnswer, MemberAsk
from xsm.peer.register import JUMP_LIMIT, Register, learn

MEMBERS = "/members"
"""Where this host's vote is kept among its registers. No VM can be called so."""
SILENT_S = 25.0
"""Nobody is fenced unasked of whom a voter has heard since. Less than the least `FENCE_AFTER`, as voters don't begin to
miss a host all at once."""
ASK_AGAIN_S = 1.0
"""How long a host that hasn't voted for a change is left alone before it is asked again."""


def counts(vote: Register, number: int) -> bool:
    """Whether the member list `number` may still decide anything here: not when this host voted for a later change of
    an earlier list, for the two differ by more than one change and need share no voter."""
    return not vote.bar < number < vote.voted


def may_vote(vote: Register, claimant: str, its: int, mine: int) -> bool:
    """Whether `claimant`, who counts by the list `its`, may get votes for a claim from a host with the list `mine`."""
    leaves = vote.bar == mine and claimant in vote.claimants
    return its == mine and counts(vote, mine) and not leaves


def outlive(vote: Register, number: int, fenced: Collection[str]) -> Register:
    """This host's vote for a change, as it gets the list `number`, by which the hosts `fenced` are none.

    One of them may have begun that change, which overtook this list: it comes to nothing, and nobody need wait for its
    end. For a majority agreed to the fencing, and none of these voted for that change: not before, as its number is the
    higher one, and not afterwards, as nobody votes for a host's change after having voted for it to leave.
    """
    if vote.claimant in fenced and not counts(vote, number):
        return replace(vote, bar=number, claimants=frozenset())
    return vote


def voted_for_others(mine: Register, sender: str, number: int) -> bool:
    """Whether this host voted for a change of the list `number` that another host than `sender` makes. A host that is
    off may have helped that one to win something, of which none of the others need know. So a forget by the operator's
    word doesn't overtake it; any other change does, an empty one too."""
    return mine.bar == number < mine.voted and (mine.claimant != sender or mine.held > number)


def is_unended(vote: Register, me: str, number: int) -> bool:
    """Whether this host made a change that others may have voted for, and that came to nothing. Until it is overtaken
    a host that was to leave by it wins no claim, and a list that came between decides nothing."""
    return vote.claimant == me and vote.bar <= number < vote.voted


def vote(mine: Register, ask: MemberAsk, sender: str, number: int) -> tuple[Register, str]:
    """Answer a change. `number`: of this host's own list. Gives why not, "" when this host votes for it."""
    if ask.base != number:
        return (
            mine,
            f"its member list is number {number}, not {ask.base}: it has to hear of all revisions first",
        )
    # Who made the change that overtook this list, and has the list all the same, has given that change up: when he
    # makes another one, or has voted for one.
    given_up = mine.claimant in (sender, *ask.agreed)
    if not counts(mine, number) and not given_up:
        return mine, f"{mine.claimant} is about to change the members"
    again = (ask.number, sender) == (mine.voted, mine.claimant)
    above = max(mine.voted, number) < ask.number <= max(mine.voted, number) + JUMP_LIMIT
    if not (above or again):
        return mine, f"it voted for a change that {mine.claimant} makes"
    others = voted_for_others(mine, sender, number)
    if ask.off and others:
        return (
            mine,
            f"it voted for {mine.claimant}'s change of these members, of which it has heard no end",
        )
    # Else a host that is being fenced could overtake that, and nobody would ever hear an end of its own change.
    if mine.bar == number and sender in mine.claimants and not given_up:
        return mine, f"it voted for {sender} to leave the site"
    leaving = frozenset(ask.leaving)
    return replace(
        mine,
        voted=ask.number,
        claimant=sender,
        claimants=leaving,
        bar=number,
        held=number + 1 if others else mine.held,
    ), ""


@dataclass(frozen=True)
class Change:
    """A change of members that this host makes. `off`: those of the hosts that leave of whom the operator says so.
    `fenced`: those that are powered off once enough have voted, before the change is committed."""

    number: int
    base: int
    now: frozenset[str]
    after: frozenset[str]
    off: frozenset[str] = frozenset()
    fenced: frozenset[str] = frozenset()
    unasked: bool = False  # nobody said that these are to be fenced: they are silent
    voters: frozenset[str] = frozenset()
    reasons: Mapping[str, str] = field(default_factory=dict)  # who didn't vote for it -> why
    stuck: bool = (
        False  # somebody voted for another host's change, and this one can't overtake that
    )
    asked_at: float = float("-inf")

    @property
    def leaving(self) -> frozenset[str]:
        """Who leaves and may be alive yet: it can win no claim from then on, and must say itself that it runs nothing,
        unless it is fenced."""
        return self.now - self.after - self.off

    @property
    def ask(self) -> MemberAsk:
        silent = tuple(sorted(self.fenced)) if self.unasked else ()
        leaving, agreed = tuple(sorted(self.leaving)), tuple(sorted(self.voters))
        return MemberAsk(self.number, self.base, leaving, bool(self.off), agreed, silent)

    @property
    def agreed(self) -> bool:
        return enough(self, self.voters)


def open_change(vote: Register, base: int, now: Iterable[str], asked: ChangeAsked) -> Change:
    """A change of the list `base`, the members `now`, to what was asked for."""
    number = max(vote.voted, base) + 1
    after = asked.after or frozenset()
    return Change(number, base, frozenset(now), after, asked.off, asked.fenced, asked.unasked)


def enough(change: Change, names: Collection[str]) -> bool:
    """Whether these hosts are enough to vote for the change, and to know all claims that count.

    They must share a host with every majority of the present list and of the next one. A host that is off votes for
    nothing else; where half or more are off, every single one of those who stay has to take part. One that is fenced
    may be switched on again at any time, and knows nothing of it: without it there has to be a majority of all.
    """
    took_part = frozenset(names) & change.now
    stay = change.now & change.after
    if not change.leaving - change.fenced <= took_part or 2 * len(took_part & stay) <= len(stay):
        return False
    if change.off:
        return 2 * len(took_part) >= len(change.now) or stay <= took_part
    return 2 * len(took_part) > len(change.now)


def still_heard(ask: MemberAsk, heard_s: Callable[[str], float]) -> str:
    """Why a host doesn't vote for fencing others unasked: it has heard of one of them, which may only be cut off from
    whoever wants that. `heard_s`: how long ago it heard of a host, in seconds."""
    heard = [host for host in ask.silent if heard_s(host) < SILENT_S]
    return f"it heard of {heard[0]} {heard_s(heard[0]):.0f} s ago" if heard else ""


def silent(change: Change, names: Collection[str]) -> list[str]:
    """Who should take part and doesn't."""
    return sorted(change.now - change.off - change.fenced - frozenset(names))


def hear(change: Change, sender: str, answer: MemberAnswer) -> Change:
    """Count an answer. One who voted for a higher number makes this change take a number above that, unless enough
    have voted for it: then it is about to be committed under the number that it has, and those who voted for another
    one would wait for the end of a change that nobody makes any more."""
    if answer.number != change.number:
        return change
    if answer.granted:
        return replace(change, voters=change.voters | {sender})
    reasons = {**change.reasons, sender: answer.reason}
    stuck = change.stuck or answer.stuck
    bumped = change.number <= answer.highest <= change.number + JUMP_LIMIT
    if bumped and not change.agreed:
        above = answer.highest + 1
        return replace(change, number=above, voters=frozenset(), reasons=reasons, stuck=stuck)
    return replace(change, reasons=reasons, stuck=stuck)


def waiting_for(change: Change) -> str:
    """Why the members can't be changed now, for people."""
    missing = silent(change, change.voters)
    told = [
        f"{m}: {change.reasons[m]}" if m in change.reasons else f"{m} is silent" for m in missing
    ]
    stay = len(change.now & change.after)
    return f"{len(change.voters & change.after)} of the {stay} hosts that stay agree; {'; '.join(told)}"


def together(known: Iterable[Mapping[str, Register]]) -> dict[str, Register]:
    """What all of them know of claims."""
    found: dict[str, Register] = {}
    for registers in known:
        for vm, register in sorted(registers.items()):
            if vm != MEMBERS:
                found[vm] = learn(found.get(vm, Register()), register)
    return found
