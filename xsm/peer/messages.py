"""What peers say to each other, as values; and their JSON form.

Decides only what is a well-formed message. Messages may be lost, doubled, late and out of order:
none may rely on another. Unknown fields are ignored and unknown kinds are skipped, so that version N
talks with N-1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from xsm.site.model import HypervisorKind

PROTOCOL_VERSION = 1
"""Goes up with every change that an older xsmd can't just ignore. Versions N and N-1 understand each other, so that a
site is updated host by host; what is further apart is refused, by whoever notices.
"""
MESSAGES_PER_POST_LIMIT = 1000
NAME_LIMIT = 253
EPOCH_LIMIT = 2**52
"""No site gets there: at a claim a second it takes longer than there have been hosts."""
HEADS_LIMIT = 256


@dataclass(frozen=True)
class Hello:
    """I am here, and these are my heads. Sent in turn to all members, and as an answer (`reply`) to
    one whose heads differ."""

    heads: tuple[str, ...]
    revision: str  # what I act on
    reply: bool = False


@dataclass(frozen=True)
class ClaimAsk:
    """I claim this epoch of this VM: do you vote for it? `attempt` is echoed: I count no answers
    from before my restart."""

    vm: str
    epoch: int
    attempt: int = 0
    members: int = 0  # the number of the member list by which I count


@dataclass(frozen=True)
class ClaimAnswer:
    """My vote, on my disk by now. `earlier`: claimants that you must evict; `highest`, `claimant`: what
    I voted for before."""

    vm: str
    epoch: int
    granted: bool
    earlier: tuple[str, ...]
    highest: int
    claimant: str
    attempt: int = 0


@dataclass(frozen=True)
class EvictAsk:
    """I have a majority for this epoch: let go of the VM. What follows says how you could migrate it to me instead."""

    vm: str
    epoch: int
    kind: HypervisorKind
    cold_only: str
    migrate_uri: str
    round: int = 1  # echoed, so that an answer to an earlier question is not taken for one to this
    attempt: int = 0  # likewise
    last: bool = (
        False  # all others have let go: only now may you migrate it to me, or stop it for me
    )
    migrate_tls: bool = False  # my QEMU takes memory over TLS
    wait: str = ""  # why you shouldn't migrate it live to me just now
    runs_on: str = ""  # who says, me included, that it runs there
    fenced: tuple[
        str, ...
    ] = ()  # earlier claimants that are off and not asked; one may be on again
    copies: tuple[str, ...] = ()  # its disks that I lack: copy them along
    shared: tuple[str, ...] = ()  # and those that I have on storage that is shared by its nature


@dataclass(frozen=True)
class EvictAnswer:
    """`done`: it doesn't run here and won't below this epoch (on my disk by now). Else `reason` says why not (yet);
    `held`: that won't change by itself."""

    vm: str
    epoch: int
    done: bool
    reason: str
    held: bool = False
    round: int = 1
    newest: int = 0  # a newer epoch that I have claimed, or let go for: yours can't win any more
    attempt: int = 0
    runs: bool = False  # it runs here, and not merely one end of a live migration


@dataclass(frozen=True)
class Settled:
    """All earlier claimants of this epoch are evicted: you may forget them."""

    vm: str
    epoch: int


@dataclass(frozen=True)
class Offer:
    """This VM runs here and belongs on you, its disks are to be copied along, and I have heard no claim of yours."""

    vm: str


@dataclass(frozen=True)
class MemberAsk:
    """I want to change the members from list `base` to list `number`: do you vote for it? `leaving`: who is no
    member then and is alive."""

    number: int
    base: int
    leaving: tuple[str, ...] = ()
    off: bool = False  # others leave by the operator's word
    agreed: tuple[str, ...] = ()  # who voted for this change already
    silent: tuple[str, ...] = ()  # of those who leave: to be fenced unless somebody hears of them


@dataclass(frozen=True)
class MemberAnswer:
    """My vote, on my disk by now, or the `reason` why not. `highest`: the highest change that I voted for.
    `stuck`: I voted for another host's change, which a forget by the operator's word can't overtake."""

    number: int
    granted: bool
    reason: str = ""
    highest: int = 0
    stuck: bool = False


Message = (
    Hello
    | ClaimAsk
    | ClaimAnswer
    | EvictAsk
    | EvictAnswer
    | Settled
    | Offer
    | MemberAsk
    | MemberAnswer
)

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        Hello,
        ClaimAsk,
        ClaimAnswer,
        EvictAsk,
        EvictAnswer,
        Settled,
        Offer,
        MemberAsk,
        MemberAnswer,
    )
}


class Malformed(Exception):
    """A post from a peer that is not messages."""


class OtherVersion(Malformed):
    """A post in a version of the protocol that is too far from this one."""


def understood(version: int) -> bool:
    """Whether this xsmd and one of another version understand each other."""
    return abs(version - PROTOCOL_VERSION) <= 1


def not_understood(version: int) -> str:
    """Why a version is refused, and what would be right."""
    whose = "this host" if version > PROTOCOL_VERSION else "the host that asks"
    return (
        f"version {version} of the protocol is asked for, this xsmd speaks {PROTOCOL_VERSION} and its neighbours: "
        f"update xsmd on {whose} first"
    )


@dataclass(frozen=True)
class _Envelope:
    version: int
    messages: list[tuple[str, msgspec.Raw]]


def encode(messages: Iterable[Message]) -> bytes:
    """One POST's body."""
    return msgspec.json.encode(
        {"version": PROTOCOL_VERSION, "messages": [(type(m).__name__, m) for m in messages]}
    )


def decode(body: bytes) -> tuple[Message, ...]:
    """Read one POST's body. Raises `Malformed`, `OtherVersion`; kinds that this version doesn't know are left out."""
    try:
        envelope = msgspec.json.decode(body, type=_Envelope)
        if not understood(envelope.version):
            raise OtherVersion(not_understood(envelope.version))
        if len(envelope.messages) > MESSAGES_PER_POST_LIMIT:
            raise Malformed(
                f"{len(envelope.messages)} messages in one post, at most {MESSAGES_PER_POST_LIMIT}"
            )
        read = [
            msgspec.json.decode(raw, type=_KINDS[kind])
            for kind, raw in envelope.messages
            if kind in _KINDS
        ]
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(f"not a post of peer messages: {error}") from error
    # One absurd message must not take the others of its post along.
    return tuple(message for message in read if _is_sound(message))


def _is_sound(message: Message) -> bool:
    """Whether an honest peer could have sent it; what couldn't be is left out, so that the state machine
    needn't think about it."""
    if isinstance(message, Hello):
        return len(message.heads) <= HEADS_LIMIT and all(_is_id(h) for h in message.heads)
    names = ("highest", "newest", "round", "attempt", "members", "number", "base")
    numbers = [getattr(message, name, 0) for name in names]
    sound = all(0 <= number < EPOCH_LIMIT for number in numbers if isinstance(number, int))
    if isinstance(message, MemberAsk | MemberAnswer):
        return sound
    named = sound and 0 < len(message.vm) <= NAME_LIMIT
    return named and (isinstance(message, Offer) or 0 < message.epoch < EPOCH_LIMIT)


def _is_id(text: str) -> bool:
    return 4 <= len(text) <= 64 and text.isalnum() and text.isascii()
