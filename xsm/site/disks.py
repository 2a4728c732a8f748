"""Disks that more than one VM would write to.

Decides which disks of a config its VMs write to, and warns where several VMs have one of them: a file system that two
guests write to is soon damaged. Must not know hosts: a disk image may be on storage that all of them share.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from lxml import etree

from xsm.site import config_file
from xsm.site.config import Config
from xsm.site.disk import volumes
from xsm.site.fields import spelled
from xsm.site.model import VM, Power
from xsm.site.problems import Problem, Severity
from xsm.site.xl_disk import parse as parse_disk
from xsm.site.xl_options import Options

CACHED_CONFIGS = 4096
"""Configs whose disks are kept: more than two revisions can have, so that going through one never starts anew."""
NAMED_LIMIT = 3
"""VMs that a warning names before it only counts the others."""

_SOURCES = ("file", "dev", "dir")
_HINT = (
    "a disk has one writer: give each VM a config with a disk of its own, or let all only read it"
)


@functools.lru_cache(maxsize=CACHED_CONFIGS)
def written_to(config: Config) -> tuple[str, ...]:
    """The disks that a VM with this config writes to, as the config names them, in its order."""
    if config.path.endswith(".xml"):
        root = config_file.read_xml(config.text, config.path).root
        found = [_source(disk) for disk in root.iterfind("devices/disk") if _writes(disk)]
    else:
        options = Options(config_file.read_xl(config.text, config.path))
        disks = [parse_disk(item.text) for item in options.texts("disk")]
        found = [disk.target for disk in disks if not disk.readonly]
    return tuple(dict.fromkeys(target for target in found if target))


def _writes(disk: etree._Element) -> bool:
    transient = disk.find("transient")  # what is written is thrown away
    return (
        disk.get("device", "disk") in ("disk", "lun")
        and disk.find("readonly") is None
        and disk.find("shareable") is None
        and (transient is None or transient.get("shareBacking") != "yes")
    )


def _source(disk: etree._Element) -> str:
    """What is behind the disk, "" for nothing."""
    source = disk.find("source")
    if source is None:
        return ""
    if source.get("protocol"):
        return f"{source.get('protocol')}:{source.get('name', '')}"
    if source.get("volume"):
        return f"volume {source.get('volume')} of pool {source.get('pool', '')}"
    return next((source.get(at, "") for at in _SOURCES if source.get(at)), "")


def _twice(path: str, vm: VM, config: Config, disk: str, target: str) -> Problem:
    tag = spelled(path, "DISK")
    message = f"{vm.name} would have {target} twice: it is its {tag} {disk}, and {config.path} names it, too"
    hint = f"leave it out of the config, where the {tag} adds it, or leave the {tag} out"
    return Problem(path, vm.line, message, hint, Severity.WARNING)


def renamed(path: str, before: Iterable[VM], after: Iterable[VM]) -> Iterable[Problem]:
    """A warning where a VM loses a disk and gets one of another name: that is a new disk, whatever was meant."""
    known = {vm.name: {d.name for d in vm.disks} for vm in before}
    for vm in after:
        had, has = known.get(vm.name, set()), {d.name for d in vm.disks}
        gone, new = sorted(had - has), [d for d in vm.disks if d.name not in had]
        if gone and new:
            made = [f"{d.name} ({f'a copy of {d.origin}' if d.origin else 'empty'})" for d in new]
            message = (
                f"{vm.name} loses its disk {', '.join(gone)}, and gets a new one: {', '.join(made)}"
            )
            hint = "the old volume stays in its pool, unused; a disk that keeps its name keeps its data"
            yield Problem(path, vm.line, message, hint, Severity.WARNING)


def shared(path: str, vms: Iterable[VM], configs: Mapping[str, Config]) -> Iterable[Problem]:
    """A warning for each disk that several VMs write to. VMs that are to be stopped don't count."""
    writers: dict[str, list[VM]] = {}
    names: set[str] = set()
    for vm in vms:
        config = configs.get(vm.config)
        # A name that is there twice is an error of its own.
        if config is None or vm.power is Power.STOPPED or vm.name in names:
            continue
        names.add(vm.name)
        own = {f"volume {v.name} of pool {v.pool}": v.disk for v in volumes(vm.name, vm.disks)}
        named = written_to(config)
        yield from (
            _twice(path, vm, config, own[target], target) for target in named if target in own
        )
        for target in dict.fromkeys((*named, *own)):
            writers.setdefault(target, []).append(vm)
    for target, of in writers.items():
        if len(of) > 1:
            told = [vm.name for vm in of[:NAMED_LIMIT]]
            more = len(of) - len(told)
            last = f"{more} more" if more else told.pop()
            who = f"{', '.join(told)} and {last}"
            where = " and ".join(sorted({configs[vm.config].path for vm in of})[:2])
            message = f"{who} would write to one disk, {target} ({where})"
            yield Problem(path, of[1].line, message, _HINT, Severity.WARNING)
