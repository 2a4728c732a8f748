"""What main shows: a function of the heads alone, so that every host computes the same by itself.

Decides the content of the merge commit over several heads, after the convergence rule in docs/design.md: only user
commits are replicated; merge commits are a derived view and never an input. Must not know how commits are stored or
how they travel, and not the time: the date of a merge is its newest parent's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from xsm.peer.history import MERGE_AUTHOR, Ancestry, Commit, History, ancestry, in_order
from xsm.peer.origins import Origins
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


Step = tuple[tuple[str, ...], tuple[str, ...]]
"""The heads of a part to merge, and the heads of what it has in common with the parts before it."""


@dataclass(frozen=True)
class _View:
    """What some heads come to. `conflicts`: those between them, by (VM, what)."""

    files: Files
    conflicts: Mapping[tuple[str, str], Conflict]


class Views:
    """Views of downward closed sets of user commits, each named by its heads; memoised, bounded."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.ancestry: Ancestry = ancestry(history)
        self._origins = Origins(self.ancestry)
        self._known: OrderedDict[tuple[str, ...], _View] = OrderedDict()
        self._chain: list[tuple[Step, _View]] = []  # how the last fold went, step by step

    def ordered(self, heads: Iterable[str]) -> list[Commit]:
        """Commits by (date, id): of two that disagree the later wins."""
        return in_order(heads, self.history)

    def fold(self, heads: tuple[str, ...]) -> tuple[Files, tuple[Conflict, ...]]:
        """The files that several heads come to, and the conflicts between them.

        Views that a view is made of are computed before it, with a list instead of recursion.
        """
        known: dict[tuple[str, ...], _View] = {}
        todo = [(heads, self._steps(heads))]
        while True:
            top, steps = todo[-1]
            missing = [
                part
                for part in dict.fromkeys(part for step in steps for part in step)
                if part not in known and not self._recall(part, known)
            ]
            if missing:
                todo.extend((part, self._steps(part)) for part in missing)
                continue
            todo.pop()
            if not todo:
                view = self._fold_again(steps, known)
                return view.files, tuple(view.conflicts[key] for key in sorted(view.conflicts))
            known[top] = self._known[top] = self._fold(steps, known)[-1][1]
            if len(self._known) > MAX_VIEWS:
                self._known.popitem(last=False)

    def _steps(self, heads: tuple[str, ...]) -> list[Step]:
        """The parts to merge, the earliest first.

        Lines with a nearer past in common are one part, merged by themselves first. Between two places that people
        gave a VM at once, a third line that removed it, and knew of neither, would hide their conflict.
        """
        parts = self.ancestry.parts(heads)
        newest = {part: self.ordered(part)[-1] for part in parts}
        parts.sort(key=lambda part: (newest[part].date, newest[part].id))
        steps: list[Step] = [(parts[0], ())]
        before = parts[0]
        for part in parts[1:]:
            steps.append((part, self.ancestry.common(before, part)))
            before = tuple(sorted((*before, *part)))
        return steps

    def _recall(self, heads: tuple[str, ...], known: dict[tuple[str, ...], _View]) -> bool:
        if len(heads) < 2:
            known[heads] = _View(self.history.files(heads[0]) if heads else {}, {})
            return True
        view = self._known.get(heads)
        if view is None:
            return False
        self._known.move_to_end(heads)
        known[heads] = view
        return True

    def _fold_again(self, steps: list[Step], known: Mapping[tuple[str, ...], _View]) -> _View:
        """Fold from where the last fold went another way: with many edits at once, each head changes little."""
        same = 0
        while same < min(len(steps), len(self._chain)) and self._chain[same][0] == steps[same]:
            same += 1
        self._chain = self._fold(steps, known, self._chain[:same])
        return self._chain[-1][1]

    def _fold(
        self,
        steps: list[Step],
        known: Mapping[tuple[str, ...], _View],
        chain: Iterable[tuple[Step, _View]] = (),
    ) -> list[tuple[Step, _View]]:
        """Merge part after part, going on after `chain`. The view after each step."""
        done = list(chain)
        for step in steps[len(done) :]:
            part, past = step
            own = known[part]
            if not done:
                done.append((step, own))
                continue
            (last, _), before = done[-1]
            merged = merge(
                known[past].files, before.files, own.files, self._newest(last), self._newest(part)
            )
            if merged.conflicts:
                earlier = [head for (heads, _), _ in done for head in self._ids(heads)]
                of = partial(self._origins.of_conflict, earlier=earlier, later=self._ids(part))
                merged = name_revisions(merged, of)
            found = {(c.vm, c.what): c for c in merged.conflicts}
            done.append((step, _View(merged.files, {**before.conflicts, **own.conflicts, **found})))
        return done

    def _ids(self, heads: Iterable[str]) -> list[str]:
        return [c.id for c in self.ordered(heads)]

    def _newest(self, heads: Iterable[str]) -> str:
        return self._ids(heads)[-1]


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
