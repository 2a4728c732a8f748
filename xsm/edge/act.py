"""Carrying out one action of the plan: looked up again just before, done at most once.

Decides whether the step still applies to what is there now. Must not know why it was planned, nor
retry: the next round observes anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from xsm.edge.hypervisor import Hypervisor, HypervisorError
from xsm.peer.events import Way
from xsm.plan import tags
from xsm.plan.actions import Action, Step
from xsm.plan.observed import ACTIVE, Domain, DomainState
from xsm.site import tag_xml
from xsm.site.disk import Volume, size_text
from xsm.site.model import Power
from xsm.site.tag import Tag

REASON_LIMIT_CHARS = 200
"""Of a refusal that is kept in a domain's mark."""


def perform(
    hypervisor: Hypervisor, action: Action, *, xml: str, way: Way, tag: Tag | None = None
) -> str:
    """Carry out `action.step` unless it is done already; give "old => new" for the log.

    `xml`: for the steps that define. `way`: for MIGRATE. `tag`: what the domain's mark is to be
    afterwards, None: as it is or as `xml` says. Raises `HypervisorError`: the call failed, or
    the step doesn't fit what is there (a foreign domain, a wrong state); then nothing was changed.
    """
    step = STEPS.get(action.step)
    if step is None:
        raise HypervisorError(f"there is nothing to do in step {action.step}")
    domain = _ours(hypervisor, action, xml, tag)
    outcome = step(hypervisor, action, domain, xml, way)
    if tag is not None and action.step in TAGGED and domain is not None and domain.tag != tag:
        _mark(hypervisor, action.uuid, tag)
    return outcome


def adopt(hypervisor: Hypervisor, uuid: str, tag: Tag) -> str:
    """Mark a foreign domain, whose name is the VM's, as the site's; it runs on undisturbed."""
    domain = next((d for d in hypervisor.find(uuid, "") if d.uuid == uuid), None)
    if domain is None:
        raise HypervisorError(f"no domain has the UUID {uuid}", absent=True)
    if domain.incoming:
        raise HypervisorError(f"{domain.name} is just being received by a live migration")
    if domain.tag == tag:
        return f"{domain.name}: already adopted"
    if domain.tag is not None and (domain.tag.site_id, domain.tag.vm) != (tag.site_id, tag.vm):
        raise HypervisorError(
            f"{domain.name} is {domain.tag.vm} of the site {domain.tag.site_id} already"
        )
    if domain.name != tag.vm:
        raise HypervisorError(f"the domain is called {domain.name}, the VM {tag.vm}")
    if not domain.persistent:
        raise HypervisorError(f"{domain.name} is transient; `virsh define` it first")
    hypervisor.set_tag(uuid, tag)
    if domain.tag is not None:
        return f"{domain.name}: mark renewed"
    return f"{domain.name}: foreign => {tag.vm}"


def _ours(hypervisor: Hypervisor, action: Action, xml: str, tag: Tag | None) -> Domain | None:
    """The VM's domain as it is now, None: there is none. Raises when another is in its place."""
    wanted = tag_xml.from_domain_xml(xml) if xml else None
    if action.step in DEFINING and (wanted is None or wanted.vm != action.vm):
        raise HypervisorError(f"the definition for {action.vm} doesn't carry its mark")
    site = wanted or tag
    found = hypervisor.find(action.uuid, action.vm)
    for domain in found:
        mark = domain.tag
        if mark is None or mark.vm != action.vm:
            raise HypervisorError(
                f"foreign: the domain {domain.name} ({domain.uuid}) isn't XSM's; "
                "`xsm adopt` it or remove it"
            )
        if site is not None and mark.site_id != site.site_id:
            raise HypervisorError(
                f"foreign: the domain {domain.name} ({domain.uuid}) is of another site"
            )
        if domain.uuid == action.uuid and domain.incoming:
            raise HypervisorError(f"{action.vm} is just being received by a live migration")
        if domain.uuid != action.uuid and action.step in DEFINING:
            raise HypervisorError(
                f"an older domain of {action.vm} with the UUID {domain.uuid} is in the way"
            )
    return next((d for d in found if d.uuid == action.uuid), None)


def _start(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, xml: str, _way: Way
) -> str:
    """CREATE and START: define anew, so that pending changes take effect, then boot."""
    if domain is not None and domain.state in ACTIVE:
        return f"already {domain.state}"
    hypervisor.define(xml)
    try:
        hypervisor.start(action.uuid)
    except HypervisorError:
        _never_ran(hypervisor, action.uuid)
        raise
    return f"{_state(domain)} => running"


def _never_ran(hypervisor: Hypervisor, uuid: str) -> None:
    """The new definition's mark says that XSM has it running. Where that failed, it must not look as if somebody had
    turned it off by hand since."""
    # The failure of the start is the one to tell; without the mark only its reason is less exact.
    with contextlib.suppress(HypervisorError):
        domain = next((d for d in hypervisor.find(uuid, "") if d.uuid == uuid), None)
        if domain is not None and domain.tag is not None and domain.state not in ACTIVE:
            live = {**domain.tag.live, "power": Power.STOPPED.value}
            hypervisor.set_tag(uuid, replace(domain.tag, live=live))


def _define(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, xml: str, _way: Way
) -> str:
    hypervisor.define(xml)
    return "absent => defined" if domain is None else "defined => defined anew"


def _shutdown(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, _xml: str, _way: Way
) -> str:
    if domain is None or domain.state not in ACTIVE:
        return f"already {_state(domain)}"
    hypervisor.shutdown(action.uuid)
    return f"{domain.state} => asked to shut down"


def _destroy(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, _xml: str, _way: Way
) -> str:
    if domain is None or domain.state not in ACTIVE:
        return f"already {_state(domain)}"
    hypervisor.destroy(action.uuid)
    return f"{domain.state} => powered off"


def _undefine(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, _xml: str, _way: Way
) -> str:
    if domain is None:
        return "already absent"
    if domain.state in ACTIVE:
        raise HypervisorError(f"{action.vm} is {domain.state}; it is removed only when off")
    hypervisor.undefine(action.uuid)
    return f"{domain.state} => undefined"


def _suspend(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, _xml: str, _way: Way
) -> str:
    on = _active(action, domain)
    if on.state is DomainState.PAUSED:
        return "already paused"
    hypervisor.suspend(action.uuid)
    return f"{on.state} => paused"


def _resume(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, _xml: str, _way: Way
) -> str:
    on = _whole(action, domain)
    if on.state is DomainState.RUNNING:
        return "already running"
    hypervisor.resume(action.uuid)
    return f"{on.state} => running"


def _continue(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, _xml: str, _way: Way
) -> str:
    """The claim was won: no other host has the guest that a migration left paused here when it was cut off."""
    on = _active(action, domain)
    if not on.cut_off:
        return f"already {on.state}"
    hypervisor.resume(action.uuid)
    return f"{on.state}, cut off => running"


def _clear(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, _xml: str, _way: Way
) -> str:
    """Another host says that the guest runs there. What can't be its leftover is not touched."""
    if domain is None or domain.state not in ACTIVE:
        return f"already {_state(domain)}"
    if not domain.cut_off:
        raise HypervisorError(f"{action.vm} is {domain.state} here, and no leftover of a migration")
    hypervisor.destroy(action.uuid)
    return f"leftover of its migration to {action.target} => cleared away"


def _whole(action: Action, domain: Domain | None) -> Domain:
    """An active domain that is not one end of a migration that was cut off."""
    on = _active(action, domain)
    if on.cut_off:
        raise HypervisorError(f"{action.vm} may run elsewhere: a migration of it was cut off")
    return on


def _set_memory(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, _xml: str, _way: Way
) -> str:
    there = _present(action, domain)
    if there.memory_mib == action.value:
        return f"memory already {action.value} MiB"
    hypervisor.set_memory(action.uuid, action.value)
    return f"memory {there.memory_mib} MiB => {action.value} MiB"


def _set_vcpus(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, _xml: str, _way: Way
) -> str:
    there = _present(action, domain)
    if there.vcpus == action.value:
        return f"vcpus already {action.value}"
    hypervisor.set_vcpus(action.uuid, action.value)
    return f"vcpus {there.vcpus} => {action.value}"


def _set_weight(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, _xml: str, _way: Way
) -> str:
    there = _present(action, domain)
    if there.cpu_weight == action.value:
        return f"weight already {action.value}"
    hypervisor.set_weight(action.uuid, action.value)
    old = "default" if there.cpu_weight is None else there.cpu_weight
    return f"weight {old} => {action.value}"


def _set_limits(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, xml: str, _way: Way
) -> str:
    """What the hypervisor doesn't take is noted in the domain's mark: it isn't tried again, it waits for a restart."""
    on = _whole(action, domain)
    assert on.tag is not None, "only what has XSM's mark is changed"
    mark = tag_xml.from_domain_xml(xml)
    wanted = mark.live.get(tags.LIMITS, "") if mark is not None else ""
    old = on.tag.live.get(tags.LIMITS, "") or tags.NO_LIMITS
    try:
        hypervisor.set_limits(action.uuid, xml)
    except HypervisorError as error:
        if error.lost or error.absent:
            raise
        why = error.reason[:REASON_LIMIT_CHARS]
        hypervisor.set_tag(action.uuid, tags.refused(on.tag, wanted, why))
        return f"limits stay {old} until a restart: {error.reason}"
    hypervisor.set_tag(action.uuid, tags.limited(on.tag, wanted))
    return f"limits {old} => {wanted or tags.NO_LIMITS}"


def _migrate(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, _xml: str, way: Way
) -> str:
    if not way.uri:
        raise HypervisorError(f"{action.target or 'the target'} has no libvirt URI for migrations")
    on = _whole(action, domain)
    took = hypervisor.migrate(action.uuid, way)
    outcome = f"{on.state} here => {on.state} on {action.target}"
    aside = _left_behind(hypervisor, way)
    return f"{outcome}{aside}: {took}" if took else f"{outcome}{aside}"


def _left_behind(hypervisor: Hypervisor, way: Way) -> str:
    """What was copied along is old here from now on. That shows better by another name; it counts as old without."""
    told = []
    for volume in way.disks:
        try:
            told.append(hypervisor.set_aside(volume, f"{volume.name}.{way.aside}"))
        except HypervisorError as error:
            told.append(f"{volume.name} as it was ({error.reason})")
    return f"; left behind here: {', '.join(told)}" if told else ""


def _set_aside(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, _xml: str, _way: Way
) -> str:
    """Before a copy comes in its place. `_ours` has refused while one is coming."""
    volume = _volume(action)
    if domain is not None and domain.state in ACTIVE:
        raise HypervisorError(f"{action.vm} is {domain.state} here")
    there = hypervisor.disks((volume,))[0]
    if there.size_mib is None and not there.trouble:
        return f"volume {volume.name} is not there any more"
    return f"volume {volume.name} => {hypervisor.set_aside(volume, action.new)}"


def _make_disk(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, _xml: str, _way: Way
) -> str:
    """Before a start, with the VM's claim. Nothing that is there is touched."""
    volume = _volume(action)
    if domain is not None and domain.state in ACTIVE:
        return f"{action.vm} is {domain.state} already"
    there = hypervisor.disks((volume,))[0]
    if there.trouble:
        raise HypervisorError(there.trouble)
    if there.size_mib is not None:
        return f"volume {volume.name} is there already"
    hypervisor.make_disk(volume)
    return f"{action.what} absent => {action.new}, volume {volume.name}"


def _grow_disk(
    hypervisor: Hypervisor, action: Action, domain: Domain | None, _xml: str, _way: Way
) -> str:
    """RESIZE_DISK of a domain that is off, with its claim; GROW_DISK of one that runs."""
    volume = _volume(action)
    active = domain is not None and domain.state in ACTIVE
    if active != (action.step is Step.GROW_DISK):
        raise HypervisorError(f"{action.vm} is {_state(domain)} now")
    there = hypervisor.disks((volume,))[0]
    if there.trouble or there.size_mib is None:
        raise HypervisorError(there.trouble or f"volume {volume.name} is not there")
    if there.size_mib >= volume.size_mib:
        return f"{action.what} already {size_text(there.size_mib)}"
    hypervisor.grow_disk(action.uuid, volume)
    return f"{action.what} {size_text(there.size_mib)} => {action.new}"


def _volume(action: Action) -> Volume:
    if action.volume is None:
        raise HypervisorError(f"step {action.step} names no disk")
    return action.volume


def _present(action: Action, domain: Domain | None) -> Domain:
    if domain is None:
        raise HypervisorError(f"there is no domain of {action.vm} here", absent=True)
    return domain


def _active(action: Action, domain: Domain | None) -> Domain:
    on = _present(action, domain)
    if on.state not in ACTIVE:
        raise HypervisorError(f"{action.vm} is {on.state}; {action.step} needs one that is on")
    return on


def _state(domain: Domain | None) -> str:
    return "absent" if domain is None else domain.state.value


def _mark(hypervisor: Hypervisor, uuid: str, tag: Tag) -> None:
    """A domain that went with its power, or that somebody undefined, needs no mark."""
    try:
        hypervisor.set_tag(uuid, tag)
    except HypervisorError as error:
        if not error.absent:
            raise


Doing = Callable[[Hypervisor, Action, Domain | None, str, Way], str]

STEPS: dict[Step, Doing] = {
    Step.CREATE: _start,
    Step.START: _start,
    Step.DEFINE: _define,
    Step.SHUTDOWN: _shutdown,
    Step.DESTROY: _destroy,
    Step.UNDEFINE: _undefine,
    Step.CONTINUE: _continue,
    Step.CLEAR: _clear,
    Step.SUSPEND: _suspend,
    Step.RESUME: _resume,
    Step.SET_MEMORY: _set_memory,
    Step.SET_VCPUS: _set_vcpus,
    Step.SET_WEIGHT: _set_weight,
    Step.SET_LIMITS: _set_limits,
    Step.MIGRATE: _migrate,
    Step.MAKE_DISK: _make_disk,
    Step.RESIZE_DISK: _grow_disk,
    Step.GROW_DISK: _grow_disk,
    Step.SET_ASIDE: _set_aside,
}

DEFINING = frozenset({Step.CREATE, Step.START, Step.DEFINE})
TAGGED = frozenset(
    {
        Step.SHUTDOWN,
        Step.DESTROY,
        Step.SUSPEND,
        Step.RESUME,
        Step.SET_MEMORY,
        Step.SET_VCPUS,
        Step.SET_WEIGHT,
    }
)
"""Steps after which the domain is still here and its mark may say more than before."""
