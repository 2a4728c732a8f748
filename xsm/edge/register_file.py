"""The votes of this host on disk: an append-only journal of registers by VM, fsynced before anybody learns of them.

Decides the order of writes, and when this host can't be sure any more what it voted for. A host that forgets a vote can
make a VM run twice, so anything but a record that was cut off while it was written is `RegisterDamaged`. What the bytes
mean is `journal.py`'s; what a register means is nobody's here.

Beside the journal is its mark: the last sequence that was acknowledged. It is written after the journal was fsynced
and is not fsynced itself, so it is never ahead of the journal; it tells a journal that was cut off or put back from a
backup from one whose last record was just being written.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from xsm.edge import journal
from xsm.edge.durable import clear_temporaries, sync_dir, write_durably
from xsm.edge.journal import Entry, JournalDamaged

COMPACT_ABOVE_BYTES = 4 * 1024 * 1024
"""Above this the journal is rewritten, once it is mostly outdated records."""
COMPACT_RATIO = 4
MAX_RECORD_BYTES = 64 * 1024 * 1024
"""Of one write: all registers of 100,000 VMs are a third of it."""

log = logging.getLogger(__name__)


class RegisterDamaged(Exception):
    """This host doesn't know for sure what it voted for, and must not vote or start VMs until it is repaired."""

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
        # A mark without its journal is of one that was moved away. It must be gone before the new journal is there.
        mark_path(path).unlink(missing_ok=True)
        sync_dir(path.parent)
        write_durably(path, journal.header(), 0o600)
        return cls(path)

    def __init__(self, path: Path, compact_above_bytes: int = COMPACT_ABOVE_BYTES) -> None:
        """Open and read. Raises `RegisterDamaged`, `RegisterInUse`, `OSError`."""
        self._path = path
        self._compact_above = compact_above_bytes
        self._failed = ""
        self._journal = self._mark = -1
        # The journal is replaced when it is compacted, so the lock is on a file that stays.
        self._lock = _locked(path)
        try:
            clear_temporaries(path)
            self._open()
        except BaseException:
            self.close()
            raise

    def load(self) -> dict[str, Entry]:
        """All registers, by VM."""
        return {key: dict(self._entries[key]) for key in sorted(self._entries)}

    def write(self, entries: Mapping[str, Mapping[str, object]]) -> None:
        """Set the registers of these VMs. On disk when this returns.

        When it raises, they count as not written: answer no vote that depends on them. Raises `OSError` when there is
        no room (nothing changed; it may be tried again) and `RegisterDamaged` when the disk can't be trusted any more.
        """
        if self._failed:
            raise RegisterDamaged(self._path, self._failed)
        if not entries:
            return
        new = {key: dict(entries[key]) for key in sorted(entries)}
        record = journal.record(self._sequence + 1, new)
        if len(record) > MAX_RECORD_BYTES:
            raise OSError(f"{self._path}: a record of {len(record)} bytes is too large")
        self._append(record)
        self._sequence += 1
        self._size += len(record)
        self._entries.update(new)
        if self._size > self._compact_above:
            self._compact()
        self._write_mark()

    def close(self) -> None:
        for descriptor in (self._journal, self._mark, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._journal = self._mark = self._lock = -1

    # -- opening -----------------------------------------------------

    def _open(self) -> None:
        try:
            self._journal = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            raise RegisterDamaged(self._path, "the file of this host's votes is missing") from None
        content = _read_all(self._journal)
        try:
            read = journal.replay(content)
        except JournalDamaged as damaged:
            raise RegisterDamaged(self._path, damaged.what) from damaged
        self._entries, self._sequence, self._size = read.entries, read.sequence, read.size
        self._mark = os.open(mark_path(self._path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._check_mark()
        if self._size < len(content):
            # What was never acknowledged must not be glued to the next record.
            os.ftruncate(self._journal, self._size)
        # The last daemon may have died between a write, or the rename of a compacted journal, and its fsync.
        os.fsync(self._journal)
        sync_dir(self._path.parent)
        self._write_mark()

    def _check_mark(self) -> None:
        """Raises `RegisterDamaged` for a journal that ends before what was acknowledged."""
        acknowledged = journal.read_mark(_read_all(self._mark))
        if acknowledged is not None and acknowledged > self._sequence:
            raise RegisterDamaged(
                self._path,
                f"it was cut off, or is an older copy: its last record is number {self._sequence}, "
                f"and number {acknowledged} was acknowledged (as {mark_path(self._path).name} says)",
            )

    # -- writing -----------------------------------------------------

    def _append(self, record: bytes) -> None:
        try:
            _write_all(self._journal, record)
        except OSError:
            self._take_back()
            raise
        try:
            os.fsync(self._journal)
        except OSError as error:
            # After a failed fsync the kernel may have dropped the pages: trying again proves nothing.
            raise self._fail(error) from error

    def _take_back(self) -> None:
        """Remove what was written of a record that found no room."""
        try:
            os.ftruncate(self._journal, self._size)
            os.fsync(self._journal)
        except OSError as error:
            raise self._fail(error) from error

    def _fail(self, error: OSError) -> RegisterDamaged:
        """From now on nothing is acknowledged any more."""
        self._failed = f"the disk failed ({error.strerror})"
        return RegisterDamaged(self._path, self._failed)

    def _write_mark(self) -> None:
        """Not fsynced: an older mark protects less, and never says more than the journal holds."""
        try:
            os.pwrite(self._mark, journal.mark(self._sequence), 0)
        except OSError as error:
            log.warning("%s can't be written: %s", mark_path(self._path), error)

    def _compact(self) -> None:
        live = journal.header(self._sequence) + journal.record(self._sequence + 1, self._entries)
        if len(live) * COMPACT_RATIO > self._size:
            self._compact_above = len(live) * COMPACT_RATIO
            return
        try:
            write_durably(self._path, live, 0o600)
            new = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            if not self._is_in_place():  # what is written to the old one from now on would be lost
                raise self._fail(error) from error
            log.warning("%s can't be compacted, and goes on as it is: %s", self._path, error)
            self._compact_above = self._size * 2
            return
        os.close(self._journal)
        self._journal, self._sequence, self._size = new, self._sequence + 1, len(live)

    def _is_in_place(self) -> bool:
        """Whether the open journal is still the file of that name."""
        try:
            return os.path.samestat(os.fstat(self._journal), os.stat(self._path))
        except OSError:
            return False


def mark_path(path: Path) -> Path:
    """Where the mark of the journal `path` is."""
    return path.with_name(f"{path.name}.mark")


def _locked(path: Path) -> int:
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise RegisterInUse(f"{path} is in use: another xsmd runs with this data_dir") from None
    return lock


def _read_all(descriptor: int) -> bytes:
    chunks = []
    while chunk := os.read(descriptor, 1 << 20):
        chunks.append(chunk)
    return b"".join(chunks)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
