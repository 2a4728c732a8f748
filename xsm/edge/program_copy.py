"""The program that runs here, as a tar stream for another host: what `make install` would put into /opt/xsm there.

Decides what belongs to the program: XSM's own package and every package that it needs, by their metadata; never those
for its tests. Must not know how it travels.
"""

from __future__ import annotations

import gzip
import io
import re
import sys
import sysconfig
import tarfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import xsm

PREFIX = "/opt/xsm"
PROGRAMS = {"xsm": "xsm.cli.main", "xsmd": "xsm.daemon"}
UNIT = "share/xsmd.service"
PACKAGES_LIMIT = 200
"""More packages than that can't be what XSM needs."""


class NotCopied(Exception):
    """What runs here can't be copied; the text says why."""


def needs() -> tuple[str, str, str]:
    """What the other host must have: the path of the interpreter here, its version "3.11", and the kind of extension
    modules ("cpython-311-x86_64-linux-gnu")."""
    base = Path(sys.executable).resolve()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return str(base), version, str(sysconfig.get_config_var("SOABI"))


def write_to(send: Callable[[bytes], object], python: str) -> None:
    """The archive, gzipped, with names below `venv/` and `share/`, piece by piece to `send`. `python`: the path of the
    interpreter there. Raises `NotCopied`."""
    distributions = [*_distributions("xsm")]
    with (
        gzip.GzipFile(fileobj=_Sink(send), mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as archive,
    ):
        home = f"home = {Path(python).parent}\ninclude-system-site-packages = false\n"
        _text(archive, "venv/pyvenv.cfg", home)
        for name in ("python", "python3"):
            _link(archive, f"venv/bin/{name}", python)
        for program, module in PROGRAMS.items():
            _text(archive, f"venv/bin/{program}", _script(module), 0o755)
        for name, path in _packages(distributions):
            _file(archive, name, path)
        for name, path in _shared():
            _file(archive, name, path)


def _packages(distributions: list[metadata.Distribution]) -> Iterator[tuple[str, Path]]:
    """XSM itself, and what it needs. Raises `NotCopied`."""
    folder = f"venv/lib/python{needs()[1]}/site-packages"
    own = Path(xsm.__file__).parent
    for path in sorted(own.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{folder}/xsm/{path.relative_to(own)}", path
    for distribution in distributions:
        for path, name in _files(distribution):
            yield f"{folder}/{name}", path


class _Sink(io.RawIOBase):
    """Something to write to that hands everything on."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self._send(raw)
        return len(raw)


def _distributions(first: str) -> Iterator[metadata.Distribution]:
    """Everything that `first` needs at run time, itself too, by name. Raises `NotCopied`."""
    found: dict[str, metadata.Distribution] = {}
    wanted = [first]
    while wanted:
        name = _normal(wanted.pop())
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another Python or system; what is needed here is installed here
        if len(found) > PACKAGES_LIMIT:
            raise NotCopied(f"XSM seems to need more than {PACKAGES_LIMIT} packages")
        for requirement in found[name].requires or ():
            wanted_name, _, marker = requirement.partition(";")
            if "extra" not in marker:
                wanted.append(re.split(r"[^A-Za-z0-9._-]", wanted_name.strip())[0])
    if first not in found:
        raise NotCopied("XSM is not installed as a package here (no metadata of it)")
    yield from (found[name] for name in sorted(found))


def _files(distribution: metadata.Distribution) -> Iterator[tuple[Path, str]]:
    """The files of an installed package, with their names below site-packages. Raises `NotCopied`."""
    name = str(distribution.metadata["Name"])
    if distribution.files is None:
        raise NotCopied(f"nothing says which files the package {name} has")
    for file in sorted(distribution.files):
        own = file.parts[0] == ".." or "__pycache__" in file.parts
        if own or (_normal(name) == "xsm" and (file.name not in ("METADATA", "WHEEL"))):
            continue  # scripts are made anew; of XSM itself the package that runs is taken
        path = Path(str(distribution.locate_file(file)))
        if path.is_file():
            yield path, str(file)


def _shared() -> Iterator[tuple[str, Path]]:
    """Documents, schemas and the systemd unit, of the installed XSM or of its source tree."""
    root = Path(xsm.__file__).resolve().parents[1]
    installed = Path(PREFIX, "share")
    units = (installed / "xsmd.service", Path("/etc/systemd/system/xsmd.service"))
    source = (root / "tools/xsmd.service").is_file()
    unit = next(
        (u for u in ((root / "tools/xsmd.service",) if source else units) if u.is_file()), None
    )
    if unit is not None:
        yield UNIT, unit
    folders = (("doc", root / "docs"), ("schemas", root / "schemas")) if source else ()
    for name, folder in folders or (("doc", installed / "doc"), ("schemas", installed / "schemas")):
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.is_file():
                    yield f"share/{name}/{path.name}", path


def _script(module: str) -> str:
    return (
        f"#!{PREFIX}/venv/bin/python\nimport sys\n\nfrom {module} import main\n\nsys.exit(main())\n"
    )


def _normal(name: str) -> str:
    """As PEP 503 compares names of packages."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _entry(name: str, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = mode, 0
    return info


def _text(archive: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    raw = text.encode()
    info = _entry(name, mode)
    info.size = len(raw)
    archive.addfile(info, io.BytesIO(raw))


def _link(archive: tarfile.TarFile, name: str, to: str) -> None:
    info = _entry(name, 0o777)
    info.type, info.linkname = tarfile.SYMTYPE, to
    archive.addfile(info)


def _file(archive: tarfile.TarFile, name: str, path: Path) -> None:
    with path.open("rb") as stream:
        info = _entry(name, 0o755 if path.stat().st_mode & 0o100 else 0o644)
        info.size = path.stat().st_size
        archive.addfile(info, stream)
