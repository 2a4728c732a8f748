"""Whose edits a conflict is between: the user commits that gave the values, not the heads that have them still.

Decides names only. Everybody who knows of a conflict has to give it the same ones, whatever was edited on top of the
two edits: two conflicts between the same two values are told apart by them (`xsm/site/merge_site.py`, `Dispute`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from xsm.peer.history import Ancestry, in_order
from xsm.site.side import OR, Side, side_of
from xsm.site.state import Conflict

MAX_STEPS_BACK = 200
"""Edits that are looked through for the one that gave a value; of an older one the last of these is named."""
MAX_SIDES = 64
"""Revisions that are kept as read."""
MAX_VMS = 20_000
"""That those have together: a read VM takes about two kilobytes. The latest revision is always kept."""


class Origins:
    """Keep one beside a history: commits never change, so that what was read of one never goes stale. Bounded."""

    def __init__(self, ancestry: Ancestry) -> None:
        self._ancestry = ancestry
        self._history = ancestry.history
        self._sides: OrderedDict[str, Side] = OrderedDict()

    def of_conflict(
        self, conflict: Conflict, earlier: list[str], later: list[str]
    ) -> tuple[str, ...]:
        """The commits that a new conflict is between. `earlier`, `later`: the heads of the two sides that were
        merged, in their order."""
        losers = [value.partition(" (")[0] for value in conflict.other.split(OR)]
        overruled = self._last(earlier, conflict.vm, conflict.what, losers)
        shown = self._last(later, conflict.vm, conflict.what, [conflict.shown])
        found = {self.origin(head, conflict.vm, conflict.what) for head in (overruled, shown)}
        return tuple(sorted(found if len(found) > 1 else {overruled, shown}))

    def origin(self, commit_id: str, vm: str, what: str) -> str:
        """The commit that made what a commit says there, and what that is in conflict with."""
        for _ in range(MAX_STEPS_BACK):
            side = self._side(commit_id)
            parents = self._history.commit(commit_id).parents
            stand = side.stand(vm, what)
            same = [p for p in parents if self._side(p).stand(vm, what) == stand]
            if not same:
                return commit_id
            commit_id = same[0]
            if self._history.commit(commit_id).merge:
                commits = in_order(self._ancestry.expand((commit_id,)), self._history)
                heads = [commit.id for commit in commits]
                commit_id = self._last(heads, vm, what, [side.says(vm, what)])
        return commit_id

    def _last(self, heads: list[str], vm: str, what: str, values: Iterable[str]) -> str:
        """The last head that says one of these values; the last of all when none does (the merge made it up)."""
        wanted = set(values)
        said = [h for h in heads if self._side(h).says(vm, what) in wanted]
        return (said or heads)[-1]

    def _side(self, commit_id: str) -> Side:
        side = self._sides.pop(commit_id, None) or side_of(self._history.files(commit_id))
        self._sides[commit_id] = side
        while len(self._sides) > 1 and self._too_many():
            self._sides.popitem(last=False)
        return side

    def _too_many(self) -> bool:
        return (
            len(self._sides) > MAX_SIDES or sum(len(s.vms) for s in self._sides.values()) > MAX_VMS
        )
