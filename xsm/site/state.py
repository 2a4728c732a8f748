"""What the site decides at run time, kept beside the user's file under state/ (never in it).

Each table is one JSON file, state/<table>.json, an object whose keys are merged one by one when two
revisions are merged (`merge.py`). All are part of every revision, so that all hosts agree on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

MERGE_VERSION = 1
"""Version of the merge rule (`merge.py`). A peer that meets a higher one acts on nothing and says so."""


@dataclass(frozen=True)
class Member:
    """A host whose xsmd has joined the site. Its vote counts."""

    name: str
    address: str  # what DOM0 may say for it
    url: str  # https://ADDRESS:PORT where its peers reach it
    witness: bool | None = (
        None  # it runs no VMs, from the day it joined; None: the row is of before it was written
    )


@dataclass(frozen=True)
class Place:
    """Where a floating VM goes. `chosen`: by a person; else the site found it."""

    member: str
    chosen: bool = False


@dataclass(frozen=True)
class Conflict:
    """Two people changed one field of one VM at once; nothing is done to the VM until it is settled.

    It counts only while the document still shows `shown` there: choosing another value settles it,
    and so does deleting the entry (`xsm resolve VM`).
    """

    vm: str
    what: str  # field of the VM ("host", "memory_mib"...), "removal", or "config"
    shown: str  # the value that the merged document shows, as text
    other: str  # the value that lost
    revisions: tuple[str, ...]  # the two revisions, sorted


@dataclass(frozen=True)
class DiskWord:
    """Somebody's word that `host` may make a VM's disk anew, empty; or (`use`) that what `host` has of it is the one
    that counts. `token`: no other word has it; it is good once."""

    host: str
    token: str
    use: bool = False


@dataclass(frozen=True)
class State:
    """All state tables of one revision."""

    site_id: str = ""  # UUID of the site; its VMs' UUIDs are derived from it
    merge_version: int = MERGE_VERSION
    members_number: int = (
        0  # of the list `members`: each change has a higher one (xsm/peer/membership.py)
    )
    members: Mapping[str, Member] = field(default_factory=dict)
    placement: Mapping[str, str] = field(default_factory=dict)  # floating VM -> member
    chosen: frozenset[str] = frozenset()  # floating VMs whose place a person chose, not the site
    fenced: Mapping[str, Member] = field(
        default_factory=dict
    )  # hosts that were switched off by their fence device: no members until they come back
    drained: frozenset[str] = frozenset()  # members that should run no VMs
    away: Mapping[str, str] = field(
        default_factory=dict
    )  # floating VM -> the drained member that it had to leave
    restarts: Mapping[str, str] = field(
        default_factory=dict
    )  # VM -> token of the last restart asked for
    disk_words: Mapping[str, Mapping[str, DiskWord]] = field(
        default_factory=dict
    )  # VM -> its disk -> the last word about it
    conflicts: tuple[Conflict, ...] = ()

    def hosts_since(self, old: State) -> list[str]:
        """Which hosts came and went since `old`, for people: one line each."""
        lines = [f"{host}: drained" for host in sorted(self.drained - old.drained)]
        lines += [f"{host}: no longer drained" for host in sorted(old.drained - self.drained)]
        for host in sorted({*self.members} - {*old.members}):
            lines.append(f"{host}: {'came back' if host in old.fenced else 'joined the site'}")
        for host in sorted({*old.members, *old.fenced} - {*self.members}):
            if host in old.members or host not in self.fenced:
                lines.append(f"{host}: {'fenced' if host in self.fenced else 'forgotten'}")
        return lines

    def disk_words_since(self, old: State) -> list[str]:
        """Which disks may be made anew since `old`, for people: one line each."""
        return [
            f"{vm}: the disk {disk} that {word.host} has is the one that counts"
            if word.use
            else f"{vm}: an empty disk {disk} may be made on {word.host}"
            for vm, words in sorted(self.disk_words.items())
            for disk, word in sorted(words.items())
            if old.disk_words.get(vm, {}).get(disk) != word
        ]

    def member(self, host: str) -> Member | None:
        """The row of a member, or of a host that was fenced; None for any other."""
        return self.members.get(host) or self.fenced.get(host)

    def without(self, member: str) -> State:
        """A member less; the floating VMs that were placed on it have no place."""
        members = {name: each for name, each in self.members.items() if name != member}
        placement = {vm: host for vm, host in self.placement.items() if host != member}
        return replace(self, members=members, placement=placement)

    @property
    def choices(self) -> dict[str, str]:
        """floating VM -> member that a person chose for it"""
        return {vm: place for vm, place in self.placement.items() if vm in self.chosen}

    @property
    def addresses(self) -> dict[str, str]:
        """Of the members, and of hosts that were fenced, by name."""
        both = {**self.fenced, **self.members}
        return {name: member.address for name, member in both.items()}
