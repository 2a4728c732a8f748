"""What peers say to each other, as bytes and back."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsm.peer.messages import (
    EPOCH_LIMIT,
    HEADS_LIMIT,
    MESSAGES_PER_POST_LIMIT,
    ClaimAnswer,
    ClaimAsk,
    EvictAnswer,
    EvictAsk,
    Hello,
    Malformed,
    Settled,
    decode,
    encode,
)
from xsm.site.model import HypervisorKind

names = st.text("abcdefgh0123456789-", min_size=1, max_size=20)
epochs = st.integers(1, 2**40)
ids = st.text("0123456789abcdef", min_size=40, max_size=40)
messages = st.one_of(
    st.builds(Hello, st.lists(ids, max_size=3).map(tuple), ids, st.booleans()),
    st.builds(ClaimAsk, names, epochs),
    st.builds(
        ClaimAnswer,
        names,
        epochs,
        st.booleans(),
        st.lists(names, max_size=3).map(tuple),
        epochs,
        names,
    ),
    st.builds(EvictAsk, names, epochs, st.sampled_from(HypervisorKind), names, names),
    st.builds(EvictAnswer, names, epochs, st.booleans(), names),
    st.builds(Settled, names, epochs),
)


@given(st.lists(messages, max_size=10))
def test_what_was_said_is_what_is_heard(said):
    assert list(decode(encode(said))) == said


@given(st.binary(max_size=300))
def test_garbage_is_malformed_and_nothing_worse(body):
    try:
        decode(body)
    except Malformed:
        return


def test_a_kind_and_a_field_of_a_later_version_are_skipped():
    body = msgspec.json.encode(
        {
            "version": 2,
            "new": True,
            "messages": [
                ["Sing", {"song": "la"}],
                ["ClaimAsk", {"vm": "vm1", "epoch": 2, "mood": "good"}],
            ],
        }
    )
    assert decode(body) == (ClaimAsk("vm1", 2),)


GOOD = ClaimAsk("vm9", 2)


@pytest.mark.parametrize(
    "absurd",
    [
        ClaimAsk("", 1),
        ClaimAsk("vm1", 0),
        ClaimAsk("vm1", -4),
        ClaimAsk("vm1", EPOCH_LIMIT),
        ClaimAsk("v" * 300, 1),
        ClaimAnswer("vm1", 1, False, (), 2**62, "dmz04"),
        EvictAnswer("vm1", 1, False, "", newest=2**62),
        Hello(("../../etc",), ""),
        Hello(("0" * 40,) * (HEADS_LIMIT + 1), ""),
    ],
)
def test_what_no_honest_peer_sends_is_left_out_and_the_rest_is_heard(absurd):
    assert decode(encode([absurd, GOOD])) == (GOOD,)


@pytest.mark.parametrize(
    "body",
    [
        encode([GOOD] * (MESSAGES_PER_POST_LIMIT + 1)),
        b'{"version":1,"messages":[["ClaimAsk",{"vm":"vm1","epoch":"two"}]]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_post_is_refused(body):
    with pytest.raises(Malformed):
        decode(body)
