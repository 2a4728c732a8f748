"""What a site has promised, checked from outside: at the hypervisors, the disks and the revisions, never in the peers.

A checker is called after every event of a simulation and raises `Violation`. `at_rest` is asked once, when all faults
are over and the site says that it has nothing left to do.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.sim.world import SimHost, Violation, World, never_twice
from xsm.peer.register import Register
from xsm.plan.actions import Action, Step
from xsm.plan.observed import ACTIVE, DomainState
from xsm.site import identity
from xsm.site.document import Document
from xsm.site.merge import active_conflicts
from xsm.site.model import VM, Drift, Migration, Power

__all__ = ["Checkers", "Violation", "at_rest"]


class Checkers:
    """All checks that hold at every instant. One for each world: they remember what they have seen."""

    def __init__(self, world: World) -> None:
        self._votes: dict[str, tuple[int, dict[str, Register]]] = {}
        self._performed = 0
        world.checkers.append(self.check)

    def check(self, world: World) -> None:
        never_twice(world)
        self._votes_never_go_back(world)
        self._only_what_was_asked_for(world)
        _enough_memory(world)

    def _votes_never_go_back(self, world: World) -> None:
        for host in world.hosts.values():
            generation, before = self._votes.get(host.name, (-1, {}))
            if generation == host.disk.generation:
                continue
            now = dict(host.disk.registers)
            for vm, register in before.items():
                if now.get(vm) is not register:
                    _went_on(host.name, vm, register, now.get(vm, Register()))
            self._votes[host.name] = (host.disk.generation, now)

    def _only_what_was_asked_for(self, world: World) -> None:
        new, self._performed = world.performed[self._performed :], len(world.performed)
        for at, name, action in new:
            host = world.hosts[name]
            document = host.peer.head.document if host.peer and host.peer.head else None
            why_not = (
                "it has no revision to act on"
                if document is None
                else _unasked(host, document, action)
            )
            if why_not:
                raise Violation(
                    f"{name} does {action.step} to {action.vm} at {at:.2f} s, but {why_not}"
                )


def _went_on(host: str, vm: str, before: Register, now: Register) -> None:
    changed_mind = before.voted == now.voted and before.claimant not in ("", now.claimant)
    if now.voted < before.voted or now.bar < before.bar or now.held < before.held or changed_mind:
        raise Violation(f"the votes of {host} for {vm} went back: {before} => {now}")


def _unasked(host: SimHost, document: Document, action: Action) -> str:
    """Why no edit asked for this action, "" when one did."""
    vm = document.vms.get(action.vm)
    if any(c.vm == action.vm for c in active_conflicts(document.site, document.state)):
        return "two edits disagree about it"
    place = document.host_of(vm) if vm else None
    elsewhere = vm is None or place != host.name
    tag = next((d.tag for d in host.hypervisor.domains_unchecked() if d.uuid == action.uuid), None)
    match action.step:
        case Step.CREATE | Step.START:
            if vm is None or elsewhere or vm.power is Power.STOPPED:
                return "the file does not want it to run there"
        case Step.DEFINE:
            if vm is None or (elsewhere and tag is None):
                return "the file does not want it there"
        case Step.SHUTDOWN | Step.DESTROY:
            token = document.state.restarts.get(action.vm, "")
            restart = token != "" and tag is not None and tag.restart != token
            if not (elsewhere or restart or (vm is not None and vm.power is Power.STOPPED)):
                return "the file wants it to run there"
        case Step.UNDEFINE:
            uuid = identity.uuid_of(document.state.site_id, vm) if vm else ""
            if not elsewhere and tag is not None and uuid == action.uuid:
                return "the file wants it there"
        case Step.MIGRATE:
            if vm is None or place != action.target or vm.migration is Migration.NEVER:
                return f"the file does not want it on {action.target}"
            if action.target in document.state.drained:
                return f"{action.target} is drained"
        case Step.SUSPEND | Step.RESUME:
            if vm is None or (vm.power is Power.PAUSED) != (action.step is Step.SUSPEND):
                return "the file wants another power of it"
        case Step.SET_MEMORY:
            if vm is None or vm.memory_mib != action.value:
                return "the file wants another size of it"
    return ""


def _enough_memory(world: World) -> None:
    for host in world.hosts.values():
        used = host.hypervisor.used_mib()
        if used > host.hypervisor.memory_mib:
            raise Violation(
                f"the VMs of {host.name} have {used} MiB of {host.hypervisor.memory_mib}"
            )


def at_rest(world: World) -> None:
    """Everything is as the one revision wants it, or somebody is told why not."""
    hosts = world.alive()
    heads = {h.disk.heads for h in hosts}
    if len(heads) != 1:
        raise Violation(f"hosts ended with different heads: {sorted(heads)}")
    past = world.archive.past(next(iter(heads)))
    made = {c for h in hosts for c in h.history.have if not world.archive.commits[c][0].merge}
    if made - past:
        raise Violation(f"edits were lost: {sorted(made - past)}")
    document = next(h for h in hosts if h.name in h.document.state.members).document
    for vm in document.site.vms():
        for wrong in _wrong(world, document, vm):
            raise Violation(f"at rest, {vm.name} {wrong}")
    members = [h for h in hosts if h.name in document.state.members]
    for host in members:
        for domain in host.hypervisor.domains_unchecked():
            if domain.tag is not None and domain.tag.vm not in document.vms:
                raise Violation(
                    f"at rest, {domain.name} is still on {host.name}, though it was removed"
                )


def _wrong(world: World, document: Document, vm: VM) -> Iterator[str]:
    """What is wrong with one VM that nobody was told of."""
    conflict = any(c.vm == vm.name for c in active_conflicts(document.site, document.state))
    home = document.host_of(vm)
    if conflict or home is None or _told(world, vm.name) or _absent(world, document, home):
        return
    states = {
        host.name: domain
        for host in world.alive()
        for domain in host.hypervisor.domains_unchecked()
        if domain.tag is not None and domain.tag.vm == vm.name and domain.state in ACTIVE
    }
    if vm.power is Power.STOPPED:
        if states:
            yield f"is to be stopped, and is on {', '.join(sorted(states))}"
        return
    if list(states) != [home]:
        yield f"belongs on {home}, and is active on {', '.join(sorted(states)) or 'no host'}"
        return
    domain = states[home]
    want = DomainState.PAUSED if vm.power is Power.PAUSED else DomainState.RUNNING
    if domain.state is not want and vm.drift is Drift.REPAIR:
        yield f"is to be {want}, and is {domain.state}"
    if domain.memory_mib != vm.memory_mib and vm.drift is Drift.REPAIR:
        yield f"is to have {vm.memory_mib} MiB, and has {domain.memory_mib}"


def _told(world: World, vm: str) -> bool:
    """Whether some host says what it can't do about the VM, or leaves to people."""
    reports = [h.peer.own_report() for h in world.alive() if h.peer]
    lines = [line for r in reports if r is not None for line in (*r.held, *r.notes)]
    return any(line.startswith(f"{vm} on ") or f": {vm}: " in line for line in lines)


def _absent(world: World, document: Document, host: str) -> bool:
    return host not in document.state.members or world.hosts[host].peer is None
