"""Small packs of what XSM itself writes, read here: starting git for each costs a host more than all else of an edit.

Decides which packs are plain: whole, few objects, commits and trees in exactly git's own form, names that no file
system takes for something else, everything that they build on here. Any other pack gets no verdict here: git looks at
it (`packs`), which refuses or takes it. Must not know how objects are stored. Format: gitformat-pack(5).
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Mapping

from xsm.edge.loose import Object, named

MAX_OBJECT_BYTES = 16 << 20
MAX_BYTES = 64 << 20
"""Of all objects together, unpacked; what is bigger is git's."""
MAX_DELTA_DEPTH = 50
"""As git makes them."""

Read = Callable[[str], tuple[str, bytes] | None]
"""An object of the repository: kind and content, None when it isn't there."""
Kind = Callable[[str], str | None]

_KINDS = {1: "commit", 2: "tree", 3: "blob"}
_OFS_DELTA, _REF_DELTA = 6, 7
_WHO = rb"[^<>\n\0]+ <[^<>\n\0]*> (?:0|[1-9][0-9]{0,14}) [+-][0-9]{4}"
_COMMIT = re.compile(
    rb"tree ([0-9a-f]{40})\n((?:parent [0-9a-f]{40}\n)*)author %s\ncommitter %s\n\n[^\0]*"
    % (_WHO, _WHO)
)
_ENTRY = re.compile(rb"(100644|100755|40000) ([^\0/]+)\0(.{20})", re.DOTALL)
_NAME = re.compile(rb"\.gitignore|(?!\.git)(?!\.\.?$)[A-Za-z0-9._+=@ ,-]+", re.IGNORECASE)
"""Neither .git nor what Windows or macOS take for it: no "~", nothing but ASCII."""


class _NotPlain(Exception):
    """Git has to look at it."""


def read(pack: bytes, read_object: Read, kind: Kind) -> list[Object] | None:
    """A pack's objects, commits last and parents before children; None: not plain."""
    try:
        new = _unpack(pack, read_object)
        commits = {item.oid: _plain(item) for item in new.values() if item.kind == "commit"}
        trees = {item.oid: _entries(item.content) for item in new.values() if item.kind == "tree"}
        _check_links(new, commits, trees, kind)
        rest = [item for item in new.values() if item.kind != "commit"]
        return rest + [new[oid] for oid in parents_first(commits)]
    except (_NotPlain, zlib.error, IndexError):
        return None


# -- the pack -----------------------------------------------------


def _unpack(pack: bytes, read_object: Read) -> dict[str, Object]:
    if (
        pack[:8] != b"PACK\0\0\0\2"
        or hashlib.sha1(pack[:-20], usedforsecurity=False).digest() != pack[-20:]
    ):
        raise _NotPlain
    count, at, left = int.from_bytes(pack[8:12], "big"), 12, MAX_BYTES
    by_offset: dict[int, tuple[Object, int]] = {}  # with the length of its chain of deltas
    new: dict[str, Object] = {}
    for _ in range(count):
        start = at
        number, size, at = _header(pack, at)
        base: tuple[Object, int] | str | None = None
        if number == _OFS_DELTA:
            back, at = _offset(pack, at)
            base = by_offset.get(start - back)
        elif number == _REF_DELTA:
            base, at = pack[at : at + 20].hex(), at + 20
        content, at = _inflate(pack, at, size)
        left -= len(content)
        if left < 0:
            raise _NotPlain
        if number in _KINDS:
            item, depth = named(_KINDS[number], content), 0
        elif isinstance(base, tuple):
            item, depth = named(base[0].kind, _patched(base[0].content, content)), base[1] + 1
        elif isinstance(base, str):
            found = new[base] if base in new else _there(base, read_object)
            item, depth = named(found.kind, _patched(found.content, content)), 1
        else:  # built on one that comes later, or an object of another kind
            raise _NotPlain
        if depth > MAX_DELTA_DEPTH or len(item.content) > MAX_OBJECT_BYTES:
            raise _NotPlain
        left -= len(item.content)
        by_offset[start] = item, depth
        new[item.oid] = item
    if at != len(pack) - 20:
        raise _NotPlain
    return new


def _there(oid: str, read_object: Read) -> Object:
    found = read_object(oid)
    if found is None or found[0] not in _KINDS.values():
        raise _NotPlain
    return Object(oid, *found)


def _header(pack: bytes, at: int) -> tuple[int, int, int]:
    """An object's type, its size unpacked, and where it goes on."""
    byte = pack[at]
    at += 1
    number, size, shift = byte >> 4 & 7, byte & 15, 4
    while byte & 0x80:
        byte = pack[at]
        at += 1
        size |= (byte & 0x7F) << shift
        shift += 7
    if size > MAX_OBJECT_BYTES:
        raise _NotPlain
    return number, size, at


def _offset(pack: bytes, at: int) -> tuple[int, int]:
    byte = pack[at]
    at += 1
    back = byte & 0x7F
    while byte & 0x80:
        byte = pack[at]
        at += 1
        back = (back + 1) << 7 | byte & 0x7F
    return back, at


def _inflate(pack: bytes, at: int, size: int) -> tuple[bytes, int]:
    stream = zlib.decompressobj()
    # One byte more than there may be, so that the stream gets to its end.
    content = stream.decompress(memoryview(pack)[at:-20], size + 1)
    if len(content) != size or not stream.eof:
        raise _NotPlain
    return content, len(pack) - 20 - len(stream.unused_data)


def _patched(base: bytes, delta: bytes) -> bytes:
    """A delta carried out: pieces of the base and new bytes in turn."""
    base_size, at = _varint(delta, 0)
    size, at = _varint(delta, at)
    if base_size != len(base) or size > MAX_OBJECT_BYTES:
        raise _NotPlain
    out: list[bytes] = []
    length = 0
    while at < len(delta):
        code = delta[at]
        at += 1
        if code & 0x80:
            start = count = 0
            for bit in range(7):
                if code & 1 << bit:
                    if bit < 4:
                        start |= delta[at] << 8 * bit
                    else:
                        count |= delta[at] << 8 * (bit - 4)
                    at += 1
            piece = base[start : start + (count or 0x10000)]
            if len(piece) != (count or 0x10000):
                raise _NotPlain
        else:
            piece = delta[at : at + code]
            at += code
            if not code or len(piece) != code:
                raise _NotPlain
        length += len(piece)
        if length > size:
            raise _NotPlain
        out.append(piece)
    if length != size:
        raise _NotPlain
    return b"".join(out)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


# -- what is in it -----------------------------------------------------


def _plain(item: Object) -> tuple[str, tuple[str, ...]]:
    """A commit's tree and parents."""
    found = _COMMIT.fullmatch(item.content)
    if found is None:
        raise _NotPlain
    parents = tuple(line[7:] for line in found[2].decode().splitlines())
    return found[1].decode(), parents


def _entries(content: bytes) -> dict[str, str]:
    """What a tree holds: id -> kind. Sorted as git does, each name once."""
    at, before = 0, b""
    names: set[bytes] = set()
    found: dict[str, str] = {}
    while at < len(content):
        entry = _ENTRY.match(content, at)
        if entry is None or not _NAME.fullmatch(entry[2]) or entry[2] in names:
            raise _NotPlain
        kind = "tree" if entry[1] == b"40000" else "blob"
        key = entry[2] + (b"/" if kind == "tree" else b"")
        oid = entry[3].hex()
        if key <= before or found.get(oid, kind) != kind:
            raise _NotPlain
        names.add(entry[2])
        before, at = key, entry.end()
        found[oid] = kind
    return found


def _check_links(
    new: Mapping[str, Object],
    commits: Mapping[str, tuple[str, tuple[str, ...]]],
    trees: Mapping[str, Mapping[str, str]],
    kind: Kind,
) -> None:
    """All that the objects name is among them or here, and of the right kind."""
    named_as: dict[str, str] = {}
    for entries in trees.values():
        named_as.update(entries)
    for tree, parents in commits.values():
        named_as[tree] = "tree"
        named_as.update(dict.fromkeys(parents, "commit"))
    for oid, wanted in named_as.items():
        there = new[oid].kind if oid in new else kind(oid)
        if there != wanted:
            raise _NotPlain


def parents_first(commits: Mapping[str, tuple[str, tuple[str, ...]]]) -> list[str]:
    """Commits, given with tree and parents: parents before children."""
    done: dict[str, None] = {}
    todo = sorted(commits)
    while todo:
        top = todo[-1]
        before = [p for p in commits[top][1] if p in commits and p not in done]
        if top in done or not before:
            done.setdefault(top)
            todo.pop()
        else:
            todo += before
    return list(done)
