"""Which needs are looked up, and when it is known what is lacking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.unit.plan.planned_site import PAUSED, document, made, report, vm
from xsm.peer.preflight import Preflight
from xsm.plan.observed import HostReport
from xsm.plan.wanted import Wanted, wanted
from xsm.site.model import Power
from xsm.site.needs import Needs

SITE = document(vm("vm1", "dmz01"), vm("vm2", "dmz01", power=Power.STOPPED), vm("vm3", "dmz02"))
EMPTY = report("dmz01")


def asked(
    one: Preflight, seen: HostReport = EMPTY, of: Wanted | None = None, now: float = 1.0
) -> Mapping[str, Needs]:
    return one.ask(of or wanted(SITE), seen, "dmz01", now)


def test_only_what_is_to_run_here_and_does_not() -> None:
    found = asked(Preflight())
    assert list(found) == ["vm1"]
    assert found["vm1"].paths == ("/boot/vmlinuz", "/dev/vg/apache")


def test_nothing_while_all_run() -> None:
    domains = made(SITE, "vm1")
    assert asked(Preflight(), report("dmz01", domains["vm1"])) == {}


def test_one_that_is_just_arriving_does_not_run_yet() -> None:
    domains = made(SITE, "vm1", state=PAUSED, incoming=True)
    assert list(asked(Preflight(), report("dmz01", domains["vm1"]))) == ["vm1"]


def test_nothing_is_asked_of_a_hypervisor_that_does_not_answer() -> None:
    assert asked(Preflight(), replace(EMPTY, facts=None)) == {}


def test_it_is_known_after_a_look_that_began_later() -> None:
    one = Preflight()
    assert not one.is_asked("vm1")
    asked(one, now=5.0)
    assert one.is_asked("vm1")
    one.saw(replace(EMPTY, lacks={"vm1": ""}), 4.0)
    assert not one.is_done("vm1")  # an answer to an earlier question
    one.saw(replace(EMPTY, lacks={}), 6.0)
    assert not one.is_done("vm1")
    one.saw(replace(EMPTY, lacks={"vm1": "/dev/vg/apache is not on dmz01"}), 6.0)
    assert one.is_done("vm1")


def test_another_revision_with_the_same_needs_asks_nothing_anew() -> None:
    one = Preflight()
    asked(one, now=1.0)
    one.saw(replace(EMPTY, lacks={"vm1": ""}), 1.5)
    asked(one, of=wanted(document(vm("vm1", "dmz01", memory_mib=64))), now=2.0)
    one.saw(replace(EMPTY, lacks={"vm1": ""}), 1.9)
    assert one.is_done("vm1")
    other = replace(SITE, configs={**SITE.configs, "apache_svr": _other_disk()})
    asked(one, of=wanted(other), now=3.0)
    one.saw(replace(EMPTY, lacks={"vm1": ""}), 2.9)
    assert not one.is_done("vm1")


def _other_disk():  # type: ignore[no-untyped-def]
    config = SITE.configs["apache_svr"]
    return replace(config, text=config.text.replace("/dev/vg/apache", "/dev/vg/other"))
