"""One running site for each module: it takes some seconds to come up, and the cases in it are apart by their VMs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import libvirt
import pytest

from tests.site.running_site import Site, running_site


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """The hosts that the module names in HOSTS."""
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    with running_site(*request.module.HOSTS) as site:
        yield site
    if not request.session.testsfailed:  # else the daemons' logs are of use
        shutil.rmtree(site.stage.folder)
