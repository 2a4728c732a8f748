"""One VM's claim register on one host: the votes that make sure a VM never runs twice.

Decides whether this host may vote for a claim, and what it gives up when it is evicted. The rule is the
placement rule of docs/design.md (CLAIM by majority, EVICT every earlier claimant, START); its model was
checked exhaustively. Must not know about messages, members or libvirt: values in, values out.

Every register that a function here returns must be on disk (fsynced) before anybody else learns of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

JUMP_LIMIT = 1_000_000
"""A claim may be this far above the highest epoch voted for. A confused member can't use the epochs up at once."""


FIRST_EPOCH = 1
"""Of every VM's claims."""


@dataclass(frozen=True)
class Register:
    """What a host has on disk about one VM.

    Invariant: `voted` and `bar` never go back, and `held` never exceeds `voted` for a claim of one's own.
    """

    voted: int = 0  # the highest epoch that this host voted for
    claimant: str = ""  # for whom
    claimants: frozenset[str] = (
        frozenset()
    )  # all whom it voted for and who were not yet evicted by a later claim
    bar: int = 0  # this host does not start the VM under an epoch below this
    held: int = 0  # the epoch for which this host, as claimant, completed all evictions; 0: none
    attempts: int = (
        0  # how often this host began to claim: answers to an earlier attempt don't count
    )
    disks: frozenset[str] = (
        frozenset()
    )  # of the VM's disks: those that this host has made or seen here, and words that it used up
    copying: frozenset[str] = frozenset()  # those that it began to copy and has not ended
    left: frozenset[str] = (
        frozenset()
    )  # those that went along in a live move away from here, or may have: what is here is old
    forgetful: bool = False  # others say that it claimed the VM, and it didn't know
    expelled: int = (
        0  # the epoch that it held last as the site fenced or forgot it, 1 without one; 0: none
    )


@dataclass(frozen=True)
class Vote:
    """A voter's answer. `earlier`: who may still run the VM under an earlier claim; `highest`: the
    epoch that it voted for before."""

    granted: bool
    earlier: frozenset[str]
    highest: int
    claimant: str


def vote(register: Register, epoch: int, host: str) -> tuple[Register, Vote]:
    """Answer the claim of `host` for `epoch`; grant it when it is above all earlier ones, or the same one again."""
    above = register.voted < epoch <= register.voted + JUMP_LIMIT
    granted = above or (epoch == register.voted and host == register.claimant)
    earlier = register.claimants - {host}
    answer = Vote(granted, earlier, register.voted, register.claimant)
    if not granted:
        return register, answer
    return (
        replace(register, voted=epoch, claimant=host, claimants=register.claimants | {host}),
        answer,
    )


def bar(register: Register, epoch: int) -> Register:
    """This host lets go: it will not start the VM under an epoch below `epoch`.

    The caller has made sure that no domain of the VM is active here and that no start is under way; or it hands the
    VM that runs here over to the claimant of `epoch`.
    """
    return replace(register, bar=max(register.bar, epoch))


def complete(register: Register, epoch: int) -> Register:
    """This host, the claimant of `epoch`, has a majority's votes and every earlier claimant is evicted."""
    return replace(register, held=max(register.held, epoch))


def begin_attempt(register: Register) -> Register:
    """This host begins to claim the VM, for the first time or anew."""
    return replace(register, attempts=register.attempts + 1)


def may_hand_over(newest: int, epoch: int, last: bool) -> bool:
    """Whether the host where the VM runs may migrate it to the claimant of `epoch`, or stop it for that one.

    `newest`: the highest epoch that this host has claimed or let go for. A migration makes the VM run on a host that
    hasn't won yet. So this host must be the `last` that has to let go: another claimant could else start the VM too,
    once the operator's word stands for this host's answer.
    """
    return last and newest <= epoch


def settle(register: Register, epoch: int, host: str) -> Register:
    """`host` completed its evictions for `epoch`: whoever claimed before is barred, and need not be asked again.

    Only where this host's last vote is that very claim; a later vote means a later claimant who has yet to evict.
    """
    if register.voted == epoch and register.claimant == host:
        return replace(register, claimants=frozenset({host}))
    return register


def next_epoch(register: Register, host: str, least: int) -> int:
    """The epoch that `host` should claim: its own last one again where that can still win, else a new one.

    `least`: the lowest epoch that could still win as far as voters' refusals tell, 0 when none refused.
    """
    mine = register.voted if register.claimant == host else 0
    if mine and mine >= max(register.bar, least):
        return mine
    return max(register.voted + 1, register.bar, least)


def may_start(
    register: Register,
    epoch: int,
    host: str,
    voters: Iterable[str],
    members: Iterable[str],
    evicted: Iterable[str],
    earlier: Iterable[str],
) -> bool:
    """Whether the claimant `host` may start the VM under `epoch`.

    `voters` voted for exactly this claim since this daemon started; `earlier` are the claimants that they
    reported; `evicted` those who said "stopped, barred below `epoch`", were fenced, or are no longer members.
    """
    electorate = frozenset(members)
    majority = len(frozenset(voters) & electorate) > len(electorate) // 2
    gone = register.held == epoch or frozenset(earlier) - {host} <= frozenset(evicted)
    return majority and gone and epoch >= register.bar and host in electorate


def learn(mine: Register, other: Register) -> Register:
    """Take over what another host knows of a VM's claims, so that this host's vote counts as if it had been asked then.

    Only ever makes it refuse more, and name more claimants to evict: its own bar, win and attempts stay. By this a
    host that joins is no blank voter, and those who stay know what a forgotten host knew. Where two claimed one epoch,
    by lists of members that may share no voter, neither gets this host's vote for it again.
    """
    newest = other if other.voted > mine.voted else mine
    if mine.voted == other.voted and mine.claimant != other.claimant:
        newest = replace(mine, claimant="")
    return replace(
        mine,
        voted=newest.voted,
        claimant=newest.claimant,
        claimants=mine.claimants | other.claimants,
    )


def learn_as(mine: Register, other: Register, me: str) -> Register:
    """`learn`, and note whether it shows that this host has lost its memory of the VM: it may have had its disks."""
    forgot = other.voted > mine.voted and me in (other.claimants | {other.claimant})
    return replace(learn(mine, other), forgetful=mine.forgetful or forgot)


def expel(register: Register) -> Register:
    """The site counts this host as gone: others may get what it held, without asking it.

    Also what it has let go of: the VM stays here when its migration fails, or came here before the claim was complete.
    """
    had_it = register.held > 0 or bool(register.disks)
    return replace(register, expelled=max(register.held, FIRST_EPOCH)) if had_it else register


def is_overtaken(register: Register, me: str) -> bool:
    """Whether others may have had the VM since this host was expelled: the next claim was not its own."""
    return 0 < register.expelled < register.voted - (register.claimant == me)


def why_no_disk(register: Register, host: str, disk: str) -> str:
    """Why `host` must not make a disk of the VM that is not there, "" when it may, once its claim is complete.

    A blank disk must never take the place of data that is elsewhere. So only the first host that ever won a claim of
    the VM makes its disks: epoch 1 is below all others, and whoever won it won before anybody else. And it makes each
    of them once.
    """
    if disk in register.disks:
        return f"{host} had it before"
    if register.forgetful:
        return f"{host} may have had it before, and has lost its memory of that"
    if max(register.voted, register.bar) > FIRST_EPOCH or (
        register.voted and register.claimant != host
    ):
        return "the VM was started or claimed elsewhere before"
    return ""


def keep_disks(register: Register, disks: Iterable[str]) -> Register:
    """They are here, whole: from now on each of them may only be missing."""
    known = frozenset(disks)
    return replace(register, disks=register.disks | known, copying=register.copying - known)


def use_disks(register: Register, disks: Iterable[str], me: str) -> Register:
    """What is here of them is the newest: the VM's guest runs on it, here and nowhere else; or somebody says so."""
    known = frozenset(disks)
    kept = keep_disks(register, known)
    others = register.disks if is_overtaken(register, me) else frozenset()
    return replace(kept, left=(register.left | others) - known, expelled=0)


def set_aside(register: Register, disks: Iterable[str]) -> Register:
    """What was here of them has other names now."""
    gone = frozenset(disks)
    return replace(register, left=register.left - gone, copying=register.copying - gone)


def leave_disks(register: Register, disks: Iterable[str]) -> Register:
    """They are about to go along in a live move, or count elsewhere by somebody's word: from now on what is here of
    them starts no VM, until `use_disks`."""
    return replace(register, left=register.left | frozenset(disks))


def begin_copy(register: Register, disk: str) -> Register:
    """A disk is about to be made as a copy. One that is found later, and was not said to be whole, is cut off."""
    return replace(register, copying=register.copying | {disk})


def to_entry(register: Register) -> dict[str, object]:
    """The register as JSON-able values for the vote file."""
    return {
        "voted": register.voted,
        "claimant": register.claimant,
        "claimants": sorted(register.claimants),
        "bar": register.bar,
        "held": register.held,
        "attempts": register.attempts,
        **({"disks": sorted(register.disks)} if register.disks else {}),
        **({"copying": sorted(register.copying)} if register.copying else {}),
        **({"left": sorted(register.left)} if register.left else {}),
        **({"forgetful": True} if register.forgetful else {}),
        **({"expelled": register.expelled} if register.expelled else {}),
    }


def from_entry(entry: Mapping[str, object]) -> Register:
    """Read what `to_entry` wrote. Raises `ValueError` when it is not that: the vote file must not be trusted then."""
    voted, claimant, claimants, barred, held = (
        entry.get(key) for key in ("voted", "claimant", "claimants", "bar", "held")
    )
    attempts = entry.get("attempts", 0)
    if not (isinstance(voted, int) and isinstance(barred, int) and isinstance(held, int)):
        raise ValueError(f"epochs must be whole numbers: {dict(entry)!r}")
    if not isinstance(attempts, int):
        raise ValueError(f"epochs must be whole numbers: {dict(entry)!r}")
    if not (isinstance(claimant, str) and isinstance(claimants, list)):
        raise ValueError(f"claimants must be names: {dict(entry)!r}")
    names = frozenset(str(c) for c in claimants)
    disks, copying, left = (_names(entry, key) for key in ("disks", "copying", "left"))
    forgetful, expelled = entry.get("forgetful", False) is True, entry.get("expelled", 0)
    if not isinstance(expelled, int):
        raise ValueError(f"epochs must be whole numbers: {dict(entry)!r}")
    return Register(
        voted, claimant, names, barred, held, attempts, disks, copying, left, forgetful, expelled
    )


def _names(entry: Mapping[str, object], key: str) -> frozenset[str]:
    found = entry.get(key, [])
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{key} must be names: {dict(entry)!r}")
    return frozenset(found)
