"""Packs: what one host sends another, and how a received one becomes part of a repository.

Decides what is stored: only packs that are whole, within limits, and whose commits XSM can read. Must not know peers.
A received pack is first unpacked in a folder of its own, which git joins with the repository for reading; only when
everything in it is fine are its objects moved in. A refused or interrupted one leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xsm.edge import loose, plain_packs
from xsm.edge.durable import sync_dir
from xsm.edge.git import Git, GitFailed, RepositoryError
from xsm.edge.known import KnownObjects
from xsm.edge.loose import INCOMING, Object

MAX_PACK_BYTES = 256 << 20
"""Of one pack, sent or received."""
LOOSE_LIMIT = 100
"""Packs with fewer objects are stored as loose ones, which gc gathers now and then, as git itself does."""


class PackRefused(RepositoryError):
    """A pack that is not stored; the text says why. Nothing was changed."""


def make_pack(git: Git, want: Iterable[str], have: Iterable[str]) -> bytes:
    """A thin pack of what `want` holds and `have` doesn't. All ids must be here. Raises `GitFailed`."""
    lines = [*want, *(f"^{commit_id}" for commit_id in have)]
    pack = git.run(
        "pack-objects", "--revs", "--thin", "--stdout", "--delta-base-offset", "-q",
        stdin="".join(f"{line}\n" for line in lines).encode(),
    )  # fmt: skip
    if len(pack) > MAX_PACK_BYTES:
        raise GitFailed(
            "pack-objects", f"the pack has {len(pack)} bytes, more than {MAX_PACK_BYTES}"
        )
    return pack


class Reader(Protocol):
    """Reads objects of the repository and of a pack that is not stored yet."""

    def read(self, oid: str) -> tuple[str, bytes] | None: ...


Check = Callable[[Reader, str], object]


@dataclass(frozen=True)
class _Unstored:
    """Objects of a pack, and of the repository that it builds on."""

    new: Mapping[str, Object]
    objects: KnownObjects

    def read(self, oid: str) -> tuple[str, bytes] | None:
        item = self.new.get(oid)
        return (item.kind, item.content) if item else self.objects.read(oid)


def store_pack(
    git: Git, objects: KnownObjects, pack: bytes, max_bytes: int, check: Check
) -> tuple[str, ...]:
    """Store a pack; the ids of its commits, sorted. `objects`: the repository's.

    `check` looks at each commit, through objects that see the repository and the pack, and raises
    `RepositoryError` to refuse it. Raises `PackRefused`.
    """
    if max_bytes >= len(pack) >= 32 and int.from_bytes(pack[8:12], "big") < LOOSE_LIMIT:
        plain = plain_packs.read(pack, objects.read, objects.kind)
        if plain is not None:
            return _store_plain(git, objects, plain, check)
    return _store_by_git(git, pack, max_bytes, check)


def _store_plain(
    git: Git, objects: KnownObjects, new: list[Object], check: Check
) -> tuple[str, ...]:
    reader = _Unstored({item.oid: item for item in new}, objects)
    commits = [item.oid for item in new if item.kind == "commit"]
    _check_each(check, reader, commits)
    try:
        loose.write(git.git_dir / "objects", new)
    except OSError as error:
        raise RepositoryError(f"{git.git_dir} can't be written: {error.strerror}") from error
    objects.keep(new)
    return tuple(sorted(commits))


def _check_each(check: Check, reader: Reader, commits: Iterable[str]) -> None:
    try:
        for commit_id in commits:
            check(reader, commit_id)
    except PackRefused:
        raise
    except RepositoryError as error:
        raise PackRefused(f"the pack holds something that XSM doesn't accept: {error}") from error


def _store_by_git(git: Git, pack: bytes, max_bytes: int, check: Check) -> tuple[str, ...]:
    if len(pack) > max_bytes:
        raise PackRefused(f"the pack has {len(pack)} bytes, more than {max_bytes}")
    if len(pack) < 32 or pack[:4] != b"PACK":
        raise PackRefused("this is no git pack")
    objects = git.git_dir / "objects"
    folder = Path(tempfile.mkdtemp(prefix=INCOMING, dir=objects))
    try:
        quarantine = Git(
            git.git_dir,
            {"GIT_OBJECT_DIRECTORY": str(folder), "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects)},
        )
        _unpack(quarantine, pack, folder)
        commits = _check(quarantine, folder, check)
        _move_in(folder, objects)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return commits


def _unpack(quarantine: Git, pack: bytes, folder: Path) -> None:
    limit = f"--max-input-size={len(pack)}"
    (folder / "pack").mkdir()
    if int.from_bytes(pack[8:12], "big") < LOOSE_LIMIT:
        arguments = ["unpack-objects", "-q", "--strict", limit]
    else:
        arguments = ["index-pack", "--stdin", "--fix-thin", "--strict", limit]
    code, _, error = quarantine.attempt(*arguments, stdin=pack)
    if code != 0:
        raise PackRefused(_explain(error))


def _explain(error: str) -> str:
    first = next((line for line in error.splitlines() if line.strip()), "git gave no reason")
    missing = (
        "unresolved delta",
        "did not receive expected object",
        "cannot read",
        "missing",
        "Could not read",
    )
    if any(word in error for word in missing):
        return f"the pack builds on commits that are not here ({first.strip()})"
    return f"the pack is damaged or not acceptable ({first.strip()})"


def _check(quarantine: Git, folder: Path, check: Check) -> tuple[str, ...]:
    objects = quarantine.objects()
    try:
        commits = [o for o in sorted(_ids(quarantine, folder)) if objects.kind(o) == "commit"]
        _check_each(check, objects, commits)
    finally:
        objects.close()
    return tuple(commits)


def _ids(quarantine: Git, folder: Path) -> Iterator[str]:
    for index in sorted((folder / "pack").glob("*.idx")):
        for line in (
            quarantine.run("show-index", stdin=index.read_bytes()).decode("ascii").splitlines()
        ):
            yield line.split(" ")[1]
    for path in sorted(folder.glob("[0-9a-f][0-9a-f]/*")):
        yield path.parent.name + path.name


def _move_in(folder: Path, objects: Path) -> None:
    """Move all objects; a pack's index last, since with it git begins to look at the pack."""
    packs = sorted((folder / "pack").iterdir(), key=lambda p: (p.suffix == ".idx", p.name))
    (objects / "pack").mkdir(exist_ok=True)
    for path in packs:
        os.replace(path, objects / "pack" / path.name)
    if packs:
        sync_dir(objects / "pack")
    single = sorted(folder.glob("[0-9a-f][0-9a-f]/*"))
    loose.move_in(objects, ((path, path.parent.name + path.name) for path in single))
