"""Limits of disks and cards: changed live, or at the next boot where the hypervisor doesn't take them."""

from __future__ import annotations

from dataclasses import replace

from planned_site import KVM, document, facts, made, plan_of, report, view, vm

from xsm.plan.actions import Action
from xsm.plan.actions import Consequence as C
from xsm.plan.actions import Step as S
from xsm.plan.observed import Domain, DomainState
from xsm.plan.tags import limited, refused
from xsm.site.config import Config
from xsm.site.document import Document
from xsm.site.model import Power

TUNED = "<domain><devices><disk type='file'><source file='/d'/><target dev='vda'/>{}</disk></devices></domain>"
LIMIT = "<iotune><total_bytes_sec>1000</total_bytes_sec></iotune>"
SAID = "vda total_bytes_sec=1000"


def test_limits_of_disks_change_live_or_wait_for_a_restart() -> None:
    def doc(limit: str) -> Document:
        config = Config("t", "configs/t.xml", TUNED.format(limit))
        return document(vm("vm1", "dmz01", config="t"), configs=[config])

    def found(there: Domain, limit: str) -> tuple[Action, ...]:
        return plan_of(doc(limit), view(report("dmz01", there, of=facts(KVM)))).actions

    there = made(doc(""), kind=KVM)["vm1"]
    assert found(there, "") == ()
    (action,) = found(there, LIMIT)
    assert (action.consequence, action.step) == (C.LIVE, S.SET_LIMITS)
    assert action.change == f"limits none => {SAID}"
    assert there.tag is not None
    done = replace(there, tag=limited(there.tag, SAID))
    assert found(done, LIMIT) == ()
    assert found(done, "")[0].change == f"limits {SAID} => none"
    # The kernel, or the hypervisor, doesn't take it while the guest runs: nothing is tried again.
    not_taken = replace(there, tag=refused(there.tag, SAID, "no such queue"))
    (waits,) = found(not_taken, LIMIT)
    assert (waits.consequence, waits.step) == (C.NEXT_BOOT, S.NONE)
    assert "isn't taken while the guest runs: no such queue" in waits.reason
    assert found(not_taken, "") == ()
    (other,) = found(not_taken, LIMIT.replace("1000", "2000"))
    assert other.step is S.SET_LIMITS
    off = replace(there, state=DomainState.SHUTOFF)
    stopped = replace(
        doc(LIMIT), site=document(vm("vm1", "dmz01", config="t", power=Power.STOPPED)).site
    )
    (defined,) = plan_of(stopped, view(report("dmz01", off, of=facts(KVM)))).actions
    assert (defined.step, defined.new) == (S.DEFINE, "limits")
