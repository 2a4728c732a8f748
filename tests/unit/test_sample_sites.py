"""The sample sites in sites/ are valid, and what they describe is carried over whole."""

from pathlib import Path

import pytest

from xsm.edge.folder import read_folder
from xsm.site import identity
from xsm.site.document import Document, load
from xsm.site.domain import render, runs_on
from xsm.site.model import VM, HypervisorKind

SITES = Path(__file__).parents[2] / "sites"
SITE_ID = "11111111-2222-4333-8444-555555555555"
KINDS_OF_URI = {"xen": HypervisorKind.XEN, "qemu": HypervisorKind.KVM}


def document(name: str) -> Document:
    return load(read_folder(str(SITES / name)).files)


def kind_for(loaded: Document, vm: VM) -> HypervisorKind:
    """The kind of the host that the VM is pinned to; for a floating one, of any that can run it."""
    entry = loaded.host_entry(loaded.host_name(vm.host)) if vm.host else None
    if entry is not None and entry.uri:
        return KINDS_OF_URI[entry.uri.partition(":")[0]]
    config = loaded.configs[vm.config]
    return next(k for k in (HypervisorKind.XEN, HypervisorKind.KVM) if not runs_on(config, k))


@pytest.mark.parametrize("name", sorted(path.name for path in SITES.iterdir() if path.is_dir()))
def test_a_sample_site_loses_nothing_on_its_own_hosts(name: str) -> None:
    loaded = document(name)
    assert loaded.warnings == ()
    assert list(loaded.site.vms()) != []
    for vm in loaded.site.vms():
        config, kind = loaded.configs[vm.config], kind_for(loaded, vm)
        uuid = identity.uuid_of(SITE_ID, vm)
        mac = identity.mac_of(vm, uuid)
        rendered = render(vm, config, uuid=uuid, mac=mac, kind=kind, tag=None)
        told = [
            p.message
            for p in rendered.warnings
            if "can't be given to libvirt's kvm" not in p.message
        ]
        assert (vm.name, told) == (vm.name, [])


def test_the_papers_figure_3() -> None:
    site = document("figure3").site
    assert [(s.name, s.owner) for s in site.sets] == [("My_site", "root@domain.com")]
    assert [
        (vm.name, vm.config, vm.host, vm.vcpus, vm.mac, vm.ip, vm.memory_mib) for vm in site.vms()
    ] == [
        (
            f"vm{n}",
            "mysql_svr" if n == 4 else "apache_svr",
            f"192.168.5.10{n}",
            4,
            f"aa:00:00:00:00:0{n}",
            "dhcp",
            96,
        )
        for n in (1, 2, 3, 4)
    ]
