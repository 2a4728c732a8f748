"""cloud-init's seeds: what is on them, what is wrong with them, and where they go in a domain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lxml import etree

from tests.unit.site.test_document import files, problems, vm
from xsm.plan.wanted import wanted
from xsm.site import config_file, domain, merge, needs, seed
from xsm.site.document import Files, load
from xsm.site.model import VM, HypervisorKind
from xsm.site.wanted import SEEDS_DIR

KVM, QEMU, XEN, TEST = (HypervisorKind(kind) for kind in ("kvm", "qemu", "xen", "test"))
UUID = "11111111-2222-4333-8444-555555555555"
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
CLOUD = b"#cloud-config\n"


def with_seed(text: bytes = CLOUD, **more: bytes) -> dict[str, bytes]:
    entry = vm("vm1", "<USER_DATA>web</USER_DATA>")
    return {**files(entry), "configs/web.user-data": text, **more}


def test_what_the_guest_finds() -> None:
    tree = {**with_seed(), "configs/web.network-config": b"version: 2\n"}
    want = wanted(load(tree)).by_name["vm1"]
    assert want.seed is not None
    found = dict(want.seed.files)
    assert found["user-data"] == CLOUD and found["network-config"] == b"version: 2\n"
    assert json.loads(found["meta-data"]) == {"instance-id": want.uuid, "local-hostname": "vm1"}


def test_another_text_is_another_boot() -> None:
    """Also a network-config that comes; a VM without user-data has no such part."""
    prints = [
        wanted(load(tree)).by_name["vm1"].fingerprint(KVM).get("user_data")
        for tree in (
            files(vm("vm1")),
            with_seed(),
            with_seed(CLOUD + b"x: 1\n"),
            {**with_seed(), "configs/web.network-config": b"version: 2\n"},
        )
    ]
    assert prints[0] is None and len(set(prints)) == 4


def test_errors_and_warnings() -> None:
    (missing,) = problems(files(vm("vm1", "<USER_DATA>web</USER_DATA>")))
    assert missing.startswith(
        "site.xml:3: error: vm1: USER_DATA web: there is no configs/web.user-data"
    )
    (large,) = problems(with_seed(CLOUD + b"x" * seed.MAX_BYTES))
    assert large.startswith("configs/web.user-data: error: the file has")
    (odd,) = load(with_seed(b"packages: [vim]\n")).warnings
    assert str(odd).startswith("configs/web.user-data:1: warning: cloud-init will not know")
    assert load(with_seed(b"#!/bin/sh\n")).warnings == ()
    # What nobody uses is only a file.
    assert load({**files(vm("vm1")), "configs/web.user-data": b"?"}).warnings == ()


def rendered(devices: str, kind: HypervisorKind = KVM, machine: str = "") -> etree._Element:
    said = f" machine='{machine}'" if machine else ""
    text = f"<domain><os><type{said}>hvm</type></os><devices>{devices}</devices></domain>"
    config = config_file.parse("c", "configs/c.xml", text.encode())
    one = VM("vm1", "c", "s", vcpus=1, memory_mib=64, user_data="web")
    mac = "00:16:3e:00:00:01"
    done = domain.render(one, config, uuid=UUID, mac=mac, kind=kind, tag=None)
    assert needs.of(done.xml).paths == (f"{SEEDS_DIR}/{UUID}.iso",)
    return etree.fromstring(done.xml)


def disk(name: str, bus: str) -> str:
    return f"<disk type='block' device='cdrom'><target dev='{name}' bus='{bus}'/><readonly/></disk>"


@pytest.mark.parametrize(
    ("devices", "kind", "machine", "target"),
    [
        ("", KVM, "pc", "hdd ide"),
        ("", TEST, "", "hdd ide"),
        (disk("hdd", "ide"), QEMU, "pc-i440fx-7.2", "hdc ide"),
        ("".join(disk(f"hd{c}", "ide") for c in "abcd"), QEMU, "pc", "sdz scsi"),
        ("", KVM, "q35", "sdz scsi"),
        (disk("sdz", "sata"), KVM, "pc-q35-7.2", "sdy sata"),
        ("", XEN, "", "hdd ide"),
        ("", XEN, "xenfv", "hdd ide"),
    ],
)
def test_a_bus_that_the_guest_knows(
    devices: str, kind: HypervisorKind, machine: str, target: str
) -> None:
    root = rendered(devices, kind, machine)
    *_, cdrom = root.findall("devices/disk")
    assert cdrom.get("device") == "cdrom" and cdrom.find("readonly") is not None
    found = cdrom.find("target")
    assert f"{found.get('dev')} {found.get('bus')}" == target
    scsi = root.findall("devices/controller[@model='virtio-scsi']")
    assert len(scsi) == ("scsi" in target)
    if SCHEMA.exists():
        schema = etree.RelaxNG(etree.parse(str(SCHEMA)))
        assert schema.validate(root), schema.error_log


def test_a_paravirtual_guest_of_xen() -> None:
    config = config_file.parse("c", "configs/c.cfg", b'type = "pv"\nkernel = "/vmlinuz"\n')
    one = VM("vm1", "c", "s", vcpus=1, memory_mib=64, user_data="web")
    done = domain.render(one, config, uuid=UUID, mac="00:16:3e:00:00:01", kind=XEN, tag=None)
    assert '<target dev="xvdz" bus="xen"/>' in done.xml


def edited(base: Files, **changes: bytes | None) -> dict[str, bytes]:
    tree = {**base, **{f"configs/web.{k}".replace("_", "-"): v for k, v in changes.items()}}
    return {path: content for path, content in tree.items() if content is not None}


def test_edits_at_once() -> None:
    base = {**with_seed(), "configs/web.network-config": b"version: 2\n"}
    one, two = edited(base, user_data=CLOUD + b"a: 1\n"), edited(base, user_data=CLOUD + b"b: 1\n")
    merged = merge.merge(base, one, two, "one", "two")
    (conflict,) = merged.conflicts
    assert (conflict.vm, conflict.what, conflict.shown) == ("vm1", "user_data", "web")
    assert merged.files["configs/web.user-data"] == CLOUD + b"b: 1\n"
    # One removes what a VM of the other is given: it is kept.
    plain = {**files(vm("vm1")), "configs/web.user-data": CLOUD}
    gone = {path: content for path, content in plain.items() if "user-data" not in path}
    used = {**plain, **files(vm("vm1", "<USER_DATA>web</USER_DATA>"))}
    for first, second in ((gone, used), (used, gone)):
        found = merge.merge(plain, first, second, "one", "two")
        assert found.files["configs/web.user-data"] == CLOUD and not found.conflicts
