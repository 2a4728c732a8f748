"""What survives a crash of a host: its votes, byte for byte as the project writes them, and its heads.

Decides what a write that was cut off leaves behind. The votes file is a file as the kernel has it, of which a part may
not be on the disk yet: a new daemon reads all of it, a power failure leaves at least the part that was fsynced.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from xsm.edge import journal
from xsm.edge.journal import JournalDamaged
from xsm.peer.register import Register, from_entry, to_entry

FSYNC_S = 0.002
"""A solid-state disk's."""

Torn = Literal["nothing", "all", "torn"]
"""What is left of a write that a crash cut off."""
TORN: tuple[Torn, ...] = ("nothing", "all", "torn")


@dataclass
class Changes:
    """How often anything has changed on any disk of a site, for those who look at them."""

    count: int = 0


class Disk:
    """One host's disk. `fsync_s`: how long a vote takes to get to it, `commit_s`: a revision."""

    def __init__(self, chance: random.Random, changes: Changes) -> None:
        self.fsync_s = FSYNC_S
        self.commit_s = 0.0
        self.heads: tuple[str, ...] = ()
        self._changes = changes
        self._random = chance
        self._content = bytearray()  # as the kernel has it
        self._synced = 0  # bytes of it that are on the disk
        self._writing = b""  # a record that is on its way
        self._sequence = 0
        self.registers: dict[str, Register] = {}  # what is on it for sure; replaced, not changed
        self.forget_votes()

    # -- votes -----------------------------------------------------

    def open_votes(self) -> dict[str, Register]:
        """A daemon starts: `register_file.RegisterFile`. It makes sure of what it read before it counts on it.

        Raises `JournalDamaged`.
        """
        read = journal.replay(bytes(self._content))
        del self._content[read.size :]
        self._sequence = read.sequence
        self._synced = read.size
        self.registers = {vm: from_entry(entry) for vm, entry in read.entries.items()}
        self._changes.count += 1
        return dict(self.registers)

    @property
    def is_writing(self) -> bool:
        """Whether votes are on their way to it."""
        return bool(self._writing)

    def begin_write(self, registers: Mapping[str, Register]) -> None:
        """A record is on its way to the disk; `end_write` when it is there."""
        entries = {vm: to_entry(r) for vm, r in registers.items()}
        self._writing = journal.record(self._sequence + 1, entries)

    def end_write(self, registers: Mapping[str, Register]) -> None:
        """The fsync has come back."""
        self._content += self._writing
        self._writing = b""
        self._sequence += 1
        self._synced = len(self._content)
        self.registers = {**self.registers, **registers}
        self._changes.count += 1

    def stop_write(self, torn: Torn | None = None) -> None:
        """The daemon is gone: what the kernel took of a write stays, and is not fsynced."""
        if self._writing:
            self._content += self._part(self._writing, torn)
            self._writing = b""

    def lose_power(self, torn: Torn | None = None) -> None:
        """What was not fsynced is on the disk, or not, or partly."""
        self.stop_write("all")
        tail = bytes(self._content[self._synced :])
        if tail:
            del self._content[self._synced :]
            self._content += self._part(tail, torn)
            if self._random.random() < 0.2:  # the file grew, what was to be in it had not come
                self._content += bytes(self._synced + len(tail) - len(self._content))

    def forget_votes(self) -> None:
        """An empty votes file, as a host has that is new."""
        self._content = bytearray(journal.header())
        self._synced, self._sequence = len(self._content), 0
        self._writing = b""
        self.registers = {}
        self._changes.count += 1

    def pick(self, torn: Torn | None) -> Torn:
        """What a crash leaves of something that was under way, by chance where it isn't given."""
        return torn or self._random.choice(TORN)

    def _part(self, what: bytes, torn: Torn | None) -> bytes:
        match self.pick(torn):
            case "nothing":
                return b""
            case "all":
                return what
            case "torn":
                return what[: self._random.randrange(min(1, len(what) - 1), len(what))]

    # -- revisions -----------------------------------------------------

    def set_heads(self, heads: tuple[str, ...]) -> None:
        self.heads = heads
        self._changes.count += 1


__all__ = ["TORN", "Changes", "Disk", "JournalDamaged", "Torn"]
