"""What carrying out an action does to what is really there (`xsm.edge.act`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.domains import SITE, definition, mark, uuid_of
from tests.contract.subjects import Subject
from xsm.edge.act import adopt, perform
from xsm.edge.hypervisor import Hypervisor, HypervisorError
from xsm.peer.events import Way
from xsm.plan.actions import Action, Consequence, Step
from xsm.plan.observed import Domain, DomainState
from xsm.site.tag import Tag

VM1 = uuid_of("vm1")
OTHER = "00000000-0000-4000-8000-000000000001"
URI = "test:///elsewhere"


def action(step: Step, value: int = 0, name: str = "vm1", uuid: str = "") -> Action:
    return Action(
        vm=name,
        host="dmz01",
        consequence=Consequence.CREATE,
        step=step,
        what="",
        old="",
        new="",
        reason="the site file says so",
        uuid=uuid or uuid_of(name),
        value=value,
        target="dmz02",
    )


def do(h: Hypervisor, step: Step, value: int = 0, tag: Tag | None = None, xml: str = "") -> str:
    return perform(h, action(step, value), xml=xml or definition("vm1"), way=Way(URI), tag=tag)


def refusal(call: Callable[[], object]) -> HypervisorError:
    with pytest.raises(HypervisorError) as caught:
        call()
    return caught.value


def only(h: Hypervisor) -> Domain:
    (domain,) = h.domains()
    return domain


@pytest.mark.parametrize("step", [Step.CREATE, Step.START])
def test_create_and_start_define_and_boot_once(subject: Subject, step: Step) -> None:
    h = subject.hypervisor
    assert do(h, step) == "absent => running"
    running = only(h)
    assert (running.state, running.persistent, running.autostart) == (
        DomainState.RUNNING,
        True,
        False,
    )
    assert do(h, step, xml=definition("vm1", memory_mib=64)) == "already running"
    h.suspend(VM1)
    assert do(h, step) == "already paused"
    assert only(h).memory_mib == 96


def test_start_takes_the_pending_definition_and_turns_autostart_off(subject: Subject) -> None:
    h = subject.hypervisor
    h.define(definition("vm1"))
    subject.autostart(VM1)
    changed = definition("vm1", memory_mib=64, tag=mark("vm1", disk="2"))
    assert do(h, Step.START, xml=changed) == "shutoff => running"
    started = only(h)
    assert (started.memory_mib, started.tag) == (64, mark("vm1", disk="2"))
    assert not started.autostart


def test_define_leaves_a_running_domain_running(subject: Subject) -> None:
    h = subject.hypervisor
    assert do(h, Step.DEFINE) == "absent => defined"
    assert only(h).state is DomainState.SHUTOFF
    h.start(VM1)
    assert do(h, Step.DEFINE) == "defined => defined anew"
    assert only(h).state is DomainState.RUNNING


@pytest.mark.parametrize(
    ("step", "outcome"),
    [(Step.SHUTDOWN, "running => asked to shut down"), (Step.DESTROY, "running => powered off")],
)
def test_stopping_happens_once(subject: Subject, step: Step, outcome: str) -> None:
    h = subject.hypervisor
    assert do(h, step) == "already absent"
    do(h, Step.CREATE)
    assert do(h, step) == outcome
    assert only(h).state is DomainState.SHUTOFF
    assert do(h, step) == "already shutoff"


def test_undefine_only_when_off(subject: Subject) -> None:
    h = subject.hypervisor
    do(h, Step.CREATE)
    assert "running" in refusal(lambda: do(h, Step.UNDEFINE)).reason
    h.suspend(VM1)
    assert "paused" in refusal(lambda: do(h, Step.UNDEFINE)).reason
    assert only(h).persistent
    h.destroy(VM1)
    assert do(h, Step.UNDEFINE) == "shutoff => undefined"
    assert h.domains() == ()
    assert do(h, Step.UNDEFINE) == "already absent"


def test_suspend_and_resume_happen_once(subject: Subject) -> None:
    h = subject.hypervisor
    do(h, Step.CREATE)
    assert do(h, Step.RESUME) == "already running"
    assert do(h, Step.SUSPEND) == "running => paused"
    assert do(h, Step.SUSPEND) == "already paused"
    assert do(h, Step.RESUME) == "paused => running"
    assert only(h).state is DomainState.RUNNING


def test_sizes_are_set_once(subject: Subject) -> None:
    h = subject.hypervisor
    do(h, Step.CREATE)
    assert do(h, Step.SET_MEMORY, 64) == "memory 96 MiB => 64 MiB"
    assert do(h, Step.SET_MEMORY, 64) == "memory already 64 MiB"
    assert do(h, Step.SET_VCPUS, 4) == "vcpus 2 => 4"
    assert do(h, Step.SET_VCPUS, 4) == "vcpus already 4"
    assert "max memory" in refusal(lambda: do(h, Step.SET_MEMORY, 4096)).reason
    assert "weight" in refusal(lambda: do(h, Step.SET_WEIGHT, 512)).reason
    assert (only(h).memory_mib, only(h).vcpus) == (64, 4)


def test_limits_that_are_not_taken_are_noted_in_the_mark(subject: Subject) -> None:
    h = subject.hypervisor
    disk = (
        "<disk type='file'><source file='/x'/><target dev='vda' bus='virtio'/>{}</disk><interface"
    )
    tune = "<iotune><total_bytes_sec>1000000</total_bytes_sec></iotune>"
    old = Tag(SITE, "vm1", "", {}, {"memory": "96"})
    new = Tag(SITE, "vm1", "", {}, {"limits": "vda total_bytes_sec=1000000"})

    def xml(tag: Tag, limit: str) -> str:
        return definition("vm1", tag=tag).replace("<interface", disk.format(limit))

    do(h, Step.CREATE, xml=xml(old, ""))
    said = do(h, Step.SET_LIMITS, xml=xml(new, tune))
    assert said.startswith("limits stay none until a restart: ") and "cannot be set higher" in said
    mark_of = only(h).tag
    assert mark_of is not None and "limits" not in mark_of.live
    refusal_noted = mark_of.live["limits_refused"]
    assert refusal_noted.startswith("vda total_bytes_sec=1000000: ")
    # What the hypervisor takes, takes the note away.
    assert do(h, Step.SET_LIMITS, xml=xml(old, "")) == "limits none => none"
    assert only(h).tag == old


@pytest.mark.parametrize("step", [Step.SUSPEND, Step.RESUME, Step.MIGRATE, Step.SET_LIMITS])
def test_steps_for_running_guests_need_one(subject: Subject, step: Step) -> None:
    h = subject.hypervisor
    assert refusal(lambda: do(h, step)).absent
    h.define(definition("vm1"))
    assert "shutoff" in refusal(lambda: do(h, step)).reason


@pytest.mark.parametrize("step", [Step.SET_MEMORY, Step.SET_VCPUS, Step.SET_WEIGHT])
def test_sizes_need_a_domain(subject: Subject, step: Step) -> None:
    assert refusal(lambda: do(subject.hypervisor, step, 1)).absent


def test_a_failed_migration_leaves_the_guest_running_here(subject: Subject) -> None:
    h = subject.hypervisor
    do(h, Step.CREATE)
    assert "not supported" in refusal(lambda: do(h, Step.MIGRATE)).reason
    no_uri = refusal(lambda: perform(h, action(Step.MIGRATE), xml="", way=Way("")))
    assert "dmz02 has no libvirt URI" in no_uri.reason
    assert only(h).state is DomainState.RUNNING


EVERY_STEP = sorted(set(Step) - {Step.NONE, Step.RECEIVE})


@pytest.mark.parametrize("step", EVERY_STEP)
@pytest.mark.parametrize(
    "in_the_way",
    [
        definition("vm1", foreign=True),
        definition("vm1", uuid=OTHER, foreign=True),
        definition("theirs", uuid=VM1, foreign=True),
        definition("vm1", tag=mark("vm2")),
        definition("vm1", tag=Tag("another-site", "vm1", "", {})),
    ],
    ids=["same", "same-name", "same-uuid", "marked-for-another-vm", "another-site"],
)
@pytest.mark.parametrize("on", [False, True], ids=["off", "on"])
def test_foreign_domains_are_never_touched(
    subject: Subject, step: Step, in_the_way: str, on: bool
) -> None:
    h = subject.hypervisor
    h.define(in_the_way)
    if on:
        h.start(only(h).uuid)
    before = h.domains()
    error = refusal(lambda: do(h, step, 64, tag=mark("vm1")))
    assert error.reason.startswith("foreign: ")
    if step not in (Step.CREATE, Step.START, Step.DEFINE):  # as the daemon calls it: without XML
        bare = refusal(lambda: perform(h, action(step, 64), xml="", way=Way(URI), tag=mark("vm1")))
        assert bare.reason == error.reason
    assert h.domains() == before


def test_a_foreign_domain_is_in_nobody_elses_way(subject: Subject) -> None:
    h = subject.hypervisor
    h.define(definition("theirs", foreign=True))
    assert do(h, Step.CREATE) == "absent => running"


def test_an_older_domain_of_the_vm_is_removed_but_not_overwritten(subject: Subject) -> None:
    """The VM's UUID changed in the site file."""
    h = subject.hypervisor
    h.define(definition("vm1", uuid=OTHER))
    assert OTHER in refusal(lambda: do(h, Step.CREATE)).reason
    removal = action(Step.UNDEFINE, uuid=OTHER)
    assert perform(h, removal, xml="", way=Way("")) == "shutoff => undefined"
    assert do(h, Step.CREATE) == "absent => running"


@pytest.mark.parametrize("xml", ["", definition("vm1", foreign=True), definition("vm2")])
def test_only_the_vms_own_marked_definition_is_taken(subject: Subject, xml: str) -> None:
    h = subject.hypervisor
    create = action(Step.CREATE)
    assert "mark" in refusal(lambda: perform(h, create, xml=xml, way=Way(""))).reason
    assert h.domains() == ()


def test_the_mark_follows_the_step(subject: Subject) -> None:
    h = subject.hypervisor
    do(h, Step.CREATE)
    after = Tag(SITE, "vm1", "", {}, {"memory": "64"})
    do(h, Step.SET_MEMORY, 64, tag=after)
    assert only(h).tag == after
    off = Tag(SITE, "vm1", "", {}, {"power": "stopped"})
    do(h, Step.SHUTDOWN, tag=off)
    assert only(h).tag == off
    again = Tag(SITE, "vm1", "", {}, {"power": "stopped", "memory": "64"})
    assert do(h, Step.DESTROY, tag=again) == "already shutoff"
    assert only(h).tag == again


def test_a_transient_domain_goes_with_its_mark(subject: Subject) -> None:
    h = subject.hypervisor
    do(h, Step.CREATE)
    h.undefine(VM1)
    assert do(h, Step.DESTROY, tag=mark("vm1", x="1")) == "running => powered off"
    assert h.domains() == ()


def test_there_is_no_step_none(subject: Subject) -> None:
    assert "nothing to do" in refusal(lambda: do(subject.hypervisor, Step.NONE)).reason


# -- adopt -----------------------------------------------------------------------------------------


def test_adopt_marks_a_running_domain_and_leaves_it_running(subject: Subject) -> None:
    h = subject.hypervisor
    h.define(definition("vm1", uuid=OTHER, foreign=True))
    h.start(OTHER)
    assert adopt(h, OTHER, mark("vm1")) == "vm1: foreign => vm1"
    assert (only(h).tag, only(h).state) == (mark("vm1"), DomainState.RUNNING)
    assert adopt(h, OTHER, mark("vm1")) == "vm1: already adopted"
    assert adopt(h, OTHER, mark("vm1", disk="2")) == "vm1: mark renewed"
    h.destroy(OTHER)
    assert only(h).tag == mark("vm1", disk="2")


def test_adopt_refuses_what_is_not_free_to_take(subject: Subject) -> None:
    h = subject.hypervisor
    assert refusal(lambda: adopt(h, OTHER, mark("vm1"))).absent
    h.define(definition("vm1", tag=Tag("another-site", "vm1", "", {})))
    assert "another-site" in refusal(lambda: adopt(h, VM1, mark("vm1"))).reason
    h.define(definition("vm2", foreign=True))
    assert "called vm2" in refusal(lambda: adopt(h, uuid_of("vm2"), mark("vm3"))).reason
    h.start(uuid_of("vm2"))
    h.undefine(uuid_of("vm2"))
    assert "transient" in refusal(lambda: adopt(h, uuid_of("vm2"), mark("vm2"))).reason
    assert [d.tag for d in h.domains()] == [Tag("another-site", "vm1", "", {}), None]
