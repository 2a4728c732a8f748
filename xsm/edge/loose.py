"""Objects as git stores them one by one: named by their hash, compressed, each a file of its own.

Decides how new objects get on disk so that a crash leaves either a whole object or none, and never a commit without
what it holds. Written here and not by a git process, because starting one costs more than all the rest of a commit.
Must not know what the objects mean.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xsm.edge.durable import sync_dir

INCOMING = "incoming-xsm-"
"""Folders under objects/ of what is being written; a start clears away what a crash left of them."""
_LEVEL = 1
"""zlib's fastest: objects are small, and gc packs them better later."""


@dataclass(frozen=True)
class Object:
    """`kind`: commit, tree, blob."""

    oid: str
    kind: str
    content: bytes


def named(kind: str, content: bytes) -> Object:
    return Object(object_id(kind, content), kind, content)


def object_id(kind: str, content: bytes) -> str:
    """git's name of an object."""
    header = b"%s %d\0" % (kind.encode(), len(content))
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def write(objects: Path, new: Sequence[Object]) -> None:
    """Store objects, on disk when this returns; commits last, in the order given (parents first).

    Those that are stored one by one already are left as they are. Raises `OSError`.
    """
    fresh = {o.oid: o for o in new if not _keep(place(objects, o.oid))}
    if not fresh:
        return
    folder = Path(tempfile.mkdtemp(prefix=INCOMING, dir=objects))
    try:
        for item in fresh.values():
            _write_file(folder / item.oid, item)
        # A commit that is there counts as whole: what it holds has to be on disk before its name is.
        contents = [oid for oid, item in fresh.items() if item.kind != "commit"]
        move_in(objects, ((folder / oid, oid) for oid in contents))
        commits = [oid for oid, item in fresh.items() if item.kind == "commit"]
        move_in(objects, ((folder / oid, oid) for oid in commits))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep(path: Path) -> bool:
    """Whether the object is there; its file is then as good as new, so that git prunes it no sooner."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except PermissionError:  # somebody else's file, by a git that ran as another user
        return True
    return True


def place(objects: Path, oid: str) -> Path:
    return objects / oid[:2] / oid[2:]


def _write_file(path: Path, item: Object) -> None:
    header = b"%s %d\0" % (item.kind.encode(), len(item.content))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(zlib.compress(header + item.content, _LEVEL))
        stream.flush()
        os.fsync(stream.fileno())


def move_in(objects: Path, files: Iterable[tuple[Path, str]]) -> None:
    """Give fsynced files their places; their names are on disk when this returns."""
    touched: set[Path] = set()
    made = False
    for path, oid in files:
        target = place(objects, oid)
        if not target.parent.exists():
            target.parent.mkdir(exist_ok=True)
            made = True
        os.replace(path, target)
        touched.add(target.parent)
    for folder in sorted(touched):
        sync_dir(folder)
    if made:
        sync_dir(objects)
