"""Definitions that the cases use."""

from __future__ import annotations

import uuid

from lxml import etree

from xsm.site import tag_xml
from xsm.site.tag import Tag

SITE = "5f0c1a52-0000-4000-8000-00000000beef"


def uuid_of(name: str) -> str:
    return str(uuid.uuid5(uuid.UUID(SITE), f"vm/{name}"))


def mark(name: str, **fingerprint: str) -> Tag:
    return Tag(SITE, name, "", fingerprint)


def definition(
    name: str,
    *,
    uuid: str = "",
    memory_mib: int = 96,
    max_memory_mib: int = 128,
    vcpus: int = 2,
    max_vcpus: int = 4,
    tag: Tag | None = None,
    foreign: bool = False,
) -> str:
    """A domain XML for the test driver; marked as the site's unless `foreign`."""
    metadata = ""
    if not foreign:
        metadata = etree.tostring(tag_xml.to_element(tag or mark(name)), encoding="unicode")
    return f"""<domain type='test'>
  <name>{name}</name>
  <uuid>{uuid or uuid_of(name)}</uuid>
  <metadata>{metadata}</metadata>
  <memory unit='MiB'>{max_memory_mib}</memory>
  <currentMemory unit='MiB'>{memory_mib}</currentMemory>
  <vcpu current='{vcpus}'>{max_vcpus}</vcpu>
  <os><type>hvm</type></os>
  <devices>
    <interface type='network'>
      <mac address='00:16:3e:00:00:01'/><source network='default'/>
    </interface>
  </devices>
</domain>"""
