"""Which disks of the site file this host may make: what its claims know, put beside what was found.

Decides by `register.why_no_disk`, and what is remembered of a disk before a VM starts with it. Must not know pools.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from xsm.peer.ballots import Ballots
from xsm.peer.register import Register, is_overtaken, why_no_disk
from xsm.plan.actions import Action, Step
from xsm.plan.observed import ACTIVE, FoundDisk, HostReport
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


def keep(
    report: HostReport, ballots: Ballots, wanted: Wanted | None, unsettled: Callable[[str], bool]
) -> None:
    """Remember the disks that are here, so that one that is gone later is never taken for one that never was; those on
    which the VM's guest runs here, and so are the newest; and that somebody's word was heeded."""
    for vm, of in report.disks.items():
        register, w = ballots.of(vm), wanted.by_name.get(vm) if wanted else None
        doubted = register.copying | register.left
        here = {d.disk for d in of if d.size_mib is not None and not d.trouble}
        known = {disk for disk in here if disk not in doubted}
        words = w.disk_words if w else {}
        known |= {
            _heeded(words[d].token)
            for d in known
            if d in words and words[d].host == ballots.me and not words[d].use
        }
        if not known <= register.disks:
            ballots.keep_disks(vm, known)
        current = {d.disk for d in of if d.current}
        if (current & doubted or (current and register.expelled)) and not unsettled(vm):
            ballots.use_disks(vm, current)
    _heed(report, ballots, wanted)


def _heed(report: HostReport, ballots: Ballots, wanted: Wanted | None) -> None:
    """Somebody says which host's disk counts: there it may start the VM again, and what all others have is old."""
    on = {d.tag.vm for d in report.domains if d.tag is not None and d.state in ACTIVE}
    for vm, w in sorted(wanted.by_name.items()) if wanted else ():
        for disk, word in sorted(w.disk_words.items()):
            counts = word.use or (w.vm.copies_disks and word.host != ballots.me)
            if not counts or vm in on or _heeded(word.token) in ballots.of(vm).disks:
                continue
            ballots.keep_disks(vm, [_heeded(word.token)])
            if word.host == ballots.me:
                ballots.use_disks(vm, [disk])
            else:
                ballots.leave_disks(vm, [disk])


def done(ballots: Ballots, action: Action) -> None:
    """An action has ended well."""
    if action.volume is not None and action.step is Step.MAKE_DISK:
        ballots.keep_disks(action.vm, [action.volume.disk])
    if action.volume is not None and action.step is Step.SET_ASIDE:
        ballots.set_aside(action.vm, action.volume.disk)


def begin(ballots: Ballots, action: Action) -> None:
    """An action is about to begin: what has to be on disk before."""
    if action.step is Step.MAKE_DISK and action.volume and action.volume.origin:
        ballots.begin_copy(action.vm, action.volume.disk)
    if action.step is Step.MIGRATE and action.copies:
        ballots.leave_disks(action.vm, action.copies)


def shared(report: HostReport | None, vm: str) -> tuple[str, ...]:
    """Its disks that are here, on storage of the network."""
    found = report.disks.get(vm, ()) if report else ()
    return tuple(sorted(d.disk for d in found if d.shared and d.size_mib is not None))


def _judged(found: FoundDisk, ballots: Ballots, w: WantedVM | None) -> FoundDisk:
    volume = (
        next((v for v in volumes(w.name, w.vm.disks) if v.disk == found.disk), None) if w else None
    )
    if w is None or volume is None or found.trouble:
        return found
    register = ballots.of(w.name)
    if found.size_mib is None:
        return replace(found, refused=_refused(w, volume, register, ballots.me))
    if found.disk in register.copying and not why_no_disk(register, ballots.me, found.disk):
        return replace(found, trouble=_cut_off(volume, ballots.me))
    if found.shared and found.disk not in register.copying:
        return found  # whoever ran the VM wrote to this very volume
    old = found.disk in register.left or (w.vm.copies_disks and is_overtaken(register, ballots.me))
    if not old and found.disk not in register.copying:
        return found
    suffix = f"left-{register.bar}" if old else "cut-off"
    why = _old(w, volume, register, ballots.me)
    return replace(found, stale=why, aside=f"{volume.name}.{suffix}")


def _old(w: WantedVM, volume: Volume, register: Register, me: str) -> str:
    if volume.disk in register.copying:
        why = "may be incomplete: a live move was copying it there"
    elif volume.disk in register.left:
        why = "may be old: it went along in a live move to another host, or somebody said that another host's counts"
    else:
        why = f"may be old: other hosts had the VM while {me} was no member"
    return (
        f"its disk {volume.disk} (volume {volume.name} of pool {volume.pool}) on {me} {why}; "
        f"`xsm disk use {w.name} {volume.disk} {me}` starts it with that one, where no other host has a newer one"
    )


def _refused(w: WantedVM, volume: Volume, register: Register, me: str) -> str:
    word = w.disk_words.get(volume.disk)
    made = word is not None and word.host == me and not word.use
    if made and word is not None and _heeded(word.token) not in register.disks:
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
