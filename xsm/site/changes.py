"""Differences between two sites, as values: what `xsm diff` shows, what edits a file, what a merge decides on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from xsm.site.fields import HOST_ENTRY, VM_ENTRY, Entry
from xsm.site.model import VM, Host, Site, VMSet


@dataclass(frozen=True)
class AddSet:
    name: str
    owner: str


@dataclass(frozen=True)
class RemoveSet:
    """Invariant: comes after the removal of all its VMs."""

    name: str


@dataclass(frozen=True)
class SetOwner:
    set_name: str
    old: str
    new: str


@dataclass(frozen=True)
class AddVM:
    vm: VM  # vm.set_name says where


@dataclass(frozen=True)
class RemoveVM:
    vm: VM  # as it was


@dataclass(frozen=True)
class SetVM:
    """One field of one VM. `field` is the attribute of `VM`; None as a value: the element is absent."""

    name: str
    field: str
    old: object
    new: object


@dataclass(frozen=True)
class AddHost:
    host: Host


@dataclass(frozen=True)
class RemoveHost:
    host: Host


@dataclass(frozen=True)
class SetHost:
    name: str
    field: str
    old: object
    new: object


Change = AddSet | RemoveSet | SetOwner | AddVM | RemoveVM | SetVM | AddHost | RemoveHost | SetHost


_VM_FIELDS = ("set_name", *(row.attribute for row in VM_ENTRY.fields if row.attribute != "name"))
_HOST_FIELDS = tuple(row.attribute for row in HOST_ENTRY.fields if row.attribute != "name")


def diff(old: Site, new: Site) -> tuple[Change, ...]:
    """What turns `old` into `new`, in an order in which it can be done, sorted by name within a kind.

    The order of entries in a file means nothing, so a mere reordering is no change. Linear in the sites' sizes.
    """
    old_hosts = {host.name: host for host in old.hosts}
    new_hosts = {host.name: host for host in new.hosts}
    old_sets = {vm_set.name: vm_set for vm_set in old.sets}
    new_sets = {vm_set.name: vm_set for vm_set in new.sets}
    old_vms = {vm.name: vm for vm in old.vms()}
    new_vms = {vm.name: vm for vm in new.vms()}
    changes: list[Change] = []
    changes += [RemoveHost(old_hosts[name]) for name in sorted(old_hosts.keys() - new_hosts.keys())]
    changes += [AddHost(new_hosts[name]) for name in sorted(new_hosts.keys() - old_hosts.keys())]
    for name in sorted(old_hosts.keys() & new_hosts.keys()):
        pairs = _differences(old_hosts[name], new_hosts[name], _HOST_FIELDS)
        changes += [SetHost(name, attribute, was, now) for attribute, was, now in pairs]
    changes += [
        AddSet(name, new_sets[name].owner) for name in sorted(new_sets.keys() - old_sets.keys())
    ]
    for name in sorted(old_sets.keys() & new_sets.keys()):
        was, now = old_sets[name].owner, new_sets[name].owner
        changes += [SetOwner(name, was, now)] if was != now else []
    changes += [RemoveVM(old_vms[name]) for name in sorted(old_vms.keys() - new_vms.keys())]
    for name in sorted(old_vms.keys() & new_vms.keys()):
        pairs = _differences(old_vms[name], new_vms[name], _VM_FIELDS)
        changes += [SetVM(name, attribute, was, now) for attribute, was, now in pairs]
    changes += [AddVM(new_vms[name]) for name in sorted(new_vms.keys() - old_vms.keys())]
    changes += [RemoveSet(name) for name in sorted(old_sets.keys() - new_sets.keys())]
    return tuple(changes)


def _differences(old: object, new: object, names: tuple[str, ...]) -> list[tuple[str, Any, Any]]:
    if old == new:
        return []
    pairs = ((name, getattr(old, name), getattr(new, name)) for name in names)
    return [(name, was, now) for name, was, now in pairs if was != now]


def apply(site: Site, changes: Iterable[Change]) -> Site:
    """`site` with `changes` made, entries sorted by name. Raises `Unfit` when a change doesn't fit."""
    hosts = {host.name: host for host in site.hosts}
    sets = {vm_set.name: replace(vm_set, vms=()) for vm_set in site.sets}
    vms = {vm.name: vm for vm in site.vms()}
    for change in changes:
        match change:
            case AddSet(name, owner):
                _absent(sets, name, "set")
                sets[name] = VMSet(name, owner)
            case RemoveSet(name):
                del sets[_present(sets, name, "set")]
            case SetOwner(name, _, owner):
                sets[name] = replace(sets[_present(sets, name, "set")], owner=owner)
            case AddVM(vm):
                _absent(vms, vm.name, "VM")
                vms[vm.name] = vm
            case RemoveVM(vm):
                del vms[_present(vms, vm.name, "VM")]
            case SetVM(name, attribute, _, value):
                vms[name] = replace(
                    vms[_present(vms, name, "VM")],
                    **_settable(attribute, value, _VM_FIELDS, VM_ENTRY),
                )
            case AddHost(host):
                _absent(hosts, host.name, "host")
                hosts[host.name] = host
            case RemoveHost(host):
                del hosts[_present(hosts, host.name, "host")]
            case SetHost(name, attribute, _, value):
                row = _settable(attribute, value, _HOST_FIELDS, HOST_ENTRY)
                hosts[name] = replace(hosts[_present(hosts, name, "host")], **row)
    members: dict[str, list[VM]] = {name: [] for name in sets}
    for name in sorted(vms):
        members[_present(members, vms[name].set_name, "set")].append(vms[name])
    return Site(
        tuple(replace(sets[name], vms=tuple(members[name])) for name in sorted(sets)),
        tuple(hosts[name] for name in sorted(hosts)),
    )


def in_order(site: Site) -> Site:
    """`site` with its entries sorted by name: equal for sites that differ in the order of entries only."""
    return apply(site, ())


class Unfit(ValueError):
    """A change that doesn't fit the site it is made to, such as one to a VM that isn't there."""


def _present(known: Mapping[str, object], name: str, what: str) -> str:
    if name not in known:
        raise Unfit(f"there is no {what} {name}")
    return name


def _absent(known: Mapping[str, object], name: str, what: str) -> None:
    if name in known:
        raise Unfit(f"there is a {what} {name} already")


def _settable(attribute: str, value: Any, names: tuple[str, ...], entry: Entry) -> dict[str, Any]:
    """The keyword for `replace`; None stands for the field's default."""
    if attribute not in names:
        raise Unfit(f"a {entry.what} has no field {attribute} that can be changed")
    row = entry.by_attribute.get(attribute)
    if value is None and (row is None or row.required):
        raise Unfit(f"a {entry.what} can't do without {attribute}")
    return {attribute: row.default if value is None and row else value}


def describe(change: Change) -> str:
    """One line for people: `vm1: MEM 96 => 128`, `vm5: added (256 MiB, 2 VCPUs, floating)`."""
    match change:
        case AddSet(name, owner):
            return f"set {name}: added" + (f" (owner {owner})" if owner else "")
        case RemoveSet(name):
            return f"set {name}: removed"
        case SetOwner(name, old, new):
            return f"set {name}: owner {old or '-'} => {new or '-'}"
        case AddVM(vm):
            place = f"on {vm.host}" if vm.host else "floating"
            vcpus = f"{vm.vcpus} VCPU" + ("" if vm.vcpus == 1 else "s")
            return f"{vm.name}: added ({vm.memory_mib} MiB, {vcpus}, {place})"
        case RemoveVM(vm):
            return f"{vm.name}: removed"
        case SetVM(name, "set_name", old, new):
            return f"{name}: set {old} => {new}"
        case SetVM(name, attribute, old, new):
            return f"{name}: {_step(VM_ENTRY, attribute, old, new)}"
        case AddHost(host):
            return f"host {host.name}: added" + (f" ({host.address})" if host.address else "")
        case RemoveHost(host):
            return f"host {host.name}: removed"
        case SetHost(name, attribute, old, new):
            return f"host {name}: {_step(HOST_ENTRY, attribute, old, new)}"


def _step(entry: Entry, attribute: str, old: Any, new: Any) -> str:
    row = entry.by_attribute.get(attribute)
    label = row.tag if row else attribute
    return f"{label} {_shown(entry, attribute, old)} => {_shown(entry, attribute, new)}"


_ABSENT_MEANS = {"host": "floating", "mac": "derived", "uuid": "derived"}


def _shown(entry: Entry, attribute: str, value: Any) -> str:
    row = entry.by_attribute.get(attribute)
    if value is None or value == ():
        return _ABSENT_MEANS.get(attribute, "-") if entry is VM_ENTRY else "-"
    if row is None:
        return str(value)
    return ",".join(map(row.kind.format, value)) if row.repeatable else row.kind.format(value)
