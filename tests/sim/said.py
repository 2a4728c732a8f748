"""What commits say and what each decided, read without the merge's own code: for the checker of edits.

Decides nothing; a commit whose site can't be read says nothing. Must not use xsm's merge, derive or history.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from xsm.site.document import Document, Files, load
from xsm.site.model import VM
from xsm.site.problems import Invalid
from xsm.site.state import Conflict

FIELDS = tuple(f.name for f in dataclasses.fields(VM) if f.name not in ("name", "line"))
WHOLE = tuple(name for name in FIELDS if name != "disks")
"""Those of which one edit's value is shown; of disks each is merged by itself (tests/unit/site/test_merge.py)."""
THERE = ""
"""Stands for a field: whether the VM is in the file at all."""

ANYWHERE = "floating"
"""Stands for a host: the VM floats, and it is the site that placed it."""

Key = tuple[str, str]
"""(VM, field)."""


@dataclass(frozen=True)
class Said:
    """What one commit's files say."""

    document: Document

    def value(self, vm_name: str, what: str) -> object:
        vm = self.document.vms.get(vm_name)
        if what == THERE or vm is None:
            return vm is not None
        if what == "host":
            return self.host(vm)
        return getattr(vm, what)

    def host(self, vm: VM) -> str:
        """The member that somebody wants to run it, however the file calls that one."""
        return self._named(self._written(vm))

    def _written(self, vm: VM) -> str:
        return (
            vm.host if vm.host is not None else self.document.state.choices.get(vm.name, ANYWHERE)
        )

    def _named(self, written: str) -> str:
        members = self.document.state.members.values()
        return next((m.name for m in members if written in (m.name, m.address)), written)

    def conflicts(self) -> set[Key]:
        """Those that still count."""
        return {(c.vm, c.what) for c in self.document.state.conflicts if self._counts(c)}

    def disputes(self, key: Key, value: object) -> bool:
        """Whether a conflict that still counts is about that value, too."""
        vm, what = key
        text = _text(value)
        for c in self.document.state.conflicts:
            if (c.vm, c.what) == (vm, what) and self._counts(c):
                told = [c.shown, *c.other.split(" or ")]
                return text in (*told, *map(self._named, told))
        return False

    def _counts(self, conflict: Conflict) -> bool:
        vm = self.document.vms.get(conflict.vm)
        if vm is None or conflict.what == "removal":
            return vm is not None
        if conflict.what == "host":
            return conflict.shown == self._written(vm)
        return conflict.shown == _text(getattr(vm, conflict.what))


def _text(value: object) -> str:
    """As the table of conflicts writes a value."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


@dataclass(frozen=True)
class Edit:
    """What one user commit decided, against the view that it was made from: (VM, field) -> value.

    `touched`: VMs whose entry in the file it changed. (Where a floating VM goes is beside the file: a VM that is moved
    on one side and removed on the other is removed.)
    """

    wrote: Mapping[Key, object]
    touched: frozenset[str]


def readable(files: Files) -> Said | None:
    """None for no files at all, and for those of a site that can't be read."""
    try:
        return Said(load(files)) if files else None
    except Invalid:
        return None


def edit_between(before: Said | None, after: Said, earlier: Iterable[Said] = ()) -> Edit:
    """What somebody decided who made `after` of `before`. Of a VM that comes back, what it was `earlier` is no word."""
    wrote: dict[Key, object] = {}
    touched = set()
    old = before.document.vms if before else {}
    settled = before.conflicts() - after.conflicts() if before else set()
    for name in sorted({*old, *after.document.vms}):
        was, vm = old.get(name), after.document.vms.get(name)
        if vm is None:
            wrote[name, THERE] = False
            continue
        if was is None or (name, "removal") in settled:
            wrote[name, THERE] = True
        seen = [s for s in earlier if name in s.document.vms] if was is None else []
        if was != vm or (name, "removal") in settled:
            touched.add(name)
        for field in FIELDS:
            value = after.value(name, field)
            same = was is not None and before is not None and before.value(name, field) == value
            if field == "host" and was is not None:
                floated, floats = was.host is None, vm.host is None
                # To pin it where it is is an edit; that the site placed it elsewhere is none, were it chosen or not.
                same = floated and (same or value == ANYWHERE) if floats else same and not floated
            same = same or any(s.value(name, field) == value for s in seen)
            if not same or {(name, field), (name, "removal")} & settled:
                wrote[name, field] = value
    return Edit(wrote, frozenset(touched))
