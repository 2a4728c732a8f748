"""One revision's files, read and checked as a whole: site file, configs, state tables.

Decides which problems make a revision unacceptable. Must not know where the files came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xsm.site.config import Config
from xsm.site.model import VM, Host, Site
from xsm.site.problems import Problem
from xsm.site.state import State

Files = Mapping[str, bytes]
"""Path relative to the site's folder, with "/" -> content. One revision's tree."""

SITE_FILES = ("site.xml", "site.yaml")
"""A revision holds exactly one of them."""


@dataclass(frozen=True)
class Document:
    """A valid revision. Invariant: every VM's config is in `configs`."""

    site: Site
    site_path: str
    configs: Mapping[str, Config]
    state: State
    warnings: tuple[Problem, ...] = field(default=())

    def host_name(self, written: str) -> str:
        """The one name of the host that a DOM0 or a command calls `written` (a name or an address).

        A member's name where a member has that name or address, else a listed host's name, else `written` itself.
        """
        raise NotImplementedError

    def host_of(self, vm: VM) -> str | None:
        """Where the VM should run: its DOM0, or for a floating VM its placement; None when not placed yet."""
        raise NotImplementedError

    def host_entry(self, name: str) -> Host | None:
        """The site file's entry for the host that `host_name` calls `name`."""
        raise NotImplementedError


def load(files: Files) -> Document:
    """Read and check one revision's files.

    Raises `Invalid` with all problems of all files at once.
    """
    raise NotImplementedError
