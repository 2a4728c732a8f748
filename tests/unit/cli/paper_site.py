"""The paper's site as xsmd would tell of it: typed values for the canned answers."""

from __future__ import annotations

from xsm.api.types import (
    Applied,
    Event,
    MemberStatus,
    PlanAnswer,
    Preview,
    RevisionInfo,
    Status,
    VmStatus,
    Why,
)
from xsm.peer.contacts import Reach
from xsm.plan.actions import Action, Consequence, Notice, Plan, Step
from xsm.plan.observed import Domain, DomainState, HostReport, HypervisorFacts
from xsm.site.model import HypervisorKind
from xsm.site.problems import Problem
from xsm.site.state import Conflict

HEAD = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334"
OLD = "0badcafe" * 5
NEW = "feedbeef" * 5
DAY = 1_700_000_000.0

SITE_XML = b"""<XSMConfig>
<Set name="My_site">
 <Owner>root@domain.com</Owner>
 <VM name="vm1" config="apache_svr">
   <DOM0>192.168.5.101</DOM0>
   <VCPUS>4</VCPUS>
   <HWADDR>AA:00:00:00:00:01</HWADDR>
   <IP>DHCP</IP>
   <MEM>96</MEM>
 </VM>
</Set>
</XSMConfig>
"""
CONFIG = b"""kernel = "/boot/vmlinuz"
disk = ['phy:/dev/vg/apache,xvda,w']
vif = ['bridge=xenbr0']
"""


def member(number: int, revision: str = HEAD, **changes: object) -> MemberStatus:
    values: dict[str, object] = {
        "name": f"dmz0{number}",
        "address": f"192.168.5.10{number}",
        "url": f"https://192.168.5.10{number}:8701",
        "reach": Reach.ALIVE,
        "seen_s": 0.0 if number == 1 else 2.4,
        "revision": revision,
        "drained": False,
        "myself": number == 1,
    }
    return MemberStatus(**{**values, **changes})  # type: ignore[arg-type]


def status(**changes: object) -> Status:
    values: dict[str, object] = {
        "host": "dmz01",
        "site_id": "6f1d7a52-37f5-4a9e-9f60-0e5e4ac10001",
        "version": "0.1.0",
        "revision": HEAD,
        "heads": (HEAD,),
        "subject": "vm1 gets more memory",
        "author": "Root <root@domain.com>",
        "date": DAY,
        "members": (member(1), member(2)),
        "majority": True,
        "conflicts": (),
        "frozen": "",
        "checkout": "/etc/xsm/site",
        "checkout_problems": (),
        "converged": True,
        "pending": (),
        "held": (),
    }
    return Status(**{**values, **changes})  # type: ignore[arg-type]


def troubled() -> Status:
    return status(
        heads=(HEAD, NEW),
        members=(
            member(1),
            member(2, revision=OLD, since_s=300.0),
            member(3, revision="", reach=Reach.FAILED, seen_s=4000.0, error="connection refused"),
            member(4, drained=True, since_s=7.2),
        ),
        converged=False,
        pending=("vm1 on dmz01: live: memory 96 MiB => 128 MiB (site file)",),
        held=("vm3 on dmz03: start: power off => running (site file) HELD: no claim",),
        notes=("dmz02: web: foreign domain",),
        conflicts=(Conflict("vm2", "host", "dmz02", "dmz04", (HEAD, NEW)),),
        checkout_problems=(Problem("site.xml", 7, "MEM is not a number", "MiB, like 96"),),
    )


def action(vm: str, consequence: Consequence, **changes: object) -> Action:
    values: dict[str, object] = {
        "vm": vm,
        "host": "dmz01",
        "consequence": consequence,
        "step": Step.NONE,
        "what": "memory",
        "old": "96 MiB",
        "new": "128 MiB",
        "reason": "the site file says so",
    }
    return Action(**{**values, **changes})  # type: ignore[arg-type]


def plan() -> Plan:
    return Plan(
        (
            action(
                "vm5", Consequence.CREATE, what="domain", old="absent", new="running, 96 MiB",
                host="dmz02",
            ),
            action("vm1", Consequence.LIVE),
            action(
                "vm2", Consequence.MIGRATE_LIVE, what="host", old="dmz02", new="dmz03",
                host="dmz02", target="dmz03",
            ),
            action(
                "vm4", Consequence.REMOVE, what="domain", old="running", new="absent",
                host="dmz04",
            ),
            action(
                "vm3", Consequence.HELD, what="power", old="off", new="running", host="dmz03",
                held="dmz03 does not answer",
            ),
        ),
        (Notice("dmz02", "web", "foreign domain, left alone"),),
    )  # fmt: skip


def facts(**changes: object) -> HypervisorFacts:
    values: dict[str, object] = {
        "kind": HypervisorKind.XEN,
        "version": "4.17.3",
        "arch": "x86_64",
        "cpus": 8,
        "memory_mib": 16384,
        "free_memory_mib": 12000,
    }
    return HypervisorFacts(**{**values, **changes})  # type: ignore[arg-type]


def report(host: str) -> HostReport:
    domains = (
        Domain("vm1", "5d6c", DomainState.RUNNING, 96, 96, 4, 4, mac="aa:00:00:00:00:01"),
        Domain("web", "77aa", DomainState.SHUTOFF, 512, 512, 1, 1, autostart=True),
    )
    return HostReport(host, DAY, HEAD, facts(), domains if host == "dmz01" else ())


def plan_answer() -> PlanAnswer:
    return PlanAnswer(
        HEAD, plan(), {"dmz01": report("dmz01"), "dmz02": report("dmz02")}, {"dmz03": "timed out"}
    )


def nothing_before() -> PlanAnswer:
    """Before the change every VM was as it should be."""
    return PlanAnswer(HEAD, Plan(), {}, {})


def vm(name: str, **changes: object) -> VmStatus:
    values: dict[str, object] = {
        "name": name,
        "set_name": "My_site",
        "config": "apache_svr",
        "uuid": "5d6c9d2e-0000-5000-8000-000000000001",
        "mac": "aa:00:00:00:00:01",
        "ip": "dhcp",
        "pinned": True,
        "wanted_host": "dmz01",
        "wanted_power": "running",
        "observed_hosts": ("dmz01",),
        "running_on": ("dmz01",),
        "state": "running",
        "vcpus": 4,
        "memory_mib": 96,
        "observed_vcpus": 4,
        "observed_memory_mib": 96,
    }
    return VmStatus(**{**values, **changes})  # type: ignore[arg-type]


def vms() -> tuple[VmStatus, ...]:
    return (
        vm("vm1"),
        vm("vm2", wanted_host="dmz02", memory_mib=128, pending=("memory 96 MiB => 128 MiB",)),
        vm(
            "vm5", pinned=False, wanted_host="dmz02", observed_hosts=(), running_on=(),
            state="absent", observed_vcpus=None, observed_memory_mib=None,
        ),
        vm(
            "web", set_name="", config="", ip="", wanted_host="", wanted_power="", foreign=True,
            observed_hosts=("dmz02",), running_on=("dmz02",), memory_mib=512, vcpus=1,
            observed_vcpus=1, observed_memory_mib=512,
        ),
    )  # fmt: skip


def revision(identity: str = HEAD, **changes: object) -> RevisionInfo:
    values: dict[str, object] = {
        "id": identity,
        "parents": (OLD,),
        "author": "Root <root@domain.com>",
        "date": DAY,
        "message": "vm1 gets more memory\n\nbecause of the fair",
        "merge": False,
        "changes": ("vm1: MEM 96 => 128",),
    }
    return RevisionInfo(**{**values, **changes})  # type: ignore[arg-type]


def event(seq: int, **changes: object) -> Event:
    values: dict[str, object] = {
        "seq": seq,
        "at": DAY + seq,
        "host": "dmz01",
        "kind": "action",
        "vm": "vm1",
        "message": "memory 96 MiB => 128 MiB (site file)",
    }
    return Event(**{**values, **changes})  # type: ignore[arg-type]


def why() -> Why:
    return Why(
        "vm1",
        ("on dmz01, running, 128 MiB",),
        (revision(),),
        ("epoch 3, dmz01; nobody else may have run it",),
        ("running on dmz01 with 96 MiB, 2 s ago",),
        (event(4),),
        ("memory 96 MiB => 128 MiB",),
    )


def preview(**changes: object) -> Preview:
    values: dict[str, object] = {
        "head": HEAD,
        "changes": ("vm1: MEM 96 => 128",),
        "plan": Plan((action("vm1", Consequence.LIVE),)),
    }
    return Preview(**{**values, **changes})  # type: ignore[arg-type]


def applied(**changes: object) -> Applied:
    values: dict[str, object] = {"revision": NEW, "changes": ("vm1: MEM 96 => 128",)}
    return Applied(**{**values, **changes})  # type: ignore[arg-type]


def settled(revision_id: str = NEW) -> Status:
    return status(revision=revision_id, members=(member(1, revision_id), member(2, revision_id)))
