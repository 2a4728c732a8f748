"""All revisions that anybody made in a simulation, by content; and what one host has of them.

Decides a commit's name, and what a set of heads shows. What was read once is kept: it is a function of the content.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Collection, Iterable

from xsm.peer.derive import Views, derive
from xsm.peer.history import Commit
from xsm.site.document import Document, Files, load
from xsm.site.problems import Invalid

DOCUMENTS_LIMIT = 256
"""Read documents that are kept; each is a few KiB. A life of a site has less than a hundred."""

_documents: OrderedDict[str, Document | Invalid] = OrderedDict()
"""By tree. Of all worlds: many begin with the same files."""


class Archive:
    """All commits that anybody made; a host only looks at those that it has."""

    def __init__(self) -> None:
        self.commits: dict[str, tuple[Commit, Files]] = {}
        self._trees: dict[str, str] = {}
        self._everything = Everything(self)
        self._views = Views(self._everything)
        self._shown: dict[tuple[str, ...], str] = {}

    def put(
        self,
        files: Files,
        parents: tuple[str, ...],
        author: str,
        date: int,
        message: str,
        merge: bool = False,
    ) -> str:
        tree = {path: hashlib.sha1(content).hexdigest() for path, content in sorted(files.items())}
        text = json.dumps([tree, parents, author, date, message])
        commit_id = hashlib.sha1(text.encode()).hexdigest()
        commit = Commit(commit_id, parents, date, author, message, merge)
        self.commits[commit_id] = (commit, dict(files))
        self._trees[commit_id] = hashlib.sha1(json.dumps(tree).encode()).hexdigest()
        return commit_id

    def past(self, heads: Iterable[str], known: Collection[str] = ()) -> set[str]:
        """The commits that these heads contain, themselves included. `known`: what is looked for no further, a set
        that has the past of all that is in it."""
        seen: set[str] = set()
        todo = list(heads)
        while todo:
            commit_id = todo.pop()
            if commit_id not in seen and commit_id not in known:
                seen.add(commit_id)
                todo += self.commits[commit_id][0].parents
        return seen

    def maximal(self, heads: Iterable[str]) -> tuple[str, ...]:
        """The heads that are in none of the others."""
        return self._views.ancestry.maximal(heads)

    def shown(self, heads: tuple[str, ...]) -> str:
        """The revision that these heads come to: the head itself, or a merge commit that is made of them."""
        if len(heads) == 1:
            return heads[0]
        known = self._shown.get(heads)
        if known is None:
            d = derive(heads, self._everything, self._views)
            known = self.put(d.files, d.parents, d.author, d.date, d.message, merge=True)
            self._shown[heads] = known
        return known

    def document(self, commit_id: str) -> Document:
        """The revision as it is read. Raises `Invalid`."""
        tree = self._trees[commit_id]
        found = _documents.get(tree)
        if found is None:
            try:
                found = load(self.commits[commit_id][1])
            except Invalid as invalid:
                found = invalid
            _documents[tree] = found
            if len(_documents) > DOCUMENTS_LIMIT:
                _documents.popitem(last=False)
        else:
            _documents.move_to_end(tree)
        if isinstance(found, Invalid):
            raise found
        return found


class Everything:
    """`peer.history.History` of all commits."""

    def __init__(self, archive: Archive) -> None:
        self._commits = archive.commits

    def __contains__(self, commit_id: object) -> bool:
        return commit_id in self._commits

    def commit(self, commit_id: str) -> Commit:
        return self._commits[commit_id][0]

    def files(self, commit_id: str) -> Files:
        return self._commits[commit_id][1]


class HostHistory:
    """`peer.history.History` as one host sees it: the commits in its repository, whether a head has them or not."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.have: set[str] = set()

    def __contains__(self, commit_id: object) -> bool:
        return commit_id in self.have

    def commit(self, commit_id: str) -> Commit:
        if commit_id not in self.have:
            raise KeyError(commit_id)
        return self.archive.commits[commit_id][0]

    def files(self, commit_id: str) -> Files:
        if commit_id not in self.have:
            raise KeyError(commit_id)
        return self.archive.commits[commit_id][1]
