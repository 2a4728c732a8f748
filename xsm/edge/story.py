"""The history told to people: what each revision changed, and which ones changed one VM.

Decides only words and how far back to look. Reads the repository; changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from xsm.api.types import RevisionInfo
from xsm.edge.repository import Repository
from xsm.peer.history import Commit
from xsm.site import state_file, xml_file, yaml_file
from xsm.site.changes import AddVM, Change, RemoveVM, SetVM, describe, diff
from xsm.site.document import SITE_FILES, Files
from xsm.site.model import Site
from xsm.site.problems import Invalid
from xsm.site.state import State

MAX_LOOK_BACK = 1_000
"""Revisions that are looked at for the story of one VM."""
MAX_LINES = 200
"""Of one revision; the rest is counted."""
SITES_CACHED = 8
MEMBERS = "state/members.json"

_Line = tuple[tuple[str, ...], str]  # the VMs that a line is about, and the line


def log(repository: Repository, limit: int) -> tuple[RevisionInfo, ...]:
    """The newest revisions, newest first."""
    return tuple(_info(repository, commit) for commit in repository.log(limit))


def revision_info(repository: Repository, commit_id: str) -> RevisionInfo:
    """One revision. Raises `KeyError` when it isn't here."""
    return _info(repository, repository.commit(commit_id))


def touching(repository: Repository, vm: str, limit: int) -> tuple[RevisionInfo, ...]:
    """The revisions that changed this VM, newest first, with only the lines about it.

    Of a merge commit only conflicts count: the edits in it have revisions of their own.
    """
    found: list[RevisionInfo] = []
    for commit in repository.log(MAX_LOOK_BACK):
        if len(found) >= limit:
            break
        lines = [line for vms, line in _lines(repository, commit) if vm in vms]
        if commit.merge:
            lines = [line for line in lines if "conflict" in line]
        if lines:
            found.append(_told(commit, lines))
    return tuple(found)


def removed_by(repository: Repository, vm: str) -> Commit | None:
    """The newest user commit that took the VM out of the site file; None within MAX_LOOK_BACK revisions."""
    for commit in repository.log(MAX_LOOK_BACK):
        if commit.merge or not commit.parents or not _site_differs(repository, commit):
            continue
        before = _site(repository.files(commit.parents[0]))
        after = _site(repository.files(commit.id))
        if before and after and before.vm(vm) is not None and after.vm(vm) is None:
            return commit
    return None


def forgotten_by(repository: Repository, host: str) -> Commit | None:
    """The newest user commit that took the host out of the members; None within MAX_LOOK_BACK revisions."""
    for commit in repository.log(MAX_LOOK_BACK):
        if commit.merge or not commit.parents:
            continue
        parent, mine = repository.blob_ids(commit.parents[0]), repository.blob_ids(commit.id)
        if parent.get(MEMBERS) == mine.get(MEMBERS):
            continue
        before = state_file.read(repository.files(commit.parents[0])).members
        after = state_file.read(repository.files(commit.id)).members
        if host in before and host not in after:
            return commit
    return None


def _site_differs(repository: Repository, commit: Commit) -> bool:
    old, new = repository.blob_ids(commit.parents[0]), repository.blob_ids(commit.id)
    return any(old.get(path) != new.get(path) for path in SITE_FILES)


def _info(repository: Repository, commit: Commit) -> RevisionInfo:
    return _told(commit, [line for _, line in _lines(repository, commit)])


def _told(commit: Commit, lines: list[str]) -> RevisionInfo:
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"and {len(lines) - MAX_LINES} more changes"]
    return RevisionInfo(
        id=commit.id,
        parents=commit.parents,
        author=commit.author,
        date=float(commit.date),
        message=commit.message,
        merge=commit.merge,
        changes=tuple(lines),
    )


def _lines(repository: Repository, commit: Commit) -> Iterator[_Line]:
    before = _before(repository, commit)
    if before is not None and repository.blob_ids(before) == repository.blob_ids(commit.id):
        return iter(())
    old: Files = {} if before is None else repository.files(before)
    return describe_files(old, repository.files(commit.id))


def _before(repository: Repository, commit: Commit) -> str | None:
    """What to compare with: the parent, and for a merge the common past of its first two heads."""
    if not commit.parents:
        return None
    if commit.merge and len(commit.parents) > 1:
        common = repository.ancestry.common(commit.parents[:1], commit.parents[1:2])
        if len(common) == 1:
            return common[0]
    return commit.parents[0]


# -- words --------------------------------------------------------------------------------------------------------


def describe_files(old: Files, new: Files) -> Iterator[_Line]:
    """What changed between two revisions' files: (VMs, line). Files that can't be read are said to be so."""
    yield from _site_lines(old, new)
    yield from _file_lines(old, new)
    yield from _state_lines(_state(old), _state(new))


def _site_lines(old: Files, new: Files) -> Iterator[_Line]:
    paths = [next((p for p in SITE_FILES if p in files), "") for files in (old, new)]
    if old.get(paths[0]) == new.get(paths[1]) and paths[0] == paths[1]:
        return
    before, after = _site(old), _site(new)
    if after is None or before is None:
        yield (), f"{paths[1] or paths[0]}: changed; one of the two versions can't be read"
        return
    changes = diff(before, after)
    for change in changes:
        yield _vms_of(change), describe(change)
    if paths[0] and paths[0] != paths[1]:
        yield (), f"{paths[0]} => {paths[1] or 'removed'}"
    elif not changes:
        yield (), f"{paths[1]}: layout or comments only"


def _vms_of(change: Change) -> tuple[str, ...]:
    match change:
        case AddVM(vm) | RemoveVM(vm):
            return (vm.name,)
        case SetVM(name):
            return (name,)
    return ()


def _file_lines(old: Files, new: Files) -> Iterator[_Line]:
    site = _site(new) or Site()
    users: dict[str, list[str]] = {}
    for vm in site.vms():
        users.setdefault(vm.config, []).append(vm.name)
    for path in sorted({*old, *new}):
        if (
            path in SITE_FILES
            or path.startswith(state_file.FOLDER)
            or old.get(path) == new.get(path)
        ):
            continue
        what = "added" if path not in old else "removed" if path not in new else "changed"
        folder, _, file = path.partition("/")
        if folder != "configs" or what != "changed":
            yield (), f"{path}: {what}"
            continue
        names = sorted(users.get(file.rpartition(".")[0], ()))
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        yield tuple(names), f"{path}: changed" + (f" (of {shown})" if names else "")


def _state_lines(old: State, new: State) -> Iterator[_Line]:
    for vm in sorted({*old.placement, *new.placement}):
        was, now = old.placement.get(vm), new.placement.get(vm)
        if now is not None and was != now:
            yield (vm,), f"{vm}: placed on {now}" + (f" (was {was})" if was else "")
    for vm in sorted(new.restarts):
        if new.restarts[vm] != old.restarts.get(vm):
            yield (vm,), f"{vm}: restart asked for"
    yield from ((line.partition(":")[:1], line) for line in new.disk_words_since(old))
    yield from (((), line) for line in new.hosts_since(old))
    were, are = ({(c.vm, c.what): c for c in state.conflicts} for state in (old, new))
    for key in sorted({*were, *are}):
        if key not in were:
            conflict = are[key]
            values = f"{conflict.shown or '-'} shown, {conflict.other or '-'} overruled"
            yield key[:1], f"{key[0]}: conflict over {key[1]}: {values}"
        elif key not in are:
            yield key[:1], f"{key[0]}: conflict over {key[1]} settled"


def _site(files: Mapping[str, bytes]) -> Site | None:
    path = next((p for p in SITE_FILES if p in files), None)
    return Site() if path is None else _parsed(path, files[path])


@lru_cache(maxsize=SITES_CACHED)
def _parsed(path: str, content: bytes) -> Site | None:
    try:
        return (xml_file if path.endswith(".xml") else yaml_file).read(content, path)
    except Invalid:
        return None


def _state(files: Files) -> State:
    try:
        return state_file.read(files)
    except Invalid:
        return State()
