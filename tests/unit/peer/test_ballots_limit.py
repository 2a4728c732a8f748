"""A member that asks about VMs that never were can't fill this host's votes file."""

from xsm.peer.ballots import REGISTERS_LIMIT, Ballots
from xsm.peer.register import Register


def test_questions_about_ever_new_vms_are_not_answered_for_ever() -> None:
    ballots = Ballots("dmz01", {f"vm{n}": Register() for n in range(REGISTERS_LIMIT - 1)})
    assert ballots.has_room("one more")
    ballots.vote_for_myself("one more", 1)
    assert not ballots.has_room("another")
    assert ballots.has_room("vm1") and ballots.has_room("one more")
