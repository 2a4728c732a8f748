"""XSM's own mark in a domain's <metadata>: by it a domain is the site's and not foreign.

Decides what the mark says. Must not know how it is written (`tag_xml.py`): whoever only shows a tag needs no XML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NAMESPACE = "https://xen-site-manager.example/domain/1"
"""Namespace URI of the element in libvirt's <metadata>; a name, never fetched."""

PREFIX = "xsm"
"""Namespace prefix, the `key` of virDomainSetMetadata."""


@dataclass(frozen=True)
class Tag:
    """What XSM wrote into the domain when it last defined it for a boot.

    `fingerprint` is what `domain.fingerprint` gave then; a key whose value is different now names
    a part of the VM that changes only at its next boot.
    """

    site_id: str
    vm: str
    restart: str  # token of the restart that this boot obeyed, "" for none
    fingerprint: Mapping[str, str]
    live: Mapping[str, str] = field(default_factory=dict)
    """Live values as XSM last set them in this domain: keys "memory", "vcpus", "weight", "power"
    (`plan.tags`).

    With the policy `drift: report` it tells an edit of the file (wanted differs from it) from a
    change made by hand (the domain differs from it, the file doesn't).
    """
