"""Starting 200 VMs on 4 hosts by one apply, beside `virsh` in a loop on the same driver.

Each host is a private libvirtd with the test driver. XSM claims each VM from a majority before it starts it; the loop
asks nobody. `xsm apply` is then run as a user runs it, from start to exit, for one live change.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import libvirt

from tests.bench.bench_site import BIN, BenchSite, host_names, running, site_files, wait_for
from tests.bench.report import Row, Table, ms, quantile
from xsm.demo.hosts import PrivateLibvirtd

VMS = 200
APPLIES = 10
XML = """<domain type='test'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""


def run() -> Table:
    names = host_names(4)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xb-", dir="/tmp")))
        uris, hands = {}, {}
        for name in names:
            host = PrivateLibvirtd(folder / name)
            host.start()
            stack.callback(host.stop)
            uris[name] = host.uri
            hands[name] = libvirt.open(host.uri)
            stack.callback(hands[name].close)
        virsh = _virsh(folder, names, uris)
        bindings = _bindings(hands)
        site = stack.enter_context(running(names, site_files({}), uris))
        rows = [
            *_starts(site, hands),
            Row("virsh start, one after the other", f"{VMS} VMs, 4 hosts", ms(virsh)),
        ]
        rows.append(
            Row("define and start through libvirt's Python", f"{VMS} VMs, 4 hosts", ms(bindings))
        )
        rows.append(_applies(site))
    return Table(
        "Starts, and an apply as a user feels it",
        tuple(rows),
        (__doc__ or "").partition("\n\n")[2].strip(),
    )


def _vms(names: tuple[str, ...], mib: int = 32) -> dict[str, tuple[str, int]]:
    return {f"vm{n:03d}": (names[n % len(names)], mib) for n in range(VMS)}


def _virsh(folder: Path, names: tuple[str, ...], uris: dict[str, str]) -> float:
    for vm, (host, _) in _vms(names).items():
        conn = libvirt.open(uris[host])
        conn.defineXML(XML.format(name=f"hand-{vm}"))
        conn.close()
    started = time.perf_counter()
    for vm, (host, _) in _vms(names).items():
        command = ["virsh", "-q", "-c", uris[host], "start", f"hand-{vm}"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return time.perf_counter() - started


def _bindings(hands: dict[str, libvirt.virConnect]) -> float:
    """What is left of it without a process each: define and start, one after the other. Clears all up again."""
    started = time.perf_counter()
    for vm, (host, _) in _vms(tuple(hands)).items():
        hands[host].defineXML(XML.format(name=f"fast-{vm}")).create()
    took = time.perf_counter() - started
    for conn in hands.values():
        for dom in conn.listAllDomains():
            dom.destroy()
            dom.undefine()
    return took


def _starts(site: BenchSite, hands: dict[str, libvirt.virConnect]) -> list[Row]:
    before = sum(site.cpu_s().values())
    started = time.perf_counter()
    site.hosts[site.names[0]].client.apply(site.proposal(site_files(_vms(site.names))))

    def all_run() -> bool:
        on = (c.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE) for c in hands.values())
        return sum(map(len, on)) == VMS

    wait_for(f"{VMS} VMs run", all_run)
    took = time.perf_counter() - started
    used = sum(site.cpu_s().values()) - before
    figure = f"{ms(took)}, {ms(used)} CPU of all daemons"
    return [Row("one apply, until libvirt shows all running", f"{VMS} VMs, 4 hosts", figure)]


def _applies(site: BenchSite) -> Row:
    site.wait_settled()
    host = site.hosts[site.names[0]]
    folder = site.folder / "work"
    (folder / "configs").mkdir(parents=True)
    took = []
    for number in range(APPLIES):
        vms = {**_vms(site.names), "vm000": (site.names[0], 33 + number)}
        for path, content in site_files(vms).items():
            (folder / path).write_bytes(content)
        started = time.perf_counter()
        subprocess.run(
            [
                str(BIN / "xsm"),
                "--config",
                str(host.config),
                "apply",
                str(folder),
                "--yes",
                "-m",
                "More",
            ],
            check=True,
            capture_output=True,
            env={**os.environ, "XSM_CONFIG": str(host.config)},
        )
        took.append(time.perf_counter() - started)
    figure = f"{ms(quantile(took, 0.5))}, {ms(max(took))}"
    return Row(
        "xsm apply from start to exit, followed until done: median, most",
        f"{VMS} VMs, 4 hosts",
        figure,
    )
