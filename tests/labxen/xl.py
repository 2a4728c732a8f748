"""Xen's own word on its domains, by `xl` in Domain-0: past libvirt, and past XSM.

Decides how xl's tables are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.labxen.hosts import XenHost


@dataclass(frozen=True)
class XenDomain:
    """A row of `xl list`. `states`: letters of xl's state column, such as "rb"; `memory_mib` is what it has now."""

    name: str
    domid: int
    memory_mib: int
    vcpus: int  # online
    states: str


ROW = re.compile(r"^(\S.*?)\s+(\d+)\s+(\d+)\s+(\d+)\s+([a-z-]{6})\s+[\d.]+\s*$")


def domains(host: XenHost) -> dict[str, XenDomain]:
    """By name, without Domain-0."""
    found = {}
    for line in host.xl("list").splitlines():
        row = ROW.match(line)
        if row and row[2] != "0":
            states = row[5].replace("-", "")
            found[row[1]] = XenDomain(row[1], int(row[2]), int(row[3]), int(row[4]), states)
    return found


def weight_and_cap(host: XenHost, name: str) -> tuple[int, int]:
    """Of Xen's credit scheduler."""
    line = host.xl("sched-credit", "-d", name).splitlines()[-1].split()
    return int(line[-2]), int(line[-1])
