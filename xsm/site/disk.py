"""A disk as the site file names it: a volume of a libvirt storage pool, and how it is made where there is none.

The text is `name=root size=10G pool=default from=debian-12.qcow2 format=qcow2`, words as FENCE has them. Decides what
such a text may be, and what the volume is called. Must not know hosts, nor whether the volume is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

HINT = (
    "key=value words, for example name=root size=10G pool=default from=debian-12.qcow2 format=qcow2"
)
PATTERN = r"([a-z]+=[^ =]+ +)*[a-z]+=[^ =]+"
FORMATS = ("qcow2", "raw")
DEFAULT_POOL = "default"

NAME = re.compile("[a-z0-9][a-z0-9_]{0,19}")
"""Without a dash or a dot: the last dash of a volume's name parts VM and disk, so that no two VMs share a volume."""
_WORD = re.compile("[A-Za-z0-9][A-Za-z0-9._+-]{0,126}")
"""Names of pools and of volumes: safe as a file name and in XML."""
_SIZE = re.compile("([1-9][0-9]{0,8})([MGT])")
_FACTOR_MIB = {"M": 1, "G": 1024, "T": 1024 * 1024}
MAX_SIZE_MIB = 1024 * 1024 * 1024
"""1024 TiB: more is a slip of the pen."""
_KEYS = ("name", "size", "pool", "from", "format")


@dataclass(frozen=True)
class Disk:
    """`origin`: the volume of the same pool that a new one is copied from, "" for an empty one."""

    name: str
    size_mib: int
    pool: str = DEFAULT_POOL
    origin: str = ""
    format: str = FORMATS[0]

    def __str__(self) -> str:
        """The shortest text that means it."""
        words = [f"name={self.name}", f"size={size_word(self.size_mib)}"]
        words += [f"pool={self.pool}"] if self.pool != DEFAULT_POOL else []
        words += [f"from={self.origin}"] if self.origin else []
        words += [f"format={self.format}"] if self.format != FORMATS[0] else []
        return " ".join(words)

    def volume(self, vm: str) -> Volume:
        """What it is for that VM. A raw one has no suffix, so that it may be in a pool of block devices, too."""
        suffix = "" if self.format == "raw" else f".{self.format}"
        name = f"{vm}-{self.name}{suffix}"
        return Volume(self.name, self.pool, name, self.size_mib, self.format, self.origin)


@dataclass(frozen=True, order=True)
class Volume:
    """A VM's disk as a volume of a libvirt storage pool, as it is wanted."""

    disk: str
    pool: str
    name: str
    size_mib: int
    format: str
    origin: str = ""


def parse(text: str) -> Disk:
    """Raises `ValueError` that says what is wrong."""
    values: dict[str, str] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals or key not in _KEYS:
            raise ValueError(f"{word[:60]!r} is none of {'=, '.join(_KEYS)}=")
        if key in values:
            raise ValueError(f"{key}= is there twice")
        values[key] = value
    for key in ("name", "size"):
        if key not in values:
            raise ValueError(f"it has no {key}=")
    if not NAME.fullmatch(values["name"]):
        message = f"name={values['name'][:40]}: small letters, digits and _, at most 20"
        raise ValueError(message)
    for key in ("pool", "from"):
        if key in values and not _WORD.fullmatch(values[key]):
            raise ValueError(f"{key}={values[key][:40]}: letters, digits and . _ + - only")
    kind = values.get("format", FORMATS[0])
    if kind not in FORMATS:
        raise ValueError(f"format={kind[:40]}: {' or '.join(FORMATS)}")
    return Disk(
        values["name"],
        _size_mib(values["size"]),
        values.get("pool", DEFAULT_POOL),
        values.get("from", ""),
        kind,
    )


def _size_mib(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError(f"size={text[:40]}: a whole number with M, G or T, for example 10G")
    size_mib = int(found[1]) * _FACTOR_MIB[found[2]]
    if size_mib > MAX_SIZE_MIB:
        raise ValueError(f"size={text}: more than {size_word(MAX_SIZE_MIB)}")
    return size_mib


def size_word(size_mib: int) -> str:
    """As the site file writes it: in the largest unit that needs no fraction."""
    for unit in ("T", "G"):
        if size_mib and size_mib % _FACTOR_MIB[unit] == 0:
            return f"{size_mib // _FACTOR_MIB[unit]}{unit}"
    return f"{size_mib}M"


def size_text(size_mib: int) -> str:
    """For people: "10 GiB"."""
    word = size_word(size_mib)
    return f"{word[:-1]} {word[-1]}iB"


def volumes(vm: str, disks: Iterable[Disk]) -> tuple[Volume, ...]:
    """The VM's disks, in their order."""
    return tuple(disk.volume(vm) for disk in disks)
