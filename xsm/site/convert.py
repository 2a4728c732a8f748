"""A site file in the other format: nothing of the model is lost, and comments stay at their entries."""

from __future__ import annotations

from typing import Literal

from xsm.site import xml_file, yaml_file

Format = Literal["xml", "yaml"]


def convert(text: bytes, to: Format, path: str, source: Format | None = None) -> bytes:
    """`text`, of the format `source`, as `to`. None: of the format that `path` ends in. Raises `Invalid`.

    A file that has the format already comes back as it is, once it was found valid.
    """
    is_xml = source == "xml" if source else path.endswith(".xml")
    reader = xml_file if is_xml else yaml_file
    site = reader.read(text, path)
    if is_xml == (to == "xml"):
        return text
    comments = reader.comments(text, path)
    return xml_file.write(site, comments) if to == "xml" else yaml_file.write(site, comments)
