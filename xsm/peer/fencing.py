"""Hosts that are switched off by their fence device, so that their VMs may start elsewhere, and that come back.

Decides what a fencing changes in the site, which silent host is fenced unasked and by whom, and when none is (the storm
guard). A fenced host is no member until it comes back; that a majority has to agree, and in which order things
happen, is `membership.py`'s (docs/safety.md, "Members come and go"). Must not know how a fence agent is run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from xsm.peer.commands import CommandRefused, Intent, find_member
from xsm.peer.contacts import FAILED_S, Contacts
from xsm.site.document import Document, Files
from xsm.site.model import Power

TURN_S = 20.0
"""Members that answer take turns, so that their votes don't go against one another: each has so long. It begins within
the first half of that, since they don't miss a host all at once."""
TURNS = 4
"""Of so many, the first by name."""
TRY_AGAIN_S = 60.0
"""After an attempt, done or not, this host makes no other for so long: a flood of power cuts must not outrun people."""


def fence(files: Files, document: Document, host: str, me: str) -> Intent:
    """Have a host switched off. Its floating VMs find other places; pinned ones wait until it is back. Raises
    `CommandRefused`."""
    name = find_member(document, host)
    if name == me:
        raise CommandRefused(f"{name} can't have itself fenced", "run this on another host")
    if document.state.members[name].witness:
        raise CommandRefused(
            f"{name} is a witness: it runs no VMs that could start elsewhere",
            f"if it is gone for good: `xsm host forget {name} --it-is-off`",
        )
    if not agent_of(document, name):
        raise CommandRefused(
            f"the site file names no FENCE for {name}",
            f"switch it off by hand, then `xsm host forget {name} --it-is-off`",
        )
    state = document.state
    after = replace(state.without(name), fenced={**state.fenced, name: state.members[name]})
    return Intent(files, after, f"Fence host {name}")


def readmit(files: Files, document: Document, name: str) -> Intent:
    """Take a fenced host back, which has started anew and runs nothing. Raises `CommandRefused`."""
    state = document.state
    member = state.fenced.get(name)
    if member is None or name in state.members:
        raise CommandRefused(f"{name} is no host that was fenced")
    fenced = {m: v for m, v in state.fenced.items() if m != name}
    after = replace(state, members={**state.members, name: member}, fenced=fenced)
    return Intent(files, after, f"{name} is back")


@dataclass(frozen=True)
class Due:
    """`host` is to be fenced now; or, with `why_not`, it would be and must not be."""

    host: str
    silent_s: float
    why_not: str = ""


def due(document: Document, contacts: Contacts, tried_at: float, now: float) -> Due | None:
    """The host to fence now, the longest silent one first; None when there is none.

    `tried_at`: when this daemon last tried to have a host fenced.
    """
    members = document.state.members
    others = [m for m in members if m != contacts.me]
    limits = {name: limit for name in others if (limit := _limit_s(document, name)) is not None}
    if not limits or now < tried_at + TRY_AGAIN_S:
        return None
    silent_s = {m: _silent_s(contacts, m, now) for m in others}
    missing = [m for m in others if contacts.heard_s(m, now) >= FAILED_S]
    turns = sorted({*members} - {*missing})[:TURNS]
    late = [
        (-silent_s[host], host)
        for host, limit in limits.items()
        if _is_turn(turns, contacts.me, silent_s[host] - limit) and gains(document, host)
    ]
    if not late:
        return None
    host = min(late)[1]
    lost, known = (
        len(missing) + len(document.state.fenced),
        len(members) + len(document.state.fenced),
    )
    if 2 * lost >= known:
        why_not = f"{lost} of the site's {known} hosts are silent or fenced: that may be the network, not the hosts"
        return Due(host, silent_s[host], why_not)
    return Due(host, silent_s[host])


def _is_turn(turns: list[str], me: str, late_s: float) -> bool:
    """Whether `me` has its turn, so long after the limit."""
    if late_s < 0 or me not in turns or late_s % TURN_S >= TURN_S / 2:
        return False
    return turns[int(late_s // TURN_S) % len(turns)] == me


def gains(document: Document, host: str) -> bool:
    """Whether a VM can start elsewhere once the host is fenced: one that floats, and is to run."""
    state, vms = document.state, document.vms
    return any(
        member == host and vm in vms and vms[vm].host is None and vms[vm].power is not Power.STOPPED
        for vm, member in state.placement.items()
    )


def agent_of(document: Document, host: str) -> str:
    """The host's fence agent as the site file writes it, "" when it names none."""
    entry = document.host_entry(host)
    return (entry.fence or "") if entry is not None else ""


def _limit_s(document: Document, host: str) -> float | None:
    entry = document.host_entry(host)
    return None if entry is None or entry.fence is None else entry.fence_after_s


def _silent_s(contacts: Contacts, member: str, now: float) -> float:
    """A member that this daemon has never heard of may be slower to boot after a power cut: it isn't missed."""
    return contacts.heard_s(member, now) if member in contacts.heard_at else 0.0
