"""A host with 1,000 domains where nothing is to do: what one look costs, and a round of its xsmd.

A private libvirtd serves libvirt's test driver; half of the domains run. The plain way to look is measured beside it:
info and XML of each domain. CPU time is that of the looking process alone, libvirtd's is shown apart.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import libvirt

from tests.bench.bench_site import pause, running, site_files
from tests.bench.processes import exact_cpu_s
from tests.bench.report import Row, Table, ms
from xsm.demo.hosts import PrivateLibvirtd
from xsm.edge.libvirt_hypervisor import LibvirtHypervisor

DOMAINS = 1000
LOOKS = 20
ROUND_S = 10.0
XML = """<domain type='test'><name>d{n:04d}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type>hvm</type></os>
<devices><interface type='network'><source network='default'/></interface></devices></domain>"""


def run() -> Table:
    with tempfile.TemporaryDirectory(prefix="xb-", dir="/tmp") as folder:
        host = PrivateLibvirtd(Path(folder) / "v")
        host.start()
        try:
            return _measured(host)
        finally:
            host.stop()


def _measured(host: PrivateLibvirtd) -> Table:
    conn = libvirt.open(host.uri)
    for number in range(DOMAINS):
        dom = conn.defineXML(XML.format(n=number))
        if number % 2:
            dom.create()
    pid = int((host.directory / "libvirtd.pid").read_text())
    hypervisor = LibvirtHypervisor(host.uri)
    rows = []

    def look() -> None:
        assert len(hypervisor.domains()) == DOMAINS
        hypervisor.facts()

    def plain() -> None:
        for dom in conn.listAllDomains(0):
            dom.info()
            dom.XMLDesc(0)

    first, _, _ = _cost(look, 1, pid)
    rows.append(Row("first look after a start", f"{DOMAINS} domains", f"{ms(first)} CPU"))
    for what, call, goal in (
        ("a look when nothing has changed", look, "50 ms CPU"),
        ("the plain way: list, then info and XML of each", plain, ""),
    ):
        used, served, calls = _cost(call, LOOKS, pid)
        figure = f"{ms(used)} CPU ({calls} libvirt calls; libvirtd {ms(served)})"
        rows.append(Row(what, f"{DOMAINS} domains", figure, goal))
    hypervisor.close()
    rows.append(_xsmd(host))
    conn.close()
    return Table(
        "A host with 1,000 domains, nothing to do",
        tuple(rows),
        (__doc__ or "").partition("\n\n")[2].strip(),
    )


def _xsmd(host: PrivateLibvirtd) -> Row:
    """A daemon on that host; the domains are not the site's, so that there is nothing to do."""
    with running(("h01",), site_files({}), {"h01": host.uri}) as site:
        pid = site.hosts["h01"].pid
        began, used = time.monotonic(), exact_cpu_s(pid)
        pause(ROUND_S)
        used = (exact_cpu_s(pid) - used) / (time.monotonic() - began)
    figure = f"{ms(used)} CPU a second"
    return Row("its idle xsmd, a round a second", f"{DOMAINS} domains", figure, "50 ms CPU")


def _cost(call: Callable[[], None], times: int, libvirtd: int) -> tuple[float, float, int]:
    """CPU seconds of this process and of libvirtd, and calls to libvirt, each time."""
    own, served = time.process_time(), exact_cpu_s(libvirtd)
    for _ in range(times):
        call()
    used = (time.process_time() - own) / times
    served = (exact_cpu_s(libvirtd) - served) / times
    return used, served, _calls(call)


def _calls(call: Callable[[], None]) -> int:
    """How many of libvirt's functions that ask libvirtd one call makes."""
    names: list[str] = []

    def note(_frame: object, event: str, function: object) -> None:
        if event == "c_call":
            name = getattr(function, "__name__", "")
            if name.startswith("vir") and not name.startswith(LOCAL):
                names.append(name)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return len(names)


LOCAL = (
    "virDomainGetUUID",
    "virDomainGetName",
    "virDomainGetID",
    "virDomainFree",
    "virGetLastError",
)
"""Functions that answer from what the list brought."""
