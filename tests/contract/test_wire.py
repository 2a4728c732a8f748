"""Versions N and N-1 understand each other: what version 1 said, recorded, and what a version 2 might say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.wire_values import MESSAGES, VALUES
from xsm.peer.messages import PROTOCOL_VERSION, OtherVersion, decode, encode, understood

RECORDED = Path(__file__).parent / "wire" / "v1"


def extended(value: Any) -> Any:
    """The same as a later version would say it: with a field more in every object."""
    if isinstance(value, dict):
        more = {key: extended(inner) for key, inner in value.items()}
        return more if set(value) == {"site.xml"} else {**more, "of_version_2": {"deep": [1, None]}}
    return [extended(inner) for inner in value] if isinstance(value, list) else value


def contains(said: Any, recorded: Any) -> bool:
    """Whether all that was recorded is said, and of objects perhaps more."""
    if isinstance(recorded, dict):
        return isinstance(said, dict) and all(
            k in said and contains(said[k], v) for k, v in recorded.items()
        )
    if isinstance(recorded, list):
        pairs = zip(said, recorded, strict=False)
        return len(said) == len(recorded) and all(contains(one, other) for one, other in pairs)
    return said == recorded


def test_messages_of_version_1_are_read() -> None:
    assert decode((RECORDED / "messages.json").read_bytes()) == MESSAGES


@pytest.mark.parametrize("name", VALUES)
def test_values_of_version_1_are_read(name: str) -> None:
    raw = (RECORDED / f"{name}.json").read_bytes()
    assert msgspec.json.decode(raw, type=type(VALUES[name])) == VALUES[name]


def test_everything_recorded_is_read_by_a_test() -> None:
    assert {path.stem for path in RECORDED.glob("*.json")} == {*VALUES, "messages"}


@pytest.mark.skipif(PROTOCOL_VERSION != 1, reason="version 1 is history: only reading counts")
def test_version_1_says_what_was_recorded() -> None:
    """A change of the wire that keeps the version would show here. Fields that came since have a default: who
    doesn't know them goes on as before."""
    recorded = json.loads((RECORDED / "messages.json").read_bytes())
    assert contains(json.loads(encode(MESSAGES)), recorded)
    for name, value in VALUES.items():
        recorded = json.loads((RECORDED / f"{name}.json").read_bytes())
        assert contains(json.loads(msgspec.json.encode(value)), recorded), name


def test_messages_of_the_next_version_are_read_as_far_as_they_are_known() -> None:
    post = json.loads((RECORDED / "messages.json").read_bytes())
    sent = [[kind, extended(message)] for kind, message in post["messages"]]
    sent.insert(2, ["Gossip", {"vm": "vm1", "of": "version 2"}])
    body = {"version": PROTOCOL_VERSION + 1, "messages": sent, "more": 1}
    assert decode(json.dumps(body).encode()) == MESSAGES


@pytest.mark.parametrize("name", VALUES)
def test_values_of_the_next_version_are_read(name: str) -> None:
    later = extended(json.loads((RECORDED / f"{name}.json").read_bytes()))
    read = msgspec.json.decode(json.dumps(later).encode(), type=type(VALUES[name]))
    assert read == VALUES[name]


@pytest.mark.parametrize(
    "version", [PROTOCOL_VERSION + 2, PROTOCOL_VERSION + 1000, PROTOCOL_VERSION - 2]
)
def test_what_is_further_apart_is_refused_with_both_versions(version: int) -> None:
    with pytest.raises(OtherVersion) as caught:
        decode(json.dumps({"version": version, "messages": []}).encode())
    assert f"version {version}" in str(caught.value)
    assert f"speaks {PROTOCOL_VERSION}" in str(caught.value)
    whose = "this host" if version > PROTOCOL_VERSION else "the host that asks"
    assert str(caught.value).endswith(f"update xsmd on {whose} first")


def test_neighbours_are_understood() -> None:
    near = [PROTOCOL_VERSION - 1, PROTOCOL_VERSION, PROTOCOL_VERSION + 1]
    assert [v for v in range(PROTOCOL_VERSION + 5) if understood(v)] == near
