"""Limits of disks and network cards, set on a domain by libvirt.

Decides which calls bring a domain from the limits that it has to those that it is to have. Must not know why.
"""

from __future__ import annotations

from collections.abc import Mapping

import libvirt

from xsm.edge.hypervisor import HypervisorError
from xsm.site import io_limits

RATES = tuple(
    f"{what}_{unit}_sec" for unit in ("bytes", "iops") for what in ("total", "read", "write")
)
"""A disk's; all are said at each change, so that what is no more wanted ends. Bursts end with them."""
AVERAGES = ("inbound.average", "outbound.average")
"""A card's. 0 takes its limit away."""
TEXTS = frozenset({"group_name"})


def apply(dom: libvirt.virDomain, xml: str, flags: int) -> None:
    """Give the devices that `dom` has (by `flags`: now, or in its definition) the limits that `xml` says.

    Raises `HypervisorError`, `libvirtError`; then some may be set already.
    """
    wanted = io_limits.of(xml)
    inactive = libvirt.VIR_DOMAIN_XML_INACTIVE if flags == libvirt.VIR_DOMAIN_AFFECT_CONFIG else 0
    present = io_limits.of(dom.XMLDesc(inactive))
    for disk, limits in sorted(present.disks.items()):
        new = wanted.disks.get(disk, {})
        if new != limits:
            values = _values(disk, {**dict.fromkeys(RATES, "0"), **new})
            dom.setBlockIoTune(disk, values, flags)
    for card, limits in sorted(present.cards.items()):
        new = wanted.cards.get(card, {})
        if new != limits:
            values = _values(card, {**dict.fromkeys(AVERAGES, "0"), **new})
            dom.setInterfaceParameters(card, values, flags)


def _values(device: str, limits: Mapping[str, str]) -> dict[str, int | str]:
    try:
        return {key: value if key in TEXTS else int(value) for key, value in limits.items()}
    except ValueError as error:
        raise HypervisorError(f"the limits of {device} are no numbers: {error}") from error
