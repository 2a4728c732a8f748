"""What a document says where two edits disagree, and which of its conflicts still count.

Decides when a conflict is over: the document shows another value there, or nothing. Must not know how one comes about.
"""

from __future__ import annotations

from collections.abc import Mapping

from xsm.site.merge_site import KEPT, host_text, text_of
from xsm.site.model import VM, Site
from xsm.site.state import Conflict, State


def active_conflicts(site: Site, state: State) -> tuple[Conflict, ...]:
    """The conflicts that still hold their VM: those whose shown value the document still has."""
    vms = {vm.name: vm for vm in site.vms()}
    chosen = state.choices
    return tuple(
        c for c in state.conflicts if value_shown(vms.get(c.vm), c.what, chosen) == c.shown
    )


def value_shown(vm: VM | None, what: str, chosen: Mapping[str, str]) -> str | None:
    """What the document says there, as text; None: nothing, because the VM is gone. `chosen`: floating VM -> member."""
    if vm is None:
        return None
    if what == "removal":
        return KEPT
    if what == "host":
        return host_text(vm, chosen.get(vm.name))
    return text_of(getattr(vm, what, None))
