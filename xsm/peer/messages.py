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
MESSAGES_PER_POST_LIMIT = 1000
NAME_LIMIT = 253
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


@dataclass(frozen=True)
class Settled:
    """All earlier claimants of this epoch are evicted: you may forget them."""

    vm: str
    epoch: int


Message = Hello | ClaimAsk | ClaimAnswer | EvictAsk | EvictAnswer | Settled

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Hello, ClaimAsk, ClaimAnswer, EvictAsk, EvictAnswer, Settled)
}


class Malformed(Exception):
    """A post from a peer that is not messages."""


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
    """Read one POST's body. Raises `Malformed`; kinds that this version doesn't know are left out."""
    try:
        envelope = msgspec.json.decode(body, type=_Envelope)
        if len(envelope.messages) > MESSAGES_PER_POST_LIMIT:
            raise Malformed(
                f"{len(envelope.messages)} messages in one post, at most {MESSAGES_PER_POST_LIMIT}"
            )
        read = tuple(
            msgspec.json.decode(raw, type=_KINDS[kind])
            for kind, raw in envelope.messages
            if kind in _KINDS
        )
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(f"not a post of peer messages: {error}") from error
    for message in read:
        _check(message)
    return read


def _check(message: Message) -> None:
    """Refuse what no honest peer sends, so that the state machine needn't think about it."""
    if isinstance(message, Hello):
        if len(message.heads) > HEADS_LIMIT or any(not _is_id(h) for h in message.heads):
            raise Malformed(f"heads must be commit ids, at most {HEADS_LIMIT}")
    elif not 0 < len(message.vm) <= NAME_LIMIT or not 0 < message.epoch < 2**53:
        raise Malformed(f"no VM name or epoch: {message!r}"[:200])


def _is_id(text: str) -> bool:
    return 4 <= len(text) <= 64 and text.isalnum() and text.isascii()
