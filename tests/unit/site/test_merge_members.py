"""Two lists of members are never mixed: a mixture is a list that nobody voted for."""

from __future__ import annotations

import pytest

from xsm.site import state_file
from xsm.site.merge import merge
from xsm.site.problems import Invalid
from xsm.site.state import Member, State

ID = "11111111-1111-4111-8111-111111111111"


def files(names: str, number: int) -> dict[str, bytes]:
    members = {n: Member(n, f"host-{n}", f"https://host-{n}:8701") for n in names}
    return state_file.write(State(site_id=ID, members=members, members_number=number))


def merged(base: dict[str, bytes], one: dict[str, bytes], two: dict[str, bytes]) -> tuple[str, int]:
    state = state_file.read(merge(base, one, two, "a" * 40, "b" * 40).files)
    return "".join(sorted(state.members)), state.members_number


def test_the_list_with_the_higher_number_is_taken_whole_whoever_is_later() -> None:
    base, joined, other = files("ab", 0), files("abc", 1), files("abd", 2)
    assert merged(base, joined, other) == merged(base, other, joined) == ("abd", 2)
    back = files("ab", 3)  # c was forgotten in 1 and joined again since
    assert merged(files("ab", 0), files("a", 1), back) == ("ab", 3)


def test_an_edit_of_something_else_leaves_the_list_as_the_other_side_has_it() -> None:
    assert merged(files("ab", 4), files("ab", 4), files("abc", 5)) == ("abc", 5)


@pytest.mark.parametrize("number", [b"-1", b"true", b'"2"'])
def test_a_number_that_is_none_is_refused(number: bytes) -> None:
    with pytest.raises(Invalid, match="members_number"):
        state_file.read({"state/site.json": b'{"members_number": ' + number + b"}"})
