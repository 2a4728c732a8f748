"""Which disks of the site file this host may make: what its claims know, put beside what was found.

Decides by `register.why_no_disk`, and what is remembered of a disk before a VM starts with it. Must not know pools.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from xsm.peer.ballots import Ballots
from xsm.peer.register import Register, why_no_disk
from xsm.plan.observed import FoundDisk, HostReport
from xsm.plan.wanted import Wanted, WantedVM
from xsm.site.disk import Volume, volumes


def judged(
    report: HostReport, ballots: Ballots, wanted: Wanted | None, unsettled: Callable[[str], bool]
) -> HostReport:
    """The report, with why this host must not make what it lacks. `unsettled`: whether something was under way with the
    VM since this look began, so that what it found of the VM's disks may be old."""
    if not report.disks or wanted is None:
        return report
    disks = {
        vm: tuple(_judged(found, ballots, wanted.by_name.get(vm)) for found in of)
        for vm, of in report.disks.items()
        if not unsettled(vm)
    }
    return replace(report, disks=disks)


def keep(report: HostReport, ballots: Ballots, wanted: Wanted | None) -> None:
    """Remember the disks that are here, so that one that is gone later is never taken for one that never was; and that
    somebody's word to make it has been heeded."""
    for vm, of in report.disks.items():
        register, w = ballots.of(vm), wanted.by_name.get(vm) if wanted else None
        here = {d.disk for d in of if d.size_mib is not None and not d.trouble}
        known = {disk for disk in here if disk not in register.copying}
        words = w.disk_words if w else {}
        known |= {
            _heeded(words[d].token) for d in known if d in words and words[d].host == ballots.me
        }
        if not known <= register.disks:
            ballots.keep_disks(vm, known)


def _judged(found: FoundDisk, ballots: Ballots, w: WantedVM | None) -> FoundDisk:
    volume = (
        next((v for v in volumes(w.name, w.vm.disks) if v.disk == found.disk), None) if w else None
    )
    if w is None or volume is None or found.trouble:
        return found
    register = ballots.of(w.name)
    if found.size_mib is not None:
        cut_off = found.disk in register.copying
        return replace(found, trouble=_cut_off(volume, ballots.me)) if cut_off else found
    return replace(found, refused=_refused(w, volume, register, ballots.me))


def _refused(w: WantedVM, volume: Volume, register: Register, me: str) -> str:
    word = w.disk_words.get(volume.disk)
    if word is not None and word.host == me and _heeded(word.token) not in register.disks:
        return ""
    why = why_no_disk(register, me, volume.disk)
    if not why:
        return ""
    return (
        f"its disk {volume.disk} (volume {volume.name} of pool {volume.pool}) is not on {me}, and {why}: is the pool "
        f"mounted there, and shared? `xsm disk make {w.name} {volume.disk}` has an empty one made"
    )


def _cut_off(volume: Volume, me: str) -> str:
    return (
        f"{me} was cut off as it copied {volume.origin or 'its origin'} to disk {volume.disk}: "
        f"`virsh vol-delete {volume.name} {volume.pool}` there, and it is copied anew"
    )


def _heeded(token: str) -> str:
    """How the register holds that a word was used up. No disk has such a name."""
    return f"word {token}"
