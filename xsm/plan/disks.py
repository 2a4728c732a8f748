"""A VM's own disks (DISK of the site file) against what its host found: made before a start, grown, else told.

Decides which disk is made or grown next, and why a VM can't start for its disks. Whether a host may make a disk that is
not there is the claims' knowledge (`peer.disks`): the report says so. Must not know how volumes are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from xsm.plan.actions import Action, Consequence, Notice, Step
from xsm.plan.observed import FoundDisk
from xsm.plan.view import View
from xsm.plan.wanted import WantedVM
from xsm.site.disk import Volume, size_text, volumes
from xsm.site.model import HypervisorKind

ROUNDED_UP_MIB = 32
"""By less than this a volume may be bigger than it was asked for: LVM makes whole extents, of 4 MiB if nobody chose."""

Pair = tuple[Volume, FoundDisk | None]


def pairs(view: View, w: WantedVM, host: str) -> list[Pair]:
    """Each disk, and what the host says of it; None: it has not looked."""
    if not w.vm.disks:
        return []
    report = view.reports.get(host)
    found = {d.disk: d for d in report.disks.get(w.name, ())} if report else {}
    return [(v, found.get(v.disk)) for v in volumes(w.name, w.vm.disks)]


def obstacle(view: View, w: WantedVM, host: str, coming: bool = False) -> str:
    """Why the VM can't start on `host` for its disks, "" when it can or that is not known. `coming`: what is not there
    comes along in a live move (`copying`)."""
    for volume, found in pairs(view, w, host):
        if found is None:
            continue
        if found.trouble:
            return found.trouble
        if coming and not found.shared:
            continue
        if found.stale:
            return found.stale
        word = w.disk_words.get(volume.disk)
        allowed = view.foresees and word is not None and word.host == host
        if found.size_mib is None and found.refused and not allowed:
            return found.refused
    return ""


def before_start(view: View, w: WantedVM, start: Action) -> Iterator[Action]:
    """What has to be done before `start`, else `start` itself; foreseeing, the one and the other."""
    steps = list(_steps(view, w, start))
    if view.foresees:
        yield from (replace(step, step=Step.NONE) for step in steps)
        yield start
    else:
        yield (steps or [start])[0]


def _steps(view: View, w: WantedVM, start: Action) -> Iterator[Action]:
    facts = view.facts(start.host)
    for volume, found in pairs(view, w, start.host):
        if found is None and view.foresees and start.consequence is not Consequence.MIGRATE_COLD:
            yield _make(w, volume, start, "unless it is there already")
        elif found is not None and found.size_mib is None:
            yield _make(w, volume, start, "it is not there yet")
        elif (
            found is not None
            and found.size_mib is not None
            and found.size_mib < volume.size_mib
            and facts is not None
            and facts.kind is not HypervisorKind.TEST  # it has no call for that
        ):
            yield _grow(w, start.host, volume, found.size_mib, Step.RESIZE_DISK)


def _make(w: WantedVM, volume: Volume, start: Action, why: str) -> Action:
    copied = f", a copy of {volume.origin}" if volume.origin else ""
    return Action(
        w.name,
        start.host,
        Consequence.DISK,
        Step.MAKE_DISK,
        f"disk {volume.disk}",
        "absent",
        f"{size_text(volume.size_mib)} in pool {volume.pool}{copied}",
        why,
        uuid=w.uuid,
        volume=volume,
    )


def _grow(w: WantedVM, host: str, volume: Volume, size_mib: int, step: Step) -> Action:
    return Action(
        w.name,
        host,
        Consequence.LIVE if step is Step.GROW_DISK else Consequence.DISK,
        step,
        f"disk {volume.disk}",
        size_text(size_mib),
        size_text(volume.size_mib),
        "the site file says so",
        uuid=w.uuid,
        volume=volume,
    )


def while_active(
    view: View, w: WantedVM, host: str, uuid: str, here: bool
) -> Iterator[Action | Notice]:
    """Growth of a domain that runs on `host`. `here`: its present boot has all these disks."""
    for volume, found in pairs(view, w, host):
        if found is None or found.size_mib is None or found.size_mib == volume.size_mib:
            continue
        if found.size_mib > volume.size_mib:
            if found.size_mib < volume.size_mib + ROUNDED_UP_MIB:
                continue
            was, now = size_text(found.size_mib), size_text(volume.size_mib)
            told = f"disk {volume.disk} is {was}, the site file says {now}: XSM cannot shrink a disk; left as it is"
            yield Notice(host, w.name, told)
        elif here:
            yield replace(_grow(w, host, volume, found.size_mib, Step.GROW_DISK), uuid=uuid)
