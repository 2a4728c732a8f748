"""A site file in the other format: nothing of the model is lost, and comments stay at their entries."""

from __future__ import annotations

from typing import Literal

from xsm.site import xml_file, yaml_file

Format = Literal["xml", "yaml"]


def convert(text: bytes, to: Format, path: str) -> bytes:
    """`text`, of the format that `path` ends in, as `to`. Raises `Invalid`.

    A file that has the format already comes back as it is, once it was found valid.
    """
    is_xml = path.endswith(".xml")
    source = xml_file if is_xml else yaml_file
    site = source.read(text, path)
    if is_xml == (to == "xml"):
        return text
    comments = source.comments(text, path)
    return xml_file.write(site, comments) if to == "xml" else yaml_file.write(site, comments)
