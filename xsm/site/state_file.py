"""The state tables as files: state/<table>.json, read with care, written alike byte for byte everywhere.

Decides what a state table may hold. Must not know why it holds it, nor where the files come from.
Canonical form: keys sorted, two spaces, ASCII, a newline at the end; an empty table has no file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from xsm.site import disk
from xsm.site.kinds import NAME_PATTERN
from xsm.site.problems import Invalid, Problem
from xsm.site.state import MERGE_VERSION, Conflict, DiskWord, Member, Place, State

if TYPE_CHECKING:
    from xsm.site.document import Files

FOLDER = "state/"
TABLES = (
    "site",
    "members",
    "fenced",
    "placement",
    "drained",
    "away",
    "restarts",
    "disks",
    "conflicts",
)

MAX_TABLE_BYTES = 8 * 1024 * 1024
"""About 100,000 entries; more is no table of XSM's."""
MAX_ENTRIES = 100_000
MAX_TEXT_CHARS = 1_000
MAX_PROBLEMS = 100
MAX_REVISIONS = 8

_T = TypeVar("_T")
_NAME = re.compile(NAME_PATTERN)
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HINT = "XSM writes state/ itself; put the file back as it was in the last revision"


def path_of(table: str) -> str:
    return f"{FOLDER}{table}.json"


class _Duplicate(ValueError):
    """A key that stands twice in one JSON object."""


class _Wrong(ValueError):
    """A value that a table can't have."""


def parse(data: bytes) -> dict[str, Any]:
    """One table's JSON object. Raises `ValueError` with a message for people and, at JSON errors, a `lineno`."""
    if len(data) > MAX_TABLE_BYTES:
        raise ValueError(f"{len(data)} bytes, more than {MAX_TABLE_BYTES}")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    if len(value) > MAX_ENTRIES:
        raise ValueError(f"{len(value)} entries, more than {MAX_ENTRIES}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Duplicate(f"the key {key[:63]!r} stands twice")
            seen.add(key)
    return result


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def canonical(table: Mapping[str, Any]) -> bytes:
    """The one way to write a table."""
    return (json.dumps(table, sort_keys=True, indent=2, ensure_ascii=True) + "\n").encode("ascii")


def read(files: Files) -> State:
    """The state tables of a revision; a missing table is empty, an unknown one is left alone.

    Raises `Invalid` with the problems of all tables, at most MAX_PROBLEMS of them.
    """
    problems: list[Problem] = []
    tables: dict[str, dict[str, Any]] = {}
    for name in TABLES:
        data = files.get(path_of(name))
        if data is None:
            tables[name] = {}
            continue
        try:
            tables[name] = parse(data)
        except ValueError as error:
            line = getattr(error, "lineno", 0)
            message = getattr(error, "msg", str(error))
            problems.append(Problem(path_of(name), line, f"can't be read: {message}", _HINT))
            tables[name] = {}
    site_id, version, number = _site(tables["site"], problems)
    placed = _rows(tables["placement"], "placement", _placed, problems)
    state = State(
        site_id=site_id,
        merge_version=version,
        members_number=number,
        members=_rows(tables["members"], "members", _member, problems),
        placement={vm: place.member for vm, place in placed.items()},
        chosen=frozenset(vm for vm, place in placed.items() if place.chosen),
        fenced=_rows(tables["fenced"], "fenced", _member, problems),
        drained=frozenset(_rows(tables["drained"], "drained", _true, problems)),
        away={vm: p.member for vm, p in _rows(tables["away"], "away", _placed, problems).items()},
        restarts=_rows(tables["restarts"], "restarts", _restart, problems),
        disk_words=_by_vm(_rows(tables["disks"], "disks", _disk_word, problems)),
        conflicts=tuple(_rows(tables["conflicts"], "conflicts", _conflict, problems).values()),
    )
    if problems:
        raise Invalid(problems[:MAX_PROBLEMS])
    return state


def _site(table: Mapping[str, Any], problems: list[Problem]) -> tuple[str, int, int]:
    site_id, version = table.get("id", ""), table.get("merge_version", MERGE_VERSION)
    if not isinstance(site_id, str) or (site_id and not _UUID.fullmatch(site_id)):
        problems.append(Problem(path_of("site"), 0, '"id" is not a UUID in lower case', _HINT))
        site_id = ""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        problems.append(
            Problem(path_of("site"), 0, '"merge_version" is not a whole number from 1', _HINT)
        )
        version = MERGE_VERSION
    number = table.get("members_number", 0)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        problems.append(
            Problem(path_of("site"), 0, '"members_number" is not a whole number from 0', _HINT)
        )
        number = 0
    return site_id, version, number


def _rows(
    table: Mapping[str, Any], name: str, row: Callable[[str, Any], _T], problems: list[Problem]
) -> dict[str, _T]:
    """All entries of a table, sorted by key; what is wrong goes to `problems`."""
    result: dict[str, _T] = {}
    for key in sorted(table):
        try:
            result[key] = row(key, table[key])
        except _Wrong as wrong:
            problems.append(Problem(path_of(name), 0, f"{key[:63]!r}: {wrong}", _HINT))
            if len(problems) >= MAX_PROBLEMS:
                break
    return result


def _name_of(text: str, what: str) -> str:
    if not _NAME.fullmatch(text):
        raise _Wrong(f"{text[:63]!r} is not the name of a {what}")
    return text


def _text(value: Any, what: str, empty: bool = False) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARS or not value.isprintable():
        raise _Wrong(f"{what} is not a line of at most {MAX_TEXT_CHARS} printable characters")
    if not value and not empty:
        raise _Wrong(f"{what} is missing")
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong("not a JSON object")
    return value


def _member(key: str, value: Any) -> Member:
    _name_of(key, "member")
    row = _object(value)
    url = _text(row.get("url", ""), "url")
    if not url.startswith("https://"):
        raise _Wrong("url does not start with https://")
    witness = row.get("witness")
    if witness is not None and not isinstance(witness, bool):
        raise _Wrong("witness is neither true nor false")
    return Member(key, _text(row.get("address", ""), "address"), url, witness)


def _member_rows(members: Mapping[str, Member]) -> dict[str, Any]:
    """Rows of before it was written whether a host is a witness stay as they are."""
    return {
        m.name: {"address": m.address, "url": m.url}
        | ({} if m.witness is None else {"witness": m.witness})
        for m in members.values()
    }


def places(table: Mapping[str, Any]) -> dict[str, Place]:
    """The rows of placement.json that can be read, by VM."""
    found = {}
    for key, value in table.items():
        with suppress(_Wrong):
            found[key] = _placed(key, value)
    return found


def place_rows(placed: Mapping[str, Place]) -> dict[str, Any]:
    """placement.json's table; `places` is the inverse."""
    return {
        vm: {"member": place.member, "chosen": True} if place.chosen else place.member
        for vm, place in placed.items()
    }


def _placed(key: str, value: Any) -> Place:
    _name_of(key, "VM")
    if not isinstance(value, dict):
        return Place(_name_of(_text(value, "the member"), "member"))
    if value.keys() != {"member", "chosen"} or value["chosen"] is not True:
        raise _Wrong('not {"member": NAME, "chosen": true}')
    return Place(_name_of(_text(value["member"], "the member"), "member"), True)


def _true(key: str, value: Any) -> bool:
    _name_of(key, "member")
    if value is not True:
        raise _Wrong("must be true; a member that is not drained has no entry")
    return True


def _restart(key: str, value: Any) -> str:
    _name_of(key, "VM")
    return _text(value, "the token")


def _disk_word(key: str, value: Any) -> DiskWord:
    vm, slash, name = key.partition("/")
    if not slash or not disk.NAME.fullmatch(name):
        raise _Wrong("not a key of the form VM/DISK")
    _name_of(vm, "VM")
    row = _object(value)
    return DiskWord(
        _name_of(_text(row.get("host", ""), "host"), "member"),
        _text(row.get("token", ""), "the token"),
        row.get("use", False) is True,
    )


def _by_vm(rows: Mapping[str, DiskWord]) -> dict[str, dict[str, DiskWord]]:
    words: dict[str, dict[str, DiskWord]] = {}
    for key, word in rows.items():
        vm, _, name = key.partition("/")
        words.setdefault(vm, {})[name] = word
    return words


def _conflict(key: str, value: Any) -> Conflict:
    vm, slash, what = key.partition("/")
    if not slash or not what.isidentifier():
        raise _Wrong("not a key of the form VM/FIELD")
    _name_of(vm, "VM")
    row = _object(value)
    revisions = row.get("revisions", [])
    if not isinstance(revisions, list) or len(revisions) > MAX_REVISIONS:
        raise _Wrong(f"revisions is not a list of at most {MAX_REVISIONS} revisions")
    return Conflict(
        vm,
        what,
        _text(row.get("shown", ""), "shown", empty=True),
        _text(row.get("other", ""), "other", empty=True),
        tuple(sorted(_text(r, "a revision") for r in revisions)),
    )


def write(state: State) -> dict[str, bytes]:
    """All tables as files; `read` is the inverse. The caller replaces everything under state/ with them."""
    site: dict[str, Any] = {"id": state.site_id, "merge_version": state.merge_version}
    if state.members_number:
        site["members_number"] = state.members_number
    tables: dict[str, Mapping[str, Any]] = {
        "site": site if state.site_id or site != {"id": "", "merge_version": MERGE_VERSION} else {},
        "members": _member_rows(state.members),
        "fenced": _member_rows(state.fenced),
        "placement": place_rows(
            {vm: Place(member, vm in state.chosen) for vm, member in state.placement.items()}
        ),
        "drained": dict.fromkeys(state.drained, True),
        "away": dict(state.away),
        "restarts": dict(state.restarts),
        "disks": {
            f"{vm}/{name}": {
                "host": word.host,
                "token": word.token,
                **({"use": True} if word.use else {}),
            }
            for vm, words in state.disk_words.items()
            for name, word in words.items()
        },
        "conflicts": {f"{c.vm}/{c.what}": conflict_row(c) for c in state.conflicts},
    }
    return {path_of(name): canonical(table) for name, table in tables.items() if table}


def conflict_row(conflict: Conflict) -> dict[str, Any]:
    """A conflict as conflicts.json holds it, under the key VM/FIELD."""
    return {
        "shown": conflict.shown,
        "other": conflict.other,
        "revisions": sorted(conflict.revisions),
    }
