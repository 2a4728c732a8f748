"""The YAML site file as a tree that knows which characters each part takes.

Decides how a text is read: at once where its layout is plain (`yaml_plain.py`), else by the YAML parser
(`yaml_parse.py`, imported only then). Must not know what the values mean.
"""

from __future__ import annotations

from dataclasses import dataclass

from xsm.site import yaml_plain
from xsm.site.entries import BOM, Findings, check_entries, decode
from xsm.site.file_limits import (
    MAX_LINE_CHARS,
    MAX_ODD_YAML_BYTES,
    MAX_YAML_BYTES,
    MAX_YAML_LINES,
    MIB,
)
from xsm.site.yaml_node import Mapping_, Shape


@dataclass(frozen=True)
class Tree:
    text: str
    bom: bool
    root: Mapping_
    spans: tuple[tuple[int, int], ...]  # of all scalars, in file order: no comment is inside one


def parse(data: bytes, findings: Findings, shape: Shape) -> Tree:
    """The tree of `data` as far as it has `shape`; what differs is noted in `findings`. Raises `Invalid`."""
    text = decode(data, findings, MAX_YAML_BYTES)
    check_entries(text.count("name"), findings)
    lines = text.count("\n") + 1
    if lines > MAX_YAML_LINES:
        raise findings.fatal(0, f"the file has {lines} lines", f"at most {MAX_YAML_LINES}")
    bom = data.startswith(BOM)
    plain = yaml_plain.PlainReader(text, shape)
    try:
        return Tree(text, bom, plain.read(), tuple(plain.spans))
    except yaml_plain.NotPlain as odd:
        _check_size(text, len(data), odd.line, findings)
    return parse_any(text, bom, findings, shape)


def _check_size(text: str, size_bytes: int, odd_line: int, findings: Findings) -> None:
    """Refuse what would keep the YAML parser busy for too long."""
    if size_bytes > MAX_ODD_YAML_BYTES:
        raise findings.fatal(
            odd_line,
            f"in a file of more than {MAX_ODD_YAML_BYTES // MIB} MiB this can't be read: "
            "an unknown or repeated key, or more than one `key: value` on the line",
            f"the layout that `xsm convert` writes is read up to {MAX_YAML_BYTES // MIB} MiB",
        )
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > MAX_LINE_CHARS:
            raise findings.fatal(
                number, f"a line of {len(line)} characters", f"at most {MAX_LINE_CHARS}"
            )


def parse_any(text: str, bom: bool, findings: Findings, shape: Shape) -> Tree:
    """The tree of a text in any layout, by the YAML parser. Raises `Invalid`."""
    if text.lstrip().startswith("<"):
        raise findings.fatal(1, "this is XML", "a site file in XML is called site.xml")
    from xsm.site import yaml_parse

    root, spans = yaml_parse.parse(text, findings, shape)
    return Tree(text, bom, root, spans)
