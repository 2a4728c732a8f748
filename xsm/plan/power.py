"""Starting and stopping: the next step between a domain as it is and the power that is wanted of
its VM.

Decides when a guest is asked, when it is powered off, and whether a difference is an edit or was
made by hand. Must not know about hosts other than the domain's.
"""

from __future__ import annotations

from collections.abc import Iterator

from xsm.plan import copying
from xsm.plan.actions import Action, Consequence, Notice, Step, hold
from xsm.plan.observed import Domain, DomainState
from xsm.plan.round import BY_FILE, Round
from xsm.plan.sightings import Sighting
from xsm.plan.view import SHUTDOWN_LIMIT_S, View
from xsm.plan.wanted import WantedVM
from xsm.site.model import Drift, Power

Finding = Action | Notice


def off_step(view: View, s: Sighting) -> tuple[Step, str]:
    """The next step that turns an active domain off, and what to tell about it."""
    if s.domain.state is DomainState.PAUSED:
        return Step.DESTROY, "; powered off, because a paused guest can't heed a shutdown request"
    asked = view.shutdowns.get((s.host, s.domain.uuid))
    if asked is None:
        return Step.SHUTDOWN, ""
    if view.now - asked < SHUTDOWN_LIMIT_S:
        return (
            Step.NONE,
            f"; asked to shut down, powered off if it does not within {SHUTDOWN_LIMIT_S:.0f} s",
        )
    return Step.DESTROY, f"; it did not heed the shutdown request within {SHUTDOWN_LIMIT_S:.0f} s"


def turn_off(view: View, s: Sighting, vm: str, consequence: Consequence, reason: str) -> Action:
    step, told = off_step(view, s)
    new = {Consequence.RESTART: "restarted", Consequence.REMOVE: "removed"}.get(
        consequence, "stopped"
    )
    return Action(
        vm,
        s.host,
        consequence,
        step,
        "power",
        str(s.domain.state),
        new,
        reason + told,
        uuid=s.domain.uuid,
    )


def applied(domain: Domain, key: str) -> str | None:
    """The live value that XSM set last in this domain; None when its tag doesn't say."""
    return domain.tag.live.get(key) if domain.tag else None


def may_act(w: WantedVM, domain: Domain, key: str, value: str) -> bool:
    """With `drift: report` only an edit of the file is acted on: when the file wants something else
    than what XSM set last. What XSM had set already and somebody changed since is theirs."""
    return w.vm.drift is Drift.REPAIR or applied(domain, key) not in (None, value)


def why(domain: Domain, key: str, value: str, by_hand: str) -> str:
    """An edit of the file, or drift?"""
    return f"drift: {by_hand}" if applied(domain, key) == value else BY_FILE


def reported(w: WantedVM, s: Sighting, message: str) -> Notice:
    return Notice(
        s.host, w.name, f"drift: {message}; left so, because its drift policy is 'report'"
    )


def while_active(r: Round, w: WantedVM, s: Sighting) -> Iterator[Finding]:
    """Power of a domain that is active on the VM's own host. Nothing when it is as wanted."""
    domain = s.domain
    if w.vm.power is Power.STOPPED:
        # A VM that is on against the file is turned off only by an edit when the policy is to
        # report. One that was asked to shut down already was on before anybody's hand.
        asked = (s.host, domain.uuid) in r.view.shutdowns
        if asked or may_act(w, domain, "power", Power.STOPPED):
            by_hand = why(domain, "power", Power.STOPPED, "started by hand")
            reason = BY_FILE if asked else by_hand
            yield turn_off(r.view, s, w.name, Consequence.STOP, reason)
        else:
            yield reported(w, s, "it was started by hand")
        return
    if restart_is_due(w, domain):
        restart = turn_off(r.view, s, w.name, Consequence.RESTART, "a restart was asked for")
        # Looked at before the guest is asked to shut down: afterwards it would stay off.
        obstacle = r.return_obstacle(w, s.host)
        yield hold(restart, f"it could not start again: {obstacle}") if obstacle else restart
        return
    if domain.state is DomainState.SHUTDOWN:
        yield Action(
            w.name,
            s.host,
            Consequence.START,
            Step.NONE,
            "power",
            str(domain.state),
            str(w.vm.power),
            "its guest is shutting down; started again once it is off",
            uuid=domain.uuid,
        )
        return
    paused = domain.state is DomainState.PAUSED
    if domain.state is DomainState.SUSPENDED or paused == (w.vm.power is Power.PAUSED):
        return
    by_hand = (domain.stopped or "paused by hand") if paused else "resumed by hand"
    if not may_act(w, domain, "power", w.vm.power):
        yield reported(w, s, f"it was {by_hand}")
        return
    yield Action(
        w.name,
        s.host,
        Consequence.RESUME if paused else Consequence.PAUSE,
        Step.RESUME if paused else Step.SUSPEND,
        "power",
        str(domain.state),
        str(w.vm.power),
        domain.stopped or why(domain, "power", w.vm.power, by_hand),
        uuid=domain.uuid,
    )


def restart_is_due(w: WantedVM, domain: Domain) -> bool:
    """Somebody asked for a restart since this boot."""
    return (
        w.restart_token != "" and domain.tag is not None and domain.tag.restart != w.restart_token
    )


def start(r: Round, w: WantedVM, s: Sighting) -> Iterator[Finding]:
    """Start a domain that is off on the VM's own host; whatever differs in its definition goes with
    it."""
    domain = s.domain
    crashed = domain.state is DomainState.CRASHED
    by_hand = "it crashed" if crashed else "turned off by hand, by its guest or with its host"
    last = applied(domain, "power")
    if restart_is_due(w, domain):
        reason = "a restart was asked for"
    else:
        reason = f"drift: {by_hand}" if last in (Power.RUNNING, Power.PAUSED) else BY_FILE
    action = Action(
        w.name,
        s.host,
        Consequence.START,
        Step.START,
        "power",
        str(domain.state),
        str(w.vm.power),
        reason,
        uuid=domain.uuid,
    )
    # The tag says whether XSM had it running; without that word the policy decides for leaving it
    # alone.
    if w.vm.drift is Drift.REPORT and last != Power.STOPPED and not restart_is_due(w, domain):
        yield reported(w, s, by_hand)
        yield hold(
            action, f"{by_hand}, and its drift policy is 'report'; `xsm restart {w.name}` starts it"
        )
        return
    obstacle = r.obstacle(w, s.host, r.kind(s.host))
    if obstacle:
        yield copying.held(r.view, w, action, obstacle)
    else:
        yield from copying.before_start(r.view, w, action)
