"""Reading config files: which format, and whether it can be used at all.

Decides what is refused when a site is edited. Must not know any VM or host: what a config means
for them, with its warnings, is `domain.py`'s.
"""

from __future__ import annotations

import functools

from xsm.site import secure_xml, template, xl_devices, xl_options, xlcfg
from xsm.site.config import Config
from xsm.site.problems import Invalid, Problem

MAX_BYTES = 1024 * 1024
"""Largest config that is read."""
KEPT_CONFIGS = 1024
"""Read xl.cfg files that are kept. A site's configs are read with every revision, and nearly all are as before."""
KEPT_CHARS = 16 * 1024
"""Of a config that is kept: a few KiB describe a VM, and what is kept stays below some 100 MiB."""


def parse(name: str, path: str, data: bytes) -> Config:
    """Read and check configs/NAME.cfg or configs/NAME.xml.

    Raises `Invalid` with all problems of the file. Options that can't be carried over to a
    hypervisor are no errors; `domain.render` warns about them.
    """
    return (_kept if len(data) <= KEPT_CHARS else _parse)(name, path, data)


@functools.lru_cache(maxsize=KEPT_CONFIGS)
def _kept(name: str, path: str, data: bytes) -> Config:
    return _parse(name, path, data)


def _parse(name: str, path: str, data: bytes) -> Config:
    if len(data) > MAX_BYTES:
        hint = "a config describes one VM; a few KiB do"
        message = f"the file has {len(data)} bytes; at most {MAX_BYTES} are read"
        raise Invalid([Problem(path, 0, message, hint)])
    if path.endswith(".cfg"):
        text = _decoded(path, data)
        read_xl(text, path)
    elif path.endswith(".xml"):
        text = _xml_text(path, data)
    else:
        raise Invalid([Problem(path, 0, "a config's name ends with .cfg or .xml")])
    return Config(name=name, path=path, text=text)


def read_xl(text: str, path: str) -> xlcfg.XlConfig:
    """A checked xl.cfg; raises `Invalid`."""
    return _kept_xl(text, path) if len(text) <= KEPT_CHARS else _read_xl(text, path)


@functools.lru_cache(maxsize=KEPT_CONFIGS)
def _kept_xl(text: str, path: str) -> xlcfg.XlConfig:
    return _read_xl(text, path)


def _read_xl(text: str, path: str) -> xlcfg.XlConfig:
    config = xlcfg.parse(text, path)
    problems = xl_options.check(config)
    wrong = {problem.line for problem in problems}
    if not wrong:
        problems += xl_devices.check(config)
    if problems:
        raise Invalid(problems[: xlcfg.MAX_PROBLEMS])
    return config


def read_xml(text: str, path: str) -> template.Template:
    """A checked domain XML from a `Config`'s text; raises `Invalid`."""
    return _template(path, text.encode(), "utf-8")


def _template(path: str, data: bytes, encoding: str | None) -> template.Template:
    try:
        root = secure_xml.parse(data, encoding)
    except secure_xml.Malformed as error:
        raise Invalid([Problem(path, error.line, error.message, error.hint)]) from error
    problems = template.check(root, path)
    if problems:
        raise Invalid(problems[: xlcfg.MAX_PROBLEMS])
    return template.Template(path, root)


def _xml_text(path: str, data: bytes) -> str:
    root = _template(path, data, None).root
    encoding = root.getroottree().docinfo.encoding or "utf-8"
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except (LookupError, UnicodeDecodeError) as error:
        message = f"the text is not the {encoding[:40]} that it claims to be"
        raise Invalid([Problem(path, 0, message, "save it as UTF-8")]) from error


def _decoded(path: str, data: bytes) -> str:
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        message = "the file is UTF-16, not UTF-8" if wide else "a byte that is no UTF-8 text"
        problem = Problem(path, line, message, "save the file as UTF-8")
        raise Invalid([problem]) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise Invalid([Problem(path, line, "a NUL byte: this is no text file")])
    return text
