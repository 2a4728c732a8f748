"""The claim register: who gets a vote, who may start."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsm.peer.register import (
    JUMP_LIMIT,
    Register,
    bar,
    begin_copy,
    complete,
    from_entry,
    keep_disks,
    learn,
    learn_as,
    may_start,
    next_epoch,
    settle,
    to_entry,
    vote,
    why_no_disk,
)

HOSTS = ("dmz01", "dmz02", "dmz03")
hosts = st.sampled_from(HOSTS)
epochs = st.integers(1, 6)
asks = st.lists(st.tuples(epochs, hosts), max_size=12)


def voted(*claims: tuple[int, str]) -> Register:
    register = Register()
    for epoch, host in claims:
        register, _ = vote(register, epoch, host)
    return register


def test_a_first_claim_gets_the_vote_and_names_nobody_to_evict():
    register, answer = vote(Register(), 1, "dmz01")
    assert answer.granted
    assert answer.earlier == frozenset()
    assert register == Register(1, "dmz01", frozenset({"dmz01"}))


def test_the_same_claim_again_is_granted_again():
    register, answer = vote(voted((2, "dmz01")), 2, "dmz01")
    assert answer.granted
    assert register == voted((2, "dmz01"))


def test_the_same_epoch_for_another_host_is_refused():
    before = voted((2, "dmz01"))
    after, answer = vote(before, 2, "dmz02")
    assert not answer.granted
    assert (answer.highest, answer.claimant) == (2, "dmz01")
    assert after == before


def test_a_later_claimant_hears_of_all_earlier_ones():
    _, answer = vote(voted((1, "dmz01"), (2, "dmz02")), 3, "dmz03")
    assert answer.earlier == {"dmz01", "dmz02"}


def test_settled_claims_are_forgotten_only_where_they_are_the_last():
    register = voted((1, "dmz01"), (2, "dmz02"))
    assert settle(register, 2, "dmz02").claimants == {"dmz02"}
    assert settle(register, 1, "dmz01") == register


def test_its_own_epoch_is_claimed_again_until_somebody_has_a_newer_one():
    mine = voted((3, "dmz01"))
    assert next_epoch(mine, "dmz01", least=0) == 3
    assert next_epoch(mine, "dmz01", least=5) == 5
    assert next_epoch(mine, "dmz02", least=0) == 4
    assert next_epoch(bar(mine, 7), "dmz01", least=0) == 7


def start(register: Register, **changes: object) -> bool:
    given_ = {
        "epoch": 2,
        "host": "dmz01",
        "voters": {"dmz01", "dmz02"},
        "members": HOSTS,
        "evicted": {"dmz03"},
        "earlier": {"dmz03"},
    }
    return may_start(register, **{**given_, **changes})


def test_a_start_needs_a_majority_and_every_earlier_claimant_gone():
    register = voted((2, "dmz01"))
    assert start(register)
    assert not start(register, voters={"dmz01"})
    assert not start(register, voters={"dmz01", "stranger"})
    assert not start(register, evicted=set())
    assert not start(register, earlier={"dmz03", "dmz02"})
    assert not start(bar(register, 3))
    assert not start(register, members=("dmz02", "dmz03", "dmz04"), voters={"dmz02", "dmz03"})


def test_half_is_no_majority():
    assert not start(voted((2, "dmz01")), members=(*HOSTS, "dmz04"))


def test_a_completed_claim_needs_no_eviction_again_but_a_majority_it_does():
    register = complete(voted((2, "dmz01")), 2)
    assert start(register, evicted=set())
    assert not start(register, evicted=set(), voters={"dmz01"})


@given(asks)
def test_votes_never_go_back(claims):
    register = Register()
    for epoch, host in claims:
        after, answer = vote(register, epoch, host)
        assert after.voted >= register.voted
        assert answer.granted == (after.voted == epoch and after.claimant == host)
        assert register.claimants <= after.claimants
        register = after


@given(asks, epochs, hosts)
def test_a_register_reads_as_it_was_written(claims, epoch, host):
    register = complete(bar(voted(*claims), epoch), epoch)
    assert from_entry(to_entry(register)) == register


@given(asks, asks)
def test_what_is_learned_only_makes_a_voter_stricter(mine, theirs):
    before, other = voted(*mine), voted(*theirs)
    after = learn(before, other)
    assert after.voted == max(before.voted, other.voted)
    assert after.claimants == before.claimants | other.claimants
    assert (after.bar, after.held, after.attempts) == (before.bar, before.held, before.attempts)
    assert learn(after, other) == after


def test_a_host_that_joined_names_the_one_that_runs_the_vm():
    knows = voted((4, "dmz01"))
    newcomer = learn(Register(), knows)
    _, refusal = vote(newcomer, 1, "dmz02")
    assert not refusal.granted
    _, answer = vote(newcomer, 5, "dmz02")
    assert answer.granted and answer.earlier == {"dmz01"}


def test_a_claim_far_above_all_others_gets_no_vote():
    _, answer = vote(voted((3, "dmz01")), 3 + JUMP_LIMIT + 1, "dmz02")
    assert not answer.granted
    _, answer = vote(voted((3, "dmz01")), 3 + JUMP_LIMIT, "dmz02")
    assert answer.granted


def test_only_the_first_that_ever_won_makes_a_disk_and_only_once():
    alone = voted((1, "dmz01"))
    assert [why_no_disk(r, "dmz01", "root") for r in (Register(), alone, complete(alone, 1))] == [
        ""
    ] * 3
    assert why_no_disk(alone, "dmz02", "root")
    assert why_no_disk(voted((2, "dmz01")), "dmz01", "root")  # somebody claimed before
    assert why_no_disk(bar(alone, 2), "dmz01", "root")  # it let go for somebody
    made = keep_disks(begin_copy(alone, "root"), ["root"])
    assert "had it before" in why_no_disk(made, "dmz01", "root")
    assert not why_no_disk(made, "dmz01", "data")
    assert not made.copying


def test_a_host_that_lost_its_memory_makes_no_disk():
    """It joined anew with an empty file; others tell it that it won the VM's first claim."""
    again = learn_as(Register(), voted((1, "dmz01")), "dmz01")
    assert (again.voted, again.claimant) == (1, "dmz01")
    assert "lost its memory" in why_no_disk(complete(again, 1), "dmz01", "root")
    knows = learn_as(voted((1, "dmz01")), voted((1, "dmz01")), "dmz01")
    assert not why_no_disk(knows, "dmz01", "root")
    assert from_entry(to_entry(keep_disks(begin_copy(again, "a"), ["b"]))).forgetful


def test_a_register_with_disks_reads_as_it_was_written():
    register = keep_disks(begin_copy(voted((1, "dmz01")), "a"), ["b", "word x"])
    assert from_entry(to_entry(register)) == register
    assert "disks" not in to_entry(voted((1, "dmz01")))
    with pytest.raises(ValueError, match="disks must be names"):
        from_entry({**to_entry(register), "disks": [1]})
