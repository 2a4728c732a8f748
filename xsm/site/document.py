"""One revision's files, read and checked as a whole: site file, configs, state tables.

Decides which problems make a revision unacceptable. Must not know where the files came from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TypeVar

from xsm.site import checks, config_file, disks, seed, state_file, xml_file, yaml_file
from xsm.site.checks import HostNames, host_names
from xsm.site.config import Config
from xsm.site.entries import near
from xsm.site.file_limits import MAX_NAME_BYTES, MAX_PATH_CHARS
from xsm.site.kinds import NAME_PATTERN
from xsm.site.model import VM, Host, Site
from xsm.site.problems import Invalid, Problem, Severity
from xsm.site.seed import UserData
from xsm.site.state import State

Read = TypeVar("Read")

Files = Mapping[str, bytes]
"""Path relative to the site's folder, with "/" -> content. One revision's tree."""

SITE_FILES = ("site.xml", "site.yaml")
"""A revision holds exactly one of them."""

SITES_KEPT = 6
"""Read site files that are kept: of an edit or a merge those before it, of both sides, and after it. 10,000 VMs take
some 10 MiB."""
REVISIONS_KEPT = 4
"""Checked revisions that are kept: an edit asks for the head and for its own result several times."""

CONFIGS_FOLDER = "configs"
CONFIG_EXTENSIONS = ("cfg", "xml")
CONFIG_NAME = re.compile(NAME_PATTERN)


@dataclass(frozen=True)
class Document:
    """A valid revision. Invariant: every VM's config is in `configs`, and its user-data in `user_data`."""

    site: Site
    site_path: str
    configs: Mapping[str, Config]
    state: State
    user_data: Mapping[str, UserData] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = field(default=())

    @cached_property
    def _names(self) -> HostNames:
        return host_names(self.site.hosts, self.state.addresses)

    @cached_property
    def vms(self) -> Mapping[str, VM]:
        """All VMs by name."""
        return {vm.name: vm for vm in self.site.vms()}

    def host_name(self, written: str) -> str:
        """The one name of the host that a DOM0 or a command calls `written` (a name or an address).

        A member's name where a member has that name or address, else a listed host's name, else `written` itself. A
        listed host that has the name or address of a member is that member.
        """
        return self._names.name(written)

    def pinned_to_witnesses(self) -> Mapping[str, tuple[VM, str]]:
        """VM -> it, and the witness that its DOM0 names."""
        return checks.pinned_to_witnesses(self.site.vms(), self._names, self.state)

    def host_of(self, vm: VM) -> str | None:
        """Where the VM should run: its DOM0, or for a floating VM its placement; None when not placed yet."""
        if vm.host is not None:
            return self.host_name(vm.host)
        return self.state.placement.get(vm.name)

    def host_entry(self, name: str) -> Host | None:
        """The site file's entry for the host that `host_name` calls `name`."""
        return self._names.entries.get(name)


def load(files: Files) -> Document:
    """Read and check one revision's files.

    Raises `Invalid` with all problems of all files at once. Equal files give the same document again, for the last
    few of them.
    """
    return _load(tuple(sorted(files.items())))


@lru_cache(maxsize=REVISIONS_KEPT)
def _load(content: tuple[tuple[str, bytes], ...]) -> Document:
    files = dict(content)
    problems = [problem for path in sorted(files) for problem in _bad_path(path)]
    site, site_path = _site_of(files, problems)
    configs, broken, warnings = _read_configs(files, problems)
    user_data = seed.read(files)
    state = _collect(problems, lambda: state_file.read(files))
    if site is not None:
        problems += checks.check(site, site_path, {*configs, *broken}, state or State())
        problems += disks.shared(site_path, site.vms(), configs)
        problems += seed.check(site_path, site.vms(), user_data)
    warnings += [problem for problem in problems if problem.severity is Severity.WARNING]
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise Invalid([*problems, *warnings])
    assert site is not None and state is not None  # or there would be a problem
    return Document(site, site_path, configs, state, user_data, tuple(sorted(set(warnings))))


def _site_of(files: Files, problems: list[Problem]) -> tuple[Site | None, str]:
    """The site as far as it can be read: what is wrong across its entries is told along with the rest."""
    try:
        return _read_site(files)
    except Invalid as invalid:
        problems.extend(invalid.problems)
        return invalid.partial, invalid.problems[0].path


def _collect(problems: list[Problem], read: Callable[[], Read]) -> Read | None:
    try:
        return read()
    except Invalid as invalid:
        problems.extend(invalid.problems)
        return None


def _bad_path(path: str) -> Iterable[Problem]:
    """A path that could leave the site's folder, or that a shell or a terminal could take for something else."""
    shown = path[:100].encode("unicode_escape").decode()
    parts = path.split("/")
    if (
        not path
        or path.startswith("/")
        or ".." in parts
        or "." in parts
        or "" in parts
        or ".git" in parts
    ):
        yield Problem(shown, 0, "the path leaves the site's folder", "use plain relative paths")
    elif "\\" in path or not path.isprintable():
        yield Problem(
            shown, 0, "the path has a backslash or a control character", "rename the file"
        )
    elif any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        yield Problem(shown, 0, "a name in the path is too long", f"at most {MAX_NAME_BYTES} bytes")
    elif len(path) > MAX_PATH_CHARS:
        yield Problem(shown, 0, f"the path has {len(path)} characters", f"at most {MAX_PATH_CHARS}")


def _read_site(files: Files) -> tuple[Site, str]:
    found = [path for path in SITE_FILES if path in files]
    if not found:
        names = [path for path in sorted(files) if "/" not in path]
        raise Invalid(
            [
                Problem(
                    "site.xml",
                    0,
                    "there is no site.xml or site.yaml",
                    near("site.xml", names) if names else "",
                )
            ]
        )
    if len(found) > 1:
        hint = "keep one; `xsm convert` turns one into the other"
        raise Invalid([Problem(found[1], 0, f"there are both {' and '.join(found)}", hint)])
    return read_site(found[0], files[found[0]]), found[0]


@lru_cache(maxsize=SITES_KEPT)
def read_site(path: str, content: bytes) -> Site:
    """The site that a site file describes. Raises `Invalid` with all problems of the file."""
    return (xml_file if path.endswith(".xml") else yaml_file).read(content, path)


def _read_configs(
    files: Files, problems: list[Problem]
) -> tuple[dict[str, Config], set[str], list[Problem]]:
    """Configs by name; names of those that can't be read, so that nobody calls them missing; warnings."""
    configs: dict[str, Config] = {}
    broken: set[str] = set()
    warnings: list[Problem] = []
    first: dict[str, str] = {}
    for path in sorted(files):
        folder, _, file = path.partition("/")
        name, dot, extension = file.rpartition(".")
        if folder != CONFIGS_FOLDER or "/" in file or extension not in CONFIG_EXTENSIONS or not dot:
            continue
        if not CONFIG_NAME.fullmatch(name):
            warnings.append(
                Problem(
                    path,
                    0,
                    "no VM can name this config",
                    "letters, digits and . _ -",
                    Severity.WARNING,
                )
            )
        elif name in first:
            problems.append(
                Problem(path, 0, f"config {name} twice, also {first[name]}", "keep one")
            )
        else:
            first[name] = path
            config = _collect(problems, lambda n=name, p=path: config_file.parse(n, p, files[p]))  # type: ignore[misc]
            if config is None:
                broken.add(name)
            else:
                configs[name] = config
    return configs, broken, warnings
