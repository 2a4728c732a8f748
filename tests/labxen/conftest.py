"""The Xen lab's fixtures: one lab with one site for all cases. Only for `make lab-xen`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.labxen.guests import Guests
from tests.labxen.lab import XenLab
from tests.labxen.site import Site

if os.environ.get("XSM_LAB_XEN_RUN") != "1":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def lab() -> Iterator[XenLab]:
    """Two Xen hosts, from nothing, and a site on them; everything is gone afterwards. With XSM_LAB_USE=1 those that
    `python -m tests.labxen up` made, which stay."""
    lab = XenLab()
    if os.environ.get("XSM_LAB_USE") == "1" and lab.is_up():
        lab.wait_whole()
        yield lab
        return
    lab.up()
    try:
        lab.make_site()
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="module")
def bare() -> Iterator[XenLab]:
    """Hosts with Xen and libvirt, and no site. With XSM_LAB_USE=1 those that are up, if any."""
    lab = XenLab()
    if os.environ.get("XSM_LAB_USE") == "1" and lab.is_up():
        yield lab
        return
    lab.up()
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="session")
def site(lab: XenLab) -> Site:
    return Site(lab)


@pytest.fixture(scope="session")
def guests(lab: XenLab) -> Guests:
    return Guests(lab)
