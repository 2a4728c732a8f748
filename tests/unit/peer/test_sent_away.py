"""A host that was migrating a VM away as the target was fenced: when it may say that the VM is off, and when not."""

from __future__ import annotations

from xsm.peer.ballots import Ballots
from xsm.peer.register import Register

ME, TARGET, NEXT = "dmz01", "dmz03", "dmz02"
RAN_HERE = Register(voted=1, claimant=ME, claimants=frozenset({ME}), held=1)
ASKED_FOR = Register(voted=2, claimant=TARGET, claimants=frozenset({ME, TARGET}), held=1)


def sending() -> Ballots:
    ballots = Ballots(ME, {"vm1": ASKED_FOR})
    ballots.send("vm1", 2)
    return ballots


def test_what_may_have_arrived_at_a_fenced_host_is_not_off() -> None:
    ballots = sending()
    why = ballots.may_be_at("vm1", 3, {TARGET})
    assert f"{ME} was migrating it away as {TARGET} was fenced" in why
    assert f"`xsm host forget {TARGET} --it-is-off`" in why
    assert not ballots.may_be_at("vm1", 3, set()), "nobody was fenced"
    assert not ballots.may_be_at("vm1", 2, {TARGET}), "the target's own claim"
    assert not ballots.may_be_at("vm2", 3, {TARGET})


def test_an_answer_that_it_is_off_to_one_who_knew_of_no_fencing_settles_nothing() -> None:
    ballots = sending()
    ballots.let_go("vm1", 3)
    assert ballots.may_be_at("vm1", 4, {TARGET})


def test_a_claim_that_is_known_to_be_complete_settles_it() -> None:
    ballots = sending()
    ballots.settle("vm1", 2, TARGET)
    assert not ballots.may_be_at("vm1", 3, {TARGET})
    own = sending()
    own.vote_for_myself("vm1", 3)
    own.win("vm1", 3)
    assert not own.may_be_at("vm1", 4, {TARGET})


def test_a_vm_that_was_let_go_of_without_a_migration_is_off() -> None:
    ballots = Ballots(ME, {"vm1": ASKED_FOR})
    ballots.let_go("vm1", 2)
    assert not ballots.may_be_at("vm1", 3, {TARGET})


def test_a_new_daemon_does_not_know_whether_the_one_before_it_migrated() -> None:
    def after_a_restart(register: Register) -> str:
        return Ballots(ME, {"vm1": register}).may_be_at("vm1", 4, {TARGET})

    let_go = Register(voted=2, claimant=TARGET, claimants=frozenset({ME, TARGET}), bar=2, held=1)
    assert after_a_restart(let_go)
    assert not after_a_restart(RAN_HERE)
    complete = Register(voted=2, claimant=TARGET, claimants=frozenset({TARGET}), bar=2, held=1)
    assert not after_a_restart(complete), "its voters know of nobody else"
