"""Reading a site's folder: the site file, configs/ and state/ beside it, into the `Files` of a
revision.

Decides which files belong to a site and how much is read. Must not know what they mean. The folder
may come from somebody else (a clone, an archive), so that nothing in it can make us read outside of
it, block on a pipe, or fill the memory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xsm.site.document import SITE_FILES, Files
from xsm.site.problems import Invalid, Problem

MAX_FILE_BYTES = 16 << 20
"""One file. The reader of the site file has a lower limit of its own and a better message for it.
"""

MAX_TOTAL_BYTES = 64 << 20
MAX_FILES = 2000
MAX_DEPTH = 4  # folders within configs/

CONFIGS = "configs"
STATE = "state"
SITE_SUFFIXES = {".xml": "site.xml", ".yaml": "site.yaml", ".yml": "site.yaml"}


@dataclass(frozen=True)
class Folder:
    """A site's folder as it was read. `site_file` is the path of its site file as the user would
    write it.
    """

    root: str
    site_file: str
    files: Files

    def shown(self, path: str) -> str:
        """A path of `files` as the user knows it; for problems."""
        if path in SITE_FILES:
            return self.site_file
        return os.path.join(self.root, path) if self.root != "." else path

    def proposed(self) -> dict[str, bytes]:
        """What an edit may hold: the site file and configs. state/ is written by XSM alone."""
        return {p: c for p, c in self.files.items() if not p.startswith(STATE + "/")}


def read_folder(path: str, with_state: bool = True) -> Folder:
    """Read the folder of a site, or of the site file that `path` names.

    Raises `Invalid`: no site file, two of them, a file that is too big, no regular file, outside of
    the folder.
    """
    target = Path(path)
    if target.is_dir():
        root = target
        name = _site_name(root)
    else:
        root, name = target.parent, target.name
        if Path(name).suffix not in SITE_SUFFIXES:
            hint = "a site file's name ends in .xml, .yaml or .yml"
            raise Invalid([Problem(path, 0, "can't tell whether this is XML or YAML", hint)])
    reader = _Reader(root)
    files = {SITE_SUFFIXES[Path(name).suffix]: reader.read(name)}
    for part in (CONFIGS, STATE) if with_state else (CONFIGS,):
        for relative in reader.walk(part):
            files[relative] = reader.read(relative)
    if reader.problems:
        raise Invalid(reader.problems)
    return Folder(str(root), os.path.join(str(root), name) if str(root) != "." else name, files)


def _site_name(root: Path) -> str:
    found = [name for name in SITE_FILES if os.path.lexists(root / name)]
    if len(found) == 1:
        return found[0]
    where = str(root) if str(root) != "." else os.getcwd()
    if found:
        message = f"{' and '.join(found)} are both there"
        raise Invalid(
            [Problem(where, 0, message, "a site has one site file; name it, or remove one")]
        )
    raise Invalid(
        [Problem(where, 0, "no site file there", f"it is called {' or '.join(SITE_FILES)}")]
    )


class _Reader:
    """Reads below one folder and collects what is wrong."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.real_root = os.path.realpath(root)
        self.problems: list[Problem] = []
        self.total = 0
        self.number = 0

    def walk(self, part: str, depth: int = 1) -> Iterator[str]:
        """Relative paths of the files below `part`, sorted; hidden files and editors' copies are
        left out.
        """
        top = self.root / part
        if not os.path.lexists(top):
            return
        if not top.is_dir():
            self._problem(part, "is not a folder", "")
            return
        if not self._inside(part):
            return
        if depth > MAX_DEPTH:
            self._problem(part, f"folders deeper than {MAX_DEPTH} levels", "")
            return
        try:
            names = sorted(os.listdir(top))
        except OSError as error:
            self._problem(part, f"can't be read: {error.strerror}", "")
            return
        for name in names:
            if is_passing(name):
                continue
            relative = f"{part}/{name}"
            if (top / name).is_dir():
                yield from self.walk(relative, depth + 1)
            elif self.number < MAX_FILES:
                self.number += 1
                yield relative
            else:
                self._problem(part, f"more than {MAX_FILES} files", "is this a site's folder?")
                return

    def read(self, relative: str) -> bytes:
        """One file's content; b"" when there is a problem with it."""
        if not self._inside(relative):
            return b""
        try:
            # A pipe in place of a file must not block us; regular files ignore O_NONBLOCK.
            descriptor = os.open(self.root / relative, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._problem(relative, f"can't be read: {error.strerror}", "")
            return b""
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._problem(relative, "is not a regular file", "")
                return b""
            try:
                content = file.read(MAX_FILE_BYTES + 1)
            except OSError as error:
                self._problem(relative, f"can't be read: {error.strerror}", "")
                return b""
        self.total += len(content)
        if len(content) > MAX_FILE_BYTES:
            self._problem(relative, f"larger than {MAX_FILE_BYTES >> 20} MiB", "")
            return b""
        if self.total > MAX_TOTAL_BYTES:
            limit = f"larger than {MAX_TOTAL_BYTES >> 20} MiB together"
            raise Invalid([*self.problems, Problem(str(self.root), 0, f"its files are {limit}")])
        return content

    def _inside(self, relative: str) -> bool:
        real = os.path.realpath(self.root / relative)
        if real == self.real_root or real.startswith(self.real_root.rstrip("/") + "/"):
            return True
        self._problem(
            relative,
            "is a symbolic link that leaves the site's folder",
            "put the file itself there",
        )
        return False

    def _problem(self, relative: str, message: str, hint: str) -> None:
        shown = os.path.join(str(self.root), relative) if str(self.root) != "." else relative
        self.problems.append(Problem(shown, 0, message, hint))


def is_passing(name: str) -> bool:
    """Files that editors and version control leave about: never part of a site."""
    return name.startswith((".", "#")) or name.endswith(("~", ".swp", ".tmp", ".orig", ".rej"))
