"""XSM's mark in a domain's <metadata> as XML.

Decides how the mark is written and read. A mark that can't be read counts as none: the domain is
then foreign, and nothing is done to it.
"""

from __future__ import annotations

from lxml import etree

from xsm.site import secure_xml
from xsm.site.tag import NAMESPACE, PREFIX, Tag

MAX_PARTS = 256
"""Parts that a fingerprint may have; a mark with more isn't ours."""


def to_element(tag: Tag) -> etree._Element:
    """The element for <metadata>, with its namespace."""
    root = etree.Element(f"{{{NAMESPACE}}}vm", nsmap={PREFIX: NAMESPACE})
    root.set("site", tag.site_id)
    root.set("name", tag.vm)
    if tag.restart:
        root.set("restart", tag.restart)
    for part in sorted(tag.fingerprint):
        etree.SubElement(root, f"{{{NAMESPACE}}}boot", {"part": part, "is": tag.fingerprint[part]})
    for part in sorted(tag.live):
        etree.SubElement(root, f"{{{NAMESPACE}}}live", {"part": part, "is": tag.live[part]})
    return root


def to_metadata(tag: Tag) -> str:
    """Text for virDomainSetMetadata, which adds the namespace itself."""
    root = etree.Element("vm")
    for name, value in to_element(tag).attrib.items():
        root.set(name, value)
    for part in to_element(tag):
        etree.SubElement(root, etree.QName(part).localname, dict(part.attrib))
    return etree.tostring(root, encoding="unicode")


def from_metadata(text: str) -> Tag | None:
    """Read what virDomainGetMetadata gives (it drops the namespace); None when it isn't XSM's
    mark.
    """
    try:
        root = secure_xml.parse(text.encode())
    except secure_xml.Malformed:
        return None
    return _from_element(root)


def from_domain_xml(xml: str) -> Tag | None:
    """Find the mark in a whole domain XML; None when there is none."""
    try:
        root = secure_xml.parse(xml.encode())
    except secure_xml.Malformed:
        return None
    found = root.find(f"metadata/{{{NAMESPACE}}}vm")
    return None if found is None else _from_element(found)


def _from_element(root: etree._Element) -> Tag | None:
    if etree.QName(root).localname != "vm":
        return None
    site_id, vm = root.get("site"), root.get("name")
    if not site_id or not vm or len(root) > MAX_PARTS:
        return None
    values: dict[str, dict[str, str]] = {"boot": {}, "live": {}}
    for child in root.iterchildren(etree.Element):
        part, value, kind = child.get("part"), child.get("is"), etree.QName(child).localname
        if kind not in values:
            continue  # a newer XSM's
        if part is None or value is None:
            return None
        values[kind][part] = value
    return Tag(site_id, vm, root.get("restart", ""), values["boot"], values["live"])
