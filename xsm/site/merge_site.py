"""3-way merge of two sites as values: per (VM, field), per (host, field), per set.

Decides what the merged site says and which VMs two people disagree about. Must not know files, formats,
revisions or state tables. `second` is the later edit and wins where both changed one thing; modify beats delete.
Total: the result never breaks a rule of the site file that both sides keep (one MAC each, hosts listed, ...).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any

from xsm.site.checks import address_key
from xsm.site.fields import NAME_PATTERN, contradictions
from xsm.site.model import VM, Host, Site, VMSet

KEPT = "kept"
REMOVED = "removed"
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


@dataclass(frozen=True)
class Sides:
    """The three sites, by name."""

    base: Mapping[str, VM]
    first: Mapping[str, VM]
    second: Mapping[str, VM]


def merge_sites(
    base: Site,
    first: Site,
    second: Site,
    members: Collection[str] = (),
    disputed: Collection[str] = (),
) -> tuple[Site, tuple[Clash, ...]]:
    """The merged site and what the two sides disagree about.

    `members`: names and addresses of members, which a DOM0 may name without a Host entry. `disputed`: VMs over which
    one side came to a conflict that the base does not have: somebody changed those, whatever is shown. The host of a
    VM is merged here but compared in `merge.py`, because a floating VM's host is in a state table.
    """
    sides = Sides(_vms(base), _vms(first), _vms(second))
    clashes: list[Clash] = []
    vms: dict[str, VM] = {}
    for name in sorted({*sides.base, *sides.first, *sides.second}):
        one, two = sides.first.get(name), sides.second.get(name)
        vm = _merge_vm(sides.base.get(name), one, two, clashes, name in disputed)
        if vm is not None:
            vms[name] = vm
    for attribute in _UNIQUE:
        _make_unique(attribute, vms, sides, clashes)
    hosts = _merge_hosts(base, first, second)
    _list_hosts(hosts, vms, (first, second), members, clashes)
    _make_room(hosts, vms, first, second, sides, clashes)
    owners, stay = _owners(base, first, second)
    return _assemble(owners, stay, vms, hosts), tuple(clashes)


def _vms(site: Site) -> dict[str, VM]:
    return {vm.name: vm for vm in site.vms()}


def _three(base: Any, first: Any, second: Any) -> Any:
    """The 3-way rule for one value; where both changed it, second's."""
    return first if second == base else second


def _merge_vm(
    base: VM | None, first: VM | None, second: VM | None, clashes: list[Clash], disputed: bool
) -> VM | None:
    if first is None or second is None:
        left = first or second
        if left is None or (left == base and not disputed):
            return None  # removed by one side or both, untouched by the other
        if base is not None:
            clashes.append(Clash(left.name, "removal", KEPT, REMOVED))
        return left
    if second in (first, base):  # nearly every VM: nothing to weigh
        return second if second == first else replace(first, line=second.line)
    if first == base:
        return second
    values = {}
    for attribute in VM_FIELDS:
        was, one, two = (getattr(v, attribute, None) for v in (base, first, second))
        if base is None:
            was = two if one == two else object()  # both added the VM: nothing was there before
        values[attribute] = _three(was, one, two)
        if attribute != "host" and one not in (two, was) and two != was:
            clashes.append(Clash(second.name, attribute, text_of(two), text_of(one)))
    return _without_contradiction(replace(second, **values), first, second, clashes)


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


def _make_unique(attribute: str, vms: dict[str, VM], sides: Sides, clashes: list[Clash]) -> None:
    """Two VMs got one MAC address (or UUID, or IP): the one that second gave it to keeps it; both are in conflict."""
    key = _UNIQUE[attribute]
    holders: dict[str, list[str]] = {}
    for name in sorted(vms):
        value = key(vms[name])
        if value is not None:
            holders.setdefault(value, []).append(name)
    taken = set(holders)
    for value in sorted(holders):
        names = holders[value]
        if len(names) < 2:
            continue
        second = {n: sides.second[n] for n in names if n in sides.second}
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
                    text_of(getattr(vms[name], attribute)),
                )
            )
            vms[name] = replace(vms[name], **instead)
            taken |= {own for own in [key(vms[name])] if own is not None}


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
    vms: Mapping[str, VM],
    sites: Iterable[Site],
    members: Collection[str],
    clashes: list[Clash],
) -> None:
    """One side removed (or never had) the entry of a host that the other gave a VM to: the entry is kept, or made."""
    if not hosts:
        return
    words = [*members, *hosts, *(h.address for h in hosts.values() if h.address)]
    known = {address_key(word) for word in words}
    entries: dict[str, Host] = {}
    for site in sites:  # second's last: it wins
        for host in site.hosts:
            entries.update({address_key(word): host for word in (host.address, host.name) if word})
    for name in sorted(vms):
        written = vms[name].host
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
    vms: dict[str, VM],
    first: Site,
    second: Site,
    sides: Sides,
    clashes: list[Clash],
) -> None:
    """One side made a VM bigger (or moved it), the other its host smaller: the host stays as big as one side has it,
    and if that is not enough the VM is as second has it.
    """
    by_word = {
        address_key(word): h.name for h in hosts.values() for word in (h.address, h.name) if word
    }
    for name in sorted(vms):
        vm = vms[name]
        entry = hosts.get(by_word.get(address_key(vm.host), "")) if vm.host is not None else None
        if entry is None or entry.memory_mib is None or vm.memory_mib <= entry.memory_mib:
            continue
        sizes = [
            h.memory_mib for site in (first, second) for h in site.hosts if h.name == entry.name
        ]
        most = (
            None
            if None in sizes
            else max((size for size in sizes if size is not None), default=None)
        )
        hosts[entry.name] = replace(entry, memory_mib=most)
        mine = sides.second.get(name)
        other = text_of(vm.memory_mib)
        if most is not None and vm.memory_mib > most and mine is not None:
            same = {f: getattr(mine, f) for f in ("host", "memory_mib", "max_memory_mib")}
            vms[name] = replace(vm, **same)
        else:
            other = f"{entry.memory_mib} MiB of host {entry.name}"
        clashes.append(Clash(name, "memory_mib", text_of(vms[name].memory_mib), other))


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
