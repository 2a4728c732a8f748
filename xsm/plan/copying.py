"""A VM's own disks that go along in a live move (COPY_DISKS of the site file).

Decides which disks a host would get by a copy, whether it can take them, and whether a source may send the VM with what
its target asks for. Nothing is ever copied over a volume that is there: an old or incomplete one gets another name
first. Must not know how they are copied, nor who is the newest: `peer.disks` says so in the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from xsm.plan import disks
from xsm.plan.actions import Action, Consequence, Step, hold
from xsm.plan.disks import pairs
from xsm.plan.observed import FoundDisk
from xsm.plan.view import Handover, View
from xsm.plan.wanted import WantedVM
from xsm.site.disk import Volume, size_text


def lacking(view: View, w: WantedVM, host: str) -> list[tuple[Volume, FoundDisk]]:
    """Those that `host` hasn't got, or only an old or incomplete volume of their name, and must not make by itself."""
    if not w.vm.copies_disks:
        return []
    return [
        (volume, found)
        for volume, found in pairs(view, w, host)
        if found is not None
        and not (found.shared or found.trouble)
        and (found.stale or (found.size_mib is None and found.refused))
    ]


def obstacle(view: View, w: WantedVM, host: str) -> str:
    """Why `host` can't take copies of the disks that it lacks, "" when it can."""
    need_mib: dict[str, int] = {}
    free_mib: dict[str, int] = {}
    for volume, found in lacking(view, w, host):
        if found.stale and not found.renames:
            return (
                f"an old volume {volume.name} is in pool {volume.pool} on {host}, where XSM can't rename it: "
                "rename or delete it there, and its disk is copied"
            )
        need_mib[volume.pool] = need_mib.get(volume.pool, 0) + volume.size_mib
        if found.free_mib is not None:
            free_mib[volume.pool] = found.free_mib
    for pool, needed in sorted(need_mib.items()):
        if needed > free_mib.get(pool, needed):
            return (
                f"its disks take up to {size_text(needed)} of pool {pool} on {host}, "
                f"which has {size_text(free_mib[pool])} left"
            )
    return ""


def comes_live(view: View, w: WantedVM, host: str, seen_on: Iterable[str]) -> bool:
    """Whether the VM runs elsewhere and would come to `host` with its disks. `seen_on`: where it is seen running."""
    if not w.vm.copies_disks:
        return False
    return any(on != host for on in seen_on) if view.foresees else w.name in view.offered


def before_start(view: View, w: WantedVM, start: Action) -> Iterator[Action]:
    """As `disks.before_start`; but a VM that runs elsewhere is received with its disks, not started."""
    received = () if view.foresees or w.name not in view.offered else to_receive(view, w, start)
    yield from received or disks.before_start(view, w, start)


def held(view: View, w: WantedVM, start: Action, why: str) -> Action:
    """A start that can't be made. Where its disks are not here that may pass: its source has not spoken up yet."""
    waits = not view.foresees and lacking(view, w, start.host)
    return replace(start, held=why) if waits else hold(start, why)


def to_receive(view: View, w: WantedVM, start: Action) -> tuple[Action, ...]:
    """When acting: what `start.host` does instead of starting the VM itself, nothing where it has all disks."""
    found = lacking(view, w, start.host)
    old = next(((v, f) for v, f in found if f.stale), None)
    if old is not None:
        volume, disk = old
        aside = replace(
            start,
            consequence=Consequence.DISK,
            step=Step.SET_ASIDE,
            what=f"disk {volume.disk}",
            old=volume.name,
            new=disk.aside,
            reason="a live move brings a newer one",
            volume=volume,
        )
        return (aside,)
    if not found:
        return ()
    copies = tuple(volume.disk for volume, _ in found)
    reason = f"{start.reason}; it comes live, and {told(v for v, _ in found)}"
    live = Consequence.MIGRATE_LIVE
    return (replace(start, consequence=live, step=Step.RECEIVE, reason=reason, copies=copies),)


def told(volumes: Iterable[Volume]) -> str:
    """For people."""
    each = [f"{volume.disk} {size_text(volume.size_mib)}" for volume in volumes]
    return f"its disks are copied: {', '.join(each)}"


def why_not_sent(w: WantedVM, handover: Handover, not_live: str, allow: str) -> str:
    """Why its source must not let the VM go to that target, "" when it may. `not_live`: why it can't go live. `allow`:
    how the site file says that disks are copied.

    What the target has on storage of its own may be old, and nothing but a copy puts that right.
    """
    names = [disk.name for disk in w.vm.disks]
    lacks = ", ".join(handover.copies)
    if handover.copies and not w.vm.copies_disks:
        return f"{handover.target} lacks its disks {lacks}; {allow} has them copied"
    if not w.vm.copies_disks:
        return ""
    if handover.copies and not_live:
        return f"its disks are copied in a live move only, and that is not possible: {not_live}"
    own = [n for n in names if n not in (*handover.copies, *handover.shared)]
    if own and not not_live:
        return (
            f"{handover.target} has a volume of its own for its disks {', '.join(own)}, which may be old: "
            "rename or delete it there, and they are copied"
        )
    unknown = [name for name in handover.copies if name not in names]
    return f"the site file names no disks {', '.join(unknown)} of it" if unknown else ""
