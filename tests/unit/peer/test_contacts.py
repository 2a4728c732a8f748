"""Who counts as alive, and whom a host greets."""

from xsm.peer.contacts import (
    DOUBT_S,
    FAILED_S,
    HELLO_EVERY_S,
    HELLO_FANOUT,
    HINT_EVERY_S,
    Contacts,
    Hint,
    Reach,
)

FOUR = frozenset({"dmz01", "dmz02", "dmz03", "dmz04"})


def contacts(**heard_at: float) -> Contacts:
    made = Contacts("dmz01")
    made.heard_at.update(heard_at)
    return made


def test_a_member_that_was_never_heard_is_unknown_and_after_a_failed_try_failed():
    made = contacts()
    assert made.reach("dmz02", 4, 100.0) is Reach.UNKNOWN
    made.failed("dmz02", "connection refused", 100.0)
    assert made.reach("dmz02", 4, 100.0) is Reach.FAILED


def test_silence_makes_a_member_suspect_and_then_failed():
    made = contacts(dmz02=100.0)
    assert made.reach("dmz02", 4, 101.0) is Reach.ALIVE
    assert made.reach("dmz02", 4, 100.0 + 4 * HELLO_EVERY_S) is Reach.SUSPECT
    assert made.reach("dmz02", 4, 100.0 + FAILED_S + 1) is Reach.FAILED


def test_a_failed_request_makes_it_suspect_at_once_and_an_answer_alive_again():
    made = contacts(dmz02=100.0)
    made.failed("dmz02", "timeout", 101.0)
    assert made.reach("dmz02", 4, 101.0) is Reach.SUSPECT
    made.heard("dmz02", 102.0)
    assert made.reach("dmz02", 4, 102.0) is Reach.ALIVE


def test_two_of_four_are_no_majority_three_are():
    assert not contacts(dmz02=100.0).majority(FOUR, 101.0)
    assert contacts(dmz02=100.0, dmz03=100.0).majority(FOUR, 101.0)


def test_a_lone_host_is_its_own_majority():
    assert contacts().majority(frozenset({"dmz01"}), 0.0)


def test_in_one_rotation_everybody_else_is_greeted():
    members = {f"h{i:02}": None for i in range(11)}
    made = Contacts("h04")
    greeted, now = [], 0.0
    for _ in range(-(-(len(members) - 1) // HELLO_FANOUT)):
        chosen = made.to_greet(members, now)
        assert len(chosen) == HELLO_FANOUT
        greeted += chosen
        assert made.to_greet(members, now + HELLO_EVERY_S / 2) == []
        now += HELLO_EVERY_S
    assert set(greeted) == set(members) - {"h04"}


def test_a_large_site_takes_silence_for_longer():
    made = contacts(far=100.0)
    members = 100
    assert made.reach("far", members, 100.0 + 2 * made.round_s(members)) is Reach.ALIVE


def test_a_member_that_goes_and_comes_is_news_once_each():
    made = contacts(dmz02=100.0, dmz03=100.0)
    members = frozenset({"dmz01", "dmz02", "dmz03"})
    assert made.changes(members, 101.0) == []
    made.heard("dmz03", 130.0)
    assert made.changes(members, 110.0) == []  # suspect is no news
    assert made.changes(members, 131.0) == [("dmz02", Reach.ALIVE, Reach.FAILED)]
    assert made.changes(members, 131.5) == []
    made.heard("dmz02", 132.0)
    assert made.changes(members, 132.0) == [("dmz02", Reach.FAILED, Reach.ALIVE)]


def test_one_member_that_knows_more_expels_until_it_is_heard_again() -> None:
    contacts = Contacts("a")
    contacts.failed("b", "it refused", 1.0, "forgotten by Ann")
    members = frozenset("abc")
    assert contacts.expulsion(members) == "forgotten by Ann"
    contacts.failed("b", "unreachable", 2.0)
    assert contacts.expulsion(members) == "forgotten by Ann"
    assert contacts.expulsion(frozenset("ac")) == ""
    contacts.heard("c", 3.0)
    assert contacts.expulsion(members) == "forgotten by Ann"
    contacts.heard("b", 4.0)
    assert contacts.expulsion(members) == ""


def hinted(hint: Hint, at: float = 101.0) -> Contacts:
    """dmz01, that heard of all at 100 s and greeted them in turn, and now hears something of dmz02."""
    made = contacts(dmz02=100.0, dmz03=100.0, dmz04=100.0)
    made.to_greet(dict.fromkeys(FOUR), at)
    made.hinted("dmz02", hint)
    return made


def test_a_hint_hastens_one_greeting():
    made = hinted(Hint.JOINED)
    assert made.to_greet(dict.fromkeys(FOUR), 101.0) == ["dmz02"]
    assert made.to_greet(dict.fromkeys(FOUR), 101.1) == []


def test_hints_without_end_hasten_a_greeting_now_and_then():
    made = hinted(Hint.NEWS)
    greeted = 0
    for tenth in range(10):
        made.hinted("dmz02", Hint.NEWS)
        greeted += len(made.to_greet(dict.fromkeys(FOUR), 101.0 + tenth / 10 * HINT_EVERY_S))
    assert greeted == 1
    assert made.to_greet(dict.fromkeys(FOUR), 101.0 + HINT_EVERY_S) == ["dmz02"]


def test_who_is_said_to_be_gone_and_does_not_answer_is_shown_so_but_nothing_is_decided_by_it():
    for hint, reach in ((Hint.FAILED, Reach.FAILED), (Hint.LEFT, Reach.LEFT)):
        made = hinted(hint)
        made.to_greet(dict.fromkeys(FOUR), 101.0)
        assert made.shown("dmz02", 4, 101.0) is Reach.ALIVE
        assert made.shown("dmz02", 4, 101.0 + DOUBT_S) is reach
        assert made.reach("dmz02", 4, 101.0 + DOUBT_S) is Reach.ALIVE
        made.hinted("dmz03", hint)
        made.hinted("dmz04", hint)
        made.to_greet(dict.fromkeys(FOUR), 101.0)
        assert made.majority(FOUR, 101.0 + DOUBT_S)
        made.heard("dmz02", 103.0)
        assert made.shown("dmz02", 4, 103.0 + DOUBT_S) is Reach.ALIVE


def test_no_word_of_a_member_counts_before_it_was_greeted():
    made = hinted(Hint.NEWS)
    made.to_greet(dict.fromkeys(FOUR), 101.0)
    made.hinted("dmz02", Hint.FAILED)
    assert made.to_greet(dict.fromkeys(FOUR), 101.5) == []  # it was greeted just now
    assert made.shown("dmz02", 4, 101.5 + DOUBT_S) is Reach.ALIVE
    made.hinted("dmz02", Hint.JOINED)
    made.to_greet(dict.fromkeys(FOUR), 102.0)
    assert made.shown("dmz02", 4, 102.0 + DOUBT_S) is Reach.ALIVE


def test_since_when_a_member_is_what_it_is():
    made = contacts(dmz02=100.0)
    assert made.since_s("dmz02", Reach.ALIVE, 101.0) is None
    made.changes(FOUR, 101.0)
    assert made.since_s("dmz02", Reach.ALIVE, 103.0) == 2.0
    made.hinted("dmz02", Hint.LEFT)
    made.to_greet(dict.fromkeys(FOUR), 103.0)
    assert made.changes(FOUR, 104.0) == [("dmz02", Reach.ALIVE, Reach.LEFT)]
    assert made.since_s("dmz02", Reach.LEFT, 109.0) == 5.0
    assert made.since_s("dmz02", Reach.ALIVE, 109.0) is None
