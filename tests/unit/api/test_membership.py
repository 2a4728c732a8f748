"""What members know of claims, brought together before the members change."""

import pytest

from xsm.api.control import Refused
from xsm.api.membership import entries, read
from xsm.peer.membership import together
from xsm.peer.register import Register


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
