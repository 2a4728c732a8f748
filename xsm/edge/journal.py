"""The votes file as bytes: records of registers, and what a file that is not whole means.

Decides which bytes are a whole record, and tells a write that the machine's death cut off from damage. Pure: no file is
read or written here. Must not know what a register means, nor what was acknowledged beyond what it is given.

One record a line: LENGTH CRC32 SEQUENCE JSON, LENGTH and CRC32 in hexadecimal and of "SEQUENCE JSON". The first record
is the header; the sequences of the others go on from its own, without a gap. A rewritten journal's header has the last
sequence of the old one, so that sequences never go back.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

FORMAT = {"format": "xsm votes", "version": 1}
"""The header's value."""
MARK_BYTES = 26
"""A mark is always of one length: it is written over itself."""
MAX_DIGITS = 18
"""Of a sequence: more than any disk can count to."""

Entry = dict[str, Any]


class JournalDamaged(Exception):
    """The content is not what was written. `what`: where it is wrong."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True)
class Replayed:
    """What a journal says."""

    entries: dict[str, Entry]  # by VM
    sequence: int  # of the last whole record
    size: int  # bytes up to its end; what follows was never acknowledged


def header(sequence: int = 0) -> bytes:
    """A journal's first record. `sequence`: the last one of the journal that it takes the place of."""
    return record(sequence, FORMAT)


def record(sequence: int, value: Mapping[str, Any]) -> bytes:
    """One record: some VMs' registers, which from now on are these."""
    body = b"%d %s" % (sequence, msgspec.json.encode(value, order="sorted"))
    return b"%x %08x %s\n" % (len(body), zlib.crc32(body), body)


def replay(content: bytes) -> Replayed:
    """The registers that a journal comes to. Raises `JournalDamaged`.

    A last record that was cut off while it was written is left out: nobody was told of it. (Whether it was only being
    written is for who keeps the mark to say: see `mark`.)
    """
    entries: dict[str, Entry] = {}
    sequence = -1
    at = 0
    while at < len(content):
        end = content.find(b"\n", at)
        if end < 0:
            if at == 0 or not _is_torn(content[at:]):
                raise JournalDamaged(f"damaged at byte {at}")
            break
        found = _read_record(content[at:end])
        if found is None or (found[1] != FORMAT if at == 0 else found[0] != sequence + 1):
            raise JournalDamaged(f"damaged between byte {at} and {end}")
        if at > 0:
            entries.update(found[1])
        sequence = found[0]
        at = end + 1
    if at == 0:
        raise JournalDamaged("the file is empty")
    return Replayed(entries, sequence, at)


def mark(sequence: int) -> bytes:
    """What stands beside the journal: the last sequence that was acknowledged, of `MARK_BYTES` bytes."""
    body = b"%016x" % sequence
    return b"%s %08x\n" % (body, zlib.crc32(body))


def read_mark(content: bytes) -> int | None:
    """The sequence of a mark; None when it is none (a power failure can leave it empty, or zeros)."""
    body, _, rest = content.partition(b" ")
    try:
        sequence = int(body, 16)
    except ValueError:
        return None
    return sequence if sequence >= 0 and content == mark(sequence) and rest else None


def _read_record(line: bytes) -> tuple[int, dict[str, Any]] | None:
    """Sequence and value of a whole record, None when anything about it is wrong."""
    parts = line.split(b" ", 2)
    if len(parts) != 3:
        return None
    length, crc, body = parts
    if length != b"%x" % len(body) or crc != b"%08x" % zlib.crc32(body):
        return None
    number, _, text = body.partition(b" ")
    if not number.isdigit() or len(number) > MAX_DIGITS or number != b"%d" % int(number):
        return None
    try:
        return int(number), msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def _is_torn(tail: bytes) -> bool:
    """Whether a last line without its newline is a write that the machine's death cut off.

    It is when it stops early, or ends in zeros that the file system put for what had not come to disk. A record of full
    length whose last byte is anything else was whole once: that is damage.
    """
    if tail.endswith(b"\0"):
        return True
    parts = tail.split(b" ", 2)
    if len(parts) < 3:
        return True
    try:
        length = int(parts[0], 16)
    except ValueError:
        return False
    return len(parts[2]) <= length
