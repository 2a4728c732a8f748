"""The state tables as files: read back as written, canonical, and never a traceback for a bad one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsm.site import state_file
from xsm.site.problems import Invalid
from xsm.site.state import Conflict, Member, State

names = st.from_regex("[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=("C", "Z")), max_size=12)


@st.composite
def states(draw: st.DrawFn) -> State:
    members = {
        n: Member(n, f"host-{n}", f"https://{n}:1", draw(st.sampled_from([None, False, True])))
        for n in sorted(draw(st.sets(names, max_size=3)))
    }
    found = {
        (vm, what): Conflict(vm, what, draw(texts), draw(texts), ("a", "b"))
        for vm, what in draw(
            st.sets(st.tuples(names, st.sampled_from(["host", "mac"])), max_size=3)
        )
    }
    placement = draw(st.dictionaries(names, names, max_size=3))
    return State(
        site_id=draw(st.uuids().map(str)),
        members=members,
        placement=placement,
        chosen=frozenset(vm for vm in sorted(placement) if draw(st.booleans())),
        drained=frozenset(draw(st.sets(names, max_size=3))),
        restarts=draw(st.dictionaries(names, texts.filter(bool), max_size=3)),
        conflicts=tuple(found[k] for k in sorted(found, key="/".join)),
    )


@settings(max_examples=100, deadline=None)
@given(states())
def test_what_is_written_is_read_back(state: State) -> None:
    files = state_file.write(state)
    assert state_file.read(files) == state
    assert state_file.write(state_file.read(files)) == files


def test_rows_of_members_from_before_witnesses_are_read_and_written_as_they_are() -> None:
    old = b'{\n  "a": {\n    "address": "h",\n    "url": "https://a:1"\n  }\n}\n'
    state = state_file.read({"state/members.json": old})
    assert state.members == {"a": Member("a", "h", "https://a:1", None)}
    assert state_file.write(state) == {"state/members.json": old}


def test_empty_tables_have_no_file_and_the_form_is_canonical() -> None:
    assert state_file.write(State()) == {}
    assert state_file.write(State(drained=frozenset({"b", "a"}))) == {
        "state/drained.json": b'{\n  "a": true,\n  "b": true\n}\n'
    }


@pytest.mark.parametrize(
    ("table", "text", "says"),
    [
        ("drained", b"{", "can't be read"),
        ("drained", b"[]", "not a JSON object"),
        ("drained", b'{"a": true, "a": true}', "stands twice"),
        ("drained", b'{"a": 1}', "must be true"),
        ("drained", b'{"../a": true}', "not the name of a member"),
        ("drained", b"\xff", "not UTF-8"),
        ("drained", b"[" * 200_000, "nested too deeply"),
        ("drained", b'{"a": NaN}', "NaN"),
        ("drained", b'{"a": ' + b"9" * 9000 + b"}", "can't be read"),
        ("drained", b" " * (state_file.MAX_TABLE_BYTES + 1), "bytes, more than"),
        ("members", b'{"a": {"address": "b", "url": "http://b"}}', "https://"),
        ("members", b'{"a": {"address": "b\\u0007", "url": "https://b"}}', "printable"),
        ("members", b'{"a": 3}', "not a JSON object"),
        ("placement", b'{"a": {}}', "chosen"),
        ("placement", b'{"a": {"member": "b", "chosen": 1}}', "chosen"),
        ("placement", b'{"a": 7}', "printable"),
        ("conflicts", b'{"a": {}}', "VM/FIELD"),
        ("conflicts", b'{"a/b": {"revisions": 3}}', "revisions"),
        ("site", b'{"id": "x"}', "UUID"),
        ("site", b'{"merge_version": true}', "whole number"),
    ],
)
def test_bad_tables_are_problems_with_their_path(table: str, text: bytes, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        state_file.read({f"state/{table}.json": text})
    assert caught.value.problems[0].path == f"state/{table}.json"
    assert says in caught.value.problems[0].message


def test_all_tables_are_looked_at_and_the_problems_bounded() -> None:
    many = json.dumps({f"a{i}": 1 for i in range(500)}).encode()
    with pytest.raises(Invalid) as caught:
        state_file.read({"state/drained.json": many, "state/site.json": b"["})
    assert {p.path for p in caught.value.problems} == {"state/drained.json", "state/site.json"}
    assert len(caught.value.problems) <= state_file.MAX_PROBLEMS


def test_tables_of_a_newer_version_are_left_alone() -> None:
    files = {"state/site.json": b'{"merge_version": 7}', "state/quotas.json": b"whatever"}
    assert state_file.read(files).merge_version == 7
