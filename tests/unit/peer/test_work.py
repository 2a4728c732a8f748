"""What a host is doing, and what it lets wait."""

from dataclasses import replace

from xsm.peer.work import (
    ACTIONS_LIMIT,
    BACKOFF_S,
    MIGRATIONS_LIMIT,
    STUCK_AFTER,
    UNHEEDED_AFTER,
    Work,
)
from xsm.plan.actions import Action, Consequence, Step

START = Action(
    "vm1", "dmz01", Consequence.START, Step.START, "power", "off", "running", "drift", uuid="u1"
)


def for_vm(vm: str, step: Step = Step.START) -> Action:
    return replace(START, vm=vm, step=step, uuid=f"uuid-{vm}")


def test_one_action_at_a_time_for_one_vm():
    work = Work()
    assert work.hindrance(START, 0.0, 1.0) == ""
    work.begin(START, 1.0)
    assert "under way" in work.hindrance(START, 1.0, 4.0)


def test_after_an_action_only_an_observation_that_began_later_counts():
    work = Work()
    work.begin(START, 1.0)
    work.end(START, "", 5.0)
    assert work.hindrance(START, 4.9, 5.1) != ""
    assert work.hindrance(START, 5.0, 5.1) == ""


def test_a_failed_action_waits_longer_each_time_and_others_do_not_wait():
    work = Work()
    now = 0.0
    for count, pause_s in enumerate([*BACKOFF_S, BACKOFF_S[-1]], start=1):
        work.begin(START, now)
        work.end(START, "no such disk", now)
        assert "no such disk" in work.hindrance(START, now, now + pause_s - 0.1)
        assert work.hindrance(for_vm("vm2"), now, now) == ""
        assert work.keeps_failing("vm1") == (count >= STUCK_AFTER)
        now += pause_s
        assert work.hindrance(START, now, now) == ""


def test_another_step_of_a_vm_needs_not_wait_for_the_failed_one():
    work = Work()
    work.end(START, "no such disk", 0.0)
    assert work.hindrance(for_vm("vm1", Step.UNDEFINE), 0.0, 0.1) == ""


def test_an_edit_lets_what_failed_go_again():
    work = Work()
    work.end(START, "no such disk", 0.0)
    work.forget_failures()
    assert work.hindrance(START, 0.0, 0.1) == ""


def test_the_number_of_actions_and_of_migrations_is_bounded():
    work = Work()
    for i in range(MIGRATIONS_LIMIT):
        work.begin(for_vm(f"m{i}", Step.MIGRATE), 0.0)
    assert "migrations" in work.hindrance(for_vm("vm1", Step.MIGRATE), 0.0, 0.0)
    assert work.hindrance(START, 0.0, 0.0) == ""
    for i in range(ACTIONS_LIMIT - MIGRATIONS_LIMIT):
        work.begin(for_vm(f"a{i}"), 0.0)
    assert "actions" in work.hindrance(START, 0.0, 0.0)


def test_the_shutdown_clock_starts_with_the_request_and_goes_with_the_plan():
    work = Work()
    shutdown = for_vm("vm1", Step.SHUTDOWN)
    work.begin(shutdown, 1.0)
    work.end(shutdown, "", 2.0)
    key = (shutdown.host, shutdown.uuid)
    work.end(shutdown, "", 9.0)
    assert work.shutdowns == {key: 2.0}
    work.keep_shutdowns(frozenset({key}))
    assert work.shutdowns == {key: 2.0}
    work.keep_shutdowns(frozenset())
    assert work.shutdowns == {}


SHRINK = Action(
    "vm1", "dmz01", Consequence.LIVE, Step.SET_MEMORY, "memory", "128 MiB", "96 MiB", "drift", uuid="u1", value=96
)  # fmt: skip


def test_a_guest_that_does_not_follow_is_asked_again_later_each_time():
    """QEMU's balloon: setting it succeeds at once, and shows when the guest has given the memory back. A guest that is
    just booting was asked fifty times a second."""
    work = Work()
    now = 0.0
    for count, pause_s in enumerate([*BACKOFF_S, BACKOFF_S[-1]], start=1):
        work.begin(SHRINK, now)
        work.end(SHRINK, "", now)
        assert "has not followed" in work.hindrance(SHRINK, now, now + pause_s - 0.1)
        assert work.hindrance(for_vm("vm1", Step.MIGRATE), now, now) == ""
        assert work.keeps_failing("vm1") == (count >= UNHEEDED_AFTER)
        now += pause_s
        assert work.hindrance(SHRINK, now, now) == ""


def test_a_guest_that_is_stopped_again_each_time_goes_on_later_each_time():
    """Its disk had no room: QEMU stopped it again as often as it was let go on."""
    work = Work()
    resume = for_vm("vm1", Step.RESUME)
    for now, pause_s in ((0.0, 1.0), (1.0, 2.0), (3.0, 4.0)):
        work.end(resume, "", now)
        assert work.hindrance(resume, now, now + pause_s - 0.1)
        assert work.hindrance(resume, now, now + pause_s) == ""


def test_another_value_or_an_edit_needs_not_wait_for_the_guest():
    work = Work()
    work.end(SHRINK, "", 0.0)
    assert work.hindrance(replace(SHRINK, value=64), 0.0, 0.1) == ""
    work.forget_failures()
    assert work.hindrance(SHRINK, 0.0, 0.1) == ""


def test_a_guest_on_its_way_is_not_called_stuck():
    work = Work()
    now = 0.0
    for mib in range(128, 128 - 2 * UNHEEDED_AFTER, -1):
        work.end(replace(SHRINK, old=f"{mib} MiB"), "", now)
        now += BACKOFF_S[0]
    assert not work.keeps_failing("vm1")


def test_what_somebody_changed_long_after_is_put_right_as_quickly_as_the_first_time():
    work = Work()
    work.end(SHRINK, "", 0.0)
    work.end(SHRINK, "", 100.0)
    assert work.hindrance(SHRINK, 100.0, 100.0 + BACKOFF_S[0]) == ""
