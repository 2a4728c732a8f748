"""What members know of claims, brought together before the members change."""

import pytest

from xsm.api.control import Refused
from xsm.api.membership import entries, read, refuse_taken
from xsm.api.types import JoinRequest
from xsm.peer.membership import together
from xsm.peer.register import Register
from xsm.site.state import Member


def test_together_they_know_the_newest_claim_and_all_claimants():
    one = {"vm1": Register(3, "dmz01", frozenset({"dmz01"}), bar=2, held=3)}
    other = {
        "vm1": Register(4, "dmz02", frozenset({"dmz02", "dmz03"})),
        "vm2": Register(1, "dmz03", frozenset({"dmz03"})),
    }
    expected = {
        "vm1": Register(4, "dmz02", frozenset({"dmz01", "dmz02", "dmz03"})),
        "vm2": Register(1, "dmz03", frozenset({"dmz03"})),
    }
    assert together([one, other]) == together([other, one]) == expected


def test_what_is_sent_is_what_is_read_and_anything_else_is_refused():
    registers = {"vm1": Register(3, "dmz01", frozenset({"dmz01"}), 2, 3, 1)}
    assert read(entries(registers)) == registers
    with pytest.raises(Refused) as refused:
        read({"vm1": {"voted": "three"}})
    assert refused.value.status == 400
    assert "epochs" in refused.value.refusal.message


@pytest.mark.parametrize(
    ("address", "url", "what", "option"),
    [
        ("10.0.0.1", "https://10.0.0.9:8701", "the address 10.0.0.1", "--address"),
        ("10.0.0.9", "https://10.0.0.1:8701", "the URL https://10.0.0.1:8701", "--url"),
    ],
)
def test_what_is_taken_is_told_and_what_to_do(address, url, what, option):
    there = [Member("dmz01", "10.0.0.1", "https://10.0.0.1:8701")]
    with pytest.raises(Refused) as refused:
        refuse_taken(JoinRequest("token", "dmz09", address, url, "csr"), there)
    assert refused.value.refusal.message == f"dmz01 has {what} already"
    assert option in refused.value.refusal.hint
    assert "`xsm host forget dmz01`" in refused.value.refusal.hint
    refuse_taken(JoinRequest("token", "dmz09", "10.0.0.9", "https://10.0.0.9:8701", "csr"), there)
