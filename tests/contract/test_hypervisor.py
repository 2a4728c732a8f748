"""What every hypervisor promises (`xsm.edge.hypervisor.Hypervisor`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.domains import definition, mark, uuid_of
from tests.contract.subjects import Subject
from xsm.edge.hypervisor import Hypervisor, HypervisorError
from xsm.peer.events import Way
from xsm.plan.observed import Domain, DomainState
from xsm.site.model import HypervisorKind

VM1 = uuid_of("vm1")
NOBODY = "00000000-0000-4000-8000-000000000000"

CALLS: dict[str, Callable[[Hypervisor, str], object]] = {
    "domain_xml": lambda h, u: h.domain_xml(u),
    "start": lambda h, u: h.start(u),
    "shutdown": lambda h, u: h.shutdown(u),
    "destroy": lambda h, u: h.destroy(u),
    "undefine": lambda h, u: h.undefine(u),
    "suspend": lambda h, u: h.suspend(u),
    "resume": lambda h, u: h.resume(u),
    "set_memory": lambda h, u: h.set_memory(u, 64),
    "set_vcpus": lambda h, u: h.set_vcpus(u, 1),
    "set_limits": lambda h, u: h.set_limits(u, definition("vm1")),
    "set_tag": lambda h, u: h.set_tag(u, mark("vm1")),
    "migrate": lambda h, u: h.migrate(u, Way("test:///default")),
}


def only(h: Hypervisor) -> Domain:
    (domain,) = h.domains()
    return domain


def refused(call: Callable[[], object], *words: str) -> HypervisorError:
    with pytest.raises(HypervisorError) as caught:
        call()
    for word in words:
        assert word in caught.value.reason
    assert not caught.value.lost
    return caught.value


def running(subject: Subject, name: str = "vm1", **more: int) -> Hypervisor:
    h = subject.hypervisor
    h.define(definition(name, **more))
    h.start(uuid_of(name))
    return h


# -- looking ---------------------------------------------------------------------------------------


def test_an_empty_host_has_no_domains(subject: Subject) -> None:
    assert subject.hypervisor.domains() == ()
    assert subject.hypervisor.alive()


def test_facts_of_the_test_driver(subject: Subject) -> None:
    facts = subject.hypervisor.facts()
    assert facts.kind is HypervisorKind.TEST
    assert facts.cpus > 0
    assert facts.free_memory_mib == facts.memory_mib > 128
    assert "can't migrate" in facts.cold_only
    assert facts.arch
    assert facts.version


def test_running_domains_take_free_memory_and_others_do_not(subject: Subject) -> None:
    h = running(subject, memory_mib=100)
    h.define(definition("vm2", memory_mib=50))
    assert h.facts().free_memory_mib == h.facts().memory_mib - 100
    h.set_memory(VM1, 40)
    assert h.facts().free_memory_mib == h.facts().memory_mib - 40
    h.destroy(VM1)
    assert h.facts().free_memory_mib == h.facts().memory_mib


def test_a_defined_domain_shows_its_definition(subject: Subject) -> None:
    subject.hypervisor.define(definition("vm1"))
    assert only(subject.hypervisor) == Domain(
        name="vm1",
        uuid=VM1,
        state=DomainState.SHUTOFF,
        memory_mib=96,
        max_memory_mib=128,
        vcpus=2,
        max_vcpus=4,
        cpu_weight=None,
        persistent=True,
        autostart=False,
        mac="00:16:3e:00:00:01",
        tag=mark("vm1"),
    )


def test_domains_are_sorted_by_name_whatever_their_state(subject: Subject) -> None:
    h = subject.hypervisor
    for name in ("vm3", "a", "vm10", "Z"):
        h.define(definition(name))
    h.start(uuid_of("vm10"))
    assert [d.name for d in h.domains()] == ["Z", "a", "vm10", "vm3"]


def test_find_gives_who_has_the_uuid_and_who_has_the_name(subject: Subject) -> None:
    h = subject.hypervisor
    for name in ("vm2", "vm1", "vm3"):
        h.define(definition(name))
    assert h.find(NOBODY, "nobody") == ()
    assert [d.name for d in h.find(VM1, "vm1")] == ["vm1"]
    assert [d.name for d in h.find(VM1, "nobody")] == ["vm1"]
    assert [d.name for d in h.find(NOBODY, "vm2")] == ["vm2"]
    assert [d.name for d in h.find(uuid_of("vm3"), "vm1")] == ["vm1", "vm3"]
    assert [d.name for d in h.find(VM1, "")] == ["vm1"]
    assert h.find(VM1, "vm1") == (h.domains()[0],)


def test_the_mark_comes_back_as_it_was_written(subject: Subject) -> None:
    tag = mark("vm1", kernel="/boot/vmlinuz <&> 'quoted\"", disk="1")
    subject.hypervisor.define(definition("vm1", tag=tag))
    assert only(subject.hypervisor).tag == tag


def test_a_domain_without_the_mark_is_foreign(subject: Subject) -> None:
    subject.hypervisor.define(definition("vm1", foreign=True))
    assert only(subject.hypervisor).tag is None


@pytest.mark.parametrize("call", sorted(CALLS))
def test_an_unknown_uuid_is_absent(subject: Subject, call: str) -> None:
    running(subject)
    assert refused(lambda: CALLS[call](subject.hypervisor, NOBODY)).absent
    assert only(subject.hypervisor).state is DomainState.RUNNING


def test_the_xml_is_of_the_next_boot_and_may_be_defined_again(subject: Subject) -> None:
    h = running(subject)
    h.define(definition("vm1", max_memory_mib=256))
    xml = h.domain_xml(VM1)
    assert "id=" not in xml.splitlines()[0]
    h.destroy(VM1)
    h.undefine(VM1)
    h.define(xml)
    assert (only(h).uuid, only(h).max_memory_mib, only(h).tag) == (VM1, 256, mark("vm1"))


# -- define ----------------------------------------------------------------------------------------


def test_define_twice_is_as_once(subject: Subject) -> None:
    subject.hypervisor.define(definition("vm1"))
    first = only(subject.hypervisor)
    subject.hypervisor.define(definition("vm1"))
    assert only(subject.hypervisor) == first


def test_define_over_a_running_domain_counts_from_its_next_boot(subject: Subject) -> None:
    h = running(subject)
    h.define(definition("vm1", memory_mib=64, max_memory_mib=256, vcpus=1, tag=mark("vm1", x="2")))
    now = only(h)
    assert (now.state, now.memory_mib, now.max_memory_mib, now.vcpus) == (
        DomainState.RUNNING,
        96,
        128,
        2,
    )
    assert now.tag == mark("vm1")
    h.destroy(VM1)
    h.start(VM1)
    after = only(h)
    assert (after.memory_mib, after.max_memory_mib, after.vcpus) == (64, 256, 1)
    assert after.tag == mark("vm1", x="2")


def test_define_turns_autostart_off(subject: Subject) -> None:
    h = running(subject)
    subject.autostart(VM1)
    assert only(h).autostart
    h.define(definition("vm1"))
    assert not only(h).autostart


def test_define_refuses_a_taken_name_and_a_taken_uuid(subject: Subject) -> None:
    h = subject.hypervisor
    h.define(definition("vm1"))
    before = h.domains()
    refused(lambda: h.define(definition("vm1", uuid=NOBODY)), "already exists with uuid", VM1)
    refused(lambda: h.define(definition("vm2", uuid=VM1)), "already defined with uuid")
    assert h.domains() == before


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "<domain",
        "<domain type='test'/>",
        "<network><name>n</name></network>",
        "<domain type='test'><name>x</name><memory>1024</memory></domain>",
        "<domain type='test'><name>x</name><os><type>hvm</type></os></domain>",
        "<domain type='test'><name>x</name><memory>lots</memory><os><type>hvm</type></os></domain>",
        "<domain><name>x</name><memory unit='acres'>1</memory><os><type>hvm</type></os></domain>",
        definition("x", vcpus=5, max_vcpus=4),
    ],
)
def test_define_refuses_what_is_no_domain(subject: Subject, xml: str) -> None:
    refused(lambda: subject.hypervisor.define(xml))
    assert subject.hypervisor.domains() == ()


# -- power -----------------------------------------------------------------------------------------


def test_start_suspend_resume_destroy(subject: Subject) -> None:
    h = subject.hypervisor
    h.define(definition("vm1"))
    states = [only(h).state]
    for call in (h.start, h.suspend, h.resume, h.destroy):
        call(VM1)
        states.append(only(h).state)
    assert states == [
        DomainState.SHUTOFF,
        DomainState.RUNNING,
        DomainState.PAUSED,
        DomainState.RUNNING,
        DomainState.SHUTOFF,
    ]


def test_start_twice_is_refused(subject: Subject) -> None:
    h = running(subject)
    refused(lambda: h.start(VM1), "already running")
    h.suspend(VM1)
    refused(lambda: h.start(VM1), "already running")
    assert only(h).state is DomainState.PAUSED


def test_shutdown_of_a_willing_guest(subject: Subject) -> None:
    h = running(subject)
    h.shutdown(VM1)
    assert only(h).state is DomainState.SHUTOFF
    refused(lambda: h.shutdown(VM1), "not running")


def test_shutdown_of_a_paused_guest(subject: Subject) -> None:
    h = running(subject)
    h.suspend(VM1)
    h.shutdown(VM1)
    assert only(h).state is DomainState.SHUTOFF


@pytest.mark.parametrize("call", ["destroy", "suspend", "resume", "shutdown"])
def test_calls_for_active_domains_are_refused_when_it_is_off(subject: Subject, call: str) -> None:
    subject.hypervisor.define(definition("vm1"))
    error = refused(lambda: CALLS[call](subject.hypervisor, VM1))
    assert not error.absent
    assert only(subject.hypervisor).state is DomainState.SHUTOFF


def test_suspend_and_resume_twice_are_refused(subject: Subject) -> None:
    h = running(subject)
    refused(lambda: h.resume(VM1), "not paused")
    h.suspend(VM1)
    refused(lambda: h.suspend(VM1), "not running")
    assert only(h).state is DomainState.PAUSED


def test_a_managed_save_image_is_never_lost_nor_resumed_unasked(subject: Subject) -> None:
    h = running(subject)
    subject.managed_save(VM1)
    assert only(h).state is DomainState.SHUTOFF
    refused(lambda: h.start(VM1), "managed save")
    refused(lambda: h.undefine(VM1), "managed save")
    assert only(h).state is DomainState.SHUTOFF


# -- undefine --------------------------------------------------------------------------------------


def test_undefine_of_an_inactive_domain(subject: Subject) -> None:
    subject.hypervisor.define(definition("vm1"))
    subject.hypervisor.undefine(VM1)
    assert subject.hypervisor.domains() == ()


def test_undefine_of_a_running_domain_leaves_a_transient_one(subject: Subject) -> None:
    h = running(subject)
    h.undefine(VM1)
    domain = only(h)
    assert (domain.state, domain.persistent, domain.tag) == (
        DomainState.RUNNING,
        False,
        mark("vm1"),
    )
    refused(lambda: h.undefine(VM1), "transient")
    h.set_memory(VM1, 64)
    h.set_vcpus(VM1, 1)
    assert (only(h).memory_mib, only(h).vcpus) == (64, 1)
    assert "vm1" in h.domain_xml(VM1)
    h.destroy(VM1)
    assert h.domains() == ()


def test_define_makes_a_transient_domain_persistent_again(subject: Subject) -> None:
    h = running(subject)
    h.undefine(VM1)
    h.define(definition("vm1"))
    assert (only(h).state, only(h).persistent) == (DomainState.RUNNING, True)
    h.destroy(VM1)
    assert only(h).state is DomainState.SHUTOFF


def test_undefine_does_not_forget_snapshots(subject: Subject) -> None:
    h = running(subject)
    subject.snapshot(VM1)
    h.destroy(VM1)
    refused(lambda: h.undefine(VM1), "snapshots")
    assert only(h).name == "vm1"


# -- sizes -----------------------------------------------------------------------------------------


def test_memory_of_a_running_domain_changes_now_and_for_its_next_boot(subject: Subject) -> None:
    h = running(subject)
    h.set_memory(VM1, 64)
    assert (only(h).memory_mib, only(h).max_memory_mib) == (64, 128)
    h.destroy(VM1)
    h.start(VM1)
    assert only(h).memory_mib == 64


def test_memory_of_an_inactive_domain(subject: Subject) -> None:
    h = subject.hypervisor
    h.define(definition("vm1"))
    h.set_memory(VM1, 64)
    assert only(h).memory_mib == 64


@pytest.mark.parametrize("on", [True, False])
def test_sizes_above_the_maximum_or_of_nothing_are_refused(subject: Subject, on: bool) -> None:
    h = subject.hypervisor
    h.define(definition("vm1"))
    if on:
        h.start(VM1)
    before = h.domains()
    refused(lambda: h.set_memory(VM1, 129), "max memory")
    refused(lambda: h.set_memory(VM1, 0), "zero")
    refused(lambda: h.set_vcpus(VM1, 5), "exceeds maximum", "5 > 4")
    refused(lambda: h.set_vcpus(VM1, 0), "zero")
    assert h.domains() == before


def test_vcpus_change_now_and_for_the_next_boot(subject: Subject) -> None:
    h = running(subject)
    h.set_vcpus(VM1, 4)
    assert (only(h).vcpus, only(h).max_vcpus) == (4, 4)
    h.set_vcpus(VM1, 1)
    assert only(h).vcpus == 1
    h.destroy(VM1)
    assert only(h).vcpus == 1


def test_a_change_that_the_next_boot_refuses_says_so(subject: Subject) -> None:
    h = running(subject)
    h.define(definition("vm1", memory_mib=32, max_memory_mib=32))
    refused(lambda: h.set_memory(VM1, 64), "not for the next boot", "max memory")
    assert only(h).memory_mib == 64


def limited_card(rate: int) -> str:
    card = "</mac>" if "</mac>" in (text := definition("vm1")) else "/><source network='default'/>"
    limit = f"<bandwidth><inbound average='{rate}'/></bandwidth>" if rate else ""
    return text.replace(card, card + limit)


def test_limits_of_a_card_come_and_go_while_it_runs(subject: Subject) -> None:
    h = running(subject)
    for rate in (1000, 500, 0, 0):
        h.set_limits(VM1, limited_card(rate))
    assert only(h).state is DomainState.RUNNING


def test_the_test_driver_takes_no_limits_of_disks(subject: Subject) -> None:
    disk = (
        "<disk type='file'><source file='/x'/><target dev='vda' bus='virtio'/>{}</disk><interface"
    )
    tune = "<iotune><total_bytes_sec>1000000</total_bytes_sec></iotune>"
    h = subject.hypervisor
    h.define(definition("vm1").replace("<interface", disk.format("")))
    h.start(VM1)
    limited = definition("vm1").replace("<interface", disk.format(tune))
    refused(lambda: h.set_limits(VM1, limited), "cannot be set higher")
    h.set_limits(VM1, definition("vm1"))


def test_the_test_driver_has_no_weight(subject: Subject) -> None:
    h = running(subject)
    refused(lambda: h.set_weight(VM1, 512), "no CPU weight")
    assert only(h).cpu_weight is None


def test_the_mark_of_a_foreign_domain_is_set_while_it_runs(subject: Subject) -> None:
    h = subject.hypervisor
    h.define(definition("vm1", foreign=True))
    h.start(VM1)
    tag = mark("vm1", disk="<a>")
    h.set_tag(VM1, tag)
    assert (only(h).tag, only(h).state) == (tag, DomainState.RUNNING)
    h.destroy(VM1)
    assert only(h).tag == tag
    h.set_tag(VM1, mark("vm1"))
    assert only(h).tag == mark("vm1")
    h.set_tag(VM1, tag)
    assert h.domain_xml(VM1).count("https://xen-site-manager.example/domain/1") == 1


def test_migration_is_refused_and_the_domain_stays(subject: Subject) -> None:
    h = running(subject)
    refused(lambda: h.migrate(VM1, Way("test:///elsewhere")), "not supported")
    assert only(h).state is DomainState.RUNNING


# -- events and the connection ---------------------------------------------------------------------


def test_events_arrive(subject: Subject) -> None:
    h = subject.hypervisor
    calls: list[Callable[[], None]] = [
        lambda: h.define(definition("vm1")),
        lambda: h.start(VM1),
        lambda: h.suspend(VM1),
        lambda: h.resume(VM1),
        lambda: h.set_tag(VM1, mark("vm1", x="1")),
        lambda: h.define(definition("vm1")),
        lambda: h.shutdown(VM1),
        lambda: h.start(VM1),
        lambda: h.destroy(VM1),
        lambda: h.undefine(VM1),
    ]
    for number, call in enumerate(calls):
        subject.forget_events()
        call()
        assert subject.heard(VM1), f"no event after call {number}"


def test_a_lost_connection_is_told_and_nothing_is_known(subject: Subject) -> None:
    h = running(subject)
    subject.lose()
    assert subject.heard("")
    assert not h.alive()
    calls: list[Callable[[], object]] = [
        h.facts,
        h.domains,
        lambda: h.find(VM1, "vm1"),
        lambda: h.define(definition("vm1")),
        *(lambda call=call: call(h, VM1) for call in CALLS.values()),
    ]
    for call in calls:
        with pytest.raises(HypervisorError) as caught:
            call()
        assert caught.value.lost
        assert not caught.value.absent
