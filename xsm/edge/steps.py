"""What a copy of one revision lacks of a later one, object by object: of an edit that is a handful of small ones.

Decides which objects those are. Must not know who copies them, nor where to.
"""

from __future__ import annotations

from collections.abc import Callable

from xsm.edge import trees
from xsm.edge.loose import Object
from xsm.edge.plain_packs import parents_first
from xsm.edge.trees import Unreadable
from xsm.peer.history import Ancestry, Commit

MAX_STEP_COMMITS = 20
"""Of more commits git makes a pack."""


def step(
    old: str,
    new: str,
    commit_of: Callable[[str], tuple[Commit, str]],
    ancestry: Ancestry,
    read: Callable[[str], tuple[str, bytes] | None],
) -> list[Object] | None:
    """The objects of `new` that a copy of `old` lacks: contents first, then commits, parents before children. None:
    more than `MAX_STEP_COMMITS`. `commit_of`: a commit and its tree.

    Raises `KeyError` for a commit that isn't here, `Unreadable` for a damaged one.
    """
    commits: dict[str, tuple[str, tuple[str, ...]]] = {}
    todo = [new]
    while todo:
        commit, tree = commit_of(todo.pop())
        # A merge is made from user commits, each of which is looked at by itself.
        if commit.id == old or (not commit.merge and ancestry.contains(old, commit.id)):
            continue
        commits[commit.id] = tree, commit.parents
        todo += [parent for parent in commit.parents if parent not in commits]
        if len(commits) > MAX_STEP_COMMITS:
            return None
    here = trees.object_ids(commit_of(old)[1], read)
    ids = dict.fromkeys(
        oid
        for tree, _ in commits.values()
        for oid in trees.object_ids(tree, read)
        if oid not in here
    )
    return [_object(oid, read) for oid in (*ids, *parents_first(commits))]


def _object(oid: str, read: Callable[[str], tuple[str, bytes] | None]) -> Object:
    found = read(oid)
    if found is None:
        raise Unreadable(f"{oid} is missing")
    return Object(oid, *found)
