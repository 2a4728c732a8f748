"""Configs that are libvirt domain XML."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from lxml import etree

from xsm.site import config_file, domain
from xsm.site.config import Config
from xsm.site.domain import Limits, Rendered
from xsm.site.model import VM, HypervisorKind
from xsm.site.tag import NAMESPACE, Tag
from xsm.site.tag_xml import from_domain_xml

UUID = "91d0230c-45f2-5479-83cc-fba30a5e8ab6"
MAC = "00:16:3e:95:7f:71"
KVM, QEMU, XEN, TEST = (HypervisorKind(kind) for kind in ("kvm", "qemu", "xen", "test"))

DUMPED = f"""\
<domain type='kvm' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>golden</name>
  <uuid>11111111-2222-3333-4444-555555555555</uuid>
  <metadata>
    <app:owner xmlns:app='urn:app'>me</app:owner>
    <xsm:vm xmlns:xsm='{NAMESPACE}' site='old' name='golden'/>
  </metadata>
  <memory unit='GiB'>2</memory>
  <currentMemory unit='KiB'>1048576</currentMemory>
  <vcpu placement='static' cpuset='0-3' current='1'>4</vcpu>
  <cputune><shares>900</shares><vcpupin vcpu='3' cpuset='1'/></cputune>
  <os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu mode='host-model'><topology sockets='1' cores='4' threads='1'/></cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='network'><source protocol='rbd' name='p/i'/><target dev='vda' bus='virtio'/></disk>
    <interface type='network'><mac address='52:54:00:00:00:01'/><source network='lan'/></interface>
    <interface type='direct'><source dev='eth1' mode='bridge'/></interface>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
  </devices>
  <qemu:commandline><qemu:arg value='-snapshot'/></qemu:commandline>
</domain>
"""


def _vm(**said: Any) -> VM:
    return replace(VM("vm1", "c", "web", vcpus=2, memory_mib=512), **said)


def _config(text: str) -> Config:
    return config_file.parse("c", "configs/c.xml", text.encode())


def _render(
    text: str, kind: HypervisorKind, vm: VM | None = None, tag: Tag | None = None
) -> Rendered:
    return domain.render(vm or _vm(), _config(text), uuid=UUID, mac=MAC, kind=kind, tag=tag)


def test_what_the_user_wrote_stays_and_the_vm_wins() -> None:
    rendered = _render(DUMPED, KVM, _vm(cpu_weight=100), Tag("site", "vm1", "r1", {"a": "b"}))
    root = etree.fromstring(rendered.xml)
    assert root.get("type") == "kvm"
    assert root.get("id") is None
    assert (root.findtext("name"), root.findtext("uuid")) == ("vm1", UUID)
    assert (root.findtext("memory"), root.find("memory").get("unit")) == ("2048", "MiB")
    assert (root.findtext("currentMemory"), root.find("currentMemory").get("unit")) == (
        "512",
        "MiB",
    )
    vcpu = root.find("vcpu")
    assert dict(vcpu.attrib) == {"placement": "static", "cpuset": "0-3", "current": "2"}
    assert vcpu.text == "4"
    assert root.findtext("cputune/shares") == "100"
    macs = [mac.get("address") for mac in root.iter("mac")]
    assert macs[0] == MAC
    assert macs[1].startswith("00:16:3e:")
    assert macs[1] != MAC
    assert root.find("devices/tpm/backend").get("version") == "2.0"
    assert root.find("os").get("firmware") == "efi"
    assert root.find("{*}commandline/{*}arg").get("value") == "-snapshot"
    assert root.findtext("metadata/{urn:app}owner") == "me"
    assert len(root.findall(f"metadata/{{{NAMESPACE}}}vm")) == 1
    tag = from_domain_xml(rendered.xml)
    assert tag is not None
    assert (tag.site_id, tag.vm, tag.restart, tag.fingerprint) == ("site", "vm1", "r1", {"a": "b"})
    assert "MAC 52:54:00:00:00:01 is not used" in str(rendered.warnings[0])


def test_a_mark_is_removed_where_none_is_wanted() -> None:
    assert from_domain_xml(_render(DUMPED, KVM).xml) is None


def test_growing_over_the_template_adapts_what_would_contradict() -> None:
    rendered = _render(DUMPED, KVM, _vm(vcpus=8, memory_mib=4096))
    root = etree.fromstring(rendered.xml)
    assert root.findtext("vcpu") == "8"
    assert root.find("vcpu").get("current") is None
    assert root.find("cpu/topology") is None
    assert root.findtext("memory") == "4096"
    assert any("<topology> is left out" in str(w) for w in rendered.warnings)
    shrunk = _render(DUMPED, KVM, _vm(max_vcpus=2))
    assert etree.fromstring(shrunk.xml).find("cputune/vcpupin") is None
    assert any("<vcpupin> is left out" in str(w) for w in shrunk.warnings)


def test_limits_are_taken_only_where_they_are_said() -> None:
    assert domain.limits(_vm(), _config(DUMPED)) == Limits(2048, 4)
    assert domain.limits(_vm(max_memory_mib=1024), _config(DUMPED)) == Limits(1024, 4)
    size = "838860"
    same = f"<domain><memory>{size}</memory><currentMemory>{size}</currentMemory>"
    same += "<vcpu>9</vcpu></domain>"
    assert domain.limits(_vm(), _config(same)) == Limits(512, 2)
    assert domain.limits(_vm(), _config("<domain/>")) == Limits(512, 2)
    assert domain.cpu_weight(_vm(), _config(DUMPED)) == 900


@pytest.mark.parametrize(
    ("xml", "kinds"),
    [
        ("<domain type='kvm'/>", {KVM, QEMU, TEST}),
        ("<domain type='qemu'/>", {KVM, QEMU, TEST}),
        ("<domain type='test'/>", {KVM, QEMU, TEST, XEN}),
        ("<domain/>", {KVM, QEMU, TEST, XEN}),
        ("<domain type='xen'><os><type>hvm</type></os></domain>", {XEN, TEST}),
        ("<domain><os><type machine='xenpv'>linux</type></os></domain>", {XEN, TEST}),
        ("<domain><os><type machine='q35'>hvm</type></os></domain>", {KVM, QEMU, TEST}),
        ("<domain><bootloader>pygrub</bootloader></domain>", {XEN, TEST}),
        ("<domain type='lxc'><os><type>exe</type></os></domain>", {TEST}),
    ],
)
def test_where_it_can_run(xml: str, kinds: set[HypervisorKind]) -> None:
    config = _config(xml)
    assert set(domain.kinds(config)) == kinds
    for kind in HypervisorKind:
        assert bool(domain.runs_on(config, kind)) == (kind not in kinds)
        if kind in kinds:
            assert etree.fromstring(_render(xml, kind).xml).get("type") == kind.value


def test_a_bare_template_gets_what_the_vm_says() -> None:
    root = etree.fromstring(_render("<domain><devices/></domain>", QEMU, _vm(max_vcpus=4)).xml)
    assert [child.tag for child in root][:5] == ["name", "uuid", "memory", "currentMemory", "vcpu"]


def test_static_addresses_where_libvirt_takes_them() -> None:
    xml = (
        "<domain><devices><interface type='bridge'><source bridge='b'/><ip address='10.0.0.9'/>"
        "</interface></devices></domain>"
    )
    ip = etree.fromstring(_render(xml, XEN, _vm(ip="10.0.0.1/24")).xml).find(".//ip")
    assert dict(ip.attrib) == {"address": "10.0.0.1", "family": "ipv4", "prefix": "24"}
    assert etree.fromstring(_render(xml, XEN, _vm(ip="dhcp")).xml).find(".//ip") is None
    kvm = _render(xml, KVM, _vm(ip="10.0.0.1"))
    assert "can't be given" in str(kvm.warnings[0])
