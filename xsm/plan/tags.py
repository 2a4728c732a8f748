"""The tag that a step leaves in a domain: what XSM defined it with and which live values it set
last.

Decides how the planner's later rounds tell an edit from a change by hand. Must not know how a tag
is stored (libvirt's <metadata>).
"""

from __future__ import annotations

from dataclasses import replace

from xsm.plan.actions import Action, Step
from xsm.plan.wanted import WantedVM
from xsm.site.model import HypervisorKind, Power
from xsm.site.tag import Tag

POWER_AFTER = {
    Step.CREATE: Power.RUNNING,
    Step.START: Power.RUNNING,
    Step.DEFINE: Power.STOPPED,
    Step.SUSPEND: Power.PAUSED,
    Step.RESUME: Power.RUNNING,
    Step.SHUTDOWN: Power.STOPPED,
    Step.DESTROY: Power.STOPPED,
}
"""What XSM has made of the domain once the step is done (asked for, in the case of SHUTDOWN)."""

LIMITS = "limits"
"""What limits disks and cards since the boot or the last change: for people, as `WantedVM.limits`."""
REFUSED = "limits_refused"
"""Limits that the hypervisor didn't take while the guest runs, and why: "WANTED: REASON"."""
NO_LIMITS = "none"

LIVE_KEY = {Step.SET_MEMORY: "memory", Step.SET_VCPUS: "vcpus", Step.SET_WEIGHT: "weight"}


def fresh(site_id: str, w: WantedVM, kind: HypervisorKind, power: Power) -> Tag:
    """The tag of a new definition: for the boot that follows it (CREATE, START), or of a domain
    that is off (DEFINE)."""
    return Tag(
        site_id,
        w.name,
        w.restart_token,
        dict(w.fingerprint(kind)),
        {**live_values(w), "power": power.value},
    )


def live_values(w: WantedVM) -> dict[str, str]:
    """The live values that a definition of the VM sets."""
    values = {"memory": str(w.vm.memory_mib), "vcpus": str(w.vm.vcpus)}
    if w.cpu_weight is not None:
        values["weight"] = str(w.cpu_weight)
    if w.limits:
        values[LIMITS] = w.limits
    return values


def limited(tag: Tag, wanted: str) -> Tag:
    """The tag of a domain whose disks and cards have got these limits."""
    live = {key: value for key, value in tag.live.items() if key not in (LIMITS, REFUSED)}
    return replace(tag, live={**live, LIMITS: wanted} if wanted else live)


def refused(tag: Tag, wanted: str, why: str) -> Tag:
    """The tag of a domain that keeps the limits it has until it boots again."""
    return replace(tag, live={**tag.live, REFUSED: f"{wanted or NO_LIMITS}: {why}"})


def after(tag: Tag, action: Action) -> Tag:
    """The tag of an existing domain once `action.step` was done to it without defining it anew.

    DEFINE of a domain that is on leaves the tag as it is: it still describes the boot that runs.
    """
    live = dict(tag.live)
    if action.step in LIVE_KEY:
        live[LIVE_KEY[action.step]] = str(action.value)
    elif action.step in POWER_AFTER and action.step is not Step.DEFINE:
        live["power"] = POWER_AFTER[action.step].value
    return replace(tag, live=live)
