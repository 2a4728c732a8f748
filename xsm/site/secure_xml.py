"""Reading XML that somebody else wrote: no DTD, no entities, no network, bounded depth and size.

Decides what is refused before anybody looks at the content.
"""

from __future__ import annotations

from lxml import etree

MAX_BYTES = 4 * 1024 * 1024
"""Largest document that is looked at."""


class Malformed(Exception):
    """The text is no acceptable XML; `line` counts from 1, 0 when it isn't known."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.line, self.message, self.hint = line, message, hint


def parse(data: bytes, encoding: str | None = None) -> etree._Element:
    """Parse a document and give its root, with line numbers (`sourceline`).

    Raises `Malformed` for anything that isn't well-formed, has a document type declaration, or is
    deeper than libxml2's 256 levels. `encoding` overrides what the document says of itself.
    """
    if len(data) > MAX_BYTES:
        raise Malformed(0, f"the file has {len(data)} bytes; at most {MAX_BYTES} are read")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        encoding=encoding,
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        line = error.lineno or 0
        raise Malformed(line, f"not well-formed XML: {error.msg}") from error
    except ValueError as error:
        raise Malformed(0, f"not well-formed XML: {error}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise Malformed(
            1, "a document type declaration is not accepted", "remove <!DOCTYPE ...> and entities"
        )
    return root
