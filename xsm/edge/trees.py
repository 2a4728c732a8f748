"""Commits and trees as git writes them: raw objects to values, and values to raw objects.

Decides which trees XSM accepts: plain files only, within limits. Must not know where the objects are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from xsm.edge.git import RepositoryError
from xsm.edge.loose import Object, named
from xsm.peer.history import MERGE_AUTHOR, Commit
from xsm.site.document import Files

MAX_FILES = 2_000
MAX_FILE_BYTES = 16 << 20
MAX_TOTAL_BYTES = 64 << 20
MAX_FOLDERS = 1_000
MAX_PATH_DEPTH = 16
MAX_PATH_CHARS = 1_000
MAX_MESSAGE_CHARS = 20_000

_FILE, _PROGRAM, _FOLDER = "100644", "100755", "40000"
_REFUSED = {"120000": "a symbolic link", "160000": "a submodule"}
_AUTHOR = re.compile(r"([^<>\n\0]*) <([^<>\n\0]*)>")


class Unreadable(RepositoryError):
    """A commit that holds what XSM doesn't accept, or that is damaged."""


@dataclass(frozen=True)
class Blob:
    """A file of a tree. `program`: it may be executed."""

    oid: str
    program: bool


def parse_commit(commit_id: str, data: bytes) -> tuple[Commit, str]:
    """A raw commit object: the commit and the id of its tree. Raises `Unreadable`."""
    header, _, message = data.decode("utf-8", "replace").partition("\n\n")
    tree, parents, author, date = "", [], "", None
    for line in header.split("\n"):
        key, _, value = line.partition(" ")
        if key == "tree":
            tree = value
        elif key == "parent":
            parents.append(value)
        elif key == "author" and not author:
            author = value.rsplit(" ", 2)[0]
        elif key == "committer" and date is None:
            stamp = value.rsplit(" ", 2)[-2:-1]
            date = int(stamp[0]) if stamp and re.fullmatch("[0-9]{1,15}", stamp[0]) else None
    if not tree or date is None:
        raise Unreadable(f"commit {commit_id} has no tree or no date")
    merge = author == MERGE_AUTHOR
    return Commit(commit_id, tuple(parents), date, author, message, merge), tree


def read_tree(root: str, read: Callable[[str], tuple[str, bytes] | None]) -> dict[str, Blob]:
    """All files of a tree, by path. Raises `Unreadable`: a link, a submodule, a bad name, too much."""
    found: dict[str, Blob] = {}
    todo = [("", root)]
    folders = 0
    while todo:
        prefix, oid = todo.pop()
        folders += 1
        if folders > MAX_FOLDERS or prefix.count("/") > MAX_PATH_DEPTH:
            raise Unreadable(
                f"more than {MAX_FOLDERS} folders, or more than {MAX_PATH_DEPTH} levels of them"
            )
        entry = read(oid)
        if entry is None or entry[0] != "tree":
            raise Unreadable(f"the folder {prefix or '/'} ({oid}) is missing")
        for mode, name, child in _entries(entry[1]):
            path = prefix + name
            if mode == _FOLDER:
                todo.append((path + "/", child))
            elif mode in (_FILE, _PROGRAM, "100664"):
                found[path] = Blob(child, mode == _PROGRAM)
            else:
                raise Unreadable(
                    f"{path} is {_REFUSED.get(mode, f'an entry of mode {mode}')}; only plain files are accepted"
                )
        if len(found) > MAX_FILES:
            raise Unreadable(f"more than {MAX_FILES} files")
    return found


def object_ids(root: str, read: Callable[[str], tuple[str, bytes] | None]) -> dict[str, None]:
    """A tree and all that it holds, by their ids. Raises `Unreadable`."""
    found: dict[str, None] = {}
    todo = [root]
    while todo:
        oid = todo.pop()
        if oid in found:
            continue
        found[oid] = None
        entry = read(oid)
        if entry is None or entry[0] != "tree":
            raise Unreadable(f"the folder {oid} is missing")
        for mode, _, child in _entries(entry[1]):
            if mode == _FOLDER:
                todo.append(child)
            else:
                found[child] = None
    return found


def _entries(data: bytes) -> Iterable[tuple[str, str, str]]:
    at = 0
    while at < len(data):
        space = data.find(b" ", at)
        nul = data.find(b"\0", space)
        if space < 0 or nul < 0 or nul + 21 > len(data):
            raise Unreadable("a folder's entry is damaged")
        try:
            name = data[space + 1 : nul].decode("utf-8")
        except UnicodeDecodeError:
            raise Unreadable(f"the file name {data[space + 1 : nul]!r} is not UTF-8") from None
        yield data[at:space].decode("ascii", "replace"), name, data[nul + 1 : nul + 21].hex()
        at = nul + 21


def read_files(
    blobs: Mapping[str, Blob], read: Callable[[str], tuple[str, bytes] | None]
) -> dict[str, bytes]:
    """The content of a tree's files. Raises `Unreadable`."""
    files: dict[str, bytes] = {}
    total = 0
    for path in sorted(blobs):
        entry = read(blobs[path].oid)
        if entry is None or entry[0] != "blob":
            raise Unreadable(f"{path} ({blobs[path].oid}) is missing")
        total += len(entry[1])
        if len(entry[1]) > MAX_FILE_BYTES or total > MAX_TOTAL_BYTES:
            raise Unreadable(
                f"{path}: a file may have {MAX_FILE_BYTES >> 20} MiB, all together {MAX_TOTAL_BYTES >> 20} MiB"
            )
        files[path] = entry[1]
    return files


def check_paths(files: Files) -> None:
    """Raises `Unreadable` for what a commit may not hold, so that nobody has to refuse it later."""
    if len(files) > MAX_FILES or sum(map(len, files.values())) > MAX_TOTAL_BYTES:
        raise Unreadable(f"more than {MAX_FILES} files or {MAX_TOTAL_BYTES >> 20} MiB")
    for path, content in files.items():
        parts = path.split("/")
        bad = any(part in ("", ".", "..") or part.lower() == ".git" for part in parts)
        if bad or len(parts) > MAX_PATH_DEPTH or len(path) > MAX_PATH_CHARS or "\0" in path:
            raise Unreadable(f"{path[:80]!r} is no path of a file in a site")
        if len(content) > MAX_FILE_BYTES:
            raise Unreadable(f"{path} has more than {MAX_FILE_BYTES >> 20} MiB")
        for i in range(1, len(parts)):
            if "/".join(parts[:i]) in files:
                raise Unreadable(f"{'/'.join(parts[:i])} is both a file and a folder")


def clean_author(author: str) -> str:
    """`author` in the form that git stores: Name <mail>."""
    text = " ".join(author.split())
    if _AUTHOR.fullmatch(text):
        return text
    name = re.sub("[<>]", "", text).strip() or "unknown"
    return f"{name} <{name if '@' in name else ''}>"


def tree_objects(files: Files, programs: Iterable[str]) -> list[Object]:
    """The tree of these files as git stores it: blobs and folders, the root last. `programs`: paths that may be
    executed."""
    executable = set(programs)
    new: dict[str, Object] = {}
    folders: dict[str, dict[str, tuple[str, str]]] = {"": {}}  # path -> name -> mode, id
    for path in sorted(files):
        folder, _, name = path.rpartition("/")
        blob = named("blob", files[path])
        new[blob.oid] = blob
        mode = _PROGRAM if path in executable else _FILE
        folders.setdefault(folder, {})[name] = (mode, blob.oid)
        while folder:  # the folders above, however few files they hold themselves
            folder = folder.rpartition("/")[0]
            folders.setdefault(folder, {})
    for folder in sorted(folders, key=lambda path: (-path.count("/"), path == "", path)):
        tree = named("tree", _tree(folders[folder]))
        new.pop(tree.oid, None)
        new[tree.oid] = tree
        if folder:
            above, _, name = folder.rpartition("/")
            folders[above][name] = (_FOLDER, tree.oid)
    return list(new.values())


def _tree(entries: Mapping[str, tuple[str, str]]) -> bytes:
    """git's order: by name, a folder's as if it ended with "/"."""

    def key(name: str) -> bytes:
        return name.encode() + (b"/" if entries[name][0] == _FOLDER else b"")

    return b"".join(
        b"%s %s\0%s" % (mode.encode(), name.encode(), bytes.fromhex(oid))
        for name, (mode, oid) in sorted(entries.items(), key=lambda item: key(item[0]))
    )


def commit_object(
    tree: str, parents: tuple[str, ...], author: str, date: int, message: str
) -> Object:
    """A commit as git stores it; author and committer are the same. Equal arguments give one id on every host."""
    text = message[:MAX_MESSAGE_CHARS].replace("\0", "").encode("utf-8", "replace")
    who = clean_author(author).encode("utf-8", "replace")
    lines = [b"tree " + tree.encode(), *(b"parent " + parent.encode() for parent in parents)]
    lines += [b"author %s %d +0000" % (who, date), b"committer %s %d +0000" % (who, date), b""]
    return named("commit", b"\n".join(lines) + b"\n" + text)
