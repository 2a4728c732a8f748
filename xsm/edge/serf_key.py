"""The key by which the members' Serf agents know and hide from one another.

Decides whose key counts and who makes one. A key belongs to one list of members: it is made by one of them, goes only
from member to member (by HTTPS with mutual TLS), and is never in a revision: people read those, keep them for good, and
copy them to other places. So a host that leaves has no key of the lists after it. The certificates have nothing that
all members and only they know: the CA's is public, its key is the signers', and the others are each host's own. Must
not know how keys are passed on.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec

from xsm.edge.durable import write_secret

KEY_BYTES = 32
"""AES-256, the most that Serf takes."""
PATIENCE_S = 10.0
"""A host makes the key of a list so long after the one that is before it by name should have."""
NUMBER_LIMIT = 2**52


@dataclass(frozen=True)
class SerfKey:
    """`number`: of the list of members that it belongs to. `text`: base64, as Serf wants it."""

    number: int
    text: str

    def __repr__(self) -> str:
        return f"SerfKey({self.number})"  # it must not get into a log

    @property
    def is_sound(self) -> bool:
        try:
            raw = base64.b64decode(self.text, validate=True)
        except (binascii.Error, ValueError):
            return False
        return len(raw) == KEY_BYTES and 0 <= self.number < NUMBER_LIMIT


def new_key(number: int) -> SerfKey:
    return SerfKey(number, base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())


def better(one: SerfKey | None, other: SerfKey | None) -> SerfKey | None:
    """Which of two keys counts. Everybody who has seen both says the same: the newer list's, else the lesser one."""
    if one is None or other is None:
        return one or other
    return min(one, other, key=lambda key: (-key.number, key.text))


def wait_s(name: str, members: frozenset[str]) -> float:
    """How long a host waits for a list's key before it makes one: the first by name doesn't."""
    return PATIENCE_S * sorted(members | {name}).index(name)


def load(path: Path) -> SerfKey | None:
    """None where there is none, or a damaged one: another member has it, or there will be a new one."""
    try:
        key = msgspec.json.decode(path.read_bytes(), type=SerfKey)
    except (OSError, msgspec.MsgspecError):
        return None
    return key if key.is_sound else None


def save(path: Path, key: SerfKey) -> None:
    """Readable by this host's owner only. Raises `OSError`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_secret(path, msgspec.json.encode(key))
