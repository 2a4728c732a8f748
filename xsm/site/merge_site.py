"""3-way merge of two sites as values: per (VM, field), per (host, field), per set.

Decides what the merged site says and which VMs two people disagree about. Must not know files, formats or
revisions. `second` is the later edit and wins where both changed one thing; modify beats delete. Where a VM belongs
is one thing, though it is told in two places: DOM0 in the file, and for a floating VM the table of placements. And
whether a value is disputed belongs to it: who settles a conflict decides, also for what is shown already.
Total: the result never breaks a rule of the site file that both sides keep (one MAC each, hosts listed, ...).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any

from xsm.site.checks import address_key, host_names
from xsm.site.fields import contradictions
from xsm.site.file_limits import MAX_DISKS
from xsm.site.kinds import NAME_PATTERN
from xsm.site.model import VM, Host, Site, VMSet
from xsm.site.state import Place

KEPT = "kept"
REMOVED = "removed"
FLOATING = "floating"
MAX_TEXT_CHARS = 200
"""Of a value in a conflict; longer ones are cut."""

VM_FIELDS = tuple(f.name for f in fields(VM) if f.name not in ("name", "line"))
HOST_FIELDS = tuple(f.name for f in fields(Host) if f.name not in ("name", "line"))
_LIMITED = {"max_vcpus": "vcpus", "max_memory_mib": "memory_mib"}
"""Field -> the field that must not exceed it: edits of the two contradict one another."""
_UNIQUE: Mapping[str, Callable[[VM], str | None]] = {
    "mac": lambda vm: vm.mac,
    "uuid": lambda vm: vm.uuid,
    "ip": lambda vm: None if vm.ip in (None, "dhcp") else str(vm.ip).partition("/")[0],
}
"""Fields that two VMs must not share, and what of them counts (`checks.py` has the same rules)."""
_NAME = re.compile(NAME_PATTERN)


@dataclass(frozen=True)
class Clash:
    """Something of a VM that both sides decided, differently. Texts as in `state.Conflict`."""

    vm: str
    what: str
    shown: str
    other: str


def text_of(value: Any) -> str:
    """A field's value as a conflict holds it: a line of printable characters."""
    if value is None:
        return ""
    if isinstance(value, Enum):
        text = str(value.value)
    elif isinstance(value, tuple):
        text = ",".join(map(str, value))
    else:
        text = str(value)
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= MAX_TEXT_CHARS else text[: MAX_TEXT_CHARS - 3] + "..."


def host_text(vm: VM, chosen: str | None) -> str:
    """Where people want it. `chosen`: the member that somebody chose for it while it floats; a place that the site
    itself found is nobody's word."""
    return text_of(vm.host if vm.host is not None else chosen or FLOATING)


@dataclass(frozen=True)
class Dispute:
    """A conflict that is open: the values that it is `between`, whichever is shown, and whose edits gave them. The
    same two values given anew by others are another dispute."""

    between: frozenset[str]
    revisions: frozenset[str]


@dataclass(frozen=True)
class Beside:
    """What the state tables of one side say about its VMs."""

    placement: Mapping[str, Place] = field(default_factory=dict)  # of floating VMs
    disputes: Mapping[str, Mapping[str, Dispute]] = field(default_factory=dict)
    """VM -> what is in conflict -> that conflict."""


@dataclass(frozen=True)
class Stand:
    """Where one side stands on a VM: its entry in the file, and what the state tables add."""

    vm: VM
    place: Place | None = None  # of a floating VM that has one
    disputes: Mapping[str, Dispute] = field(default_factory=dict)

    def value(self, what: str) -> Any:
        """Of a field. That of the host is a pair: pinned to, placed on."""
        return (self.vm.host, self.place) if what == "host" else getattr(self.vm, what)

    @property
    def chosen(self) -> str | None:
        """The member that a person chose for it, floating."""
        return self.place.member if self.place and self.place.chosen else None

    @property
    def host(self) -> str:
        return host_text(self.vm, self.chosen)


@dataclass(frozen=True)
class Sides:
    """The three sites, by name."""

    base: Mapping[str, Stand]
    first: Mapping[str, Stand]
    second: Mapping[str, Stand]


@dataclass(frozen=True)
class MergedSite:
    """`placement`: of floating VMs. `clashes`: what the two sides disagree about."""

    site: Site
    placement: Mapping[str, Place]
    clashes: tuple[Clash, ...]


def merge_sites(
    base: Site,
    first: Site,
    second: Site,
    members: Mapping[str, str] | None = None,
    beside: tuple[Beside, Beside, Beside] = (Beside(), Beside(), Beside()),
) -> MergedSite:
    """Merge the VMs, hosts and sets of two sites whose common past is `base`.

    `members`: name -> address of members, which a DOM0 may name without a Host entry. `beside`: the state tables
    of base, first and second.
    """
    sides = Sides(*map(_stands, (base, first, second), beside))
    clashes: list[Clash] = []
    merged: dict[str, Stand] = {}
    for name in sorted({*sides.base, *sides.first, *sides.second}):
        stand = _merge_vm(
            sides.base.get(name), sides.first.get(name), sides.second.get(name), clashes
        )
        if stand is not None:
            merged[name] = stand
    for attribute in _UNIQUE:
        _make_unique(attribute, merged, sides, clashes)
    hosts = _merge_hosts(base, first, second)
    _list_hosts(hosts, merged, (first, second), members or {}, clashes)
    _make_room(hosts, merged, members or {}, first, second, sides, clashes)
    owners, stay = _owners(base, first, second)
    vms = {name: stand.vm for name, stand in merged.items()}
    placement = {name: s.place for name, s in merged.items() if s.place is not None}
    return MergedSite(_assemble(owners, stay, vms, hosts), placement, tuple(clashes))


def placed(site: Site, placement: Mapping[str, Place]) -> dict[str, Place]:
    """The part of a table of placements that counts: of VMs that float."""
    return {
        vm.name: placement[vm.name] for vm in site.vms() if vm.host is None and vm.name in placement
    }


def _stands(site: Site, beside: Beside) -> dict[str, Stand]:
    places, disputes = placed(site, beside.placement), beside.disputes
    return {vm.name: Stand(vm, places.get(vm.name), disputes.get(vm.name, {})) for vm in site.vms()}


def _three(base: Any, first: Any, second: Any) -> Any:
    """The 3-way rule for one value; where both changed it, second's."""
    return first if second == base else second


def _merge_vm(
    base: Stand | None, first: Stand | None, second: Stand | None, clashes: list[Clash]
) -> Stand | None:
    if first is None or second is None:
        left = first or second
        if left is None or not _changed(base, left):
            return None  # removed by one side or both, untouched by the other
        if base is not None:
            clashes.append(Clash(left.vm.name, "removal", KEPT, REMOVED))
        return left
    if second in (first, base):  # nearly every VM: nothing to weigh
        line = second.vm.line
        return second if second == first else replace(first, vm=replace(first.vm, line=line))
    if first == base:
        return second
    values = {}
    for what in VM_FIELDS:
        if what == "host":
            continue
        weigh = _weigh_disks if what == "disks" else _weigh
        values[what], clash = weigh(base, first, second, what)
        if clash:
            one, two = first.value(what), second.value(what)
            clashes.append(Clash(second.vm.name, what, text_of(two), text_of(one)))
    (values["host"], place), told = _weigh_host(base, first, second)
    clashes += told
    vm = _without_contradiction(replace(second.vm, **values), first.vm, second.vm, clashes)
    return Stand(vm, place)


def _changed(base: Stand | None, left: Stand) -> bool:
    """Whether a side that has the VM did something to its entry that the other one, who removed it, can't know.

    Of a floating VM it doesn't count where it was placed. A conflict that the base does not have does: somebody gave
    the VM another value, or kept it against a removal, though what is shown is the base's. So does a removal that was
    decided against. An old conflict that is shown the other way round is no change.
    """
    if base is None:
        return True
    if left.vm != base.vm and any(
        getattr(left.vm, what) != getattr(base.vm, what) and _decided(base, left, what)
        for what in VM_FIELDS
    ):
        return True
    fresh = any(base.disputes.get(what) != between for what, between in left.disputes.items())
    return fresh or ("removal" in base.disputes and "removal" not in left.disputes)


def _decided(base: Stand, side: Stand, what: str) -> bool:
    """Whether a side said something about a field since the base. Of two values in conflict, to choose the one that
    is shown is a decision, too; to show the other one of them, in conflict still, is none."""
    changed = bool(side.value(what) != base.value(what))
    disputed = base.disputes.get(what)
    if disputed is None:
        return changed
    if side.disputes.get(what) != disputed:
        return True
    # The host that is shown stays, and somebody pinned the VM there, or let it float.
    return changed and what == "host" and side.host == base.host


def _weigh(base: Stand | None, first: Stand, second: Stand, what: str) -> tuple[Any, bool]:
    """What a field becomes, and whether both sides decided it, differently."""
    one, two = first.value(what), second.value(what)
    if one == two:
        return two, False
    decided = [base is None or _decided(base, side, what) for side in (first, second)]
    if all(decided):
        return two, True
    if base is None or any(decided):
        return one if decided[0] else two, False
    return _three(base.value(what), one, two), False


def _weigh_disks(base: Stand | None, first: Stand, second: Stand, what: str) -> tuple[Any, bool]:
    """The same for a VM's disks, each by its name, in second's order: who adds one doesn't meet who grows another."""
    was, one, two = ({d.name: d for d in s.vm.disks} if s else {} for s in (base, first, second))
    merged, clash = [], False
    for name in dict.fromkeys([*two, *one]):
        old, a, b = was.get(name), one.get(name), two.get(name)
        clash = clash or (a != b and old not in (a, b))
        disk = _three(old, a, b) if old in (a, b) else b or a  # a modification beats a removal
        merged += [disk] if disk is not None else []
    disputed = any(s is not None and what in s.disputes for s in (base, first, second))
    if disputed or len(merged) > MAX_DISKS:
        return _weigh(base, first, second, what)
    return tuple(merged), clash


def _weigh_host(
    base: Stand | None, first: Stand, second: Stand
) -> tuple[tuple[str | None, Place | None], list[Clash]]:
    """Where the VM belongs: what one of the sides says, whole, never the one's DOM0 with the other's placement.

    That the site found a floating VM another place is nobody's word: it gives way to what a person said, and of two
    such places the later is taken.
    """
    value, clash = _weigh(base, first, second, "host")
    if not clash:
        return value, []
    found = [
        _floats_on(base, s, o) and s.chosen is None for s, o in ((first, second), (second, first))
    ]
    if any(found):
        return (second if found[0] else first).value("host"), []
    other = first.host
    if other == second.host:
        for side, pinned in ((first, second), (second, first)):
            if _floats_on(base, side, pinned):
                return pinned.value("host"), []  # and somebody chose that very place, floating
        other = f"{other} ({'floating' if first.vm.host is None else 'pinned'})"
    return second.value("host"), [Clash(second.vm.name, "host", second.host, other)]


def _floats_on(base: Stand | None, side: Stand, other: Stand) -> bool:
    """Whether the VM floats as it did, so that all that the side did was to place it elsewhere."""
    if base is None:  # added by both
        return side.vm.host is None and other.vm.host is None
    return base.vm.host is None and side.vm.host is None and "host" not in base.disputes


def _without_contradiction(vm: VM, first: VM, second: VM, clashes: list[Clash]) -> VM:
    """Each side's limits fit its own sizes; a mixture may not: then both fields are second's."""
    for limit, size in _LIMITED.items():
        pair = {name: getattr(vm, name) for name in (limit, size)}
        if not contradictions(pair):
            continue
        vm = replace(vm, **{name: getattr(second, name) for name in pair})
        known = {(c.vm, c.what) for c in clashes}
        for name in sorted(pair):
            one, two = getattr(first, name), getattr(second, name)
            if one != two and (vm.name, name) not in known:
                clashes.append(Clash(vm.name, name, text_of(two), text_of(one)))
    return vm


def _make_unique(attribute: str, vms: dict[str, Stand], sides: Sides, clashes: list[Clash]) -> None:
    """Two VMs got one MAC address (or UUID, or IP): the one that second gave it to keeps it; both are in conflict."""
    key = _UNIQUE[attribute]
    holders: dict[str, list[str]] = {}
    for name in sorted(vms):
        value = key(vms[name].vm)
        if value is not None:
            holders.setdefault(value, []).append(name)
    taken = set(holders)
    for value in sorted(holders):
        names = holders[value]
        if len(names) < 2:
            continue
        second = {n: sides.second[n].vm for n in names if n in sides.second}
        keeper = min(names, key=lambda n: (n not in second or key(second[n]) != value, n))
        others = [n for n in names if n != keeper]
        clashes.append(Clash(keeper, attribute, value, f"{value} of {', '.join(others)}"))
        for name in others:
            before = second.get(name)
            free = before is not None and key(before) not in taken
            instead: dict[str, Any] = {attribute: getattr(before, attribute) if free else None}
            clashes.append(
                Clash(
                    name,
                    attribute,
                    text_of(instead[attribute]),
                    text_of(getattr(vms[name].vm, attribute)),
                )
            )
            vms[name] = _with(vms[name], **instead)
            taken |= {own for own in [key(vms[name].vm)] if own is not None}


def _with(stand: Stand, **values: Any) -> Stand:
    return replace(stand, vm=replace(stand.vm, **values))


def _merge_hosts(base: Site, first: Site, second: Site) -> dict[str, Host]:
    was, one, two = ({h.name: h for h in site.hosts} for site in (base, first, second))
    hosts: dict[str, Host] = {}
    for name in sorted({*one, *two}):
        a, b, before = one.get(name), two.get(name), was.get(name)
        if a is None or b is None:
            left = a or b
            if left is not None and left != before:
                hosts[name] = left
            continue
        values = {
            attribute: _three(
                getattr(before, attribute, None), getattr(a, attribute), getattr(b, attribute)
            )
            for attribute in HOST_FIELDS
        }
        hosts[name] = replace(b, **values)
    _distinct_hosts(hosts, two)
    return hosts


def _distinct_hosts(hosts: dict[str, Host], second: Mapping[str, Host]) -> None:
    """Names and addresses of hosts share one namespace (`checks.py`); where two hosts meet, second's stays."""
    order = sorted(hosts, key=lambda n: (n not in second, n))
    taken: dict[str, str] = {}
    for name in order:
        if taken.setdefault(address_key(name), name) != name:
            del hosts[name]  # one host under a name that differs in case only
    macs: dict[str, str] = {}
    for name in (n for n in order if n in hosts):
        host = hosts[name]
        without: dict[str, Any] = {}
        if host.address is not None and taken.setdefault(address_key(host.address), name) != name:
            without["address"] = None
        if host.mac is not None and macs.setdefault(host.mac, name) != name:
            without["mac"] = None
        hosts[name] = replace(host, **without)


def _list_hosts(
    hosts: dict[str, Host],
    vms: Mapping[str, Stand],
    sites: Iterable[Site],
    members: Mapping[str, str],
    clashes: list[Clash],
) -> None:
    """One side removed (or never had) the entry of a host that the other gave a VM to: the entry is kept, or made."""
    if not hosts:
        return
    words = [*members, *members.values(), *hosts, *(h.address for h in hosts.values() if h.address)]
    known = {address_key(word) for word in words}
    entries: dict[str, Host] = {}
    for site in sites:  # second's last: it wins
        for host in site.hosts:
            entries.update({address_key(word): host for word in (host.address, host.name) if word})
    for name in sorted(vms):
        written = vms[name].vm.host
        if written is None or address_key(written) in known:
            continue
        entry = entries.get(address_key(written)) or _entry_for(written)
        if address_key(entry.name) in known or (
            entry.address and address_key(entry.address) in known
        ):
            entry = _entry_for(written)
        hosts[entry.name] = entry
        known |= {address_key(word) for word in (written, entry.name, entry.address) if word}
        clashes.append(
            Clash(name, "host", text_of(written), f"{text_of(written)} is no host of the site")
        )


def _make_room(
    hosts: dict[str, Host],
    vms: dict[str, Stand],
    members: Mapping[str, str],
    first: Site,
    second: Site,
    sides: Sides,
    clashes: list[Clash],
) -> None:
    """One side made a VM bigger (or moved it), the other its host smaller: the host stays as big as one side has it
    (without an entry, or a size in it, as big as need be), and if that is not enough the VM is as second has it.
    """
    names = host_names(hosts.values(), members)
    for name in sorted(vms):
        vm = vms[name].vm
        listed = names.entries.get(names.name(vm.host)) if vm.host is not None else None
        entry = hosts[listed.name] if listed is not None else None
        if entry is None or entry.memory_mib is None or vm.memory_mib <= entry.memory_mib:
            continue
        sizes = [
            next((h.memory_mib for h in site.hosts if h.name == entry.name), None)
            for site in (first, second)
        ]
        known = [size for size in sizes if size is not None]
        most = max(known) if len(known) == len(sizes) else None
        hosts[entry.name] = replace(entry, memory_mib=most)
        mine = sides.second.get(name)
        other = text_of(vm.memory_mib)
        if most is not None and vm.memory_mib > most and mine is not None:
            same = {f: getattr(mine.vm, f) for f in ("host", "memory_mib", "max_memory_mib")}
            vms[name] = replace(_with(vms[name], **same), place=mine.place)
        else:
            other = f"{entry.memory_mib} MiB of host {entry.name}"
        clashes.append(Clash(name, "memory_mib", text_of(vms[name].vm.memory_mib), other))


def _entry_for(written: str) -> Host:
    if _NAME.fullmatch(written):
        return Host(written)
    return Host("host-" + re.sub("[^A-Za-z0-9]", "-", written)[:50], address=written)


def _owners(base: Site, first: Site, second: Site) -> tuple[dict[str, str], frozenset[str]]:
    """The owner of every set that a side still has, and the sets that stay even without a VM."""
    was, one, two = ({s.name: s.owner for s in site.sets} for site in (base, first, second))
    owners: dict[str, str] = {}
    stay = set()
    for name in sorted({*one, *two}):
        if name in one and name in two:
            owners[name] = _three(was.get(name), one[name], two[name])
            stay.add(name)
        else:
            owners[name] = one[name] if name in one else two[name]
            if was.get(name) != owners[name]:
                stay.add(name)
    return owners, frozenset(stay)


def _assemble(
    owners: Mapping[str, str],
    stay: frozenset[str],
    vms: Mapping[str, VM],
    hosts: Mapping[str, Host],
) -> Site:
    members: dict[str, list[VM]] = {name: [] for name in stay}
    for name in sorted(vms):
        members.setdefault(vms[name].set_name, []).append(vms[name])
    sets = tuple(VMSet(n, owners.get(n, ""), tuple(members[n])) for n in sorted(members))
    return Site(sets, tuple(hosts[name] for name in sorted(hosts)))
