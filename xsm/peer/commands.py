"""Commands that are small edits of the site: `xsm migrate`, `stop`, `host drain`, ... as new files and state tables.

Decides what each command changes and when it is refused. Must not know how the edit is stored or carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xsm.plan.observed import ACTIVE, HostReport
from xsm.site import xml_file, yaml_file
from xsm.site.changes import Change, SetVM
from xsm.site.document import SITE_FILES, Document, Files
from xsm.site.merge import active_conflicts
from xsm.site.model import VM, Power
from xsm.site.state import State


class CommandRefused(Exception):
    """The command makes no sense for this site now. `hint` says what would."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


@dataclass(frozen=True)
class Intent:
    """What a command wants: the user's files, the state tables, and places chosen for floating VMs."""

    files: Files
    state: State
    message: str
    moving: Mapping[str, str] = field(default_factory=dict)


def edit_site(files: Files, document: Document, changes: Sequence[Change]) -> Files:
    """The files with these changes made in the site file, byte for byte the user's elsewhere."""
    edit_text = xml_file.edit if document.site_path.endswith(".xml") else yaml_file.edit
    return {**files, document.site_path: edit_text(files[document.site_path], changes)}


def find_vm(document: Document, name: str) -> VM:
    vm = document.site.vm(name)
    if vm is None:
        names = ", ".join(sorted(v.name for v in document.site.vms())[:20])
        raise CommandRefused(
            f"the site has no VM {name!r}", f"it has: {names}" if names else "it has none yet"
        )
    return vm


def find_member(document: Document, written: str) -> str:
    name = document.host_name(written)
    if name not in document.state.members:
        names = ", ".join(sorted(document.state.members))
        raise CommandRefused(
            f"{written!r} is not a member of the site", f"its members are: {names}"
        )
    return name


def migrate(files: Files, document: Document, vm_name: str, to: str) -> Intent:
    vm, target = find_vm(document, vm_name), find_member(document, to)
    here = document.host_of(vm)
    if here == target:
        raise CommandRefused(f"{vm_name} belongs on {target} already")
    if target in document.state.drained:
        raise CommandRefused(
            f"{target} is drained", f"`xsm host resume {target}` takes it back into use"
        )
    message = f"Migrate {vm_name} from {here or 'nowhere'} to {target}"
    if vm.host is None:
        return Intent(files, document.state, message, {vm_name: target})
    # The file keeps speaking of hosts in its own way: by address if it did so.
    by_address = any(vm.host == member.address for member in document.state.members.values())
    written = document.state.members[target].address if by_address else target
    change = SetVM(vm_name, "host", vm.host, written)
    return Intent(edit_site(files, document, [change]), document.state, message)


def set_power(files: Files, document: Document, vm_name: str, power: Power) -> Intent:
    vm = find_vm(document, vm_name)
    verb = {Power.RUNNING: "Start", Power.STOPPED: "Stop", Power.PAUSED: "Pause"}[power]
    if vm.power is power:
        return Intent(files, document.state, f"{verb} {vm_name}")
    change = SetVM(vm_name, "power", vm.power, power)
    return Intent(edit_site(files, document, [change]), document.state, f"{verb} {vm_name}")


def restart(files: Files, document: Document, vm_names: Sequence[str], token: str) -> Intent:
    """`token`: something that no earlier restart had, so that it counts as a new one on every host."""
    vms = [find_vm(document, name) for name in vm_names]
    stopped = [vm.name for vm in vms if vm.power is Power.STOPPED]
    if stopped:
        raise CommandRefused(
            f"{', '.join(stopped)} is to be stopped", f"`xsm start {stopped[0]}` starts it"
        )
    restarts = {**document.state.restarts, **{vm.name: token for vm in vms}}
    return Intent(
        files, replace(document.state, restarts=restarts), f"Restart {', '.join(vm_names)}"
    )


def drain(files: Files, document: Document, host: str) -> Intent:
    name = find_member(document, host)
    state = replace(document.state, drained=document.state.drained | {name})
    return Intent(files, state, f"Drain {name}")


def undrain(files: Files, document: Document, host: str) -> Intent:
    name = find_member(document, host)
    state = replace(document.state, drained=document.state.drained - {name})
    return Intent(files, state, f"Take {name} back into use")


def forget(
    files: Files,
    document: Document,
    host: str,
    report: HostReport | None,
    alive: bool,
    sure: bool,
    me: str,
) -> Intent:
    """Make a host no longer a member. For a host that answers: only when it runs none of the site's VMs. For one
    that doesn't: only with the operator's word that it is off, for its VMs may then be started elsewhere."""
    name = find_member(document, host)
    if len(document.state.members) == 1:
        raise CommandRefused(f"{name} is the site's last host")
    if name == me:
        raise CommandRefused(f"{name} can't forget itself", "run this on another host")
    if alive:
        domains = report.domains if report else ()
        running = [
            d.name
            for d in domains
            if d.state in ACTIVE and d.tag and d.tag.site_id == document.state.site_id
        ]
        if report is None or report.facts is None or running:
            what = f"runs {', '.join(running)}" if running else "does not say what it runs"
            raise CommandRefused(
                f"{name} is alive and {what}", f"`xsm host drain {name}` first, or power it off"
            )
    elif not sure:
        raise CommandRefused(
            f"{name} does not answer, so XSM can't know that it runs no VMs",
            f"make sure that it is powered off, then `xsm host forget {name} --it-is-off`",
        )
    members = {m: v for m, v in document.state.members.items() if m != name}
    placement = {vm: h for vm, h in document.state.placement.items() if h != name}
    state = replace(
        document.state,
        members=members,
        placement=placement,
        drained=document.state.drained - {name},
    )
    return Intent(files, state, f"Forget host {name}")


def resolve(files: Files, document: Document, vm_name: str) -> Intent:
    """Settle a VM's conflicts as the document shows them."""
    conflicts = active_conflicts(document.site, document.state)
    if not any(c.vm == vm_name for c in conflicts):
        raise CommandRefused(f"{vm_name} has no conflict", "`xsm status` lists them")
    kept = tuple(c for c in conflicts if c.vm != vm_name)
    return Intent(
        files,
        replace(document.state, conflicts=kept),
        f"Settle the conflict over {vm_name} as shown",
    )


def rollback(files: Files, document: Document, old: Files, revision: str) -> Intent:
    """The user's files as they were in `revision`; members, drained hosts and the like stay as they are now."""
    tree = {path: content for path, content in old.items() if not path.startswith("state/")}
    if not any(path in tree for path in SITE_FILES):
        raise CommandRefused(f"revision {revision[:10]} has no site file")
    return Intent(tree, document.state, f"Roll back to {revision[:10]}")


POWER_COMMANDS: Mapping[str, Power] = {
    "start": Power.RUNNING,
    "resume": Power.RUNNING,
    "stop": Power.STOPPED,
    "pause": Power.PAUSED,
}

HOST_COMMANDS: Mapping[str, Callable[[Files, Document, str], Intent]] = {
    "drain": drain,
    "undrain": undrain,
}
