"""Where a VM belongs, merged: one decision whole, though DOM0 is in the file and a floating VM's place beside it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.peer.test_derive import Archive
from tests.unit.site.test_merge import ID, MEMBERS, A, B, files, site, vm
from xsm.peer.derive import Views, derive
from xsm.peer.history import maximal
from xsm.site import state_file
from xsm.site.conflicts import active_conflicts
from xsm.site.document import Files, load
from xsm.site.merge import merge
from xsm.site.state import Conflict, State

HOSTS = ("h1", "h2")
Decision = tuple[str | None, str | None, bool]
"""Pinned to, placed on, whether a person chose that place."""
PINS: tuple[Decision, ...] = tuple((h, None, False) for h in HOSTS)
FOUND: tuple[Decision, ...] = tuple((None, h, False) for h in (*HOSTS, None))
CHOSEN: tuple[Decision, ...] = tuple((None, h, True) for h in HOSTS)
DECISIONS = st.sampled_from((*PINS, *FOUND, *CHOSEN))


def says(decision: Decision, *conflicts: Conflict, vcpus: int = 1, below: str = "") -> Files:
    """`below`: a place that is in the table although the VM is pinned."""
    pinned, place, by_person = decision
    placement = {"vm1": place or below} if place or below else {}
    chosen = frozenset(["vm1"] if by_person else [])
    state = State(ID, members=MEMBERS, placement=placement, chosen=chosen, conflicts=conflicts)
    return files(site(vm("vm1", host=pinned, vcpus=vcpus), vm("vm2")), state)


def shown(tree: Files) -> Decision:
    document = load(tree)
    found, state = document.vms["vm1"], document.state
    assert found.host is None or "vm1" not in state.placement
    return found.host, state.placement.get("vm1"), "vm1" in state.chosen


def host(decision: Decision) -> str:
    """As a conflict tells it."""
    return decision[0] or (decision[1] if decision[2] else None) or "floating"


def by_person(base: Decision, decision: Decision) -> bool:
    """Whether somebody said so, not the site: it was pinned, let float, or migrated."""
    return bool(decision != base and (decision[0] or decision[2] or base[0]))


def told(tree: Files) -> list[Conflict]:
    document = load(tree)
    found = active_conflicts(document.site, document.state)
    return [c for c in found if (c.vm, c.what) == ("vm1", "host")]


def dispute(here: str, other: str) -> Conflict:
    return Conflict("vm1", "host", here, other, (A, B))


@settings(max_examples=300, deadline=None)
@given(DECISIONS, DECISIONS, DECISIONS)
def test_two_decisions_of_one_past(base: Decision, one: Decision, two: Decision) -> None:
    merged = {}
    for first, second in ((one, two), (two, one)):
        # Something else is edited, too: how the file comes to be does not matter.
        tree = merge(says(base), says(first, vcpus=2), says(second), A, B).files
        merged[first, second] = shown(tree), told(tree)
        assert load(tree).vms["vm1"].vcpus == 2
        assert shown(tree) in (first, second)
        if base in (first, second):
            assert shown(tree) == (second if first == base else first)
            continue
        said = [d for d in (first, second) if by_person(base, d)]
        if len(said) < 2:
            assert shown(tree) == (said or [second])[0]  # what the site found gives way
            assert not told(tree)
        elif host(first) != host(second):
            (conflict,) = told(tree)
            assert {conflict.shown, conflict.other} == {host(first), host(second)}
            assert shown(tree) == second
    assert len({bool(marked) for _, marked in merged.values()}) == 1


@settings(max_examples=100, deadline=None)
@given(DECISIONS, st.tuples(DECISIONS, DECISIONS, DECISIONS))
def test_three_decisions_of_one_past_in_any_order(
    base: Decision, heads: tuple[Decision, Decision, Decision]
) -> None:
    decided = [d for d in heads if d != base]
    marked = set()
    for order in permutations(heads):
        archive = Archive()
        root = archive.put(says(base), (), 10)
        commits = [
            archive.put(says(d), (root,), 11 + i, message=str(i)) for i, d in enumerate(order)
        ]
        trees = [derive(some, archive).files for some in permutations(commits)]
        assert all(tree == trees[0] for tree in trees)
        assert shown(trees[0]) in (decided or [base])
        conflicts = told(trees[0])
        marked.add(bool(conflicts))
        said = {host(d) for d in decided if by_person(base, d)}
        assert not said or host(shown(trees[0])) in said
        if len(said) > 1:
            (conflict,) = conflicts
            assert {conflict.shown, *conflict.other.split(" or ")} >= said
        if not said:
            assert not conflicts
    if len({host(d) for d in decided if by_person(base, d)}) > 1:
        assert marked == {True}


class Peers:
    """Some hosts that edit what they see, and hear of each other's edits now and then."""

    def __init__(self, seed: int, count: int) -> None:
        self.random = random.Random(seed)
        self.archive = Archive()
        self.views = Views(self.archive)
        root = self.archive.put(says(("h1", None, False)), (), 1000)
        self.heads = [(root,)] * count
        self.decided: dict[str, Decision] = {root: ("h1", None, False)}
        self.clock = 1000

    def take(self, at: int, heads: Iterable[str]) -> None:
        self.heads[at] = maximal({*self.heads[at], *heads}, self.views.ancestry)

    def main(self, at: int) -> str:
        return self.archive.write(derive(self.heads[at], self.archive, self.views))

    def edit(self, at: int) -> None:
        parent = self.main(at)
        before = self.archive.files(parent)
        state = state_file.read(before)
        self.clock += 1
        chosen, conflicts = shown(before), tuple(told(before))
        match self.random.choice(["decide", "decide", "settle", "other"]):
            case "decide":
                chosen = self.random.choice((*PINS, *FOUND[:-1], *CHOSEN))
            case "settle":
                conflicts = ()
        conflicts = tuple(c for c in conflicts if c.shown == host(chosen))
        tree = says(chosen, *conflicts, vcpus=self.clock % 7 + 1)
        made = self.archive.put(tree, (parent,), self.clock, message=str(self.clock))
        settled = state.conflicts and not conflicts
        if chosen != shown(before) or settled:
            self.decided[made] = chosen
        self.take(at, [made])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 3), st.integers(2, 9))
def test_any_history_shows_a_last_decision_whole_or_marks_it(
    seed: int, count: int, edits: int
) -> None:
    peers = Peers(seed, count)
    for _ in range(edits):
        peers.edit(peers.random.randrange(count))
        one, other = peers.random.sample(range(count), 2)
        if peers.random.random() < 0.6:
            peers.take(one, peers.heads[other])
    for at in range(1, count):
        peers.take(0, peers.heads[at])
    tree = peers.archive.files(peers.main(0))
    last = maximal(peers.decided, peers.views.ancestry)
    assert shown(tree) in peers.decided.values()
    assert told(tree) or shown(tree) in [peers.decided[commit] for commit in last]


# -- what lives by chance came to --------------------------------------------------------------------------------------


def test_a_place_below_a_pin_is_no_decision() -> None:
    """One side lets the VM float, where it is; the other, who knows nothing of it, has no place for it: nor had the
    base, below whose pin an old place was left (seed 1000086)."""
    old = dispute("h1", "h2")
    base = says(("h1", None, False), old, below="h2")
    floats, pinned = says((None, "h1", False)), says(("h1", None, False), old, vcpus=2)
    for first, second in ((floats, pinned), (pinned, floats)):
        tree = merge(base, first, second, A, B).files
        assert (shown(tree), told(tree)) == ((None, "h1", False), [])


@pytest.mark.parametrize("first", ["h1", "h2"])
def test_two_who_settle_a_conflict_unlike_are_in_conflict(first: str) -> None:
    """Also the one who chose what was shown already has decided something (seed 1000251)."""
    second = "h2" if first == "h1" else "h1"
    base = says(("h1", None, False), dispute("h1", "h2"))
    tree = merge(base, says((first, None, False)), says((second, None, False)), A, B).files
    assert shown(tree) == (second, None, False)
    assert [(c.shown, c.other) for c in told(tree)] == [(second, first)]


def test_who_settles_a_conflict_is_not_overruled_by_one_who_sees_it_the_other_way_round() -> None:
    base = says(("h1", None, False), dispute("h1", "h2"))
    settled, flipped = (
        says(("h1", None, False)),
        says(("h2", None, False), dispute("h2", "h1")),
    )
    for first, second in ((settled, flipped), (flipped, settled)):
        tree = merge(base, first, second, A, B).files
        assert (shown(tree), told(tree)) == (("h1", None, False), [])


def test_a_pin_and_floating_on_the_same_host_are_unlike() -> None:
    """Both move it to h2; whether it is to stay there is what they disagree about."""
    base, pinned = says(("h1", None, False)), says(("h2", None, False))
    floats, chosen = says((None, "h2", False)), says((None, "h2", True))
    for first, second, told_as in (
        (pinned, floats, ("floating", "h2")),
        (floats, pinned, ("h2", "floating")),
        (pinned, chosen, ("h2", "h2 (pinned)")),
        (chosen, pinned, ("h2", "h2 (floating)")),
    ):
        tree = merge(base, first, second, A, B).files
        assert shown(tree) == shown(second)
        assert [(c.shown, c.other) for c in told(tree)] == [told_as]


def test_a_removal_decided_against_is_no_removal_that_goes_through() -> None:
    kept = Conflict("vm1", "removal", "kept", "removed", (A, B))
    base, keeps = says(("h1", None, False), kept), says(("h1", None, False))
    gone = files(site(vm("vm2")), State(ID, members=MEMBERS))
    for first, second in ((keeps, gone), (gone, keeps)):
        state = load(merge(base, first, second, A, B).files).state
        assert [(c.vm, c.what) for c in state.conflicts] == [("vm1", "removal")]
    undecided = says(("h1", None, False), kept, vcpus=1)
    assert load(merge(base, undecided, gone, A, B).files).site.vm("vm1") is None


def test_a_vm_that_was_kept_against_one_removal_is_not_removed_by_another_in_silence() -> None:
    """It was moved, kept against a removal, and moved back: it looks as before (seed 2000499)."""
    kept = Conflict("vm1", "removal", "kept", "removed", (A, B))
    base, disputed = says(("h1", None, False)), says(("h1", None, False), kept)
    gone = files(site(vm("vm2")), State(ID, members=MEMBERS))
    for first, second in ((disputed, gone), (gone, disputed)):
        state = load(merge(base, first, second, A, B).files).state
        assert [(c.vm, c.what) for c in state.conflicts] == [("vm1", "removal")]


def test_a_dispute_about_a_config_keeps_no_vm() -> None:
    """Others edited the file that it uses (seed 2000265)."""
    about = Conflict("vm1", "config", "web", "configs/web.cfg of the other edit", (A, B))
    base, disputed = says(("h1", None, False)), says(("h1", None, False), about)
    gone = files(site(vm("vm2")), State(ID, members=MEMBERS))
    for first, second in ((disputed, gone), (gone, disputed)):
        assert load(merge(base, first, second, A, B).files).site.vm("vm1") is None


def test_a_conflict_that_is_shown_the_other_way_round_keeps_no_vm() -> None:
    """Who removed the VM knew of both values (seed 2001697)."""
    base, left = (
        files(
            site(vm("vm1", memory_mib=int(here)), vm("vm2")),
            State(
                ID, members=MEMBERS, conflicts=(Conflict("vm1", "memory_mib", here, other, (A, B)),)
            ),
        )
        for here, other in (("96", "128"), ("128", "96"))
    )
    gone = files(site(vm("vm2")), State(ID, members=MEMBERS))
    for first, second in ((left, gone), (gone, left)):
        assert load(merge(base, first, second, A, B).files).site.vm("vm1") is None


def test_pinning_a_vm_where_it_is_shown_in_a_conflict_is_a_decision() -> None:
    """The pin is not lost against a removal, nor against the conflict shown the other way round (seed 2001360)."""
    old = dispute("h1", "h2")
    base, pinned = says((None, "h1", True), old), says(("h1", None, False), old)
    gone = files(site(vm("vm2")), State(ID, members=MEMBERS))
    for first, second in ((pinned, gone), (gone, pinned)):
        state = load(merge(base, first, second, A, B).files).state
        assert [c.what for c in state.conflicts] == ["removal"]
    flipped = says((None, "h2", True), dispute("h2", "h1"))
    for first, second in ((pinned, flipped), (flipped, pinned)):
        assert shown(merge(base, first, second, A, B).files) == ("h1", None, False)
