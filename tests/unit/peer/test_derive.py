"""One head everywhere: the derived view over random histories, with loss, duplicates and partitions."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import time
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsm.peer.derive import Derived, Views, commit_date, derive
from xsm.peer.history import MERGE_AUTHOR, Ancestry, Commit, contains, maximal, user_commits
from xsm.site import state_file
from xsm.site.document import Files, load
from xsm.site.state import State


class Archive:
    """Commits in memory, named by their content."""

    def __init__(self) -> None:
        self.all: dict[str, tuple[Commit, Files]] = {}

    def put(
        self,
        files: Files,
        parents: Iterable[str],
        date: int,
        author: str = "a <a@b>",
        message: str = "",
    ) -> str:
        tree = {p: hashlib.sha1(c).hexdigest() for p, c in sorted(files.items())}
        text = json.dumps([tree, list(parents), date, author, message])
        found = hashlib.sha1(text.encode()).hexdigest()
        self.all[found] = (
            Commit(found, tuple(parents), date, author, message, author == MERGE_AUTHOR),
            files,
        )
        return found

    def write(self, derived: Derived) -> str:
        if derived.commit:
            return derived.commit.id
        return self.put(
            derived.files, derived.parents, derived.date, derived.author, derived.message
        )

    def commit(self, commit_id: str) -> Commit:
        return self.all[commit_id][0]

    def files(self, commit_id: str) -> Files:
        return self.all[commit_id][1]

    def __contains__(self, commit_id: object) -> bool:
        return commit_id in self.all


def document(vms: dict[str, dict[str, str]]) -> Files:
    rows = "".join(
        f'<VM name="{name}" config="c">'
        + "".join(f"<{k}>{v}</{k}>" for k, v in sorted(fields.items()))
        + "</VM>\n"
        for name, fields in sorted(vms.items())
    )
    return {
        "site.xml": f'<XSMConfig><Set name="s">\n{rows}</Set></XSMConfig>\n'.encode(),
        "configs/c.cfg": b'kernel = "/boot/k"\n',
        **state_file.write(State(site_id="11111111-1111-4111-8111-111111111111")),
    }


def vms_of(files: Files) -> dict[str, dict[str, str]]:
    return {
        vm.name: {
            "VCPUS": str(vm.vcpus),
            "MEM": str(vm.memory_mib),
            **({"DOM0": vm.host} if vm.host else {}),
        }
        for vm in load(files).site.vms()
    }


def edited(files: Files, number: int, chooser: random.Random) -> Files:
    """An edit that leaves a trace: a VM named after it, or a field with its number."""
    vms = vms_of(files)
    name = f"vm{chooser.randrange(3)}"
    what = chooser.random()
    if what < 0.15 and name in vms:
        del vms[name]
    elif what < 0.4 or name not in vms:
        vms[f"new{number}"] = {"VCPUS": "1", "MEM": str(100 + number)}
    else:
        field = chooser.choice(["DOM0", "MEM", "VCPUS"])
        vms[name][field] = f"h{number}" if field == "DOM0" else str(100 + number)
    state = {path: content for path, content in files.items() if path.startswith("state/")}
    return {**document(vms), **state}


ROOT = document({f"vm{i}": {"VCPUS": "1", "MEM": "64", "DOM0": "h0"} for i in range(3)})


class Peer:
    def __init__(self, archive: Archive, root: str) -> None:
        self.archive = archive
        self.views = Views(archive)
        self.heads: tuple[str, ...] = (root,)
        self.main = root

    def take(self, heads: Iterable[str]) -> None:
        self.heads = maximal({*self.heads, *heads}, self.views.ancestry)
        self.main = self.archive.write(derive(self.heads, self.archive, self.views))

    def edit(self, number: int, clock: int, chooser: random.Random) -> str:
        files = edited(self.archive.files(self.main), number, chooser)
        date = commit_date(clock, [self.archive.commit(self.main)])
        made = self.archive.put(files, [self.main], date, f"p <p{number}@x>", f"edit {number}")
        self.take([made])
        return made


def run(seed: int, peers: int, edits: int) -> tuple[Archive, list[Peer], list[str]]:
    """A schedule: edits with skewed clocks, lost, late and repeated messages; then everybody hears everything."""
    chooser = random.Random(seed)
    archive = Archive()
    root = archive.put(ROOT, (), 1000)
    all_peers = [Peer(archive, root) for _ in range(peers)]
    flying: list[tuple[int, tuple[str, ...]]] = []
    made: list[str] = []
    while len(made) < edits:
        if chooser.random() < 0.4:
            at = chooser.randrange(peers)
            made.append(
                all_peers[at].edit(len(made), 1000 + len(made) + chooser.randrange(-5, 6), chooser)
            )
            flying += [
                (j, all_peers[at].heads) for j in range(peers) if j != at and chooser.random() > 0.4
            ]
        elif flying:
            to, heads = flying[chooser.randrange(len(flying))]
            all_peers[to].take(heads)
    order = list(range(peers))
    for _ in range(2):  # everybody hears of everybody, in some order
        chooser.shuffle(order)
        for i in order:
            for j in order:
                all_peers[i].take(all_peers[j].heads)
    return archive, all_peers, made


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 5), st.integers(1, 7))
def test_any_schedule_ends_with_one_head_and_no_lost_edit(
    seed: int, peers: int, edits: int
) -> None:
    archive, everybody, made = run(seed, peers, edits)
    assert len({peer.main for peer in everybody}) == 1
    assert len({peer.heads for peer in everybody}) == 1
    assert user_commits([everybody[0].main], archive) >= set(made)
    load(archive.files(everybody[0].main))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 6))
def test_what_was_computed_before_changes_nothing(seed: int, peers: int) -> None:
    archive, _, made = run(seed, peers, 8)
    chooser = random.Random(seed)
    views = Views(archive)
    for _ in range(10):
        heads = chooser.sample(made, chooser.randrange(1, len(made)))
        assert derive(heads, archive, views) == derive(heads, archive)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_every_added_vm_survives_until_somebody_removes_it(seed: int) -> None:
    archive, everybody, made = run(seed, 3, 6)
    shown = vms_of(archive.files(everybody[0].main))
    for commit_id in made:
        before = vms_of(archive.files(archive.commit(commit_id).parents[0]))
        after = vms_of(archive.files(commit_id))
        for name in after.keys() - before.keys():
            assert name in shown


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(2, 25))
def test_ancestry_agrees_with_sets_of_ancestors(seed: int, wide: int, size: int) -> None:
    chooser = random.Random(seed)
    archive = Archive()
    ids: list[str] = []
    for number in range(size):
        parents = chooser.sample(ids[-6:], min(len(ids), chooser.randrange(0, wide + 1)))
        merge = len(parents) > 1 and chooser.random() < 0.4
        ids.append(
            archive.put(
                {},
                parents,
                chooser.randrange(100),
                MERGE_AUTHOR if merge else "u <u@u>",
                str(number),
            )
        )
    below: dict[str, frozenset[str]] = {}
    for commit_id in ids:
        commit = archive.commit(commit_id)
        own = frozenset() if commit.merge else frozenset({commit_id})
        below[commit_id] = own.union(*(below[p] for p in commit.parents))
    height = {c: Ancestry(archive).generation(c) for c in ids}
    chosen = chooser.sample(ids, min(len(ids), 4))
    everything = frozenset().union(*(below[c] for c in chosen))
    tops = tuple(
        sorted(u for u in everything if not any(u in below[o] and o != u for o in everything))
    )
    assert maximal(chosen, archive) == tops
    assert user_commits(chosen, archive) == everything
    users = [c for c in chosen if not archive.commit(c).merge]
    if len(users) > 1:
        heads, other = tuple(sorted(users[:-1])), users[-1]
        shared = frozenset().union(*(below[h] for h in heads)) & below[other]
        expected = tuple(
            sorted(u for u in shared if not any(u in below[o] and o != u for o in shared))
        )
        assert Ancestry(archive).common(heads, (other,)) == expected
        assert contains(heads[0], other, archive) == (other in below[heads[0]])
    if len(tops) > 1:
        parts = Ancestry(archive).parts(tops)
        assert sorted(h for part in parts for h in part) == sorted(tops) and len(parts) > 1
        pairs = [
            max((height[c] for c in below[a] & below[b]), default=0)
            for one, two in itertools.combinations(parts, 2)
            for a, b in itertools.product(one, two)
        ]
        for part in parts:
            for split in range(1, len(part)):
                for some in itertools.combinations(part, split):
                    rest = set(part) - set(some)
                    nearest = max(
                        max((height[c] for c in below[a] & below[b]), default=0)
                        for a, b in itertools.product(some, rest)
                    )
                    assert nearest >= max(pairs)


def test_one_head_is_main_itself_and_merges_are_looked_through() -> None:
    archive = Archive()
    root = archive.put(ROOT, (), 10)
    one = archive.put(edited(ROOT, 1, random.Random(1)), (root,), 11)
    two = archive.put(edited(ROOT, 2, random.Random(2)), (root,), 12)
    merged = derive((one, two), archive)
    merge_id = archive.write(merged)
    assert derive((root, one), archive).commit == archive.commit(one)
    assert (merged.commit, merged.author, merged.date) == (None, MERGE_AUTHOR, 12)
    assert merged.parents == tuple(sorted((one, two)))
    assert one[:12] in merged.message and two[:12] in merged.message
    assert maximal((merge_id, root), archive) == merged.parents
    assert archive.write(derive((merge_id,), archive)) == merge_id
    after = archive.put(ROOT, (merge_id,), 13)
    assert derive((one, two, after), archive).heads == (after,)
    with pytest.raises(ValueError, match="at least one"):
        derive((), archive)


def test_a_conflict_names_the_revisions_that_disagree() -> None:
    archive = Archive()
    root = archive.put(ROOT, (), 10)
    sizes = []
    for number, memory in enumerate(("65", "64", "66"), 1):
        vms = {**vms_of(ROOT), "vm0": {"VCPUS": "1", "MEM": memory, "DOM0": "h0"}}
        sizes.append(archive.put(document(vms), (root,), 10 + number, message=memory))
    conflict = derive(sizes, archive).conflicts[0]
    assert (conflict.what, conflict.shown, conflict.other) == ("memory_mib", "66", "65")
    assert conflict.revisions == tuple(sorted((sizes[0], sizes[2])))


def test_a_commit_is_never_dated_before_what_it_follows() -> None:
    parent = Commit("a", (), 100, "", "", False)
    assert (commit_date(50.7, [parent]), commit_date(500.7, [parent]), commit_date(3.2, [])) == (
        101,
        500,
        3,
    )


def test_long_histories_are_walked_once_and_without_recursion() -> None:
    archive = Archive()
    last = archive.put(ROOT, (), 0)
    root = last
    for number in range(10_000):
        last = archive.put(ROOT, (last,), number + 1)
    side = archive.put(ROOT, (root,), 5, message="side")
    ancestry = Ancestry(archive)
    started = time.process_time()
    assert ancestry.maximal((last, root)) == (last,)
    assert ancestry.maximal((last, side)) == tuple(sorted((last, side)))
    assert ancestry.common((last,), (side,)) == (root,)
    assert time.process_time() - started < 3
    started = time.process_time()
    tip = archive.put(ROOT, (last,), 20_000)
    assert ancestry.maximal((last, tip)) == (tip,)
    assert time.process_time() - started < 0.05
