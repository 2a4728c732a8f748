"""Fixtures: a canned site at a socket, and the command line pointed at it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli import paper_site as paper
from tests.unit.cli.canned import Ran, Runner, Site, run_xsm, serving


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """Short, because unix sockets can't have long paths; pytest's own are long."""
    with tempfile.TemporaryDirectory(prefix="xsm-") as folder:
        yield Path(folder) / "xsmd.sock"


@pytest.fixture
def site(socket_path: Path) -> Iterator[Site]:
    canned = Site(
        {
            "GET /v1/status": paper.status(),
            "GET /v1/plan": paper.plan_answer(),
            "GET /v1/vms": paper.vms(),
            "GET /v1/history": (paper.revision(), paper.revision(paper.OLD, changes=())),
            "GET /v1/events": paper.Event(1, paper.DAY, "dmz01", "daemon", "", "xsmd starts"),
            "GET /v1/files": {"site.xml": paper.SITE_XML, "configs/apache_svr.cfg": paper.CONFIG},
            f"GET /v1/revision/{paper.HEAD}": paper.revision(),
            f"GET /v1/revision/{paper.OLD}": paper.revision(paper.OLD, parents=()),
            "GET /v1/why/vm1": paper.why(),
        }
    )
    with serving(socket_path, canned):
        yield canned


@pytest.fixture
def xsm(socket_path: Path, site: Site) -> Runner:
    """Run `xsm` against the canned site."""

    def run(*args: str) -> Ran:
        return run_xsm("--socket", str(socket_path), *args)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The paper's site as a loose folder."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "site.xml").write_bytes(paper.SITE_XML.replace(b"<MEM>96<", b"<MEM>128<"))
    (tmp_path / "configs" / "apache_svr.cfg").write_bytes(paper.CONFIG)
    return tmp_path


@pytest.fixture
def accepting(site: Site) -> None:
    """The site takes whatever comes, and is done with it at once."""
    site.answers |= {
        "POST /v1/preview": paper.preview(),
        "POST /v1/apply": paper.applied(),
        "POST /v1/preview-command": paper.preview(),
        "POST /v1/command": paper.applied(),
        "GET /v1/status": paper.settled(),
        "GET /v1/plan": paper.nothing_before(),
    }
