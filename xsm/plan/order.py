"""The order in which a host is emptied, as values: for those who show it, too, so nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ASSUMED_MIB_S = 110.0
"""What a link of 1 Gbit/s carries, where nothing was measured yet."""


@dataclass(frozen=True)
class Pace:
    """How fast VMs move, and how many at once from and to one host."""

    rate_mib_s: float = ASSUMED_MIB_S  # of one migration
    measured: bool = False
    out: int = 2
    into: int = 2


ASSUMED_PACE = Pace()


@dataclass(frozen=True)
class Move:
    """One VM's way. `step`: those of one step may go in any order, and at once within the limits."""

    vm: str
    source: str
    target: str
    memory_mib: int
    step: int  # from 1
    takes_s: float
    stopped_for: str = ""  # why it is stopped for it, "" when it isn't
    off: bool = False  # it is off: only its place changes
    makes_room: bool = False  # a VM of another host


@dataclass(frozen=True)
class Order:
    """How `host` is emptied. Each stage is one edit, made when the one before is carried out; nearly always there is
    one. Within a stage the hosts keep the order by themselves: who comes waits for who leaves."""

    host: str
    stages: tuple[tuple[Move, ...], ...] = ()
    stays: Mapping[str, str] = field(default_factory=dict)  # VM -> why it stays
    total_s: float = 0.0
    pace: Pace = ASSUMED_PACE

    @property
    def moves(self) -> tuple[Move, ...]:
        return tuple(move for stage in self.stages for move in stage)
