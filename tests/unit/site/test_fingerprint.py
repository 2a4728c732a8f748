"""Fingerprints: which part of a VM changes only at its next boot."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsm.site import config_file, domain, identity
from xsm.site.config import Config
from xsm.site.model import VM, HypervisorKind

SITE = "2b1e1a3c-7a55-4d0e-9d43-4f6a1c3d5e7f"
VM1 = VM("vm1", "c", "web", vcpus=1, memory_mib=96)
CFG = """\
type='pv'
kernel='/k'
maxmem=256
vif=['bridge=b']
disk=['/a,,xvda,w']
on_crash='destroy'
"""
XML = (
    "<domain type='kvm'><name>a</name><memory>1</memory><vcpu>1</vcpu><os><kernel>/k</kernel></os>"
    "<devices><disk><source file='/a'/></disk>"
    "<interface><mac address='1'/></interface></devices></domain>"
)


def _config(text: str) -> Config:
    name = "configs/c.xml" if text.startswith("<") else "configs/c.cfg"
    return config_file.parse("c", name, text.encode())


def _print(text: str, vm: VM = VM1, kind: HypervisorKind = HypervisorKind.XEN) -> Mapping[str, str]:
    uuid = identity.uuid_of(SITE, vm)
    return domain.fingerprint(
        vm, _config(text), uuid=uuid, mac=identity.mac_of(vm, uuid), kind=kind
    )


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {part for part in before.keys() | after.keys() if before.get(part) != after.get(part)}


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("kernel='/k'", "kernel='/k2'", {"kernel"}),
        ("xvda", "xvdb", {"disks"}),
        ("bridge=b", "bridge=c", {"interfaces"}),
        ("maxmem=256", "maxmem=512", {"max_memory"}),
        ("on_crash='destroy'", "on_crash='restart'", {"on_crash"}),
        ("type='pv'", "type='pv'\nvnc=1", {"graphics"}),
        ("type='pv'", "type='pv'\nmaxvcpus=4", {"max_vcpus"}),
        ("type='pv'", "type='pv'\nnew_in_xen_5=1", {"new_in_xen_5"}),
        # What changes live, what the site file decides, and layout:
        ("type='pv'", "type='pv'\nmemory=5\nvcpus=7\ncpu_weight=9\nname='z'", set()),
        ("type='pv'", '# a comment\ntype = "pv"; ', set()),
        ("kernel='/k'\nmaxmem=256\n", "maxmem=0x100\nkernel = '/k'\n", set()),
        ("['/a,,xvda,w']", "[\n  '/a,,xvda,w', # the root disk\n]", set()),
    ],
)
def test_parts_of_an_xl_config(old: str, new: str, parts: set[str]) -> None:
    assert old in CFG
    assert _changed(_print(CFG), _print(CFG.replace(old, new))) == parts


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        (">/k<", ">/k2<", {"kernel"}),
        ("'/a'", "'/b'", {"disks"}),
        ("<interface>", "<interface><source bridge='x'/>", {"interfaces"}),
        ("</domain>", "<on_crash>destroy</on_crash></domain>", {"on_crash"}),
        ("<vcpu>", "<vcpu cpuset='1'>", {"cpus"}),
        ("type='kvm'", "type='qemu'", {"type"}),
        ("<devices>", "<devices><tpm model='x'/>", {"tpm"}),
        # Live, decided by the site file, and layout:
        ("<memory>1<", "<memory unit='MiB'>7<", set()),
        ("<vcpu>1<", "<vcpu>4<", set()),
        ("address='1'", "address='2'", set()),
        ("<name>a<", "<name>b<", set()),
        ("<os>", "<os>\n  <!-- why -->\n  ", set()),
        (
            "</domain>",
            "<cputune><shares>3</shares></cputune><metadata><x/></metadata></domain>",
            set(),
        ),
        ("<source file='/a'/>", "<source  file = '/a' ></source>", set()),
    ],
)
def test_parts_of_a_domain_xml(old: str, new: str, parts: set[str]) -> None:
    assert old in XML
    kvm = HypervisorKind.KVM
    assert _changed(_print(XML, kind=kvm), _print(XML.replace(old, new), kind=kvm)) == parts


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ({"memory_mib": 128}, set()),
        ({"vcpus": 2}, set()),
        ({"cpu_weight": 2}, set()),
        ({"host": "elsewhere"}, set()),
        ({"mac": "00:16:3e:00:00:01"}, {"mac"}),
        ({"ip": "10.0.0.1"}, {"ip"}),
        ({"max_memory_mib": 999}, {"max_memory"}),
        ({"max_vcpus": 9}, {"max_vcpus"}),
    ],
)
def test_parameters_of_the_vm(said: dict[str, Any], parts: set[str]) -> None:
    changed = replace(VM1, **said)
    assert _changed(_print(CFG), _print(CFG, changed)) == parts


def test_an_address_that_goes_nowhere_asks_for_no_restart() -> None:
    kvm = HypervisorKind.KVM
    assert _print(CFG, kind=kvm) == _print(CFG, replace(VM1, ip="10.0.0.1"), kvm)


def test_the_file_name_is_no_part_of_it() -> None:
    other = config_file.parse("d", "configs/d.cfg", CFG.encode())
    mac = "00:16:3e:00:00:01"
    kind = HypervisorKind.XEN
    assert domain.fingerprint(VM1, other, uuid=SITE, mac=mac, kind=kind) == domain.fingerprint(
        VM1, _config(CFG), uuid=SITE, mac=mac, kind=kind
    )


def test_fingerprints_last_over_versions() -> None:
    """These digests are in the marks of running domains: a change here restarts sites."""
    assert dict(_print(CFG)) == {
        "disks": "00331c35e476",
        "interfaces": "7d19564c908c",
        "ip": "",
        "kernel": "3ca91152fc7f",
        "mac": "00:16:3e:02:cb:53",
        "max_memory": "256",
        "max_vcpus": "",
        "on_crash": "1b1aed78f26f",
        "type": "022aa41daad7",
    }


@given(st.permutations(CFG.splitlines()))
def test_the_order_of_options_does_not_matter(lines: list[str]) -> None:
    assert _print("\n".join(lines)) == _print(CFG)


def test_ten_thousand_vms_are_quick() -> None:
    configs = [_config(CFG), _config(CFG.replace("/k", "/k2"))]
    vms = [replace(VM1, name=f"vm{number}") for number in range(10_000)]
    kind = HypervisorKind.XEN
    for config in configs:
        domain.fingerprint(VM1, config, uuid=SITE, mac="", kind=kind)
    best = min(_seconds(vms, configs, kind) for _ in range(3))
    assert best < 0.2


def _seconds(vms: list[VM], configs: list[Config], kind: HypervisorKind) -> float:
    started = time.process_time()
    for number, vm in enumerate(vms):
        domain.fingerprint(vm, configs[number % 2], uuid=SITE, mac=vm.mac or "", kind=kind)
    return time.process_time() - started
