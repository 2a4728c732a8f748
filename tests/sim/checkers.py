"""What a site has promised, checked from outside: at the hypervisors, the disks and the revisions, never in the peers.

A checker is called after every event of a simulation and raises `Violation`. `at_rest` is asked once, when all faults
are over and the site says that it has nothing left to do.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.sim.volumes import Pool
from tests.sim.world import SimHost, Violation, World, never_twice
from xsm.peer.membership import MEMBERS
from xsm.peer.messages import (
    ClaimAnswer,
    ClaimAsk,
    EvictAnswer,
    EvictAsk,
    MemberAnswer,
    Message,
    Settled,
)
from xsm.peer.register import Register
from xsm.plan.actions import STARTS, Action, Step
from xsm.plan.observed import ACTIVE, DomainState
from xsm.site import identity
from xsm.site.conflicts import active_conflicts
from xsm.site.document import Document
from xsm.site.model import VM, Drift, Migration, Power

__all__ = ["Checkers", "Violation", "at_rest"]


class Checkers:
    """All checks that hold at every instant. One for each world: they remember what they have seen, and look again only
    at what has changed since."""

    def __init__(self, world: World) -> None:
        self._votes: dict[str, dict[str, Register]] = {}
        self._heads: dict[str, tuple[str, ...]] = {}
        self._performed = self._fresh_boots = self._old_boots = 0
        self._domains_at = self._disks_at = -1
        world.checkers.append(self.check)

    def check(self, world: World) -> None:
        if self._domains_at != world.switch.generation:
            self._domains_at = world.switch.generation
            never_twice(world)
            _enough_memory(world)
            self._no_blank_disk_for_data(world)
            self._no_old_disk(world)
        if self._disks_at != world.disk_changes.count:
            self._disks_at = world.disk_changes.count
            self._votes_never_go_back(world)
            self._heads_never_go_back(world)
        if world.sent:
            self._what_is_said_is_on_disk(world)
        if self._performed != len(world.performed):
            self._only_what_was_asked_for(world)

    def _no_blank_disk_for_data(self, world: World) -> None:
        """A guest starts with a disk on which nothing ever ran only where none of its disks of that name, anywhere, has
        data; or on somebody's word."""
        new = world.switch.fresh_boots[self._fresh_boots :]
        self._fresh_boots += len(new)
        for vm, name, on, fresh in new:
            if _somebody_said(world, vm, on):
                continue
            for where, volumes in _pools(world):
                other = volumes.get(name, fresh)
                if other is not fresh and other.used:
                    told = f"{vm} started on {on} with a blank {name}, and its data is on {where}"
                    raise Violation(told)

    def _no_old_disk(self, world: World) -> None:
        """A guest runs only on the newest data of its disks there is, and on no copy that was cut off; or on somebody's
        word."""
        new = world.switch.old_boots[self._old_boots :]
        self._old_boots += len(new)
        for vm, name, on, what in new:
            if not _somebody_said(world, vm, on):
                raise Violation(f"{vm} runs on {on} on an {what} {name}")

    def _votes_never_go_back(self, world: World) -> None:
        for host in world.hosts.values():
            now = host.disk.registers
            before = self._votes.get(host.name, {})
            if now is before:
                continue
            for vm, register in before.items():
                if now.get(vm) is not register:
                    _went_on(host.name, vm, register, now.get(vm, Register()))
            self._votes[host.name] = now

    def _what_is_said_is_on_disk(self, world: World) -> None:
        for sender, to, messages in world.sent:
            for message in messages:
                _is_on_disk(world.hosts[sender], to, message)

    def _heads_never_go_back(self, world: World) -> None:
        """What a host's repository has taken up once is in it for ever."""
        for host in world.hosts.values():
            before, now = self._heads.get(host.name, ()), host.disk.heads
            if now is not before and world.archive.maximal({*before, *now}) != now:
                raise Violation(f"the heads of {host.name} went back: {before} => {now}")
            self._heads[host.name] = now

    def _only_what_was_asked_for(self, world: World) -> None:
        new, self._performed = world.performed[self._performed :], len(world.performed)
        for at, name, action in new:
            host = world.hosts[name]
            document = host.peer.head.document if host.peer and host.peer.head else None
            why_not = (
                "it has no revision to act on"
                if document is None
                else _unasked(host, document, action)
                or _unclaimed(host, action)
                or _only_copy(world, host, action)
            )
            if why_not:
                raise Violation(
                    f"{name} does {action.step} to {action.vm} at {at:.2f} s, but {why_not}"
                )


def _somebody_said(world: World, vm: str, on: str) -> bool:
    """Whether a person's word lets that host run the VM on what it has, or has made, of its disks."""
    said = [h.head.document for h in world.hosts.values() if h.head is not None]
    words = [d.state.disk_words.get(vm, {}) for d in said if d is not None]
    return any(word.host == on for each in words for word in each.values())


def _is_on_disk(host: SimHost, to: str, message: Message) -> None:
    """What a host says to another one about its votes has to be on its disk: it may lose power in the next instant."""
    match message:
        case ClaimAnswer(vm, epoch, granted=True):
            r = host.disk.registers.get(vm, Register())
            kept = r.voted > epoch or (r.voted == epoch and r.claimant == to)
        case ClaimAsk(vm, epoch, attempt):
            r = host.disk.registers.get(vm, Register())
            kept = r.attempts >= attempt and r.voted >= epoch
        case EvictAsk(vm, epoch) | Settled(vm, epoch):
            r = host.disk.registers.get(vm, Register())
            kept = r.voted >= epoch and (isinstance(message, EvictAsk) or r.held >= epoch)
        case EvictAnswer(vm, epoch, done=True):
            r = host.disk.registers.get(vm, Register())
            kept = r.bar >= epoch
        case MemberAnswer(number, granted=True):
            r = host.disk.registers.get(MEMBERS, Register())
            kept = r.voted > number or (r.voted == number and r.claimant == to)
        case _:
            return
    if not kept:
        raise Violation(f"{host.name} says {message} to {to}, and has on its disk only {r}")


def _unclaimed(host: SimHost, action: Action) -> str:
    """Why its disk does not allow a start."""
    r = host.disk.registers.get(action.vm, Register())
    if action.step in STARTS and not (r.held and r.held >= r.bar):
        return f"it has no claim of it on its disk: {r}"
    return ""


def _only_copy(world: World, host: SimHost, action: Action) -> str:
    """What is cleared away as a leftover must not be the guest itself."""
    others = (other for other in world.hosts.values() if other is not host)
    if action.step is Step.CLEAR and not any(action.vm in o.hypervisor.running() for o in others):
        return "it runs on no other host"
    return ""


def _went_on(host: str, vm: str, before: Register, now: Register) -> None:
    # "": it has heard that another host voted otherwise, and counts for nobody in that epoch.
    mind_kept = "" in (before.claimant, now.claimant) or before.claimant == now.claimant
    changed_mind = before.voted == now.voted and not mind_kept
    pairs = zip(_numbers(before), _numbers(now), strict=True)
    if changed_mind or any(later < earlier for earlier, later in pairs):
        raise Violation(f"the votes of {host} for {vm} went back: {before} => {now}")


def _numbers(r: Register) -> tuple[int, ...]:
    return r.voted, r.bar, r.held, r.attempts


def _unasked(host: SimHost, document: Document, action: Action) -> str:
    """Why no edit asked for this action, "" when one did."""
    if host.is_witness:
        return "it is a witness"
    vm = document.vms.get(action.vm)
    if any(c.vm == action.vm for c in active_conflicts(document.site, document.state)):
        return "two edits disagree about it"
    place = document.host_of(vm) if vm else None
    elsewhere = vm is None or place != host.name
    tag = next((d.tag for d in host.hypervisor.domains_unchecked() if d.uuid == action.uuid), None)
    match action.step:
        case Step.CREATE | Step.START | Step.MAKE_DISK | Step.RESIZE_DISK:
            if vm is None or elsewhere or vm.power is Power.STOPPED:
                return "the file does not want it to run there"
        case Step.DEFINE:
            if vm is None or (elsewhere and tag is None):
                return "the file does not want it there"
        case Step.SHUTDOWN | Step.DESTROY:
            token = document.state.restarts.get(action.vm, "")
            # A domain that is gone since the last look can't be stopped, nor tell whether it was restarted.
            restart = token != "" and (tag is None or tag.restart != token)
            if not (elsewhere or restart or (vm is not None and vm.power is Power.STOPPED)):
                return "the file wants it to run there"
            moved = vm and place and elsewhere and vm.power is not Power.STOPPED and not restart
            if moved and vm.migration is not Migration.COLD:
                return f"the file wants it on {place}, moved live or not at all"
        case Step.UNDEFINE:
            uuid = identity.uuid_of(document.state.site_id, vm) if vm else ""
            if not elsewhere and tag is not None and uuid == action.uuid:
                return "the file wants it there"
        case Step.MIGRATE:
            if vm is None or place != action.target or vm.migration is Migration.NEVER:
                return f"the file does not want it on {action.target}"
            if host.world.hosts[action.target].is_witness:
                return f"{action.target} is a witness"
            if action.target in document.state.drained:
                return f"{action.target} is drained"
        case Step.SUSPEND | Step.RESUME:
            if vm is None or (vm.power is Power.PAUSED) != (action.step is Step.SUSPEND):
                return "the file wants another power of it"
        case Step.SET_MEMORY:
            if vm is None or vm.memory_mib != action.value:
                return "the file wants another size of it"
    return ""


def _pools(world: World) -> Iterator[tuple[str, Pool]]:
    """All storage there is, mounted or not."""
    yield from (("what all share", pool) for pool in world.switch.pools.values())
    for host in world.hosts.values():
        storage = host.hypervisor.storage
        for pool in (*storage.own.values(), *storage.away.values()):
            yield host.name, pool


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
    there = {h.name for h in hosts}
    lost = sorted(c for c, on in world.committed.items() if on in there and c not in past)
    if lost:
        raise Violation(f"edits were lost: {lost}")
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
