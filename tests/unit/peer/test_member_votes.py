"""A change of members: who votes for it, how many are enough, and which list counts."""

from __future__ import annotations

from dataclasses import replace

from xsm.peer import membership
from xsm.peer.ballots import Ballots
from xsm.peer.events import ChangeAsked
from xsm.peer.membership import MEMBERS, Change
from xsm.peer.messages import MemberAnswer, MemberAsk
from xsm.peer.register import Register, learn, next_epoch, vote

ABC = frozenset({"a", "b", "c"})


def voted(*asks: tuple[str, MemberAsk], number: int = 4) -> tuple[Register, list[str]]:
    vote, answers = Register(), []
    for sender, ask in asks:
        vote, why_not = membership.vote(vote, ask, sender, number)
        answers.append(why_not)
    return vote, answers


def test_one_change_of_a_list_gets_a_host_s_vote():
    vote, answers = voted(
        ("a", MemberAsk(5, 4)),
        ("b", MemberAsk(5, 4)),
        ("a", MemberAsk(5, 4)),
        ("b", MemberAsk(6, 4)),
    )
    assert [bool(why_not) for why_not in answers] == [False, True, False, False]
    assert (vote.voted, vote.claimant, vote.bar) == (6, "b", 4)


def test_a_host_with_another_list_does_not_vote_for_the_change():
    assert "number 4, not 3" in voted(("a", MemberAsk(5, 3)))[1][0]
    assert "number 4, not 5" in voted(("a", MemberAsk(6, 5)))[1][0]


def test_a_number_is_above_the_list_s_and_not_absurd():
    assert voted(("a", MemberAsk(4, 4)))[1][0]
    assert voted(("a", MemberAsk(2**50, 4)))[1][0]


def test_a_forget_by_the_operator_s_word_overtakes_nobody_s_change():
    """b voted for its own join of c and is off now. c may have won a claim by b's vote."""
    join, forget = MemberAsk(5, 4), MemberAsk(6, 4, off=True)
    assert "heard no end" in voted(("b", join), ("a", forget))[1][1]
    assert voted(("a", join), ("a", forget))[1] == ["", ""], "one's own that broke off is none"
    several = voted(("b", join), ("a", MemberAsk(6, 4)), ("a", MemberAsk(7, 4, off=True)))[1]
    assert "heard no end" in several[2]


def test_who_began_a_change_that_came_to_nothing_has_to_end_it():
    mine, _ = voted(("a", MemberAsk(5, 4)))
    assert membership.is_unended(mine, "a", 4)
    assert not membership.is_unended(mine, "b", 4), "that is a's"
    assert not membership.is_unended(mine, "a", 5), "it was committed"
    overtaken, _ = voted(("a", MemberAsk(7, 4)))
    assert membership.is_unended(overtaken, "a", 5), (
        "another list came between, which decides nothing"
    )
    assert not membership.is_unended(Register(), "", 0), "nobody made any"


def test_an_empty_change_overtakes_one_without_an_end_and_then_a_forget_goes():
    """b's xsmd was killed over its change. a is told that this stands in the way, numbers the members anew, and
    forgets c by the operator's word."""
    host = Ballots("v", {})
    assert host.vote_for_change("b", MemberAsk(5, 4), 4).granted
    change = membership.open_change(
        Register(), 4, ABC, ChangeAsked(ABC - {"c"}, ABC, frozenset("c"))
    )
    refused = host.vote_for_change("a", change.ask, 4)
    assert not refused.granted
    stuck = membership.hear(change, "v", refused)
    assert stuck.stuck
    assert not membership.hear(change, "v", MemberAnswer(5, False, "its list is number 3")).stuck
    assert host.vote_for_change("a", MemberAsk(stuck.number, 4), 4).granted
    again = MemberAsk(stuck.number + 1, stuck.number, off=True)
    assert host.vote_for_change("a", again, stuck.number).granted


def test_a_change_that_enough_voted_for_keeps_its_number():
    """Its maker commits it under that; votes for a later one would wait for an end that never comes (seed 20008811)."""
    change = Change(5, 4, ABC, ABC - {"c"}, fenced=frozenset("c"), voters=frozenset("a"))
    later = MemberAnswer(5, False, "it voted for a change that c makes", 8)
    assert membership.hear(change, "b", later).number == 9
    agreed = membership.hear(change, "b", MemberAnswer(5, True))
    assert agreed.agreed and membership.hear(agreed, "c", later).number == 5


def test_a_list_that_was_overtaken_decides_nothing():
    """It voted for change 7 of list 4. Then list 5 came, which somebody else made of list 4."""
    vote, _ = voted(("a", MemberAsk(7, 4)))
    assert [membership.counts(vote, n) for n in (4, 5, 6, 7, 8)] == [True, False, False, True, True]
    assert not membership.may_vote(vote, "b", 5, 5)
    assert membership.vote(vote, MemberAsk(8, 5), "b", 5)[1] == "a is about to change the members"
    after, why_not = membership.vote(vote, MemberAsk(8, 5), "a", 5)
    assert not why_not, "a has list 5, so it gave up the change that it made of list 4"
    assert membership.counts(after, 5)


def test_a_claim_counts_only_among_hosts_with_one_list():
    assert membership.may_vote(Register(), "a", 4, 4)
    assert not membership.may_vote(Register(), "a", 3, 4)
    assert not membership.may_vote(Register(), "a", 5, 4)


def test_who_leaves_alive_wins_no_claim_meanwhile():
    vote, _ = voted(("a", MemberAsk(5, 4, ("c",))))
    assert not membership.may_vote(vote, "c", 4, 4)
    assert membership.may_vote(vote, "b", 4, 4)
    assert membership.may_vote(vote, "c", 5, 5), "it stayed after all, or came back"


def test_enough_is_a_majority_now_and_then():
    join = Change(1, 0, frozenset({"a", "b"}), ABC)
    assert not membership.enough(join, {"a", "c"})
    assert membership.enough(join, {"a", "b"})
    leave = Change(1, 0, ABC, frozenset({"a", "b"}))
    assert not membership.enough(leave, {"a", "b"}), "who leaves alive has to agree"
    assert membership.enough(leave, ABC)
    off = replace(leave, off=frozenset({"c"}))
    assert membership.enough(off, {"a", "b"})
    assert not membership.enough(off, {"a", "c"})
    two = Change(1, 0, frozenset({"a", "b"}), frozenset({"a"}), frozenset({"b"}))
    assert membership.enough(two, {"a"})


def test_where_most_are_off_all_others_take_part():
    most = Change(1, 0, frozenset("abcdefg"), ABC, frozenset("defg"))
    assert not membership.enough(most, {"a", "b"})
    assert membership.enough(most, ABC)


def test_a_refused_change_takes_a_higher_number():
    change = Change(5, 4, ABC, ABC | {"d"}, voters=frozenset({"a"}))
    above = membership.hear(change, "b", MemberAnswer(5, False, "it voted for another", 7))
    assert (above.number, above.voters) == (8, frozenset())
    late = membership.hear(change, "b", MemberAnswer(4, True))
    assert late == change
    behind = membership.hear(change, "b", MemberAnswer(5, False, "its list is number 3", 2))
    assert behind.number == 5
    assert "b: its list is number 3; c is silent" in membership.waiting_for(behind)


def test_the_vote_is_written_and_told_to_nobody():
    ballots = Ballots("a", {"vm1": Register(1, "b", frozenset({"b"}))})
    assert ballots.vote_for_change("b", MemberAsk(1, 0), 0).granted
    assert list(ballots.take_unwritten()) == [MEMBERS]
    assert list(ballots.known()) == ["vm1"]
    ballots.learn({MEMBERS: Register(9, "z")})
    assert ballots.of(MEMBERS).voted == 1


def test_an_epoch_that_two_claimed_gets_no_vote_again():
    """One won it by the list before last. Who voted for the other before it learnt of that would else give it away."""
    mine = Register(1, "a", frozenset({"a"}))
    learnt = learn(mine, Register(1, "b", frozenset({"b"})))
    assert (learnt.claimant, learnt.claimants) == ("", frozenset({"a", "b"}))
    for host in ("a", "b"):
        assert not vote(learnt, 1, host)[1].granted
        assert next_epoch(learnt, host, 0) == 2
    assert learn(learnt, mine).claimant == ""
