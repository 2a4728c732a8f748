"""Differences between two sites, as values: what `xsm diff` shows, what edits a file, what a merge decides on."""

from __future__ import annotations

from dataclasses import dataclass

from xsm.site.model import VM, Host, Site


@dataclass(frozen=True)
class AddSet:
    name: str
    owner: str


@dataclass(frozen=True)
class RemoveSet:
    """Invariant: comes after the removal of all its VMs."""

    name: str


@dataclass(frozen=True)
class SetOwner:
    set_name: str
    old: str
    new: str


@dataclass(frozen=True)
class AddVM:
    vm: VM  # vm.set_name says where


@dataclass(frozen=True)
class RemoveVM:
    vm: VM  # as it was


@dataclass(frozen=True)
class SetVM:
    """One field of one VM. `field` is the attribute of `VM`; None as a value: the element is absent."""

    name: str
    field: str
    old: object
    new: object


@dataclass(frozen=True)
class AddHost:
    host: Host


@dataclass(frozen=True)
class RemoveHost:
    host: Host


@dataclass(frozen=True)
class SetHost:
    name: str
    field: str
    old: object
    new: object


Change = AddSet | RemoveSet | SetOwner | AddVM | RemoveVM | SetVM | AddHost | RemoveHost | SetHost


def diff(old: Site, new: Site) -> tuple[Change, ...]:
    """What turns `old` into `new`, in an order in which it can be done, sorted by name within a kind."""
    raise NotImplementedError


def describe(change: Change) -> str:
    """One line for people: `vm1: MEM 96 => 128`, `vm5: added (256 MiB, 2 VCPUs, floating)`."""
    raise NotImplementedError
