"""3-way merge of two revisions' files by meaning, and which conflicts of a revision still count.

Decides what a revision made from two concurrent edits holds (notes on convergence in docs/design.md). Must not
know commits, dates or peers: the caller says which side is the later one. Deterministic and total: any two
revisions give exactly one result, and where both sides are valid documents, the result is one, too.

The site file is merged per (VM, field), together with the placements of floating VMs, and edited into the later
author's text, so that layout and comments stay; other state tables are merged per key; every other file as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xsm.site import changes, state_file, xml_file, yaml_file
from xsm.site.conflicts import active_conflicts, value_shown
from xsm.site.document import SITE_FILES, Files, load, read_site
from xsm.site.merge_site import (
    KEPT,
    REMOVED,
    Beside,
    Clash,
    merge_sites,
    placed,
    text_of,
)
from xsm.site.model import Site
from xsm.site.problems import Invalid
from xsm.site.state import Conflict, Place
from xsm.site.state_file import place_rows, places

_OR = " or "
_FILE_OF_OTHER = " of the other edit"
_CONFIG = re.compile(r"configs/([^/]+)\.(cfg|xml)")
_CONFLICTS = state_file.path_of("conflicts")
_PLACEMENT = state_file.path_of("placement")
_MEMBERS = state_file.path_of("members")
_SITE_STATE = state_file.path_of("site")


@dataclass(frozen=True)
class Merged:
    """`conflicts` are those that this merge found; `files` holds them in state/conflicts.json with older ones."""

    files: dict[str, bytes]
    conflicts: tuple[Conflict, ...]


@dataclass(frozen=True)
class _Side:
    """One side as far as it can be read. `site` is None when its site file can't be."""

    files: Files
    path: str | None
    site: Site | None
    placement: Mapping[str, Place]

    @property
    def chosen(self) -> dict[str, str]:
        """floating VM -> member that a person chose for it"""
        return {vm: place.member for vm, place in self.placement.items() if place.chosen}


def merge(base: Files, first: Files, second: Files, first_id: str, second_id: str) -> Merged:
    """Merge two revisions whose common past is `base`; `second` is the later by (date, id) and wins ties.

    Never raises: a side whose site file can't be read is merged as a whole file.
    """
    if dict(first) == dict(second) or dict(first) == dict(base):
        return Merged(dict(second), ())
    if dict(second) == dict(base):
        return Merged(dict(first), ())
    sides = _side(base), _side(first), _side(second)
    files, clashes = _merge_files(*sides)
    if not _loads(files) and _loads(first) and _loads(second):
        # Each side is fine and the mixture is not, for a reason that merge_site doesn't know: the later site file
        # is shown as it is, and every VM that the earlier side had changed is in conflict.
        files, clashes = _second_shown(files, clashes, *sides)
    revisions = tuple(sorted({first_id, second_id}))
    found = _write_conflicts(files, sides, _conflicts(files, clashes, revisions))
    return Merged(dict(sorted(files.items())), found)


def name_revisions(
    merged: Merged, earlier: Sequence[tuple[str, Files]], later: Sequence[tuple[str, Files]]
) -> Merged:
    """Name the right revisions in each new conflict, where a side was several revisions merged with one another.

    `earlier`, `later`: the revisions of `first` and of `second`, with their files. Of the earlier ones the last that
    says what was overruled is named, of the later ones the last that says what is shown.
    """
    if not merged.conflicts or len(earlier) == len(later) == 1:
        return merged
    first, second = ([(i, _side(files)) for i, files in side] for side in (earlier, later))
    named = []
    for conflict in merged.conflicts:
        overruled, shown = (
            [i for i, side in sides if _said(side, conflict.vm, conflict.what) == value]
            for sides, value in ((first, conflict.other), (second, conflict.shown))
        )
        winner = shown[-1] if shown else later[-1][0]
        between = tuple(sorted({overruled[-1], winner})) if overruled else conflict.revisions
        named.append(replace(conflict, revisions=between))
    files = dict(merged.files)
    rows = {
        **(_table(files, _CONFLICTS) or {}),
        **{f"{c.vm}/{c.what}": state_file.conflict_row(c) for c in named},
    }
    files[_CONFLICTS] = state_file.canonical(rows)
    return Merged(files, tuple(named))


def _said(side: _Side, vm: str, what: str) -> str | None:
    found = (side.site or Site()).vm(vm)
    return REMOVED if found is None else value_shown(found, what, side.chosen)


# -- reading ------------------------------------------------------------------------------------------------------


def _side(files: Files) -> _Side:
    path = next((p for p in SITE_FILES if p in files), None)
    return _Side(files, path, _read(files, path), places(_table(files, _PLACEMENT) or {}))


def _read(files: Files, path: str | None) -> Site | None:
    return Site() if path is None else _parsed(path, files[path])


def _parsed(path: str, content: bytes) -> Site | None:
    try:
        return read_site(path, content)
    except Invalid:
        return None


def _table(files: Files, path: str) -> dict[str, Any] | None:
    """A state table; {} when it is missing, None when it can't be read."""
    try:
        return state_file.parse(files[path]) if path in files else {}
    except ValueError:
        return None


def _loads(files: Files) -> bool:
    try:
        load(files)
    except Invalid:
        return False
    return True


# -- merging ------------------------------------------------------------------------------------------------------


def _three(base: Any, first: Any, second: Any) -> Any:
    return first if second == base else second


def _merge_files(base: _Side, first: _Side, second: _Side) -> tuple[dict[str, bytes], list[Clash]]:
    files, placement, clashes = _merge_site_file(base, first, second)
    site = _read(files, next(iter(files), None)) or Site()
    files.update(_merge_tables(base, first, second, placement))
    _merge_others(base, first, second, site, files, clashes)
    return files, clashes


def _merge_site_file(
    base: _Side, first: _Side, second: _Side
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
    beside = _beside(base), _beside(first), _beside(second)
    found = merge_sites(base.site, first.site, second.site, members, beside)
    # The later author's layout and comments stay, unless the earlier one changed the format.
    written = second if path == second.path else first
    return {path: _written(path, written, found.site)}, found.placement, list(found.clashes)


def _unchanged(base: _Side, side: _Side) -> bool:
    return base.path == side.path and (
        base.path is None or base.files[base.path] == side.files[base.path]
    )


def _same_state(base: _Side, side: _Side) -> bool:
    return all(base.files.get(path) == side.files.get(path) for path in (_PLACEMENT, _CONFLICTS))


def _beside(side: _Side) -> Beside:
    disputes: dict[str, dict[str, frozenset[str]]] = {}
    for key, row in _unsettled(side).items():
        vm, _, what = key.partition("/")
        between = _values(row)
        if not any(value.endswith(_FILE_OF_OTHER) for value in between):
            disputes.setdefault(vm, {})[what] = between
        # Else it is about a file that the VM uses, not about the VM.
    return Beside(side.placement, disputes)


def _written(path: str, side: _Side, site: Site) -> bytes:
    """`site` as text: the side's own text, edited; a fresh text where editing fails."""
    form: Any = xml_file if path.endswith(".xml") else yaml_file
    if side.path == path and side.site is not None:
        if changes.in_order(side.site) == changes.in_order(site):
            return side.files[path]
        try:
            text = form.edit(side.files[path], changes.diff(side.site, site), path, side.site)
            again = _parsed(path, text)
            if again is not None and changes.in_order(again) == changes.in_order(site):
                return text
        except Invalid:
            return form.write(site)
    return form.write(site)


def _whole_site_file(
    base: _Side, first: _Side, second: _Side
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
    rows = (_table(files, _MEMBERS) or {}).items()
    return {
        name: row["address"]
        if isinstance(row, dict) and isinstance(row.get("address"), str)
        else name
        for name, row in rows
    }


def _merge_tables(
    base: _Side, first: _Side, second: _Side, placement: Mapping[str, Place]
) -> dict[str, bytes]:
    """All state tables but the conflicts, per key; the later side wins. A table that can't be read goes as a whole.
    `placement` was merged with the site file."""
    files: dict[str, bytes] = {}
    for path in sorted({*first.files, *second.files}):
        if not path.startswith(state_file.FOLDER) or path == _CONFLICTS:
            continue
        was, one, two = (_table(s.files, path) for s in (base, first, second))
        if was is None or one is None or two is None:
            whole = _three(base.files.get(path), first.files.get(path), second.files.get(path))
            if whole is not None:
                files[path] = whole
            continue
        rows = {
            key: _three(was.get(key), one.get(key), two.get(key)) for key in sorted({*one, *two})
        }
        rows = {key: value for key, value in rows.items() if value is not None}
        if path == _PLACEMENT:
            rows = place_rows(placement)
        if path == _MEMBERS:
            rows = _newest_members(first, second) or rows
        if path == _SITE_STATE:
            for key in ("merge_version", "members_number"):
                numbers = [t[key] for t in (one, two) if isinstance(t.get(key), int)]
                rows.update({key: max(numbers)} if numbers else {})
        if rows:
            files[path] = state_file.canonical(rows)
    return files


def _newest_members(first: _Side, second: _Side) -> dict[str, Any] | None:
    """The whole list of members with the higher number; None when both have the same. Two lists are never mixed: a
    mixture is a list that nobody voted for."""
    one, two = (
        (_table(s.files, _SITE_STATE) or {}).get("members_number", 0) for s in (first, second)
    )
    if one == two or not (isinstance(one, int) and isinstance(two, int)):
        return None
    return _table((first if one > two else second).files, _MEMBERS)


def _merge_others(
    base: _Side,
    first: _Side,
    second: _Side,
    site: Site,
    files: dict[str, bytes],
    clashes: list[Clash],
) -> None:
    """Configs and the user's other files, each as a whole."""
    users: dict[str, list[str]] = {}
    for vm in site.vms():
        users.setdefault(vm.config, []).append(vm.name)
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
        if content is not None:
            files[path] = content
    _keep_used_configs(first, second, sorted(users), files)
    _one_form_each(first, second, files, disputed)
    _no_file_in_a_file(second, files)
    for name, path in sorted(disputed.items()):
        clashes += [
            Clash(vm, "config", name, f"{path}{_FILE_OF_OTHER}") for vm in users.get(name, ())
        ]


def _config_paths(name: str) -> tuple[str, str]:
    return f"configs/{name}.cfg", f"configs/{name}.xml"


def _keep_used_configs(
    first: _Side, second: _Side, names: Iterable[str], files: dict[str, bytes]
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


def _one_form_each(
    first: _Side, second: _Side, files: dict[str, bytes], disputed: dict[str, str]
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


def _no_file_in_a_file(second: _Side, files: dict[str, bytes]) -> None:
    """One side made a file `a`, the other a folder `a`: a tree can't hold both, the later side's stays."""
    for path in sorted(files):
        parts = path.split("/")
        for i in range(1, len(parts)):
            folder = "/".join(parts[:i])
            if folder in files and path in files:
                del files[path if folder in second.files else folder]


def _second_shown(
    files: dict[str, bytes], clashes: list[Clash], base: _Side, first: _Side, second: _Side
) -> tuple[dict[str, bytes], list[Clash]]:
    """The later side's site file, with what it needs; what the earlier side changed is told as conflicts."""
    rest = {p: c for p, c in files.items() if p not in SITE_FILES and p != _PLACEMENT}
    shown = {
        **rest,
        **{
            p: c
            for p, c in second.files.items()
            if p in (*SITE_FILES, _PLACEMENT) or _CONFIG.fullmatch(p)
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
    side = _side(files)
    vms, chosen = {vm.name: vm for vm in (side.site or Site()).vms()}, side.chosen
    found: dict[tuple[str, str], Conflict] = {}
    for clash in clashes:
        key = (clash.vm, clash.what)
        shown = value_shown(vms.get(clash.vm), clash.what, chosen)
        if shown is not None and key not in found:
            found[key] = Conflict(clash.vm, clash.what, shown, clash.other, revisions)
    return tuple(found[key] for key in sorted(found))


def _write_conflicts(
    files: dict[str, bytes], sides: tuple[_Side, _Side, _Side], new: Iterable[Conflict]
) -> tuple[Conflict, ...]:
    """conflicts.json: what either side still had and none settled, and the new ones. Gives those with all that lost."""
    was, one, two = (_unsettled(side) for side in sides)
    merged = _side(files)
    vms, chosen = {vm.name: vm for vm in (merged.site or Site()).vms()}, merged.chosen
    rows = {}
    for key in sorted({*one, *two}):
        vm, _, what = key.partition("/")
        shown = value_shown(vms.get(vm), what, chosen)
        told = [table[key] for table in (two, one) if key in table]
        fresh = key not in was or _values(told[0]) != _values(was[key])
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
    files.pop(_CONFLICTS, None)
    if rows:
        files[_CONFLICTS] = state_file.canonical(rows)
    return found


def _with_others(new: Conflict, row: Mapping[str, Any]) -> Conflict:
    """A conflict over a field that was in conflict already: what lost then has lost still."""
    others = {*new.other.split(_OR), *row.get("other", new.other).split(_OR)} - {new.shown}
    return replace(new, other=text_of(_OR.join(sorted(others))) or new.other)


def _values(row: Mapping[str, Any]) -> frozenset[str]:
    """What a conflict is between, whichever of them is shown."""
    return frozenset([str(row.get("shown")), *str(row.get("other")).split(_OR)])


def _unsettled(side: _Side) -> dict[str, Any]:
    """A side's table of conflicts, without those that a later value of the field settled."""
    table = _table(side.files, _CONFLICTS)
    if not table:
        return {}
    vms, chosen = {vm.name: vm for vm in (side.site or Site()).vms()}, side.chosen
    return {
        key: row
        for key, row in table.items()
        if isinstance(row, dict)
        and row.get("shown")
        == value_shown(vms.get(key.partition("/")[0]), key.partition("/")[2], chosen)
    }


__all__ = ["Merged", "active_conflicts", "merge", "name_revisions"]
