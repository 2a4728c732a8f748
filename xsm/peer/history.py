"""Commits and how they descend from one another: which are the heads, what two lines have in common.

Decides ancestry only, over user commits: merge commits are made by every host itself from the heads, so that a
path through one counts as paths to its parents. Must not know git, files' meaning, or who has what.
Nothing here trusts dates (a pushed commit's clock may be wrong) and nothing recurses (histories are long).
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Protocol

from xsm.site.document import Files

MERGE_AUTHOR = "XSM merge <merge@xsm.invalid>"
"""Author and committer of every merge commit; nobody else may commit under this name."""

MAX_COMMON_CACHED = 4_096
"""Results of `common` that an `Ancestry` keeps."""


@dataclass(frozen=True)
class Commit:
    """One revision. `date`: seconds since the epoch. `merge`: made by XSM from concurrent edits."""

    id: str
    parents: tuple[str, ...]
    date: int
    author: str  # "Name <mail>"
    message: str
    merge: bool


class History(Protocol):
    """A host's commits. Every parent of a commit that is there is there, too."""

    def commit(self, commit_id: str) -> Commit:
        """Raises `KeyError` for a commit that isn't there."""
        ...

    def files(self, commit_id: str) -> Files:
        """The commit's tree. Raises `KeyError` for a commit that isn't there."""
        ...

    def __contains__(self, commit_id: object) -> bool: ...


def in_order(ids: Iterable[str], history: History) -> list[Commit]:
    """Commits by (date, id): of two that disagree the later wins."""
    return sorted((history.commit(i) for i in ids), key=lambda c: (c.date, c.id))


class Ancestry:
    """What was found out about a history's shape; keep one beside a history to ask it often.

    Commits never change, so that nothing kept here ever goes stale. Size: a few hundred bytes for each commit.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self._parents: dict[str, tuple[str, ...]] = {}
        self._generation: dict[str, int] = {}
        self._common: OrderedDict[tuple[tuple[str, ...], ...], tuple[str, ...]] = OrderedDict()

    def user_parents(self, commit_id: str) -> tuple[str, ...]:
        """The nearest user commits that a commit descends from, merge commits looked through."""
        known = self._parents.get(commit_id)
        if known is None:
            known = self._parents[commit_id] = self.expand(self.history.commit(commit_id).parents)
        return known

    def expand(self, ids: Iterable[str]) -> tuple[str, ...]:
        """`ids` with every merge commit replaced by the user commits that it was made from; sorted."""
        users: set[str] = set()
        seen: set[str] = set()
        todo = list(ids)
        while todo:
            commit_id = todo.pop()
            if commit_id in seen:
                continue
            seen.add(commit_id)
            commit = self.history.commit(commit_id)
            if commit.merge:
                todo.extend(commit.parents)
            else:
                users.add(commit_id)
        return tuple(sorted(users))

    def generation(self, commit_id: str) -> int:
        """Length of the longest way to a root: greater than that of every ancestor."""
        todo = [commit_id]
        while todo:
            top = todo[-1]
            if top in self._generation:
                todo.pop()
                continue
            parents = self.user_parents(top)
            unknown = [p for p in parents if p not in self._generation]
            if unknown:
                todo.extend(unknown)
                continue
            self._generation[top] = 1 + max((self._generation[p] for p in parents), default=0)
            todo.pop()
        return self._generation[commit_id]

    def maximal(self, ids: Iterable[str]) -> tuple[str, ...]:
        """The user commits among `ids` (merges looked through) that are in none of the others; sorted."""
        users = self.expand(ids)
        if len(users) < 2:
            return users
        floor = min(self.generation(u) for u in users)
        wanted = set(users)
        covered: set[str] = set()
        seen: set[str] = set()
        todo = [p for u in users for p in self.user_parents(u)]
        while todo:
            commit_id = todo.pop()
            if commit_id in seen or self.generation(commit_id) < floor:
                continue
            seen.add(commit_id)
            if commit_id in wanted:
                covered.add(commit_id)
            todo.extend(self.user_parents(commit_id))
        return tuple(u for u in users if u not in covered)

    def common(self, heads: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
        """The heads of what the user commits `heads` together have in common with `others` together; sorted."""
        key = (heads, others)
        known = self._common.get(key)
        if known is not None:
            self._common.move_to_end(key)
            return known
        found = []
        ours, theirs = 1, 2
        for commit_id, sides, below in self._walk((heads, others)):
            if sides == ours | theirs and not below:
                found.append(commit_id)
        self._common[key] = tuple(sorted(found))
        if len(self._common) > MAX_COMMON_CACHED:
            self._common.popitem(last=False)
        return self._common[key]

    def parts(self, heads: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Two or more user commits in parts: the commits of a part share a nearer past than the parts do.

        What several of them have in common joins these, the youngest generation first; the parts are those that the
        last such step joins.
        """
        parts = [1 << number for number in range(len(heads))]
        for _, sides, _ in self._walk([(head,) for head in heads]):
            joined = [part for part in parts if part & sides]
            if len(joined) == len(parts):
                break
            if len(joined) > 1:
                parts = [part for part in parts if not part & sides] + [reduce(or_, joined)]
        return sorted(
            tuple(head for number, head in enumerate(heads) if part >> number & 1) for part in parts
        )

    def _walk(self, sides: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, int, bool]]:
        """All that several sides contain, youngest generation first, until only what all of them have is left.

        With each commit: the sides that contain it, one bit each, and whether it is below one that all contain.
        """
        everybody = (1 << len(sides)) - 1
        below = 1 << len(sides)
        flags: dict[str, int] = {}
        queue: list[tuple[int, str]] = []
        for number, heads in enumerate(sides):
            for commit_id in heads:
                if commit_id not in flags:
                    heapq.heappush(queue, (-self.generation(commit_id), commit_id))
                flags[commit_id] = flags.get(commit_id, 0) | 1 << number
        open_ids = set(flags)  # queued and not yet below a commit that all have
        while queue and open_ids:
            commit_id = heapq.heappop(queue)[1]
            open_ids.discard(commit_id)
            mark = flags[commit_id]
            yield commit_id, mark & everybody, bool(mark & below)
            if mark & everybody == everybody:
                mark |= below
            for parent in self.user_parents(commit_id):
                if parent not in flags:
                    heapq.heappush(queue, (-self.generation(parent), parent))
                flags[parent] = flags.get(parent, 0) | mark
                if flags[parent] & below:
                    open_ids.discard(parent)
                else:
                    open_ids.add(parent)

    def user_commits(self, ids: Iterable[str]) -> frozenset[str]:
        """All user commits that `ids` contain."""
        seen: set[str] = set()
        todo = list(self.expand(ids))
        while todo:
            commit_id = todo.pop()
            if commit_id not in seen:
                seen.add(commit_id)
                todo.extend(self.user_parents(commit_id))
        return frozenset(seen)

    def contains(self, head: str, commit_id: str) -> bool:
        """True when the user commit `commit_id` is `head`, or an ancestor of it."""
        floor = self.generation(commit_id)
        seen: set[str] = set()
        todo = list(self.expand((head,)))
        while todo:
            top = todo.pop()
            if top == commit_id:
                return True
            if top not in seen and self.generation(top) > floor:
                seen.add(top)
                todo.extend(self.user_parents(top))
        return False


def ancestry(history: History | Ancestry) -> Ancestry:
    """The `Ancestry` to ask: the one given, the history's own (`history.ancestry`), or a fresh one."""
    if isinstance(history, Ancestry):
        return history
    own = getattr(history, "ancestry", None)
    return own if isinstance(own, Ancestry) else Ancestry(history)


def maximal(ids: Iterable[str], history: History | Ancestry) -> tuple[str, ...]:
    """The heads among `ids`: user commits that no other of them contains, merge commits looked through; sorted."""
    return ancestry(history).maximal(ids)


def user_commits(ids: Iterable[str], history: History | Ancestry) -> frozenset[str]:
    """All user commits that `ids` contain, themselves included."""
    return ancestry(history).user_commits(ids)


def contains(head: str, commit_id: str, history: History | Ancestry) -> bool:
    """True when the user commit `commit_id` is `head`, or an ancestor of it."""
    return ancestry(history).contains(head, commit_id)
