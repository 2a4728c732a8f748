"""A VM's UUID and MAC addresses where the site file doesn't give them: derived, so that they last
for its life.

Neither depends on the host, the hypervisor or the config, and every host derives the same.
"""

from __future__ import annotations

import hashlib
import uuid as uuid_module

from xsm.site.model import VM

XEN_OUI = "00:16:3e"
"""Prefix of the MAC addresses that IEEE gave to Xen (xl-network-configuration(5))."""


def uuid_of(site_id: str, vm: VM) -> str:
    """The VM's own UUID, else one derived from the site's id (a UUID) and the VM's name."""
    if vm.uuid is not None:
        return str(uuid_module.UUID(vm.uuid))
    return str(uuid_module.uuid5(uuid_module.UUID(site_id), f"vm/{vm.name}"))


def mac_of(vm: VM, uuid: str) -> str:
    """The MAC of the VM's first interface: its HWADDR, else one derived from `uuid`."""
    return vm.mac.lower() if vm.mac is not None else interface_mac(uuid, 0)


def interface_mac(uuid: str, index: int) -> str:
    """A lasting MAC for the interface number `index` (from 0) of the VM with `uuid`."""
    digest = hashlib.sha256(f"{uuid}/interface/{index}".encode()).digest()
    return f"{XEN_OUI}:{digest[0]:02x}:{digest[1]:02x}:{digest[2]:02x}"
