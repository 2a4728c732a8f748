"""Whose Serf key counts, and who makes one."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from xsm.edge.serf_key import PATIENCE_S, SerfKey, better, load, new_key, save, wait_s

KEYS = st.none() | st.builds(SerfKey, st.integers(0, 3), st.sampled_from("abc"))


@given(KEYS, KEYS, KEYS)
def test_in_whatever_order_keys_are_seen_the_same_one_counts(
    a: SerfKey | None, b: SerfKey | None, c: SerfKey | None
) -> None:
    assert better(a, b) == better(b, a)
    assert better(better(a, b), c) == better(a, better(b, c))


def test_the_key_of_a_newer_list_counts() -> None:
    assert better(SerfKey(1, "a"), SerfKey(2, "b")) == SerfKey(2, "b")


def test_keys_differ_and_are_of_32_bytes() -> None:
    one, other = new_key(4), new_key(4)
    assert one != other and one.is_sound and one.number == 4
    assert not SerfKey(4, "YWJj").is_sound
    assert not SerfKey(4, "not base64").is_sound
    assert not SerfKey(-1, one.text).is_sound


def test_one_host_makes_the_key_and_the_next_one_only_if_that_doesnt() -> None:
    members = frozenset({"dmz01", "dmz02", "dmz03"})
    waits = {name: wait_s(name, members) for name in members}
    assert waits == {"dmz01": 0.0, "dmz02": PATIENCE_S, "dmz03": 2 * PATIENCE_S}


def test_the_key_is_kept_for_its_owner_only_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "serf" / "key.json"
    key = new_key(7)
    assert load(path) is None
    save(path, key)
    assert load(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert key.text not in repr(key)
    path.write_text('{"number": 7, "text": "abc"}')
    assert load(path) is None
