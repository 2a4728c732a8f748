"""Small sites and hosts for the planner's tests: short to write, with the real types throughout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from xsm.plan.actions import Action, Consequence, Plan, Step
from xsm.plan.observed import Domain, DomainState, HostReport, HypervisorFacts
from xsm.plan.planner import Handover, View, plan
from xsm.plan.tags import fresh
from xsm.plan.wanted import WantedVM, wanted
from xsm.site.config import Config
from xsm.site.document import Document
from xsm.site.model import VM, Host, HypervisorKind, Power, Site, VMSet
from xsm.site.state import Conflict, Member, State
from xsm.site.tag import Tag

SITE_ID = "6f1c1c0a-6d6e-4f8e-9c9b-3d5f0a7b1c2d"
OTHER_SITE = "11111111-2222-4333-8444-555555555555"
NOW = 1_000_000.0
RUNNING, PAUSED, SHUTOFF = DomainState.RUNNING, DomainState.PAUSED, DomainState.SHUTOFF
TEST, XEN, KVM, QEMU = (
    HypervisorKind.TEST,
    HypervisorKind.XEN,
    HypervisorKind.KVM,
    HypervisorKind.QEMU,
)

APACHE = Config(
    "apache_svr",
    "configs/apache_svr.cfg",
    'kernel = "/boot/vmlinuz"\nroot = "/dev/xvda1"\ndisk = ["phy:/dev/vg/apache,xvda1,w"]\n',
)
APACHE_NEW_DISK = replace(APACHE, text=APACHE.text.replace("vg/apache", "vg/apache2"))
XEN_ONLY = Config(
    "pv",
    "configs/pv.xml",
    "<domain type='xen'><os><type arch='x86_64'>linux</type>"
    "<kernel>/boot/vmlinuz</kernel></os></domain>",
)


def vm(name: str, host: str | None = None, **values: Any) -> VM:
    given = {"config": "apache_svr", "set_name": "My_site", "vcpus": 4, "memory_mib": 96, **values}
    return VM(name=name, host=host, **given)


def members(*names: str) -> dict[str, Member]:
    return {
        n: Member(n, f"192.168.5.{100 + i}", f"https://127.0.0.1:{7000 + i}")
        for i, n in enumerate(names, 1)
    }


def document(
    *vms: VM,
    hosts: Iterable[str] = ("dmz01", "dmz02", "dmz03"),
    listed: Iterable[Host] = (),
    placement: Mapping[str, str] | None = None,
    drained: Iterable[str] = (),
    restarts: Mapping[str, str] | None = None,
    conflicts: Iterable[Conflict] = (),
    configs: Iterable[Config] = (APACHE, XEN_ONLY),
) -> Document:
    site = Site((VMSet("My_site", "root@domain.com", tuple(vms)),), tuple(listed))
    state = State(
        site_id=SITE_ID,
        members=members(*hosts),
        placement=dict(placement or {}),
        drained=frozenset(drained),
        restarts=dict(restarts or {}),
        conflicts=tuple(conflicts),
    )
    return Document(site, "site.xml", {c.name: c for c in configs}, state)


def facts(
    kind: HypervisorKind = TEST, memory_mib: int = 8192, cold_only: str = ""
) -> HypervisorFacts:
    return HypervisorFacts(
        kind,
        "9.0",
        "x86_64",
        8,
        memory_mib,
        memory_mib,
        cold_only=cold_only,
        migrate_uri="qemu+tls://there/system",
    )


def domain_of(
    w: WantedVM, state: DomainState = RUNNING, kind: HypervisorKind = TEST, **values: Any
) -> Domain:
    """The domain that XSM made of `w`, untouched since."""
    power = {RUNNING: Power.RUNNING, PAUSED: Power.PAUSED}.get(state, Power.STOPPED)
    given: dict[str, Any] = {
        "name": w.name,
        "uuid": w.uuid,
        "state": state,
        "memory_mib": w.vm.memory_mib,
        "max_memory_mib": w.max_memory_mib,
        "vcpus": w.vm.vcpus,
        "max_vcpus": w.max_vcpus,
        "cpu_weight": w.cpu_weight,
        "mac": w.mac,
        "tag": fresh(SITE_ID, w, kind, power),
        **values,
    }
    return Domain(**given)


def foreign(name: str, state: DomainState = RUNNING, **values: Any) -> Domain:
    given: dict[str, Any] = {
        "uuid": "00000000-0000-4000-8000-00000000000f",
        "memory_mib": 512,
        "max_memory_mib": 512,
        "vcpus": 1,
        "max_vcpus": 1,
        **values,
    }
    return Domain(name=name, state=state, **given)


def report(
    host: str, *domains: Domain, at: float = NOW, of: HypervisorFacts | None = None, **values: Any
) -> HostReport:
    return HostReport(host, at, "r1", of or facts(), tuple(domains), **values)


def view(
    *reports: HostReport,
    unreachable: Mapping[str, str] | None = None,
    now: float = NOW,
    shutdowns: Mapping[tuple[str, str], float] | None = None,
    handovers: Mapping[str, Handover] | None = None,
) -> View:
    return View({r.host: r for r in reports}, unreachable or {}, now, shutdowns or {}, handovers)


def made(doc: Document, *names: str, **values: Any) -> dict[str, Domain]:
    """Domains as XSM made them from `doc`, by name."""
    w = wanted(doc)
    return {name: domain_of(w.by_name[name], **values) for name in names or w.by_name}


def plan_of(doc: Document, the_view: View) -> Plan:
    return plan(wanted(doc), doc, the_view)


def short(found: Plan) -> list[tuple[str, str, Consequence, Step]]:
    return [(a.vm, a.host, a.consequence, a.step) for a in found.actions]


def only(found: Plan) -> Action:
    assert len(found.actions) == 1, [str(a) for a in found.actions]
    return found.actions[0]


def told(found: Plan) -> dict[str, str]:
    """Notices about domains (not about whole hosts), by the domain's name."""
    return {n.vm: n.message for n in found.notices if n.vm}


def with_live(domain: Domain, **live: str) -> Domain:
    assert domain.tag is not None
    return replace(domain, tag=replace(domain.tag, live={**domain.tag.live, **live}))


def retagged(domain: Domain, **values: Any) -> Domain:
    assert isinstance(domain.tag, Tag)
    return replace(domain, tag=replace(domain.tag, **values))
