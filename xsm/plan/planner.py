"""The plan: what differs between a revision and what hosts report, and who does what about it next.

Decides everything that XSM does to domains, level-triggered: each round looks anew, and each action
has just its next step. A pure function: equal inputs give equal plans on every host. Must not know
how a step is done, nor how claims are won; a step that starts a guest is performed only with a
claim (`actions.STARTS`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from xsm.plan import copying, differences, moves, power
from xsm.plan.actions import Action, Consequence, Notice, Plan, Step, hold
from xsm.plan.forms import RUNS_TWICE
from xsm.plan.power import Finding, turn_off
from xsm.plan.round import BY_FILE, Round, why_there
from xsm.plan.sightings import Seen, Sighting, sort_domains
from xsm.plan.view import SHUTDOWN_LIMIT_S, Handover, View, is_fresh
from xsm.plan.wanted import Wanted, WantedVM
from xsm.plan.witness import contradiction
from xsm.site.document import Document
from xsm.site.fields import vm_label

__all__ = [
    "SHUTDOWN_LIMIT_S",
    "Handover",
    "View",
    "going_off",
    "incoming",
    "move_held",
    "plan",
    "plan_host",
    "restart_held",
]

_ORDER = {consequence: number for number, consequence in enumerate(Consequence)}
_OFF_ON_THE_WAY = frozenset(
    {Consequence.STOP, Consequence.REMOVE, Consequence.RESTART, Consequence.MIGRATE_COLD}
)


def plan(wanted: Wanted, document: Document, view: View) -> Plan:
    """The whole site's plan."""
    r = Round(wanted, document, view, sort_domains(wanted, document, view, wanted.by_name))
    findings = [f for name in wanted.by_name for f in _of_vm(r, wanted.by_name[name])]
    findings += _of_others(r)
    for host in sorted(document.state.members):
        findings += _of_host(r, host)
    return _made(r, findings)


def plan_host(wanted: Wanted, document: Document, view: View, host: str) -> Plan:
    """What `host` owns of the whole plan. Costs by its own VMs and domains, and one glance at other
    reports."""
    interest = set(wanted.by_host.get(host, ()))
    report = view.reports.get(host)
    for domain in report.domains if report else ():
        if domain.tag is not None and domain.tag.vm in wanted.by_name:
            interest.add(domain.tag.vm)
    names = sorted(interest)
    r = Round(wanted, document, view, sort_domains(wanted, document, view, names, only_host=host))
    findings = [f for name in names for f in _of_vm(r, wanted.by_name[name])]
    findings += [*_of_others(r), *_of_host(r, host)]
    return _made(r, (f for f in findings if f.host == host))


def incoming(wanted: Wanted, document: Document, view: View, host: str) -> tuple[Action, ...]:
    """The moves to `host` that other members should make: what it should claim besides its own
    starts."""
    names = wanted.by_host.get(host, ())
    r = Round(wanted, document, view, sort_domains(wanted, document, view, names, only_host=host))
    findings = [f for name in names for f in _of_vm(r, wanted.by_name[name])]
    return tuple(a for a in _made(r, findings).actions if a.target == host and a.host != host)


def move_held(wanted: Wanted, document: Document, view: View, vm: str) -> str:
    """Why `vm` could not come to its host, "" when it could or is there. What is the matter with the host
    that it comes from does not count: that may pass, and then the move goes."""
    return _hold_of(wanted, document, view, vm, lambda a: a.what in ("host", "domain"))


def restart_held(wanted: Wanted, document: Document, view: View, vm: str) -> str:
    """Why a restart of `vm` would be held, "" when it would go."""
    return _hold_of(
        wanted, document, view, vm, lambda a: a.what == "power" and a.new == "restarted"
    )


def _hold_of(
    wanted: Wanted, document: Document, view: View, vm: str, which: Callable[[Action], bool]
) -> str:
    r = Round(wanted, document, view, sort_domains(wanted, document, view, [vm], only_host=""))
    found = [f for f in _of_vm(r, wanted.by_name[vm]) if isinstance(f, Action)]
    return next((a.held for a in found if a.held and which(a)), "")


def going_off(found: Plan) -> frozenset[tuple[str, str]]:
    """(host, uuid) of the domains that the plan turns off. Shutdown clocks of any others are out of
    date."""
    return frozenset(
        (a.host, a.uuid)
        for a in found.actions
        if a.step in (Step.SHUTDOWN, Step.DESTROY)
        or (a.step is Step.NONE and not a.held and a.consequence in _OFF_ON_THE_WAY)
    )


def _made(r: Round, findings: Iterable[Finding]) -> Plan:
    """Hold what an owner can't do now, and sort."""
    actions, notices = [], []
    for found in findings:
        if isinstance(found, Notice):
            notices.append(found)
            continue
        trouble = r.owner_trouble(found.host) if found.host and not found.held else ""
        tells_only = found.consequence is Consequence.NEXT_BOOT
        actions.append(hold(found, trouble) if trouble and not tells_only else found)
    actions.sort(
        key=lambda a: (_ORDER[a.consequence], a.vm, a.host, a.what, a.step, a.uuid, a.held)
    )
    notices.sort(key=lambda n: (n.host, n.vm, n.message))
    return Plan(tuple(actions), tuple(notices))


def _of_vm(r: Round, w: WantedVM) -> Iterator[Finding]:
    """Everything about one wanted VM."""
    seen = r.found.seen[w.name]
    running = seen.running()
    if w.conflicts:
        yield from _conflicted(w, running)
        return
    proven = [s for s in running if is_fresh(r.view, s.host)] if len(running) > 1 else running
    if len(proven) > 1:
        yield from _twice(w, proven)
        return
    if len(running) > 1:
        keep = proven[0] if proven else next((s for s in running if s.host == w.host), running[0])
        for s in running:
            if s is not keep:
                message = f"by its old report it runs here too; {keep.host} runs it now"
                yield Notice(s.host, w.name, message)
        running = [keep]
    cut_off = seen.cut_off()
    for s in cut_off:
        yield moves.cut_off(r, w, s, next((one.host for one in running), ""))
    if running:
        yield from _running(r, w, running[0])
    elif not cut_off and not any(s.domain.incoming for s in seen.own):
        yield from _off(r, w, seen)
    here = running[0].host if running else w.host
    if not (running and w.host is None):
        yield from _leftovers(r, w, seen, here)


def _conflicted(w: WantedVM, running: list[Sighting]) -> Iterator[Finding]:
    """Nothing is done to a VM about which two edits disagree."""
    owner = running[0].host if running else w.host or ""
    told = "; ".join(
        f"{vm_label(c.what)}: {c.shown or 'none'} is shown, {c.other or 'none'} was wanted too"
        for c in w.conflicts
    )
    first = w.conflicts[0]
    yield Action(
        w.name,
        owner,
        Consequence.HELD,
        Step.NONE,
        "conflict",
        first.other or "none",
        first.shown or "none",
        "two edits at once disagree",
        uuid=running[0].domain.uuid if running else "",
        held=f"{told}; `xsm resolve {w.name}` keeps what is shown, or edit it",
    )


def _twice(w: WantedVM, running: list[Sighting]) -> Iterator[Finding]:
    hosts = sorted({s.host for s in running})
    where = " and ".join(hosts) if len(hosts) > 1 else f"{hosts[0]}, as two domains"
    held = f"IT RUNS TWICE, on {where}: {RUNS_TWICE}"
    for s in running:
        yield Action(
            w.name,
            s.host,
            Consequence.HELD,
            Step.NONE,
            "host",
            ", ".join(hosts),
            w.host or "one host",
            "runs twice",
            uuid=s.domain.uuid,
            held=held,
        )


def _running(r: Round, w: WantedVM, s: Sighting) -> Iterator[Finding]:
    """The VM runs at `s`, and nowhere else."""
    home = w.host
    if home is None:
        if w.is_on:
            yield _unplaced(w, s.host, s.domain.uuid)
        else:
            yield turn_off(r.view, s, w.name, Consequence.STOP, BY_FILE)
        return
    if home != s.host:
        yield from moves.away(r, w, s, home)
        return
    if w.is_on and home in r.document.state.drained:
        whose = (
            "its DOM0 pins it there: change that"
            if w.pinned
            else "the site has no other host for it so far, and looks again at the next edit"
        )
        yield Action(
            w.name,
            home,
            Consequence.HELD,
            Step.NONE,
            "host",
            home,
            "another host",
            "the host is drained",
            uuid=s.domain.uuid,
            held=f"{home} is drained, but {whose}, or `xsm host resume {home}`",
        )
        return
    findings = list(power.while_active(r, w, s))
    yield from findings
    turns = any(isinstance(f, Action) and f.consequence in _OFF_ON_THE_WAY for f in findings)
    if w.is_on and not turns:
        yield from differences.while_active(r, w, s)


def _unplaced(w: WantedVM, owner: str, uuid: str = "") -> Action:
    return Action(
        w.name,
        owner,
        Consequence.HELD,
        Step.NONE,
        "host",
        owner or "none",
        "another host" if owner else "any host",
        "it floats",
        uuid=uuid,
        held="no host was found for it; the site looks again at the next edit",
    )


def _off(r: Round, w: WantedVM, seen: Seen) -> Iterator[Finding]:
    """The VM runs nowhere."""
    home = w.host
    if home is None:
        yield _unplaced(w, "")
        return
    s = seen.at(home)
    if s is None:
        yield from _create(r, w, seen, home)
        return
    renewed = "uuid" if s.domain.uuid != w.uuid else "name" if s.domain.name != w.name else ""
    if renewed:
        # libvirt can't change either of a defined domain.
        old, new = (s.domain.uuid, w.uuid) if renewed == "uuid" else (s.domain.name, w.name)
        yield Action(
            w.name,
            home,
            Consequence.RECREATE,
            Step.UNDEFINE,
            renewed,
            old,
            new,
            f"{BY_FILE}; its disks stay",
            uuid=s.domain.uuid,
        )
    elif w.is_on:
        yield from power.start(r, w, s)
    else:
        kind = r.kind(home)
        yield from differences.while_off(w, s, kind) if kind is not None else ()


def _create(r: Round, w: WantedVM, seen: Seen, home: str) -> Iterator[Action]:
    size = f"{w.vm.memory_mib} MiB, {w.vm.vcpus} VCPU" + ("" if w.vm.vcpus == 1 else "s")
    came_from = next((s.host for s in seen.own), "")
    reason = why_there(w)
    action = Action(
        w.name,
        home,
        Consequence.CREATE,
        Step.CREATE if w.is_on else Step.DEFINE,
        "domain",
        "absent",
        f"{w.vm.power}, {size}",
        reason,
        uuid=w.uuid,
    )
    if came_from:
        action = Action(
            w.name,
            home,
            Consequence.MIGRATE_COLD,
            action.step,
            "host",
            came_from,
            home,
            f"{reason}; it is off on {came_from}",
            uuid=w.uuid,
            target=home,
        )
    obstacle = r.obstacle(w, home, r.kind(home))
    if obstacle:
        yield copying.held(r.view, w, action, obstacle)
    elif w.is_on:
        yield from copying.before_start(r.view, w, action)
    else:
        yield action


def _leftovers(r: Round, w: WantedVM, seen: Seen, here: str | None) -> Iterator[Finding]:
    """Definitions that are off and not where the VM belongs: what a cold move or a failed one
    leaves behind."""
    kept = seen.at(here)
    for s in seen.own:
        if s.active or s is kept:
            continue
        if s.host == here:
            yield Notice(
                s.host, w.name, f"a second domain of it, {s.domain.name}, is off here; left alone"
            )
        elif here is not None and here == w.host and not r.target_trouble(here):
            yield Action(
                w.name,
                s.host,
                Consequence.MIGRATE_COLD,
                Step.UNDEFINE,
                "host",
                s.host,
                here,
                f"it belongs on {here} and is off on {s.host}; its disks stay",
                uuid=s.domain.uuid,
                target=here,
            )


def _of_others(r: Round) -> Iterator[Finding]:
    """Domains of VMs that the file no longer names, and domains that aren't the site's."""
    for s in r.found.removed:
        if s.domain.incoming:
            continue
        vm = s.domain.tag.vm if s.domain.tag else s.domain.name
        if s.active:
            yield turn_off(r.view, s, vm, Consequence.REMOVE, f"{vm} is no longer in the site file")
        else:
            yield Action(
                vm,
                s.host,
                Consequence.REMOVE,
                Step.UNDEFINE,
                "domain",
                str(s.domain.state),
                "removed",
                f"{vm} is no longer in the site file; its disks stay",
                uuid=s.domain.uuid,
            )
    for s in r.found.copies:
        of = s.domain.tag.vm if s.domain.tag else "another VM"
        message = f"bears XSM's mark of {of}, but is another domain (a copy of it?); left alone"
        yield Notice(s.host, s.domain.name, message)
    for s in r.found.foreign:
        whose = "belongs to another XSM site" if s.domain.tag else "XSM did not create it"
        whose = "made by xl, libvirt doesn't show it" if s.domain.unshown else whose
        message = f"foreign domain ({s.domain.state}): {whose}; left alone"
        yield Notice(s.host, s.domain.name, message, foreign=True)


def _of_host(r: Round, host: str) -> Iterator[Finding]:
    """What is the matter with a member as a whole."""
    if host not in r.document.state.members:
        return
    wrong = contradiction(r.document.state.members[host], r.view.reports.get(host))
    if wrong:
        yield Notice(host, "", wrong)
    trouble = r.owner_trouble(host)
    if trouble:
        yield Notice(host, "", trouble)
    elif not is_fresh(r.view, host):
        yield Notice(host, "", "its report is old")
