"""What holds of every plan: whatever the site, the hosts and the hands that were at work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from planned_site import (
    APACHE,
    NOW,
    OTHER_SITE,
    SITE_ID,
    XEN_ONLY,
    document,
    domain_of,
    facts,
    foreign,
    vm,
)
from toy_hosts import ToyHosts

from xsm.plan.actions import STARTS, Consequence, Plan, Step
from xsm.plan.observed import ACTIVE, DomainState, HostReport
from xsm.plan.planner import Handover, View, plan, plan_host
from xsm.plan.wanted import wanted
from xsm.site.document import Document
from xsm.site.model import Drift, HypervisorKind, Migration, Power
from xsm.site.state import Conflict

HOSTS = ("dmz01", "dmz02", "dmz03")
VMS = ("vm1", "vm2", "vm3", "vm4")
EXAMPLES = 80
LETS_GO = {Step.MIGRATE, Step.SHUTDOWN, Step.DESTROY}

kinds = st.sampled_from([kind for kind in HypervisorKind if kind is not HypervisorKind.NONE])


@st.composite
def sites(draw: Any, calm: bool = False) -> Document:
    """A site. A calm one has nothing in it that only a person could put right."""
    vms, placement, restarts = [], {}, {}
    for name in draw(st.lists(st.sampled_from(VMS), unique=True)):
        host = draw(st.sampled_from([*HOSTS, None] if calm else [*HOSTS, None, "dmz09"]))
        if host is None and (calm or draw(st.booleans())):
            placement[name] = draw(st.sampled_from(HOSTS))
        if draw(st.booleans()):
            restarts[name] = draw(st.sampled_from(["t1", "t2"]))
        vms.append(
            vm(
                name,
                host,
                config="apache_svr" if calm else draw(st.sampled_from(["apache_svr", "pv"])),
                memory_mib=draw(st.sampled_from([64, 96, 4096])),
                max_memory_mib=draw(st.sampled_from([None, 8192])),
                vcpus=draw(st.sampled_from([1, 4])),
                cpu_weight=draw(st.sampled_from([None, 256, 512])),
                power=draw(st.sampled_from(Power)),
                migration=Migration.COLD if calm else draw(st.sampled_from(Migration)),
                drift=Drift.REPAIR if calm else draw(st.sampled_from(Drift)),
            )
        )
    conflicts = []
    if vms and not calm and draw(st.booleans()):
        conflicts = [Conflict(vms[0].name, "vcpus", str(vms[0].vcpus), "9", ("a", "b"))]
    drained = [] if calm else draw(st.lists(st.sampled_from(HOSTS), max_size=1))
    return document(
        *vms, hosts=HOSTS, placement=placement, restarts=restarts, conflicts=conflicts,
        drained=drained, configs=[APACHE, XEN_ONLY],
    )  # fmt: skip


@st.composite
def domains_of(draw: Any, doc: Document, once: bool = False) -> dict[str, list]:
    """Domains of an earlier revision, with the traces of hands. `once`: no VM has two of them."""
    found: dict[str, list] = {host: [] for host in HOSTS}
    for w in wanted(doc).by_name.values():
        hosts = draw(st.lists(st.sampled_from(HOSTS), unique=True, max_size=1 if once else 3))
        for host in hosts:
            state = draw(st.sampled_from(DomainState))
            there = domain_of(w, state, draw(kinds))
            change = draw(
                st.sampled_from(
                    [
                        {},
                        {"memory_mib": 80},
                        {"vcpus": 2},
                        {"autostart": True},
                        {"persistent": state not in ACTIVE},
                        {"name": w.name + "-renamed"},
                    ]
                )
            )
            found[host].append(replace(there, **change))
    return found


@st.composite
def views(draw: Any, doc: Document, acting: bool | None = None) -> View:
    """Reports of all sorts, in any order."""
    there = draw(domains_of(draw(sites())))
    names = [*VMS, "box"]
    reports: dict[str, HostReport] = {}
    shutdowns = {}
    for host in draw(st.permutations(HOSTS)):
        if not draw(st.booleans()) and draw(st.booleans()):
            continue
        domains = list(there[host])
        for name in draw(st.lists(st.sampled_from(names), max_size=1)):
            if all(d.name != name for d in domains):
                domains.append(foreign(name, draw(st.sampled_from(DomainState))))
        if draw(st.booleans()):
            domains = [
                replace(d, tag=replace(d.tag, site_id=OTHER_SITE)) if d.tag and i == 0 else d
                for i, d in enumerate(domains)
            ]
        for d in domains:
            if draw(st.booleans()):
                shutdowns[(host, d.uuid)] = NOW - draw(st.sampled_from([1.0, 100.0]))
        down = draw(st.integers(0, 9)) == 0
        host_facts = facts(draw(kinds), draw(st.sampled_from([1000, 16384])))
        at = NOW - draw(st.sampled_from([0.0, 0.0, 100.0]))
        of = None if down else host_facts
        reports[host] = HostReport(host, at, "r1", of, tuple(domains), "down" if down else "")
    unreachable = draw(st.dictionaries(st.sampled_from(HOSTS), st.just("timeout"), max_size=1))
    handovers = None
    if acting or (acting is None and draw(st.booleans())):
        claim = st.builds(Handover, st.sampled_from(HOSTS), st.just(3), kinds, st.just(""))
        handovers = draw(st.dictionaries(st.sampled_from(VMS), claim))
    return View(reports, unreachable, NOW, shutdowns, handovers)


situations = sites().flatmap(lambda doc: st.tuples(st.just(doc), views(doc)))


def turned(found: Any) -> dict:
    return dict(reversed(list(found.items())))


@settings(max_examples=EXAMPLES)
@given(situations)
def test_equal_inputs_give_equal_plans_whatever_their_order(situation: tuple) -> None:
    doc, v = situation
    state = doc.state
    other = replace(
        doc,
        site=replace(
            doc.site, sets=tuple(replace(s, vms=tuple(reversed(s.vms))) for s in doc.site.sets)
        ),
        state=replace(
            state, members=turned(state.members), placement=turned(state.placement),
            restarts=turned(state.restarts),
        ),
    )  # fmt: skip
    mixed = View(
        {h: replace(r, domains=r.domains[::-1]) for h, r in turned(v.reports).items()},
        turned(v.unreachable), v.now, turned(v.shutdowns),
        None if v.handovers is None else turned(v.handovers),
    )  # fmt: skip
    assert plan(wanted(doc), doc, v) == plan(wanted(other), other, mixed)


@settings(max_examples=EXAMPLES)
@given(situations)
def test_a_hosts_plan_is_its_part_of_the_whole(situation: tuple) -> None:
    doc, v = situation
    whole = plan(wanted(doc), doc, v)
    for host in (*HOSTS, "dmz09"):
        part = plan_host(wanted(doc), doc, v, host)
        assert part.actions == whole.owned_by(host)
        assert part.notices == tuple(n for n in whole.notices if n.host == host)


def check_safety(doc: Document, v: View, found: Plan) -> None:
    w = wanted(doc)
    seen = [(h, d) for h, r in v.reports.items() if r.facts is not None for d in r.domains]
    active = {d.uuid for _, d in seen if d.state in ACTIVE}
    ours = {(h, d.uuid) for h, d in seen if d.tag and d.tag.site_id == SITE_ID}
    theirs = {(h, d.uuid) for h, d in seen} - ours
    for action in found.actions:
        assert (action.host, action.uuid) not in theirs, f"a foreign domain: {action}"
        if action.step in STARTS:
            assert w.by_name[action.vm].uuid not in active, f"it runs already: {action}"
            assert action.host == w.by_name[action.vm].host
        if action.consequence is Consequence.HELD:
            assert action.held and action.step.value == "none", str(action)
        leaves = action.target not in ("", action.host) and action.step in LETS_GO
        if v.handovers is not None and leaves and not action.held:
            claim = v.handovers.get(action.vm)
            assert claim and claim.target == action.target, str(action)
    keys = [(a.vm, a.host, a.what, a.step, a.uuid) for a in found.actions]
    assert len(keys) == len(set(keys))


@settings(max_examples=EXAMPLES * 2)
@given(situations)
def test_no_plan_touches_what_is_not_ours_or_starts_what_runs(situation: tuple) -> None:
    doc, v = situation
    check_safety(doc, v, plan(wanted(doc), doc, v))


@settings(max_examples=EXAMPLES)
@given(sites(calm=True), st.dictionaries(st.sampled_from(HOSTS), kinds))
def test_nothing_to_do_when_all_is_as_wanted(doc: Document, of: dict) -> None:
    w = wanted(doc)
    reports = {}
    for host in HOSTS:
        kind = of.get(host, HypervisorKind.TEST)
        states = {
            Power.RUNNING: DomainState.RUNNING,
            Power.PAUSED: DomainState.PAUSED,
            Power.STOPPED: DomainState.SHUTOFF,
        }
        there = [w.by_name[n] for n in w.by_host.get(host, ())]
        domains = tuple(domain_of(each, states[each.vm.power], kind) for each in there)
        reports[host] = HostReport(host, NOW, "r1", facts(kind, 65536), domains)
    found = plan(w, doc, View(reports, {}, NOW, {}))
    assert (found.actions, found.notices) == ((), ())


LEFT_TO_PEOPLE = {Consequence.NEXT_BOOT, Consequence.HELD}
ROUNDS = 16


@settings(max_examples=EXAMPLES)
@given(
    st.data(),
    sites(calm=True),
    sites(calm=True),
    st.dictionaries(st.sampled_from(HOSTS), kinds),
    st.booleans(),
)
def test_doing_the_steps_leads_to_what_is_wanted(
    data: st.DataObject, old: Document, new: Document, of: dict, stubborn: bool
) -> None:
    toy = ToyHosts({h: of.get(h, HypervisorKind.TEST) for h in HOSTS}, stubborn)
    for host, domains in data.draw(domains_of(old, once=True)).items():
        for domain in domains:
            toy.put(host, domain)
    box = foreign("box")
    toy.put("dmz01", box)
    w = wanted(new)
    for _ in range(ROUNDS):
        check_safety(new, toy.view(), plan(w, new, toy.view()))
        if not toy.round(w, new) and not toy.shutdowns and not going(w, new, toy):
            break
    left = [a for a in plan(w, new, toy.view()).actions if a.consequence not in LEFT_TO_PEOPLE]
    assert left == [], [str(a) for a in left]
    held = [a for a in plan(w, new, toy.view()).actions if a.consequence is Consequence.HELD]
    assert all("too small" in a.held for a in held), [str(a) for a in held]
    assert toy.domains["dmz01"][box.uuid] == box
    for each in w.by_name.values():
        on = toy.active_on(each.uuid)
        assert on in ([each.host] if each.is_on else [], []) or held
        assert bool(on) == each.is_on or held


def going(w: Any, doc: Document, toy: ToyHosts) -> bool:
    """Whether something moves by itself: a guest that is shutting down by its own will ends."""
    ended = False
    for here in toy.domains.values():
        for uuid, domain in here.items():
            if domain.state is DomainState.SHUTDOWN:
                here[uuid] = replace(domain, state=DomainState.SHUTOFF)
                ended = True
    return ended
