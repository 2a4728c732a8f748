"""What main shows: a function of the heads alone, so that every host computes the same by itself.

Decides the content of the merge commit over several heads, after the convergence rule in docs/design.md: only user
commits are replicated; merge commits are a derived view and never an input. Must not know how commits are stored or
how they travel, and not the time: the date of a merge is its newest parent's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from xsm.peer.history import MERGE_AUTHOR, Ancestry, Commit, History, ancestry
from xsm.site.document import Files
from xsm.site.merge import merge, name_revisions
from xsm.site.state import Conflict

MAX_VIEWS = 64
"""Views of a common past that are kept; each holds one revision's files."""

SHORT = 12
"""Hex digits of a revision in a message."""


@dataclass(frozen=True)
class Derived:
    """What main is to show. `commit`: the head itself when there is one, None when a merge commit is to be written.

    Equal heads give equal fields on every host; written as they are, they give one commit id.
    """

    heads: tuple[str, ...]  # sorted
    commit: Commit | None
    files: Files
    parents: tuple[str, ...]  # of `commit`, or of the merge commit to write (= heads)
    author: str
    date: int  # seconds since the epoch
    message: str
    conflicts: tuple[Conflict, ...] = ()  # found by this merge


class Views:
    """Views of downward closed sets of user commits, each named by its heads; memoised, bounded."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.ancestry: Ancestry = ancestry(history)
        self._known: OrderedDict[tuple[str, ...], Files] = OrderedDict()

    def ordered(self, heads: Iterable[str]) -> list[Commit]:
        """Heads in the order in which they are folded: the later wins."""
        return sorted((self.history.commit(h) for h in heads), key=lambda c: (c.date, c.id))

    def fold(self, heads: tuple[str, ...]) -> tuple[Files, tuple[Conflict, ...]]:
        """The files that several heads come to, and the conflicts between them.

        Each head is merged against the view of what it has in common with those before it. Those views are computed
        first, deepest first, with a list instead of recursion.
        """
        known: dict[tuple[str, ...], Files] = {}
        todo = [heads]
        while True:
            top = todo[-1]
            bases = self._bases(top)
            missing = [
                b for b in bases if len(b) > 1 and b not in known and not self._recall(b, known)
            ]
            if missing:
                todo.extend(missing)
                continue
            files, conflicts = self._fold_once(top, bases, known)
            todo.pop()
            if not todo:
                return files, conflicts
            known[top] = files
            self._keep(top, files)

    def _bases(self, heads: tuple[str, ...]) -> list[tuple[str, ...]]:
        commits = self.ordered(heads)
        ids = [c.id for c in commits]
        return [self.ancestry.common(tuple(sorted(ids[:i])), ids[i]) for i in range(1, len(ids))]

    def _recall(self, heads: tuple[str, ...], known: dict[tuple[str, ...], Files]) -> bool:
        files = self._known.get(heads)
        if files is None:
            return False
        self._known.move_to_end(heads)
        known[heads] = files
        return True

    def _keep(self, heads: tuple[str, ...], files: Files) -> None:
        self._known[heads] = files
        if len(self._known) > MAX_VIEWS:
            self._known.popitem(last=False)

    def _fold_once(
        self,
        heads: tuple[str, ...],
        bases: list[tuple[str, ...]],
        known: dict[tuple[str, ...], Files],
    ) -> tuple[Files, tuple[Conflict, ...]]:
        commits = self.ordered(heads)
        files: Files = self.history.files(commits[0].id)
        conflicts: dict[tuple[str, str], Conflict] = {}
        earlier: list[tuple[str, Files]] = [(commits[0].id, files)]
        for commit, base in zip(commits[1:], bases, strict=True):
            past: Files = {}
            if base:
                past = known[base] if len(base) > 1 else self.history.files(base[0])
            own = self.history.files(commit.id)
            merged = merge(past, files, own, earlier[-1][0], commit.id)
            merged = name_revisions(merged, earlier, commit.id)
            earlier.append((commit.id, own))
            files = merged.files
            conflicts.update({(c.vm, c.what): c for c in merged.conflicts})
        return files, tuple(conflicts[key] for key in sorted(conflicts))


def derive(heads: Iterable[str], history: History, views: Views | None = None) -> Derived:
    """What main shows for these heads (merge commits among them are looked through).

    `views`: what was computed before, for a caller that derives often. Raises `ValueError` without any head.
    """
    views = views or Views(history)
    found = views.ancestry.maximal(heads)
    if not found:
        raise ValueError("a site has at least one revision")
    if len(found) == 1:
        commit = history.commit(found[0])
        return Derived(
            found,
            commit,
            history.files(commit.id),
            commit.parents,
            commit.author,
            commit.date,
            commit.message,
        )
    files, conflicts = views.fold(found)
    commits = views.ordered(found)
    return Derived(
        found, None, files, found, MERGE_AUTHOR, commits[-1].date, _message(commits), conflicts
    )


def _message(commits: list[Commit]) -> str:
    lines = [f"{c.id[:SHORT]} {_first_line(c.message)} ({c.author})" for c in commits]
    return "\n".join([f"Merge {len(commits)} concurrent edits", "", *lines, ""])


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0].strip()[:100]


def commit_date(now: float, parents: Iterable[Commit]) -> int:
    """The date of a new commit: never before one that it follows, whatever this host's clock says."""
    return max([int(now), *(p.date + 1 for p in parents)])
