"""The votes of this host on disk: an append-only journal of registers by VM, fsynced before
anybody learns of them.

Decides what a file that is not whole means. A record that was being written when the machine died
was
never acknowledged, and is dropped; everything else that is wrong could be a forgotten vote, and a
host
that forgets a vote can make a VM run twice: `RegisterDamaged`. Must not know what a register means.

One record a line: LENGTH CRC32 SEQUENCE JSON, LENGTH and CRC32 in hexadecimal and of "SEQUENCE
JSON".
The first record is the header.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from xsm.edge.durable import write_durably

FORMAT = {"format": "xsm votes", "version": 1}
COMPACT_ABOVE_BYTES = 4 * 1024 * 1024
"""Above this the journal is rewritten, once it is mostly outdated records."""
COMPACT_RATIO = 4
MAX_RECORD_BYTES = 64 * 1024 * 1024

Entry = dict[str, Any]


class RegisterDamaged(Exception):
    """This host doesn't know for sure what it voted for, and must not vote or start VMs until it
    is repaired."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path}: {what}. This host can't be sure what it voted for, so it must not vote and "
            "must not start VMs; running VMs are left alone. Put the file back as it was, or let "
            "the site forget this host and join it again under another name"
        )


class RegisterInUse(Exception):
    """Another xsmd has the journal open."""


class RegisterFile:
    """One open journal. Only one process has it; a second one gets `RegisterInUse`.

    Invariant: what `write` acknowledged is what `load` gives, whenever the machine dies.
    """

    @classmethod
    def create(cls, path: Path) -> RegisterFile:
        """A new, empty journal, for a host that has never voted (`xsm init`, `xsm join`).

        Raises `FileExistsError` when there is one: it holds votes.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise FileExistsError(f"{path} is there already, and may hold votes")
        write_durably(path, _record(0, FORMAT), 0o600)
        return cls(path)

    def __init__(self, path: Path, compact_above_bytes: int = COMPACT_ABOVE_BYTES) -> None:
        """Open and read. Raises `RegisterDamaged`, `RegisterInUse`, `OSError`."""
        self._path = path
        self._compact_above = compact_above_bytes
        self._failed = ""
        self._journal = -1
        # The journal is replaced when it is compacted, so the lock is on a file that stays.
        self._lock = _locked(path)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def load(self) -> dict[str, Entry]:
        """All registers, by VM."""
        return {key: dict(self._entries[key]) for key in sorted(self._entries)}

    def write(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """Set the registers of these VMs. On disk when this returns.

        When it raises, they count as not written: answer no vote that depends on them. Raises
        `OSError`
        when there is no room (nothing changed; it may be tried again) and `RegisterDamaged` when
        the
        disk can't be trusted any more.
        """
        if self._failed:
            raise RegisterDamaged(self._path, self._failed)
        if not entries:
            return
        new = {key: dict(entries[key]) for key in sorted(entries)}
        record = _record(self._sequence + 1, new)
        if len(record) > MAX_RECORD_BYTES:
            raise OSError(f"{self._path}: a record of {len(record)} bytes is too large")
        self._append(record)
        self._sequence += 1
        self._size += len(record)
        self._entries.update(new)
        if self._size > self._compact_above:
            self._compact()

    def close(self) -> None:
        for descriptor in (self._journal, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._journal = self._lock = -1

    def _open(self) -> None:
        try:
            self._journal = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            raise RegisterDamaged(self._path, "the file of this host's votes is missing") from None
        content = _read_all(self._journal)
        self._entries, self._sequence, self._size = _parse(self._path, content)
        if self._size < len(content):
            # What was never acknowledged must not be glued to the next record.
            os.ftruncate(self._journal, self._size)
            os.fsync(self._journal)

    def _append(self, record: bytes) -> None:
        try:
            _write_all(self._journal, record)
        except OSError:
            self._take_back()
            raise
        try:
            os.fsync(self._journal)
        except OSError as error:
            # After a failed fsync the kernel may have dropped the pages: trying again proves
            # nothing.
            self._failed = f"the disk failed ({error.strerror})"
            raise RegisterDamaged(self._path, self._failed) from error

    def _take_back(self) -> None:
        """Remove what was written of a record that found no room."""
        try:
            os.ftruncate(self._journal, self._size)
            os.fsync(self._journal)
        except OSError as error:
            self._failed = f"the disk failed ({error.strerror})"
            raise RegisterDamaged(self._path, self._failed) from error

    def _compact(self) -> None:
        live = _record(0, FORMAT) + _record(1, self._entries)
        if len(live) * COMPACT_RATIO > self._size:
            self._compact_above = len(live) * COMPACT_RATIO
            return
        write_durably(self._path, live, 0o600)
        journal = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        os.close(self._journal)
        self._journal, self._sequence, self._size = journal, 1, len(live)


def _locked(path: Path) -> int:
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise RegisterInUse(f"{path} is in use: another xsmd runs with this data_dir") from None
    return lock


def _record(sequence: int, value: Mapping[str, Any]) -> bytes:
    body = b"%d %s" % (sequence, msgspec.json.encode(value, order="sorted"))
    return b"%x %08x %s\n" % (len(body), zlib.crc32(body), body)


def _parse(path: Path, content: bytes) -> tuple[dict[str, Entry], int, int]:
    """(entries, last sequence, bytes that count). Raises `RegisterDamaged`."""
    entries: dict[str, Entry] = {}
    sequence = -1
    at = 0
    while at < len(content):
        end = content.find(b"\n", at)
        if end < 0:
            if sequence < 0 or not _is_torn(content[at:]):
                raise RegisterDamaged(path, f"damaged at byte {at}")
            break
        value = _read_record(content[at:end], sequence + 1)
        if value is None or (sequence < 0 and value != FORMAT):
            raise RegisterDamaged(path, f"damaged between byte {at} and {end}")
        if sequence >= 0:
            entries.update(value)
        sequence += 1
        at = end + 1
    if sequence < 0:
        raise RegisterDamaged(path, "the file is empty")
    return entries, sequence, at


def _read_record(line: bytes, expected: int) -> Any:
    """The value of a whole record, None when anything about it is wrong."""
    parts = line.split(b" ", 2)
    if len(parts) != 3:
        return None
    length, crc, body = parts
    if length != b"%x" % len(body) or crc != b"%08x" % zlib.crc32(body):
        return None
    number, _, text = body.partition(b" ")
    if number != b"%d" % expected:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def _is_torn(tail: bytes) -> bool:
    """Whether a last line without its newline is a write that the machine's death cut off.

    It is when it stops early, or ends in zeros that the file system put for what had not come to
    disk.
    A record of full length whose last byte is anything else was whole once: that is damage.
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


def _read_all(descriptor: int) -> bytes:
    chunks = []
    while chunk := os.read(descriptor, 1 << 20):
        chunks.append(chunk)
    return b"".join(chunks)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
