"""One revision as a merge reads it: what can be read of its files, and where it stands on each thing.

Decides what a revision says, as text, and which of its conflicts are open still. Never raises: a part that can't be
read says nothing. Must not know the other side, nor commits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from xsm.site import state_file
from xsm.site.conflicts import value_shown
from xsm.site.document import SITE_FILES, Files, read_site
from xsm.site.merge_site import REMOVED, Beside, Dispute
from xsm.site.model import VM, Site
from xsm.site.problems import Invalid
from xsm.site.state import Place

CONFLICTS = state_file.path_of("conflicts")
PLACEMENT = state_file.path_of("placement")
OR = " or "
"""Between the values that lost in one conflict."""
FILE_OF_OTHER = " of the other edit"
"""Ends what lost in a conflict over a file, not over a value."""


@dataclass(frozen=True)
class Side:
    """`site` is None when the site file, at `path`, can't be read."""

    files: Files
    path: str | None
    site: Site | None
    placement: Mapping[str, Place]

    @cached_property
    def vms(self) -> dict[str, VM]:
        return {vm.name: vm for vm in self.site.vms()} if self.site is not None else {}

    @cached_property
    def chosen(self) -> dict[str, str]:
        """floating VM -> member that a person chose for it"""
        return {vm: place.member for vm, place in self.placement.items() if place.chosen}

    @cached_property
    def unsettled(self) -> dict[str, Any]:
        """Its rows of conflicts, without those that a later value of the field settled."""
        return {
            key: row
            for key, row in (table_of(self.files, CONFLICTS) or {}).items()
            if isinstance(row, dict) and row.get("shown") == self.shown(*parted(key))
        }

    @cached_property
    def beside(self) -> Beside:
        disputes: dict[str, dict[str, Dispute]] = {}
        for key, row in self.unsettled.items():
            vm, what = parted(key)
            found = dispute(row)
            if not any(value.endswith(FILE_OF_OTHER) for value in found.between):
                disputes.setdefault(vm, {})[what] = found
            # Else it is about a file that the VM uses, not about the VM.
        return Beside(self.placement, disputes)

    def shown(self, vm: str, what: str) -> str | None:
        """What it says there, as text; None: it has no such VM."""
        return value_shown(self.vms.get(vm), what, self.chosen)

    def says(self, vm: str, what: str) -> str:
        """The same; and of a VM that it doesn't have, that it is removed."""
        return self.shown(vm, what) or (REMOVED if vm not in self.vms else "")

    def stand(self, vm: str, what: str) -> tuple[Any, ...]:
        """What it says there, and what that is in conflict with. To be compared only. Against a removal stands the
        whole entry of the VM."""
        said = self.vms.get(vm) if what == "removal" else self.says(vm, what)
        row = self.unsettled.get(f"{vm}/{what}")
        return said, None if row is None else dispute(row)


def side_of(files: Files) -> Side:
    path = next((p for p in SITE_FILES if p in files), None)
    places = state_file.places(table_of(files, PLACEMENT) or {})
    return Side(files, path, read(files, path), places)


def read(files: Files, path: str | None) -> Site | None:
    """The site file; an empty site when there is none, None when it can't be read."""
    return Site() if path is None else parsed(path, files[path])


def parsed(path: str, content: bytes) -> Site | None:
    try:
        return read_site(path, content)
    except Invalid:
        return None


def table_of(files: Files, path: str) -> dict[str, Any] | None:
    """A state table; {} when it is missing, None when it can't be read."""
    try:
        return state_file.parse(files[path]) if path in files else {}
    except ValueError:
        return None


def parted(key: str) -> tuple[str, str]:
    """A key of the table of conflicts: VM and what."""
    vm, _, what = key.partition("/")
    return vm, what


def dispute(row: Mapping[str, Any]) -> Dispute:
    """What a row of the table is between, and whose edits made it."""
    values = frozenset([str(row.get("shown")), *str(row.get("other")).split(OR)])
    revisions = row.get("revisions")
    return Dispute(values, frozenset(map(str, revisions if isinstance(revisions, list) else ())))
