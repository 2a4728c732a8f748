"""The lab's fixtures: one lab with one site for all cases, an observer that watches throughout. Only for `make lab`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.lab import ssh
from tests.lab.lab import BY_SUITE, Lab, end_workers_labs
from tests.lab.observer import Observer
from tests.lab.places import FAILED
from tests.lab.site import Site

if os.environ.get("XSM_LAB_RUN") != "1":
    collect_ignore_glob = ["test_*.py"]


RAN_TWICE = "A GUEST RAN TWICE"
failures: list[pytest.TestReport] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        failures.append(report)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ctrl-C kills pytest's workers before they can end their labs. And `.ci/run` wants to know what failed."""
    if os.environ.get("XSM_LAB_RUN") != "1" or not config.getoption("numprocesses", None):
        return
    end_workers_labs()
    twice = any(RAN_TWICE in report.longreprtext for report in failures)
    files = sorted({report.nodeid.split("::")[0] for report in failures})
    FAILED.write_text("" if twice else " ".join(files))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that begin with hosts without a site come before the others' site is made. Of the rest the files of many
    cases first: what is left for the end is short, and no worker waits long for another one."""
    bare = {item.path for item in items if "bare" in getattr(item, "fixturenames", ())}
    cases = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in bare, -cases[item.path], item.path))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Four hosts, from nothing, and a site on them; everything is gone afterwards. With XSM_LAB_USE=1 those that
    `make lab-up` made, which stay."""
    lab = Lab()
    if os.environ.get("XSM_LAB_USE") == "1" and lab.is_up():
        lab.wait_whole()
        yield lab
        return
    lab.up(BY_SUITE)
    try:
        lab.make_site()
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="session")
def site(lab: Lab) -> Site:
    return Site(lab)


@pytest.fixture(scope="session")
def watching() -> Iterator[Observer]:
    with Observer() as observer:
        yield observer


@pytest.fixture(autouse=True)
def observer(watching: Observer) -> Iterator[Observer]:
    """Whatever a case is about: afterwards no guest may ever have run twice."""
    yield watching
    watching.wait_look()
    twice = watching.twice()
    assert not twice, f"{RAN_TWICE}: {twice}"


@pytest.fixture(scope="module")
def bare() -> Iterator[Lab]:
    """Hosts without a site: with libvirt and sshd, and nothing of XSM's but the program on the first one."""
    lab = Lab()
    if lab.is_up() and os.environ.get("XSM_LAB_USE") == "1":
        pytest.skip("a lab is up already, and its hosts are not bare")
    lab.up(BY_SUITE)
    try:
        for name in ("dmz01", "dmz02"):
            ssh.start(lab[name])
        ssh.let_in(lab["dmz01"], lab["dmz02"])  # ssh-copy-id
        yield lab
    finally:
        lab.down()
