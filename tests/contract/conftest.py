"""The hypervisors that must all behave alike: one in memory, one through libvirt's test driver."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

from tests.contract.subjects import LibvirtSubject, SimSubject, Subject
from xsm.demo.hosts import PrivateLibvirtd


@pytest.fixture(scope="session")
def libvirtd() -> Iterator[PrivateLibvirtd]:
    with tempfile.TemporaryDirectory(prefix="xsm-", dir="/tmp") as directory:
        host = PrivateLibvirtd(directory)
        host.start()
        try:
            yield host
        finally:
            host.stop()


@pytest.fixture(params=["sim", pytest.param("libvirt", marks=pytest.mark.libvirt)])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    if request.param == "sim":
        yield SimSubject()
        return
    subject = LibvirtSubject(request.getfixturevalue("libvirtd"))
    try:
        yield subject
    finally:
        subject.clear()
