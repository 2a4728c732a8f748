"""3-way merge of two revisions' files by meaning.

Decides what a revision made from two concurrent edits holds (notes on convergence in docs/design.md). Must not
know commits, dates or peers: the caller says which side is the later one. Deterministic and total: any two
revisions give exactly one result, and where both sides are valid documents, the result is one, too.

The site file is merged per (VM, field), together with the placements of floating VMs, and edited into the later
author's text, so that layout and comments stay; other state tables are merged per key; every other file as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from xsm.site import changes, state_file, xml_file, yaml_file
from xsm.site.document import SITE_FILES, Files, load
from xsm.site.merge_site import KEPT, REMOVED, Clash, merge_sites, placed, text_of
from xsm.site.model import Site
from xsm.site.problems import Invalid
from xsm.site.side import (
    CONFLICTS,
    FILE_OF_OTHER,
    OR,
    PLACEMENT,
    Side,
    dispute,
    parsed,
    parted,
    read,
    side_of,
    table_of,
)
from xsm.site.state import Conflict, Place
from xsm.site.state_file import place_rows

_CONFIG = re.compile(r"configs/([^/]+)\.(cfg|xml)")
_SEED = re.compile(r"configs/([^/]+)\.(user-data|network-config)")
_MEMBERS = state_file.path_of("members")
_FENCED = state_file.path_of("fenced")
_SITE_STATE = state_file.path_of("site")


@dataclass(frozen=True)
class Merged:
    """`conflicts` are those that this merge found; `files` holds them in state/conflicts.json with older ones."""

    files: dict[str, bytes]
    conflicts: tuple[Conflict, ...]


def merge(base: Files, first: Files, second: Files, first_id: str, second_id: str) -> Merged:
    """Merge two revisions whose common past is `base`; `second` is the later by (date, id) and wins ties.

    Never raises: a side whose site file can't be read is merged as a whole file.
    """
    if dict(first) == dict(second) or dict(first) == dict(base):
        return Merged(dict(second), ())
    if dict(second) == dict(base):
        return Merged(dict(first), ())
    sides = side_of(base), side_of(first), side_of(second)
    files, clashes = _merge_files(*sides)
    if not _loads(files) and _loads(first) and _loads(second):
        # Each side is fine and the mixture is not, for a reason that merge_site doesn't know: the later site file
        # is shown as it is, and every VM that the earlier side had changed is in conflict.
        files, clashes = _second_shown(files, clashes, *sides)
    revisions = tuple(sorted({first_id, second_id}))
    found = _write_conflicts(files, sides, _conflicts(files, clashes, revisions))
    return Merged(dict(sorted(files.items())), found)


def name_revisions(merged: Merged, revisions: Callable[[Conflict], Iterable[str]]) -> Merged:
    """The same, with the revisions in each new conflict that `revisions` names for it."""
    named = tuple(replace(c, revisions=tuple(sorted({*revisions(c)}))) for c in merged.conflicts)
    rows = table_of(merged.files, CONFLICTS) or {}
    rows.update({f"{c.vm}/{c.what}": state_file.conflict_row(c) for c in named})
    return Merged({**merged.files, CONFLICTS: state_file.canonical(rows)}, named)


def _loads(files: Files) -> bool:
    try:
        load(files)
    except Invalid:
        return False
    return True


# -- merging ------------------------------------------------------------------------------------------------------


def _three(base: Any, first: Any, second: Any) -> Any:
    return first if second == base else second


def _merge_files(base: Side, first: Side, second: Side) -> tuple[dict[str, bytes], list[Clash]]:
    files, placement, clashes = _merge_site_file(base, first, second)
    site = read(files, next(iter(files), None)) or Site()
    files.update(_merge_tables(base, first, second, placement))
    _merge_others(base, first, second, site, files, clashes)
    return files, clashes


def _merge_site_file(
    base: Side, first: Side, second: Side
) -> tuple[dict[str, bytes], Mapping[str, Place], list[Clash]]:
    """The one site file of the result, the placements of its floating VMs, and the clashes over its VMs."""
    if base.site is None or first.site is None or second.site is None:
        return (*_whole_site_file(base, first, second), [])
    path = _three(base.path, first.path, second.path) or second.path or first.path
    if path is None:
        return {}, {}, []
    for side, other in ((first, second), (second, first)):
        if _unchanged(base, side) and _same_state(base, side) and path == other.path:
            return {path: other.files[path]}, placed(other.site or Site(), other.placement), []
    members = {**_addresses(first.files), **_addresses(second.files)}
    beside = base.beside, first.beside, second.beside
    found = merge_sites(base.site, first.site, second.site, members, beside)
    # The later author's layout and comments stay, unless the earlier one changed the format.
    written = second if path == second.path else first
    return {path: _written(path, written, found.site)}, found.placement, list(found.clashes)


def _unchanged(base: Side, side: Side) -> bool:
    return base.path == side.path and (
        base.path is None or base.files[base.path] == side.files[base.path]
    )


def _same_state(base: Side, side: Side) -> bool:
    return all(base.files.get(path) == side.files.get(path) for path in (PLACEMENT, CONFLICTS))


def _written(path: str, side: Side, site: Site) -> bytes:
    """`site` as text: the side's own text, edited; a fresh text where editing fails."""
    form: Any = xml_file if path.endswith(".xml") else yaml_file
    if side.path == path and side.site is not None:
        if changes.in_order(side.site) == changes.in_order(site):
            return side.files[path]
        try:
            text = form.edit(side.files[path], changes.diff(side.site, site), path, side.site)
            again = parsed(path, text)
            if again is not None and changes.in_order(again) == changes.in_order(site):
                return text
        except Invalid:
            return form.write(site)
    return form.write(site)


def _whole_site_file(
    base: Side, first: Side, second: Side
) -> tuple[dict[str, bytes], Mapping[str, Place]]:
    """A side can't be read: the one that changed it is taken, of two that did the readable one, else the later; and
    the placements with it."""
    chosen = first if _unchanged(base, second) else second
    if chosen.site is None and not _unchanged(base, first) and first.site is not None:
        chosen = first
    files = {} if chosen.path is None else {chosen.path: chosen.files[chosen.path]}
    return files, chosen.placement


def _addresses(files: Files) -> dict[str, str]:
    """Of members, by name."""
    rows = (table_of(files, _MEMBERS) or {}).items()
    return {
        name: row["address"]
        if isinstance(row, dict) and isinstance(row.get("address"), str)
        else name
        for name, row in rows
    }


def _merge_tables(
    base: Side, first: Side, second: Side, placement: Mapping[str, Place]
) -> dict[str, bytes]:
    """All state tables but the conflicts, per key; the later side wins. A table that can't be read goes as a whole.
    `placement` was merged with the site file."""
    files: dict[str, bytes] = {}
    for path in sorted({*first.files, *second.files}):
        if not path.startswith(state_file.FOLDER) or path == CONFLICTS:
            continue
        was, one, two = (table_of(s.files, path) for s in (base, first, second))
        if was is None or one is None or two is None:
            whole = _three(base.files.get(path), first.files.get(path), second.files.get(path))
            if whole is not None:
                files[path] = whole
            continue
        rows = {
            key: _three(was.get(key), one.get(key), two.get(key)) for key in sorted({*one, *two})
        }
        rows = {key: value for key, value in rows.items() if value is not None}
        if path == PLACEMENT:
            rows = place_rows(placement)
        if path in (_MEMBERS, _FENCED):
            newest = _newest_members(first, second, path)
            rows = rows if newest is None else newest
        if path == _SITE_STATE:
            for key in ("merge_version", "members_number"):
                numbers = [t[key] for t in (one, two) if isinstance(t.get(key), int)]
                rows.update({key: max(numbers)} if numbers else {})
        if rows:
            files[path] = state_file.canonical(rows)
    return files


def _newest_members(first: Side, second: Side, path: str) -> dict[str, Any] | None:
    """The whole list of members with the higher number, and who was fenced by then; None when both have the same. Two
    lists are never mixed: a mixture is a list that nobody voted for."""
    one, two = (
        (table_of(s.files, _SITE_STATE) or {}).get("members_number", 0) for s in (first, second)
    )
    if one == two or not (isinstance(one, int) and isinstance(two, int)):
        return None
    return table_of((first if one > two else second).files, path)


def _merge_others(
    base: Side,
    first: Side,
    second: Side,
    site: Site,
    files: dict[str, bytes],
    clashes: list[Clash],
) -> None:
    """Configs and the user's other files, each as a whole."""
    users: dict[str, list[str]] = {}
    seeded: dict[str, list[str]] = {}
    for vm in site.vms():
        users.setdefault(vm.config, []).append(vm.name)
        if vm.user_data is not None:
            seeded.setdefault(vm.user_data, []).append(vm.name)
    disputed: dict[str, str] = {}
    for path in sorted({*base.files, *first.files, *second.files}):
        if path in SITE_FILES or path.startswith(state_file.FOLDER):
            continue
        was, one, two = (s.files.get(path) for s in (base, first, second))
        content = _three(was, one, two)
        differ = one not in (two, was) and two != was
        if content is None and differ:
            content = one  # modify beats delete
        config = _CONFIG.fullmatch(path)
        if config and differ:
            disputed[config[1]] = path
        seed = _SEED.fullmatch(path)
        if seed and differ:
            other = f"{path}{FILE_OF_OTHER}"
            clashes += [Clash(vm, "user_data", seed[1], other) for vm in seeded.get(seed[1], ())]
        if content is not None:
            files[path] = content
    _keep_used_configs(first, second, sorted(users), files)
    _keep_used_seeds(first, second, sorted(seeded), files)
    _one_form_each(first, second, files, disputed)
    _no_file_in_a_file(second, files)
    for name, path in sorted(disputed.items()):
        clashes += [
            Clash(vm, "config", name, f"{path}{FILE_OF_OTHER}") for vm in users.get(name, ())
        ]


def _config_paths(name: str) -> tuple[str, str]:
    return f"configs/{name}.cfg", f"configs/{name}.xml"


def _keep_used_configs(
    first: Side, second: Side, names: Iterable[str], files: dict[str, bytes]
) -> None:
    """A config that one side deleted and a VM of the other uses is kept."""
    for name in names:
        if any(path in files for path in _config_paths(name)):
            continue
        for side in (second, first):
            kept = [path for path in _config_paths(name) if path in side.files]
            if kept:
                files.update({path: side.files[path] for path in kept})
                break


def _keep_used_seeds(
    first: Side, second: Side, names: Iterable[str], files: dict[str, bytes]
) -> None:
    for path in (f"configs/{name}.user-data" for name in names):
        kept = [side.files[path] for side in (second, first) if path in side.files]
        if path not in files and kept:
            files[path] = kept[0]


def _one_form_each(
    first: Side, second: Side, files: dict[str, bytes], disputed: dict[str, str]
) -> None:
    """One side turned NAME.cfg into NAME.xml while the other edited it: only the later side's form stays."""
    for path in sorted(files):
        config = _CONFIG.fullmatch(path)
        if not config or config[2] != "cfg" or f"configs/{config[1]}.xml" not in files:
            continue
        forms = _config_paths(config[1])
        if any(all(p in side.files for p in forms) for side in (first, second)):
            continue
        lost = next(p for p in forms if p not in second.files)
        del files[lost]
        disputed[config[1]] = lost


def _no_file_in_a_file(second: Side, files: dict[str, bytes]) -> None:
    """One side made a file `a`, the other a folder `a`: a tree can't hold both, the later side's stays."""
    for path in sorted(files):
        parts = path.split("/")
        for i in range(1, len(parts)):
            folder = "/".join(parts[:i])
            if folder in files and path in files:
                del files[path if folder in second.files else folder]


def _second_shown(
    files: dict[str, bytes], clashes: list[Clash], base: Side, first: Side, second: Side
) -> tuple[dict[str, bytes], list[Clash]]:
    """The later side's site file, with what it needs; what the earlier side changed is told as conflicts."""
    rest = {p: c for p, c in files.items() if p not in SITE_FILES and p != PLACEMENT}
    shown = {
        **rest,
        **{
            p: c
            for p, c in second.files.items()
            if p in (*SITE_FILES, PLACEMENT) or _CONFIG.fullmatch(p) or _SEED.fullmatch(p)
        },
    }
    for path in list(rest):
        config = _CONFIG.fullmatch(path)
        if (
            config
            and path not in second.files
            and any(p in second.files for p in _config_paths(config[1]))
        ):
            del shown[path]
    if not _loads(shown):
        state = {p: c for p, c in second.files.items() if p.startswith(state_file.FOLDER)}
        shown = {**{p: c for p, c in shown.items() if not p.startswith(state_file.FOLDER)}, **state}
    if not _loads(shown):
        shown = dict(second.files)
    told = {(c.vm, c.what): c for c in clashes}
    for change in changes.diff(base.site or Site(), first.site or Site()):
        match change:
            case changes.SetVM(name, what, _, new):
                told.setdefault((name, what), Clash(name, what, "", text_of(new)))
            case changes.RemoveVM(vm):
                told.setdefault((vm.name, "removal"), Clash(vm.name, "removal", KEPT, REMOVED))
    was, now = (placed(s.site or Site(), s.placement) for s in (base, first))
    for name in (n for n in now if now[n] != was.get(n)):
        told.setdefault((name, "host"), Clash(name, "host", "", text_of(now[name].member)))
    return shown, [told[key] for key in sorted(told)]


# -- conflicts ----------------------------------------------------------------------------------------------------


def _conflicts(
    files: Files, clashes: Iterable[Clash], revisions: tuple[str, ...]
) -> tuple[Conflict, ...]:
    """One conflict for each (VM, field) that the result still has; `shown` is what the result says there."""
    side = side_of(files)
    found: dict[tuple[str, str], Conflict] = {}
    for clash in clashes:
        key = (clash.vm, clash.what)
        shown = side.shown(*key)
        if shown is not None and key not in found:
            found[key] = Conflict(clash.vm, clash.what, shown, clash.other, revisions)
    return tuple(found[key] for key in sorted(found))


def _write_conflicts(
    files: dict[str, bytes], sides: tuple[Side, Side, Side], new: Iterable[Conflict]
) -> tuple[Conflict, ...]:
    """conflicts.json: what either side still had and none settled, and the new ones. Gives those with all that lost."""
    was, one, two = (side.unsettled for side in sides)
    merged = side_of(files)
    rows = {}
    for key in sorted({*one, *two}):
        shown = merged.shown(*parted(key))
        told = [table[key] for table in (two, one) if key in table]
        fresh = key not in was or dispute(told[0]) != dispute(was[key])
        if len(told) < 2 and not fresh:
            continue  # the other side settled it
        same = next((row for row in told if row.get("shown") == shown), None)
        if same is not None:
            rows[key] = same
        elif shown is not None and fresh and told[0].get("other") != shown:
            # The value is from the side that knew nothing of the conflict: that is no word on what lost in it.
            rows[key] = {**told[0], "shown": shown}
    found = tuple(_with_others(c, rows.get(f"{c.vm}/{c.what}", {})) for c in new)
    rows.update({f"{c.vm}/{c.what}": state_file.conflict_row(c) for c in found})
    files.pop(CONFLICTS, None)
    if rows:
        files[CONFLICTS] = state_file.canonical(rows)
    return found


def _with_others(new: Conflict, row: Mapping[str, Any]) -> Conflict:
    """A conflict over a field that was in conflict already: what lost then has lost still."""
    others = {*new.other.split(OR), *row.get("other", new.other).split(OR)} - {new.shown}
    return replace(new, other=text_of(OR.join(sorted(others))) or new.other)
