"""Disk specifications of xl.cfg files: xl-disk-configuration(5), in all documented forms and the
deprecated ones.

Decides what one specification says. Must not know which hypervisor will get the disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FORMATS = ("raw", "qcow", "qcow2", "vhd", "qed", "empty")
BACKEND_TYPES = ("phy", "qdisk", "tap", "standalone")
_ACCESS = {"": False, "r": True, "ro": True, "w": False, "rw": False}  # -> readonly
_FLAGS = frozenset(
    {"cdrom", "direct-io-safe", "discard", "no-discard", "colo", "no-colo", "trusted", "untrusted"}
)
_KEYS = frozenset(
    {"format", "devtype", "access", "backend", "backendtype", "specification", "vdev", "script"}
    | {"colo-host", "colo-port", "colo-export", "active-disk", "hidden-disk", "grant_usage"}
)
_PREFIX = re.compile(r"(raw|qcow2?|vhd|iscsi|e?nbd|drbd|tapdisk|tap2?|aio|ioemu|file|phy):")
_UNKNOWN_PREFIX = re.compile(r"([a-z][a-z0-9]*):(?:[^a-z0-9]|$)")
_VDEV = re.compile(r"(xvd|hd|sd|vd)([a-z]{1,3})([0-9]{0,3})")
_VDEV_NUMBERED = re.compile(r"d([0-9]{1,4})(?:p([0-9]{1,3}))?")

_PLAIN = "target,format,vdev,access - for example /dev/vg/guest,raw,xvda,rw"


class WrongSpec(Exception):
    """A device specification that can't be read."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


@dataclass(frozen=True)
class Disk:
    """One disk or CD drive. An empty target is an empty CD drive."""

    target: str
    format: str
    bus_name: str  # xvd, hd, sd or vd: the first part of the vdev
    letters: str  # which disk: a, b, ... aa
    partition: str  # the number when the vdev is a partition ("sda1"), else ""
    readonly: bool
    cdrom: bool
    backend_type: str  # "" lets the hypervisor choose
    backend: str  # driver domain, "" for dom0
    script: str
    discard: bool | None
    options: tuple[str, ...]  # what was said besides, as written

    @property
    def vdev(self) -> str:
        return self.bus_name + self.letters + self.partition


def parse(spec: str) -> Disk:
    """Read one specification; raises `WrongSpec`."""
    return _Reader(spec).disk()


class _Reader:
    """Takes parameters off the front of a specification, the way libxlu's lexer does."""

    def __init__(self, spec: str) -> None:
        self._rest = spec
        self._named: dict[str, str] = {}
        self._flags: set[str] = set()
        self._options: list[str] = []
        self._prefixed = False
        self._cdrom = False

    def disk(self) -> Disk:
        while self._rest:
            self._parameter()
        return self._checked()

    def _parameter(self) -> None:
        self._rest = self._rest.lstrip(" \t\n")
        if not self._rest:
            return
        if self._rest.startswith("target="):
            self._set("target", self._rest[len("target=") :].removesuffix(","))
            self._rest = ""
            return
        prefix = _PREFIX.match(self._rest)
        if prefix:
            self._old_prefix(prefix.group(1))
            self._rest = self._rest[prefix.end() :]
            return
        unknown = _UNKNOWN_PREFIX.match(self._rest)
        if unknown:
            raise WrongSpec(
                f"unknown prefix {unknown.group(1)}:",
                "xl knows phy:, file:, tap:aio:, qcow2:, raw: ...",
            )
        token, _, self._rest = self._rest.partition(",")
        key, equals, value = token.partition("=")
        if not equals and token in _FLAGS:
            self._flag(token)
        elif not equals:
            self._positional(token)
        elif key in _KEYS:
            self._key(key, value)
        else:
            raise WrongSpec(f"unknown parameter {key[:40]!r}", "a target with = needs target=...")

    def _old_prefix(self, prefix: str) -> None:
        self._prefixed = True
        if prefix in FORMATS:
            self._set("format", prefix)
        elif prefix in ("iscsi", "nbd", "enbd", "drbd"):
            self._set("script", f"block-{prefix}")

    def _flag(self, flag: str) -> None:
        if flag == "cdrom":
            self._cdrom = True
        elif flag in ("discard", "no-discard"):
            self._set("discard", flag)
        else:
            self._options.append(flag)

    def _key(self, key: str, value: str) -> None:
        if key == "devtype":
            if value not in ("cdrom", "disk"):
                raise WrongSpec(f"unknown devtype {value[:40]!r}", "cdrom or disk")
            self._cdrom = value == "cdrom"
        elif key in ("format", "access", "backend", "backendtype", "vdev", "script"):
            self._set(key, value)
        else:
            self._options.append(f"{key}={value}")

    def _set(self, key: str, value: str) -> None:
        old = self._named.get(key)
        if old and old != value:
            raise WrongSpec(f"{key} is given twice: {old[:40]!r} and {value[:40]!r}", _PLAIN)
        self._named[key] = value

    def _positional(self, text: str) -> None:
        """The first free of target, format (not after an old prefix), vdev and access."""
        text = text.rstrip(" \t\n") if "target" in self._named else text
        if "target" not in self._named:
            self._set("target", text)
        elif not self._prefixed and "format" not in self._named:
            if not self._named["target"] and ":" in text:  # ",hdc:cdrom,r", xm's empty drive
                self._vdev(text)
                self._set("format", "empty")
            else:
                self._set("format", text)
        elif "vdev" not in self._named:
            self._vdev(text)
        elif "access" not in self._named:
            self._set("access", text)
        else:
            raise WrongSpec(f"too many parameters: {text[:40]!r}", _PLAIN)

    def _vdev(self, text: str) -> None:
        name, colon, devtype = text.rpartition(":")
        if not colon:
            self._set("vdev", text)
            return
        if devtype not in ("cdrom", "disk"):
            raise WrongSpec(f"unknown device type {devtype[:40]!r}", "cdrom or disk")
        self._cdrom = devtype == "cdrom"
        self._set("vdev", name)

    def _checked(self) -> Disk:
        named = self._named
        disk_format = named.get("format") or "raw"
        if disk_format not in FORMATS:
            raise WrongSpec(f"unknown format {disk_format[:40]!r}", f"one of {', '.join(FORMATS)}")
        backend_type = named.get("backendtype", "")
        if backend_type not in ("", *BACKEND_TYPES):
            hint = f"one of {', '.join(BACKEND_TYPES)}"
            raise WrongSpec(f"unknown backendtype {backend_type[:40]!r}", hint)
        access = named.get("access", "")
        if access not in _ACCESS:
            raise WrongSpec(f"unknown access {access[:40]!r}", "ro or rw")
        if not named.get("vdev"):
            raise WrongSpec("it has no vdev, the name of the disk in the guest", _PLAIN)
        target = named.get("target", "")
        if not target and not self._cdrom:
            raise WrongSpec("it has no target, the file or device behind the disk", _PLAIN)
        bus_name, letters, partition = _split_vdev(named["vdev"])
        discard = {"discard": True, "no-discard": False}.get(named.get("discard", ""))
        return Disk(
            target=_path(target),
            format=disk_format if target else "empty",
            bus_name=bus_name,
            letters=letters,
            partition=partition,
            readonly=self._cdrom or _ACCESS[access],
            cdrom=self._cdrom,
            backend_type=backend_type,
            backend=named.get("backend", ""),
            script=named.get("script", ""),
            discard=discard,
            options=tuple(self._options),
        )


def _path(target: str) -> str:
    """xl puts /dev/ before a target that is no absolute path; one with a colon names something
    else (rbd:).
    """
    return target if not target or target[0] == "/" or ":" in target else f"/dev/{target}"


def _split_vdev(vdev: str) -> tuple[str, str, str]:
    """Into bus, letters, partition; d0p1 is xvda1 by xen-vbd-interface(7)."""
    vdev = vdev.removeprefix("ioemu:")
    match = _VDEV.fullmatch(vdev.removeprefix("/dev/"))
    if match:
        return match.group(1), match.group(2), match.group(3)
    numbered = _VDEV_NUMBERED.fullmatch(vdev)
    if numbered:
        partition = numbered.group(2) or ""
        return "xvd", letters_of(int(numbered.group(1))), "" if partition == "0" else partition
    raise WrongSpec(f"{vdev[:40]!r} is no vdev", "xvda, hdc, sda1 ...")


def letters_of(index: int) -> str:
    """0 -> a, 25 -> z, 26 -> aa: how disks are lettered."""
    letters = ""
    index += 1
    while index:
        index, last = divmod(index - 1, 26)
        letters = chr(ord("a") + last) + letters
    return letters
