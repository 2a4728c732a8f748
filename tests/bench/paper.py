"""Sites of any size on paper: site files as text, documents, and the reports of hosts that run just what they should.

Decides how many VMs, hosts and configs there are and that equal sizes give equal sites. Must not know what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from xsm.plan.observed import Domain, DomainState, HostReport, HypervisorFacts
from xsm.plan.tags import fresh
from xsm.plan.view import View
from xsm.plan.wanted import Wanted, WantedVM
from xsm.site.document import Document, Files, load
from xsm.site.model import VM, Host, HypervisorKind, Power, Site, VMSet
from xsm.site.state import Member, State
from xsm.site.state_file import write as write_state
from xsm.site.xml_file import write as write_xml

SITE_ID = "6f1c1c0a-6d6e-4f8e-9c9b-3d5f0a7b1c2d"
NOW = 1_000_000.0
VMS_PER_HOST = 10
HOST_MEMORY_MIB = 65_536
SETS = 10
APART_EVERY = 5
"""Of five floating VMs one must be apart from some others."""

CONFIG = """\
type = "pv"
kernel = "/boot/vmlinuz-xen"
extra = "console=hvc0"
root = "/dev/xvda1 ro"
maxmem = 4096
maxvcpus = 4
disk = ["/srv/xen/{name}.img,raw,xvda,r", "phy:/dev/vg/{name},xvdb,r"]
vif = ["bridge=xenbr0,model=virtio"]
vfb = ["type=vnc,vnclisten=127.0.0.1,vncunused=1"]
on_crash = "restart"
"""

Result = TypeVar("Result")


def cpu_s(work: Callable[[], Result], times: int = 3) -> tuple[float, Result]:
    """CPU seconds of this process for `work`, the least of several times, and its result."""
    least = float("inf")
    for _ in range(times):
        started = time.process_time()
        result = work()
        least = min(least, time.process_time() - started)
    return least, result


def host_names(count: int) -> tuple[str, ...]:
    return tuple(f"h{i:05}" for i in range(count))


def vms(count: int, hosts: Sequence[str], configs: int = 1) -> tuple[VM, ...]:
    """Half of them pinned, half floating; of the floating ones some apart from others."""
    return tuple(_vm(i, hosts, configs) for i in range(count))


def _vm(i: int, hosts: Sequence[str], configs: int) -> VM:
    pinned = i % 2 == 0
    tags = (f"tier{i // 2 // 50}",) if not pinned and (i // 2) % APART_EVERY == 0 else ()
    return VM(
        f"vm{i:06}",
        f"web{i % configs:04}",
        f"set{i % SETS:02}",
        vcpus=1 + i % 4,
        memory_mib=512 + 128 * (i % 3),
        host=hosts[i % len(hosts)] if pinned else None,
        ip="dhcp" if i % 4 else f"10.{1 + (i >> 16)}.{i >> 8 & 255}.{i & 255}/8",
        mac=f"00:16:3e:{i >> 16 & 255:02x}:{i >> 8 & 255:02x}:{i & 255:02x}" if i % 3 else None,
        max_memory_mib=1024,
        apart=tags,
    )


def site_of(found: Sequence[VM], hosts: Sequence[str]) -> Site:
    members: dict[str, list[VM]] = {f"set{k:02}": [] for k in range(SETS)}
    for vm in found:
        members[vm.set_name].append(vm)
    sets = tuple(VMSet(name, "root@domain.com", tuple(of)) for name, of in members.items())
    return Site(sets, tuple(Host(name, memory_mib=HOST_MEMORY_MIB) for name in hosts))


def state_of(hosts: Sequence[str], placement: Mapping[str, str]) -> State:
    members = {
        name: Member(name, f"10.250.{i >> 8}.{i & 255}", f"https://10.250.{i >> 8}.{i & 255}:7080")
        for i, name in enumerate(hosts)
    }
    return State(site_id=SITE_ID, members=members, placement=placement)


def placed(found: Sequence[VM], hosts: Sequence[str]) -> dict[str, str]:
    """Floating VMs in a row over all hosts."""
    return {vm.name: hosts[i % len(hosts)] for i, vm in enumerate(found) if vm.host is None}


def files(count: int, host_count: int = 0, configs: int = 1) -> dict[str, bytes]:
    """A whole revision: site.xml, configs, state."""
    hosts = host_names(host_count or max(1, count // VMS_PER_HOST))
    found = vms(count, hosts, configs)
    names = [f"web{k:04}" for k in range(configs)]
    return {
        "site.xml": write_xml(site_of(found, hosts)),
        **{f"configs/{name}.cfg": CONFIG.format(name=name).encode() for name in names},
        **write_state(state_of(hosts, placed(found, hosts))),
    }


def document(count: int, host_count: int = 0, configs: int = 1) -> Document:
    """The same without reading a long text: a small one is read and its VMs are replaced."""
    hosts = host_names(host_count or max(1, count // VMS_PER_HOST))
    found = vms(count, hosts, configs)
    small: Files = files(1, 1, configs)
    return replace(
        load(small), site=site_of(found, hosts), state=state_of(hosts, placed(found, hosts))
    )


def with_vms(of: Document, found: Sequence[VM]) -> Document:
    return replace(of, site=replace(site_of(found, ()), hosts=of.site.hosts))


def facts() -> HypervisorFacts:
    return HypervisorFacts(
        HypervisorKind.XEN,
        "4.17",
        "x86_64",
        16,
        HOST_MEMORY_MIB,
        HOST_MEMORY_MIB // 2,
        migrate_uri="xen+tls://there",
    )


def domain(want: WantedVM) -> Domain:
    """The running domain that XSM made of it, untouched since."""
    return Domain(
        want.name,
        want.uuid,
        DomainState.RUNNING,
        want.vm.memory_mib,
        want.max_memory_mib,
        want.vm.vcpus,
        want.max_vcpus,
        want.cpu_weight,
        mac=want.mac,
        tag=fresh(SITE_ID, want, HypervisorKind.XEN, Power.RUNNING),
    )


def view(want: Wanted, hosts: Sequence[str], empty: bool = False) -> View:
    """What hosts report that run all that is wanted of them, or (`empty`) nothing."""
    reports = {}
    for host in hosts:
        names = () if empty else want.by_host.get(host, ())
        domains = tuple(domain(want.by_name[name]) for name in names)
        reports[host] = HostReport(host, NOW, "r1", facts(), domains)
    return View(reports, {}, NOW, {}, None)
