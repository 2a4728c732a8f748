"""What a list of changes comes to for one file: which entries go, stay, change, move and come.

Decides nothing about bytes; `xml_edit.py` and `yaml_edit.py` turn it into splices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from xsm.site.changes import Change, RemoveHost, RemoveSet, RemoveVM, apply
from xsm.site.fields import HOST_ENTRY, VM_ENTRY
from xsm.site.model import VM, Host, Site, VMSet


@dataclass
class Outcome:
    """What to do to the entries of a file, in the end.

    Invariant: a VM of the file is in at most one of `removed_vms` and `moved_vms`; what comes new has all its
    changes in it already.
    """

    removed_hosts: set[str] = field(default_factory=set)
    added_hosts: list[Host] = field(default_factory=list)
    host_fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    removed_sets: set[str] = field(default_factory=set)
    added_sets: list[VMSet] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)
    removed_vms: set[str] = field(default_factory=set)
    moved_vms: dict[str, str] = field(default_factory=dict)  # VM -> the set it moves to
    vm_fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    added_vms: dict[str, list[VM]] = field(default_factory=dict)  # by set


def outcome(site: Site, changes: Sequence[Change]) -> tuple[Outcome, Site]:
    """What `changes` come to for a file that says `site`, and the site it will say. Raises `Unfit`."""
    after = apply(site, changes)
    result = Outcome()
    gone = _gone(changes)
    old_vms = {vm.name: vm for vm in site.vms()}
    _hosts(site, after, gone["host"], result)
    _sets(site, after, gone["set"], result)
    for vm in after.vms():
        old = old_vms.get(vm.name)
        if old is None or vm.name in gone["VM"]:
            result.added_vms.setdefault(vm.set_name, []).append(vm)
            continue
        fields = _changed(old, vm, VM_ENTRY.by_attribute)
        if fields:
            result.vm_fields[vm.name] = fields
        if vm.set_name != old.set_name or vm.set_name in gone["set"]:
            result.moved_vms[vm.name] = vm.set_name
    kept = {vm.name for vm in after.vms()} - gone["VM"]
    result.removed_vms = {name for name in old_vms if name not in kept}
    return result, after


def _gone(changes: Iterable[Change]) -> Mapping[str, set[str]]:
    """Names whose entry is removed by some change, even if one of that name comes again later."""
    gone: dict[str, set[str]] = {"VM": set(), "set": set(), "host": set()}
    for change in changes:
        match change:
            case RemoveVM(vm):
                gone["VM"].add(vm.name)
            case RemoveSet(name):
                gone["set"].add(name)
            case RemoveHost(host):
                gone["host"].add(host.name)
    return gone


def _hosts(site: Site, after: Site, gone: set[str], result: Outcome) -> None:
    old_hosts = {host.name: host for host in site.hosts}
    for host in after.hosts:
        old = old_hosts.get(host.name)
        if old is None or host.name in gone:
            result.added_hosts.append(host)
        elif old != host:
            result.host_fields[host.name] = _changed(old, host, HOST_ENTRY.by_attribute)
    kept = {host.name for host in after.hosts} - gone
    result.removed_hosts = {name for name in old_hosts if name not in kept}


def _sets(site: Site, after: Site, gone: set[str], result: Outcome) -> None:
    old_sets = {vm_set.name: vm_set for vm_set in site.sets}
    for vm_set in after.sets:
        old = old_sets.get(vm_set.name)
        if old is None or vm_set.name in gone:
            result.added_sets.append(replace(vm_set, vms=()))
        elif old.owner != vm_set.owner:
            result.owners[vm_set.name] = vm_set.owner
    kept = {vm_set.name for vm_set in after.sets} - gone
    result.removed_sets = {name for name in old_sets if name not in kept}


def _changed(old: object, new: object, attributes: Iterable[str]) -> dict[str, Any]:
    if old == new:
        return {}
    return {a: getattr(new, a) for a in attributes if getattr(old, a) != getattr(new, a)}


@dataclass(frozen=True)
class Splice:
    """Replace `start`..`end` of a text by `text`; an insertion when they are equal."""

    start: int
    end: int
    text: str


class Splices:
    """Splices in the making. Insertions at one place keep the order in which they were asked for."""

    def __init__(self) -> None:
        self._all: list[Splice] = []

    def replace(self, start: int, end: int, text: str) -> None:
        self._all.append(Splice(start, end, text))

    def insert(self, at: int, text: str) -> None:
        self.replace(at, at, text)

    def cut(self, start: int, end: int) -> None:
        self.replace(start, end, "")

    def result(self) -> list[Splice]:
        """In file order. An insertion at the start of a cut comes before it."""
        return [
            s for _, s in sorted(enumerate(self._all), key=lambda p: (p[1].start, p[1].end, p[0]))
        ]
