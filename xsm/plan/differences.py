"""What differs between an active domain and its VM, apart from power and place, and how it can be
mended.

Decides what can change live, what takes a restart, and what was changed by hand. Must not know
about other hosts.
"""

from __future__ import annotations

from collections.abc import Iterator

from xsm.plan import disks
from xsm.plan.actions import Action, Consequence, Notice, Step, hold
from xsm.plan.observed import Domain
from xsm.plan.power import Finding, applied, may_act, reported, restart_is_due, why
from xsm.plan.round import BY_FILE, Round
from xsm.plan.sightings import Sighting
from xsm.plan.tags import LIMITS, NO_LIMITS, REFUSED
from xsm.plan.wanted import WantedVM
from xsm.site.model import Drift, HypervisorKind

XEN_MEMORY_TOLERANCE_MIB = 1
"""Xen gives back a balloon size that is up to a MiB off what was set (xl rounds to its own pages).
"""
XEN_DEFAULT_WEIGHT = 256
"""What Xen gives a domain whose definition says none."""
VCPUS_CAN_LEAVE = frozenset({HypervisorKind.XEN, HypervisorKind.TEST})
"""Kinds whose guests give VCPUs back while they run. QEMU's guests mostly refuse or ignore it."""

BY_HAND = "changed by hand"
BY_HAND_OR_GUEST = "changed by hand, or its guest has not followed yet"
"""A balloon moves only when the guest lets it: one that is just booting still has all its memory."""

NEXT_BOOT_REASON = "takes effect at the next `xsm restart`"


def while_active(r: Round, w: WantedVM, s: Sighting) -> Iterator[Finding]:
    """All differences of a domain that is active; `s.host` needn't be the VM's own host."""
    kind = r.kind(s.host)
    if kind is None:
        return
    yield from _memory(r, w, s, kind)
    yield from _vcpus(r, w, s, kind)
    yield from _weight(w, s, kind)
    yield from _limits(r, w, s)
    yield from _definition(r, w, s, kind)
    grown = "disks" not in stale_parts(w, s.domain, kind)
    yield from disks.while_active(r.view, w, s.host, s.domain.uuid, grown)
    yield from _upkeep(w, s)


def _live(
    w: WantedVM, s: Sighting, step: Step, what: str, *, value: int, old: str, new: str
) -> Action | Notice:
    """Set a live value, or tell that somebody else set another one."""
    domain = s.domain
    by_hand = BY_HAND_OR_GUEST if step is Step.SET_MEMORY else BY_HAND
    if not may_act(w, domain, what, str(value)):
        return reported(w, s, f"{what} was {by_hand}: {old}, the site file says {new}")
    reason = why(domain, what, str(value), by_hand)
    return Action(
        w.name,
        s.host,
        Consequence.LIVE,
        step,
        what,
        old,
        new,
        reason,
        uuid=domain.uuid,
        value=value,
    )


def _at_boot(
    r: Round, w: WantedVM, s: Sighting, what: str, *, old: str, new: str, reason: str
) -> Action:
    # When a restart is asked for already, what is in its way is told there.
    obstacle = "" if restart_is_due(w, s.domain) else r.return_obstacle(w, s.host)
    told = f"{reason}; {NEXT_BOOT_REASON}" + (
        f", and could not start: {obstacle}" if obstacle else ""
    )
    return Action(
        w.name, s.host, Consequence.NEXT_BOOT, Step.NONE, what, old, new, told, uuid=s.domain.uuid
    )


def _memory(r: Round, w: WantedVM, s: Sighting, kind: HypervisorKind) -> Iterator[Finding]:
    domain, value = s.domain, w.vm.memory_mib
    tolerance = XEN_MEMORY_TOLERANCE_MIB if kind is HypervisorKind.XEN else 0
    if abs(domain.memory_mib - value) <= tolerance:
        return
    old, new = f"{domain.memory_mib} MiB", f"{value} MiB"
    if value > domain.max_memory_mib + tolerance:
        reason = f"more than the {domain.max_memory_mib} MiB that this boot allows"
        yield _at_boot(r, w, s, "memory", old=old, new=new, reason=reason)
        return
    found = _live(w, s, Step.SET_MEMORY, "memory", value=value, old=old, new=new)
    refused = r.shortage(s.host).no_growth.get(w.name, "")
    yield hold(found, refused) if refused and isinstance(found, Action) else found


def _vcpus(r: Round, w: WantedVM, s: Sighting, kind: HypervisorKind) -> Iterator[Finding]:
    domain, value = s.domain, w.vm.vcpus
    if domain.vcpus == value:
        return
    old, new = str(domain.vcpus), str(value)
    if value > domain.max_vcpus:
        reason = f"more than the {domain.max_vcpus} that this boot allows"
        yield _at_boot(r, w, s, "vcpus", old=old, new=new, reason=reason)
    elif domain.vcpus < value and kind is HypervisorKind.XEN and value > _cpus(r, s.host):
        reason = f"Xen gives a guest that runs no more than the {_cpus(r, s.host)} CPUs of its host"
        yield _at_boot(r, w, s, "vcpus", old=old, new=new, reason=reason)
    elif value < domain.vcpus and kind not in VCPUS_CAN_LEAVE:
        reason = f"a running {kind} guest can't give VCPUs back"
        yield _at_boot(r, w, s, "vcpus", old=old, new=new, reason=reason)
    else:
        yield _live(w, s, Step.SET_VCPUS, "vcpus", value=value, old=old, new=new)


def _cpus(r: Round, host: str) -> int:
    facts = r.view.facts(host)
    return facts.cpus if facts else 0


def _weight(w: WantedVM, s: Sighting, kind: HypervisorKind) -> Iterator[Finding]:
    old, new = s.domain.cpu_weight, w.cpu_weight
    if new is None or old is None or old == new:
        return
    found = _live(w, s, Step.SET_WEIGHT, "weight", value=new, old=str(old), new=str(new))
    if kind is HypervisorKind.XEN and old == (s.domain.started_weight or XEN_DEFAULT_WEIGHT):
        # Nobody's hand, whatever the drift policy: a migration brings it back to what it was started with.
        was_set = applied(s.domain, "weight") == str(new)
        reason = "Xen's migrations forget a weight that was set" if was_set else BY_FILE
        consequence, uuid = Consequence.LIVE, s.domain.uuid
        found = Action(
            w.name, s.host, consequence, Step.SET_WEIGHT, "weight", str(old), str(new), reason, uuid=uuid, value=new
        )  # fmt: skip
    yield found


def _limits(r: Round, w: WantedVM, s: Sighting) -> Iterator[Finding]:
    """Goes by what XSM set last: what somebody else sets isn't looked at."""
    if s.domain.tag is None or w.limits == (set_last := applied(s.domain, LIMITS) or ""):
        return
    old, new = set_last or NO_LIMITS, w.limits or NO_LIMITS
    refused = applied(s.domain, REFUSED) or ""
    if refused.startswith(f"{new}: "):
        why_not = refused.removeprefix(f"{new}: ")
        reason = f"it isn't taken while the guest runs: {why_not}"
        yield _at_boot(r, w, s, LIMITS, old=old, new=new, reason=reason)
        return
    yield Action(
        w.name,
        s.host,
        Consequence.LIVE,
        Step.SET_LIMITS,
        LIMITS,
        old,
        new,
        BY_FILE,
        uuid=s.domain.uuid,
    )


def stale_parts(w: WantedVM, domain: Domain, kind: HypervisorKind) -> tuple[str, ...]:
    """Parts of the definition that differ from what XSM defined the domain with."""
    if domain.tag is None:
        return ()
    then, now = domain.tag.fingerprint, w.fingerprint(kind)
    if then == now:
        return ()
    return tuple(k for k in sorted({*then, *now}) if then.get(k, "") != now.get(k, ""))


def _definition(r: Round, w: WantedVM, s: Sighting, kind: HypervisorKind) -> Iterator[Finding]:
    domain = s.domain
    parts = list(stale_parts(w, domain, kind))
    if domain.uuid != w.uuid and "uuid" not in parts:
        parts.append("uuid")
    if domain.name != w.name and "name" not in parts:
        parts.append("name")
    if parts:
        yield _at_boot(r, w, s, "definition", old="", new=", ".join(parts), reason=BY_FILE)


def _upkeep(w: WantedVM, s: Sighting) -> Iterator[Finding]:
    """What XSM's own rules want of every domain: it survives a power cycle of the host, and doesn't
    start by itself."""
    domain = s.domain
    if (domain.uuid, domain.name) != (w.uuid, w.name):
        return  # a definition of the old name or UUID can't be renewed; the next boot makes it anew
    if not domain.persistent:
        what, old, new, by_hand = "definition", "absent", "defined", "undefined by hand"
    elif domain.autostart:
        what, old, new, by_hand = "autostart", "on", "off", "autostart switched on by hand"
    else:
        return
    if w.vm.drift is Drift.REPORT:
        yield reported(w, s, by_hand)
        return
    yield Action(
        w.name,
        s.host,
        Consequence.LIVE,
        Step.DEFINE,
        what,
        old,
        new,
        f"drift: {by_hand}",
        uuid=domain.uuid,
    )


def while_off(w: WantedVM, s: Sighting, kind: HypervisorKind) -> Iterator[Finding]:
    """Differences of a domain that is off and shall stay so: it is simply defined anew."""
    domain = s.domain
    parts = list(stale_parts(w, domain, kind))
    if domain.tag is not None and (applied(domain, LIMITS) or "") != w.limits:
        parts.append(LIMITS)
    by_file = bool(parts)
    by_hand = []
    values = [
        ("memory", domain.memory_mib, w.vm.memory_mib, " MiB"),
        ("vcpus", domain.vcpus, w.vm.vcpus, ""),
    ]
    if domain.cpu_weight is not None and w.cpu_weight is not None:
        values.append(("weight", domain.cpu_weight, w.cpu_weight, ""))
    for what, old, new, unit in values:
        if old == new:
            continue
        parts.append(f"{what} {old}{unit} => {new}{unit}")
        if applied(domain, what) not in (None, str(new)):
            by_file = True
        else:
            by_hand.append(
                f"{what} was changed by hand: {old}{unit}, the site file says {new}{unit}"
            )
    if domain.autostart:
        parts.append("autostart on => off")
        by_hand.append("autostart was switched on by hand")
    if not parts:
        return
    if w.vm.drift is Drift.REPORT and not by_file:
        for message in by_hand:
            yield reported(w, s, message)
        return
    reason = BY_FILE if by_file else "drift: changed by hand"
    yield Action(
        w.name,
        s.host,
        Consequence.LIVE,
        Step.DEFINE,
        "definition",
        "",
        ", ".join(parts),
        reason,
        uuid=domain.uuid,
    )
