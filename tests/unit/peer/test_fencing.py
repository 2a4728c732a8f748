"""Whom this host has fenced unasked, when, and when nobody."""

from __future__ import annotations

import pytest

from xsm.peer import fencing, membership
from xsm.peer.commands import CommandRefused
from xsm.peer.contacts import Contacts
from xsm.peer.fencing import TRY_AGAIN_S, TURN_S, due
from xsm.peer.membership import Change, outlive
from xsm.peer.messages import MemberAsk
from xsm.peer.register import Register
from xsm.site.document import Document, load
from xsm.site.state import Member, State
from xsm.site.state_file import write

ABCD = ("a", "b", "c", "d")
LONG_AGO = 1000.0


def site(
    names: tuple[str, ...] = ABCD,
    after_s: int | None = 60,
    power: str = "running",
    fenced: tuple[str, ...] = (),
) -> Document:
    """VM web floats and was placed on the last host."""
    after = f"<FENCE_AFTER>{after_s}</FENCE_AFTER>" if after_s else ""
    hosts = "".join(f'<Host name="{n}"><FENCE>fence_x</FENCE>{after}</Host>' for n in names)
    vm = f'<VM name="web" config="c"><VCPUS>1</VCPUS><MEM>64</MEM><STATE>{power}</STATE></VM>'
    xml = f'<XSMConfig>{hosts}<Set name="s">{vm}</Set></XSMConfig>'
    members = {n: Member(n, f"{n}.x", f"https://{n}.x:1") for n in (*names, *fenced)}
    state = State(
        members={n: members[n] for n in names},
        fenced={n: members[n] for n in fenced},
        placement={"web": names[-1]},
    )
    config = b'type = "pv"\nkernel = "/k"\n'
    return load({"site.xml": xml.encode(), "configs/c.cfg": config, **write(state)})


def heard(me: str = "a", **silent_s: float) -> Contacts:
    """Everybody was heard of just now (at 1000 s), or so long ago."""
    contacts = Contacts(me)
    for name in ABCD:
        contacts.heard(name, LONG_AGO - silent_s.get(name, 0.0))
    return contacts


def found(document: Document, contacts: Contacts, tried_at: float = 0.0) -> tuple[str, bool]:
    result = due(document, contacts, tried_at, LONG_AGO)
    return (result.host, not result.why_not) if result else ("", False)


def test_a_host_is_fenced_once_it_is_silent_for_long_enough():
    assert found(site(), heard(d=59.0)) == ("", False)
    assert found(site(), heard(d=60.0)) == ("d", True)
    assert found(site(after_s=None), heard(d=900.0)) == ("", False), "only people fence it"


def test_a_daemon_misses_nobody_of_whom_it_has_never_heard():
    """After a power cut some hosts boot more slowly than others."""
    contacts = Contacts("a")
    contacts.heard("b", LONG_AGO)
    contacts.heard("c", LONG_AGO)
    assert found(site(), contacts) == ("", False)
    contacts.heard("d", LONG_AGO - 60)
    assert found(site(), contacts) == ("d", True)
    never = Contacts("a")
    never.heard("b", LONG_AGO)
    never.heard("d", LONG_AGO - 60)
    assert found(site(), never) == ("d", False), "c is gone as well, as far as a knows"


def test_nobody_is_fenced_for_nothing():
    assert found(site(power="stopped"), heard(d=70.0)) == ("", False)
    assert found(site(), heard(b=70.0, d=0.0)) == ("", False), "web is not on b"


def test_half_of_the_site_is_never_fenced():
    assert found(site(), heard(c=40.0, d=60.0)) == ("d", False)
    assert found(site(ABCD[:2]), heard(b=60.0)) == ("b", False)
    assert found(site(ABCD[:3], fenced=("d",)), heard(c=60.0)) == ("c", False)
    assert found(site(ABCD[:3]), heard(c=60.0)) == ("c", True)


def test_members_take_turns():
    """d is silent, so that a, b and c take turns; each begins in the first half of its own."""
    mine = {
        me: [s for s in range(60, 60 + 4 * int(TURN_S)) if found(site(), heard(me, d=float(s)))[1]]
        for me in "abc"
    }
    assert mine["a"] == [*range(60, 70), *range(120, 130)]
    assert mine["b"] == list(range(80, 90))
    assert mine["c"] == list(range(100, 110))


def test_after_an_attempt_it_waits():
    assert found(site(), heard(d=60.0), LONG_AGO - TRY_AGAIN_S + 1) == ("", False)
    assert found(site(), heard(d=60.0), LONG_AGO - TRY_AGAIN_S) == ("d", True)


def test_who_has_heard_of_the_host_votes_against_fencing_it_unasked():
    asked = MemberAsk(5, 4, ("d",), silent=("d",))
    assert "heard of d 24 s ago" in membership.still_heard(asked, lambda _: 24.0)
    assert not membership.still_heard(asked, lambda _: 25.0)
    assert not membership.still_heard(MemberAsk(5, 4, ("d",)), lambda _: 1.0), "a person said so"


def test_a_fencing_needs_a_majority_of_all_without_the_fenced_host():
    def enough(count: int, *names: str) -> bool:
        all_ = frozenset(ABCD[:count])
        change = Change(1, 0, all_, all_ - {ABCD[count - 1]}, fenced=frozenset(ABCD[count - 1]))
        return membership.enough(change, names)

    assert not enough(2, "a")
    assert enough(3, "a", "b") and not enough(3, "a", "c")
    assert not enough(4, "a", "b") and enough(4, "a", "b", "c")


def test_who_voted_for_a_host_s_leaving_votes_for_none_of_its_changes():
    mine, _ = membership.vote(Register(), MemberAsk(5, 4, ("d",)), "a", 4)
    assert membership.vote(mine, MemberAsk(6, 4), "d", 4)[1] == "it voted for d to leave the site"
    assert not membership.vote(mine, MemberAsk(6, 4), "b", 4)[1]
    assert not membership.vote(mine, MemberAsk(6, 4, agreed=("a",)), "d", 4)[1], "a gave it up"


def test_nobody_waits_for_the_end_of_a_fenced_host_s_change():
    mine, _ = membership.vote(Register(), MemberAsk(7, 4), "d", 4)
    assert not membership.counts(mine, 5)
    assert outlive(mine, 5, ()) == mine
    assert outlive(mine, 5, ("b",)) == mine
    assert membership.counts(outlive(mine, 5, ("d",)), 5)
    assert outlive(mine, 4, ("d",)) == mine, "it is of this very list, and may be committed"


def test_fencing_takes_a_host_out_and_readmitting_brings_it_back():
    document = site()
    files = {"site.xml": b""}
    after = fencing.fence(files, document, "d", "a").state
    assert (sorted(after.members), sorted(after.fenced), after.placement) == (
        ["a", "b", "c"],
        ["d"],
        {},
    )
    back = fencing.readmit(files, site(ABCD[:3], fenced=("d",)), "d").state
    assert (sorted(back.members), back.fenced) == ([*ABCD], {})
    for host, me, why in (("a", "a", "itself"), ("x", "a", "not a member")):
        with pytest.raises(CommandRefused, match=why):
            fencing.fence(files, document, host, me)
    with pytest.raises(CommandRefused, match="no host that was fenced"):
        fencing.readmit(files, document, "b")
