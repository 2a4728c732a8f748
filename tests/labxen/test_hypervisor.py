"""What libvirt's Xen driver does, and `LibvirtHypervisor` makes of it, on real Xen: hosts without a site, asked from
outside through their libvirt sockets. What it says is compared with `xl`'s word."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.lab.processes import wait_for
from tests.labxen import xl
from tests.labxen.guests import Guests
from tests.labxen.lab import XenLab
from tests.labxen.site import CONFIGS, SOON_S
from xsm.edge.hypervisor import HypervisorError
from xsm.edge.libvirt_hypervisor import LibvirtHypervisor
from xsm.edge.xen_domains import LOOK_EVERY_S, Unshown
from xsm.peer.events import Way
from xsm.plan.observed import Domain, DomainState
from xsm.site import domain
from xsm.site.config import Config
from xsm.site.model import VM, HypervisorKind
from xsm.site.tag import Tag

SITE = "5f0c1a52-0000-4000-8000-00000000beef"
UUIDS = {
    "vm1": "11111111-2222-4333-8444-000000000001",
    "vm2": "11111111-2222-4333-8444-000000000002",
}
PLAIN_TCP = b"""\
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
keepalive_interval = 5
keepalive_count = 3
"""
"""libvirtd's settings for hosts that have no certificates."""
BOX = b"""\
name = "box"
kernel = "/srv/guest/vmlinux"
ramdisk = "/srv/guest/initrd"
extra = "console=hvc0"
memory = 120
"""

Hosts = dict[str, LibvirtHypervisor]


@pytest.fixture(scope="module")
def hypervisors(bare: XenLab) -> Iterator[Hosts]:
    for host in bare.hosts.values():
        host.run("sh", "-c", "cat >/root/tcp.conf", stdin=PLAIN_TCP)
        host.stop_libvirtd()
        host.start_libvirtd("--config", "/root/tcp.conf")
    opened = {name: LibvirtHypervisor(host.libvirt_uri) for name, host in bare.hosts.items()}
    yield opened
    for each in opened.values():
        each.close()


@pytest.fixture(scope="module")
def consoles(bare: XenLab) -> Guests:
    return Guests(bare)


def start(h: LibvirtHypervisor, name: str, config: str, weight: int | None = None) -> str:
    vm = VM(name, config, "My_site", vcpus=1, memory_mib=144, cpu_weight=weight)
    text = Config(config, f"configs/{config}.cfg", CONFIGS[config])
    uuid, mac = UUIDS[name], f"aa:00:00:00:00:0{name[-1]}"
    kind, tag = HypervisorKind.XEN, Tag(SITE, name, "", {})
    h.define(domain.render(vm, text, uuid=uuid, mac=mac, kind=kind, tag=tag).xml)
    h.start(uuid)
    return uuid


def seen(h: LibvirtHypervisor, name: str) -> Domain:
    return next(d for d in h.domains() if d.name == name)


def test_facts(hypervisors: Hosts) -> None:
    facts = hypervisors["xen01"].facts()
    assert (facts.kind, facts.arch, facts.cpus) == (HypervisorKind.XEN, "x86_64", 2)
    assert facts.version.startswith("Xen 4.17.") and facts.cpu_model
    assert 0 < facts.free_memory_mib < facts.memory_mib
    assert facts.no_abort and not facts.cold_only


def test_a_pv_guest_changes_while_it_runs(
    bare: XenLab, hypervisors: Hosts, consoles: Guests
) -> None:
    """Proves that memory, vCPUs and weight are Xen's at once; that vCPUs beyond the host's and memory beyond the
    maximum are refused; and that a weight is read from the scheduler, though the XML still says the first one."""
    h, host = hypervisors["xen01"], bare["xen01"]
    uuid = start(h, "vm1", "apache_svr", weight=512)
    consoles.wait_ticks("vm1", 2, "xen01")
    assert xl.weight_and_cap(host, "vm1") == (512, 0)
    h.set_weight(uuid, 700)
    h.set_memory(uuid, 128)
    h.set_vcpus(uuid, 2)
    for refused in (lambda: h.set_vcpus(uuid, 3), lambda: h.set_memory(uuid, 170)):
        with pytest.raises(HypervisorError):
            refused()
    wait_for("the guest has followed", lambda: xl.domains(host)["vm1"].vcpus == 2, SOON_S)
    assert xl.domains(host)["vm1"].memory_mib == 128
    assert xl.weight_and_cap(host, "vm1") == (700, 0)
    now = seen(h, "vm1")
    assert (now.memory_mib, now.max_memory_mib, now.vcpus, now.max_vcpus) == (128, 160, 2, 4)
    assert (now.cpu_weight, now.started_weight) == (700, 512)


def test_a_pause(bare: XenLab, hypervisors: Hosts) -> None:
    h = hypervisors["xen01"]
    h.suspend(UUIDS["vm1"])
    paused = seen(h, "vm1")
    assert (paused.state, paused.incoming, paused.cut_off) == (DomainState.PAUSED, False, False)
    assert "p" in xl.domains(bare["xen01"])["vm1"].states
    h.resume(UUIDS["vm1"])
    assert seen(h, "vm1").state is DomainState.RUNNING


def test_what_xl_made_is_not_shown_by_libvirt_and_found(bare: XenLab, hypervisors: Hosts) -> None:
    """Proves that libvirt lists nothing of it, that two looks with xl find it, and that free memory counts it."""
    h, host = hypervisors["xen01"], bare["xen01"]
    free_mib = h.facts().free_memory_mib
    host.run("sh", "-c", "cat >/root/box.cfg && xl create -q /root/box.cfg", stdin=BOX)
    now = [0.0]
    unshown = Unshown(ask=lambda: host.xl("list", "-v"), clock=lambda: now[0])
    shown = [d.uuid for d in h.domains()]
    assert "box" not in [d.name for d in h.domains()]
    assert unshown.domains(shown) == ()
    now[0] += LOOK_EVERY_S
    (box,) = unshown.domains(shown)
    assert (box.name, box.memory_mib, box.state, box.unshown) == (
        "box",
        120,
        DomainState.RUNNING,
        True,
    )
    assert free_mib - h.facts().free_memory_mib >= 120
    host.xl("destroy", "box")


def test_a_live_migration_and_what_it_forgets(
    bare: XenLab, hypervisors: Hosts, consoles: Guests
) -> None:
    """Proves that the guest goes on without a gap; that the target shows it as arriving meanwhile, and as nothing else;
    and that the weight is the first one again."""
    source, target, uuid = hypervisors["xen01"], hypervisors["xen02"], UUIDS["vm1"]
    moving = threading.Thread(target=lambda: source.migrate(uuid, Way("xen+tcp://xen02/system")))
    moving.start()
    arriving = []
    while moving.is_alive():
        arriving += [d for d in target.domains() if d.name == "vm1"]
        moving.join(0.5)
    before = [d for d in arriving if d.state is not DomainState.RUNNING]
    assert before and all(d.incoming and not d.persistent for d in before)
    assert [d.name for d in source.domains()] == ["Domain-0"]
    arrived = seen(target, "vm1")
    assert (arrived.state, arrived.persistent, arrived.incoming) == (
        DomainState.RUNNING,
        True,
        False,
    )
    assert (arrived.cpu_weight, arrived.started_weight) == (512, 512)
    assert (arrived.memory_mib, arrived.max_memory_mib, arrived.vcpus) == (128, 160, 2)
    consoles.wait_ticks("vm1", 3, "xen02")
    assert consoles.one_life("vm1") == ["xen01", "xen02"]


def test_its_end(bare: XenLab, hypervisors: Hosts) -> None:
    """Proves that the guest heeds a shutdown request, and that nothing of it is left."""
    h, uuid = hypervisors["xen02"], UUIDS["vm1"]
    with pytest.raises(HypervisorError, match="not being migrated"):
        h.abort(uuid)
    h.shutdown(uuid)
    wait_for("vm1 is off", lambda: "vm1" not in xl.domains(bare["xen02"]), SOON_S)
    wait_for("libvirt knows it", lambda: seen(h, "vm1").state is DomainState.SHUTOFF, SOON_S)
    h.undefine(uuid)
    wait_for("it is gone", lambda: [d.name for d in h.domains()] == ["Domain-0"], SOON_S)


def test_a_pvh_guest(bare: XenLab, hypervisors: Hosts, consoles: Guests) -> None:
    h = hypervisors["xen01"]
    uuid = start(h, "vm2", "apache_pvh")
    consoles.wait_ticks("vm2", 2, "xen01")
    assert abs(seen(h, "vm2").memory_mib - 144) <= 1
    h.destroy(uuid)
    h.undefine(uuid)
