"""Commands that are small edits of the site: `xsm migrate`, `stop`, `host forget`, ... as new files and state tables.

Decides what each command changes and when it is refused. Must not know how the edit is stored or carried out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from xsm.peer.edit import Surroundings
from xsm.plan.observed import ACTIVE, HostReport
from xsm.plan.order import Order
from xsm.plan.planner import move_held, restart_held
from xsm.plan.round import written
from xsm.plan.view import View
from xsm.plan.wanted import wanted
from xsm.plan.witness import is_witness, why_no_vms
from xsm.site import xml_file, yaml_file
from xsm.site.changes import Change, SetVM
from xsm.site.conflicts import active_conflicts
from xsm.site.document import SITE_FILES, Document, Files
from xsm.site.model import VM, Migration, Power
from xsm.site.state import DiskWord, State


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
    planned: Mapping[str, str] = field(default_factory=dict)  # places that the site found itself
    order: Order | None = None  # in which a host is emptied


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


def migrate(
    files: Files,
    document: Document,
    vm_name: str,
    to: str,
    around: Surroundings | None = None,
    cold: bool = False,
) -> Intent:
    """`cold`: the VM may be stopped for it, which changes its policy in the same edit. `around`: what is known of the
    hosts, to refuse a move that could not be made now; without it the move waits until it can."""
    vm, target = find_vm(document, vm_name), find_member(document, to)
    here = document.host_of(vm)
    if here == target:
        raise CommandRefused(f"{vm_name} belongs on {target} already")
    if target in document.state.drained:
        raise CommandRefused(
            f"{target} is drained", f"`xsm host resume {target}` takes it back into use"
        )
    message = f"Migrate {vm_name} from {here or 'nowhere'} to {target}"
    changes: list[Change] = []
    if cold and vm.migration is not Migration.COLD:
        changes.append(SetVM(vm_name, "migration", vm.migration, Migration.COLD))
    if vm.host is not None:
        # The file keeps speaking of hosts in its own way: by address if it did so.
        by_address = any(vm.host == member.address for member in document.state.members.values())
        name = document.state.members[target].address if by_address else target
        changes.append(SetVM(vm_name, "host", vm.host, name))
    if around is not None:
        _refuse_impossible_move(document, vm, target, around, cold)
    moving = {vm_name: target} if vm.host is None else {}
    edited = edit_site(files, document, changes) if changes else files
    return Intent(edited, document.state, message, moving)


def call_back(
    files: Files,
    document: Document,
    vm_name: str,
    reports: Mapping[str, HostReport],
    migration: Migration | None = None,
) -> Intent:
    """A move that is not done yet: the VM belongs again where it runs. Refused when it runs where it belongs, or
    when nobody can say where that is. `migration`: its policy before the move, where that set it."""
    vm = find_vm(document, vm_name)
    home = document.host_of(vm)
    runs_on = [
        host
        for host, report in sorted(reports.items())
        for d in report.domains
        if d.state in ACTIVE and not d.incoming and d.tag is not None
        and (d.tag.site_id, d.tag.vm) == (document.state.site_id, vm_name)
    ]  # fmt: skip
    if not runs_on or home is None:
        raise CommandRefused(
            f"{vm_name} runs nowhere, by the word of the hosts that answer: nothing is migrating",
            f"`xsm why {vm_name}` tells where it belongs",
        )
    if home in runs_on:
        raise CommandRefused(
            f"{vm_name} runs on {home}, where it belongs: nothing is migrating",
            f"`xsm migrate {vm_name} HOST` moves it",
        )
    here = reports[runs_on[0]]
    moving = next((t for t in here.transfers if t.vm == vm_name), None)
    if moving is not None and here.facts is not None and here.facts.no_abort:
        raise CommandRefused(
            f"{vm_name} is on its way to {moving.target}, and {here.facts.no_abort}",
            f"`xsm migrate {vm_name} {here.host}` moves it back once it has arrived",
        )
    intent = migrate(files, document, vm_name, runs_on[0])
    if migration not in (None, vm.migration):
        policy = SetVM(vm_name, "migration", vm.migration, migration)
        intent = replace(intent, files=edit_site(intent.files, document, [policy]))
    return replace(intent, message=f"Call {vm_name} back to {runs_on[0]} on its way to {home}")


def _refuse_impossible_move(
    document: Document, vm: VM, target: str, around: Surroundings, cold: bool
) -> None:
    view = View(around.reports, around.unreachable, around.now, shutdowns={}, handovers=None)

    def held(policy: Migration) -> str:
        moved = _moved(document, replace(vm, migration=policy), target)
        return move_held(wanted(moved), moved, view, vm.name)

    why = held(Migration.COLD if cold else vm.migration)
    if not why:
        return
    hint = f"`xsm plan` shows the hosts' state; give {vm.name} another host, or mend that first"
    if not cold and vm.migration is not Migration.COLD and not held(Migration.COLD):
        policy = written(document.site_path, "MIGRATION", Migration.COLD)
        hint = f"`xsm migrate {vm.name} {target} --cold` sets {policy} and moves it so"
    raise CommandRefused(f"{vm.name} can't move to {target} now: {why}", hint)


def _moved(document: Document, vm: VM, target: str) -> Document:
    """The document once `vm` belongs on `target`, without the file being edited yet."""
    there = vm if vm.host is None else replace(vm, host=target)
    sets = tuple(
        replace(s, vms=tuple(there if v.name == vm.name else v for v in s.vms))
        for s in document.site.sets
    )
    placement = dict(document.state.placement)
    if vm.host is None:
        placement[vm.name] = target
    return replace(
        document,
        site=replace(document.site, sets=sets),
        state=replace(document.state, placement=placement),
    )


def power(files: Files, document: Document, vm_name: str, verb: str) -> Intent:
    """`xsm start`, `stop`, `pause`, `resume`: `verb` is one of `POWER_COMMANDS`."""
    if verb == "resume" and find_vm(document, vm_name).power is Power.STOPPED:
        raise CommandRefused(
            f"{vm_name} is stopped, not paused", f"`xsm start {vm_name}` starts it"
        )
    return set_power(files, document, vm_name, POWER_COMMANDS[verb])


def set_power(files: Files, document: Document, vm_name: str, power: Power) -> Intent:
    vm = find_vm(document, vm_name)
    verb = {Power.RUNNING: "Start", Power.STOPPED: "Stop", Power.PAUSED: "Pause"}[power]
    if vm.power is Power.PAUSED and power is Power.RUNNING:
        verb = "Resume"
    if vm.power is power:
        return Intent(files, document.state, f"{verb} {vm_name}")
    change = SetVM(vm_name, "power", vm.power, power)
    return Intent(edit_site(files, document, [change]), document.state, f"{verb} {vm_name}")


def restart(
    files: Files,
    document: Document,
    vm_names: Sequence[str],
    token: str,
    around: Surroundings | None = None,
) -> Intent:
    """`token`: something that no earlier restart had, so that it counts as a new one on every host. `around`: what is
    known of the hosts, to refuse a restart after which a VM would stay off; without it the restart waits."""
    vms = [find_vm(document, name) for name in vm_names]
    stopped = [vm.name for vm in vms if vm.power is Power.STOPPED]
    if stopped:
        raise CommandRefused(
            f"{', '.join(stopped)} is to be stopped", f"`xsm start {stopped[0]}` starts it"
        )
    restarts = {**document.state.restarts, **{vm.name: token for vm in vms}}
    state = replace(document.state, restarts=restarts)
    if around is not None:
        _refuse_impossible_restart(replace(document, state=state), vm_names, around)
    return Intent(files, state, f"Restart {', '.join(vm_names)}")


def _refuse_impossible_restart(
    document: Document, vm_names: Sequence[str], around: Surroundings
) -> None:
    view = View(around.reports, around.unreachable, around.now, shutdowns={}, handovers=None)
    want = wanted(document)
    for name in vm_names:
        why = restart_held(want, document, view, name)
        if why:
            hint = "it runs on as it is; mend that first"
            raise CommandRefused(f"{name} is not restarted: {why}", hint)


def refuse_witness(document: Document, host: str, reports: Mapping[str, HostReport]) -> None:
    """Raises `CommandRefused` for a host that runs no VMs anyway: there is nothing to drain, nor to take back."""
    name = find_member(document, host)
    if is_witness(document.state.members[name], reports.get(name)):
        raise CommandRefused(
            why_no_vms(document.state, name, reports.get(name)),
            "to service it, just stop it; while it is off it has no vote",
        )


def make_disk(files: Files, document: Document, vm_name: str, disk: str, token: str) -> Intent:
    """The operator's word that the VM's host may make that disk, empty, though it may have data elsewhere. It is good
    once, and for that host only. `token`: as of a restart."""
    host = _host_with_disk(document, vm_name, disk)
    state = _with_word(document, vm_name, disk, DiskWord(host, token))
    return Intent(files, state, f"Let {host} make an empty disk {disk} for {vm_name}")


def use_disk(
    files: Files,
    document: Document,
    vm_name: str,
    disk: str,
    at: str,
    token: str,
    reports: Mapping[str, HostReport],
) -> Intent:
    """The operator's word that what `at`, the VM's host, has of that disk is the one that counts, though it may be old
    or incomplete. What other hosts have of it is old from then on. Not while the VM runs: its own is the newest."""
    host = _host_with_disk(document, vm_name, disk)
    name = find_member(document, at)
    if name != host:
        raise CommandRefused(
            f"{vm_name} belongs on {host}", f"`xsm migrate {vm_name} {name}` first, or say {host}"
        )
    on = [h for h in sorted(reports) if vm_name in reports[h].running(document.state.site_id)]
    if on:
        raise CommandRefused(
            f"{vm_name} runs on {on[0]}, with the newest disks that it has", "nothing is to be done"
        )
    state = _with_word(document, vm_name, disk, DiskWord(host, token, use=True))
    return Intent(files, state, f"Let {vm_name} use the disk {disk} that {host} has")


def _host_with_disk(document: Document, vm_name: str, disk: str) -> str:
    """The VM's host; raises `CommandRefused` where it has none, or no such disk."""
    vm = find_vm(document, vm_name)
    names = [d.name for d in vm.disks]
    if disk not in names:
        has = ", ".join(names) or "none: its disks are its config's"
        raise CommandRefused(f"{vm_name} has no disk {disk!r} in the site file", f"it has {has}")
    host = document.host_of(vm)
    if host is None:
        raise CommandRefused(f"{vm_name} has no host", f"`xsm migrate {vm_name} HOST` gives it one")
    return host


def _with_word(document: Document, vm: str, disk: str, word: DiskWord) -> State:
    words = document.state.disk_words
    mine = {**words.get(vm, {}), disk: word}
    return replace(document.state, disk_words={**words, vm: mine})


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
    fenced = document.state.fenced
    name = document.host_name(host)
    if name in fenced:
        if not sure:
            raise CommandRefused(
                f"{name} was fenced, but it may be on again, and a VM may have come to it",
                f"make sure that it is powered off, then `xsm host forget {name} --it-is-off`",
            )
        state = replace(document.state, fenced={m: v for m, v in fenced.items() if m != name})
        return Intent(files, state, f"Forget host {name}, which was fenced")
    name = find_member(document, host)
    if len(document.state.members) == 1:
        raise CommandRefused(f"{name} is the site's last host")
    if name == me:
        raise CommandRefused(f"{name} can't forget itself", "run this on another host")
    witness = is_witness(document.state.members[name], report)
    if alive and not (witness and report is None):
        running = report.running(document.state.site_id) if report else []
        if report is None or report.facts is None or running:
            what = f"runs {', '.join(running)}" if running else "does not say what it runs"
            raise CommandRefused(
                f"{name} is alive and {what}", f"`xsm host drain {name}` first, or power it off"
            )
    elif not alive and not sure:
        so = "it would not hear of it" if witness else "XSM can't know that it runs no VMs"
        raise CommandRefused(
            f"{name} does not answer, so {so}",
            f"make sure that it is powered off, then `xsm host forget {name} --it-is-off`",
        )
    state = replace(document.state.without(name), drained=document.state.drained - {name})
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
