"""Limits of a domain's disks (<iotune>) and network cards (<bandwidth>): what of a definition may change while it runs.

Decides which words of libvirt's are such limits, and how they are told to people. Must not know how they are set, nor
whether a hypervisor takes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from lxml import etree

from xsm.site import secure_xml

MAX_TEXT_CHARS = 200
"""Of the words for people, which are kept in the domain's mark, too."""


@dataclass(frozen=True)
class IoLimits:
    """A domain's devices with what limits them, in libvirt's words; {} for one without. Numbers as they are written."""

    disks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by target: "vda"
    cards: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by MAC address


def of(xml: str) -> IoLimits:
    """`xml`: a domain's, with MAC addresses."""
    root = secure_xml.parse(xml.encode())
    disks = {
        target.get("dev", ""): _of_disk(disk)
        for disk in root.iterfind("devices/disk")
        if (target := disk.find("target")) is not None
    }
    cards = {
        mac.get("address", "").lower(): _of_card(card)
        for card in root.iterfind("devices/interface")
        if (mac := card.find("mac")) is not None
    }
    return IoLimits(disks, cards)


def text(root: etree._Element) -> str:
    """The limits of a config for people, "" for none: "vda total_bytes_sec=1048576; card 1 inbound.average=1000"."""
    said = []
    for disk in root.iterfind("devices/disk"):
        target, limits = disk.find("target"), _of_disk(disk)
        if target is not None and limits:
            said.append(f"{target.get('dev')} {_listed(limits)}")
    for number, card in enumerate(root.iterfind("devices/interface"), 1):
        limits = _of_card(card)
        if limits:
            said.append(f"card {number} {_listed(limits)}")
    whole = "; ".join(said)
    if len(whole) <= MAX_TEXT_CHARS:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
    return f"{whole[: MAX_TEXT_CHARS - 20]}... ({digest})"


def strip(root: etree._Element) -> None:
    """Take the limits away."""
    for path in ("devices/disk/iotune", "devices/interface/bandwidth"):
        for element in root.findall(path):
            element.getparent().remove(element)


def _of_disk(disk: etree._Element) -> dict[str, str]:
    tune = disk.find("iotune")
    children = [] if tune is None else list(tune.iterchildren(etree.Element))
    return {str(e.tag): (e.text or "").strip() for e in children if (e.text or "").strip() != "0"}


def _of_card(card: etree._Element) -> dict[str, str]:
    """As virDomainSetInterfaceParameters has them: "inbound.average"."""
    return {
        f"{way}.{key}": str(value).strip()
        for way in ("inbound", "outbound")
        for element in card.findall(f"bandwidth/{way}")
        for key, value in element.attrib.items()
        if str(value).strip() != "0"
    }


def _listed(limits: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(limits.items()))
