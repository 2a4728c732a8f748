"""Disk, vif, PCI and CPU specifications of xl.cfg files."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsm.site import xl_disk, xl_vif
from xsm.site.xl_disk import WrongSpec

VOLUME = "/dev/vg/guest-volume"
ISO = "/root/image.iso"


@pytest.mark.parametrize(
    "spec",
    [  # "these strings are equivalent", xl-disk-configuration(5)
        f"{VOLUME},,hda",
        f"{VOLUME},raw,hda,rw",
        f"format=raw, vdev=hda, access=rw, target={VOLUME}",
        f"raw:{VOLUME},hda,w",
        f"phy:{VOLUME},hda,w",
        f"tap:aio:{VOLUME},hda,w",
        f"file:{VOLUME},ioemu:hda,w",
        "vg/guest-volume,raw,hda,rw",
        f" vdev=hda,{VOLUME}",
    ],
)
def test_forms_of_the_same_disk(spec: str) -> None:
    disk = xl_disk.parse(spec)
    assert (disk.target, disk.format, disk.vdev) == (VOLUME, "raw", "hda")
    assert (disk.readonly, disk.cdrom) == (False, False)


@pytest.mark.parametrize(
    "spec",
    [
        f"{ISO},,hdc,cdrom",
        f"{ISO},,hdc,,cdrom",
        f"{ISO},raw,hdc,devtype=cdrom",
        f"format=raw, vdev=hdc, access=ro, devtype=cdrom, target={ISO}",
        f"raw:{ISO},hdc:cdrom,ro",
    ],
)
def test_forms_of_the_same_cd(spec: str) -> None:
    disk = xl_disk.parse(spec)
    assert (disk.target, disk.format, disk.vdev) == (ISO, "raw", "hdc")
    assert (disk.readonly, disk.cdrom) == (True, True)


def test_a_target_by_name_takes_the_rest() -> None:
    disk = xl_disk.parse("vdev=xvda,format=qcow2,target=/srv/odd, name:with=all")
    assert (disk.target, disk.format) == ("/srv/odd, name:with=all", "qcow2")


@pytest.mark.parametrize("spec", [",hdc:cdrom,r", "vdev=hdc,devtype=cdrom", ",,hdc,,cdrom"])
def test_an_empty_drive(spec: str) -> None:
    disk = xl_disk.parse(spec)
    assert (disk.target, disk.format, disk.vdev, disk.cdrom) == ("", "empty", "hdc", True)


def test_partitions_numbers_and_options() -> None:
    small = xl_disk.parse("phy:/dev/gnbd/small-1-disk,sda1,w")
    assert (small.bus_name, small.letters, small.partition) == ("sd", "a", "1")
    assert xl_disk.parse("/x,,d27p3").vdev == "xvdab3"
    disk = xl_disk.parse(
        "/x,qcow2,xvda,r,backendtype=qdisk,backend=storage,no-discard,direct-io-safe,script=block-x"
    )
    assert (disk.backend_type, disk.backend, disk.discard) == ("qdisk", "storage", False)
    assert (disk.script, disk.options, disk.readonly) == ("block-x", ("direct-io-safe",), True)
    assert xl_disk.parse("iscsi:iqn.2001-05.com,xvda,w").script == "block-iscsi"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "no vdev"),
        ("/x,raw", "no vdev"),
        ("vdev=xvda", "no target"),
        ("/x,raw,xvda,w!", "unknown access 'w!'"),
        ("/x,vmdk,xvda,w", "unknown format 'vmdk'"),
        ("/x,raw,xvda,w,more", "too many"),
        ("/x,raw,xvda,vdev=xvdb", "vdev is given twice"),
        ("foo:/x,xvda,w", "unknown prefix foo:"),
        ("/x,raw,zzz,w", "'zzz' is no vdev"),
        ("/x,raw,xvda,colour=red", "unknown parameter 'colour'"),
        ("/x,raw,xvda,devtype=floppy", "unknown devtype"),
        ("/x,raw,xvda,backendtype=nbd", "unknown backendtype"),
    ],
)
def test_wrong_disks(spec: str, words: str) -> None:
    with pytest.raises(WrongSpec) as caught:
        xl_disk.parse(spec)
    assert words in caught.value.message


_PARTS = st.sampled_from(
    (
        *(
            "phy:",
            "tap:",
            "aio:",
            "file:",
            "qcow2:",
            "foo:",
            ",",
            ",",
            ",",
            "=",
            ":",
            " ",
            "/dev/x",
        ),
        *("raw", "xvda", "hdc:cdrom", "sda1", "d0p1", "r", "w", "ro", "cdrom", "discard", "a.img"),
        *("target=", "vdev=", "format=", "access=", "script=", "devtype=", "\u20ac", "\0"),
    )
)


@given(st.one_of(st.text(max_size=40), st.lists(_PARTS, max_size=12).map("".join)))
@settings(max_examples=400)
def test_any_disk_is_read_or_refused(spec: str) -> None:
    try:
        disk = xl_disk.parse(spec)
    except WrongSpec:
        return
    assert disk.target or disk.cdrom
    assert disk.format in xl_disk.FORMATS
    # Written out by name, it is the same disk again.
    again = f"format={disk.format},vdev={disk.vdev},access={'ro' if disk.readonly else 'rw'}"
    again += ",cdrom" if disk.cdrom else ""
    again += f",target={disk.target}"
    if not disk.target.endswith(","):
        read = xl_disk.parse(again)
        assert (read.target, read.format, read.vdev) == (disk.target, disk.format, disk.vdev)


@given(st.text(max_size=40))
@settings(max_examples=200)
def test_any_other_specification_is_read_or_refused(spec: str) -> None:
    for read in (xl_vif.vif, xl_vif.pci, xl_vif.pairs, xl_vif.cpu_set):
        try:
            read(spec)
        except WrongSpec as wrong:
            assert wrong.message


def test_a_vif_with_everything() -> None:
    vif = xl_vif.vif(
        "mac=00:16:3E:74:3d:6, bridge=xenbr1,model=e1000,type=ioemu,vifname=web,"
        "script=vif-openvswitch,"
        "ip=192.0.2.1 2001:db8::1/64,rate=10Mb/s@20ms,mtu=9000,backend=net,gatewaydev=eth0"
    )
    assert (vif.mac, vif.bridge, vif.model) == ("00:16:3e:74:3d:06", "xenbr1", "e1000")
    assert (vif.rate_bytes_s, vif.mtu, vif.backend) == (1_250_000, 9000, "net")
    assert vif.ip == ("192.0.2.1", "2001:db8::1/64")
    assert vif.lost == ("gatewaydev=eth0",)


@pytest.mark.parametrize(
    "spec",
    [
        "mac=1:2:3",
        "mac=01:00:00:00:00:01",
        "rate=fast",
        "ip=300.1.1.1",
        "mtu=1",
        "type=x",
        "ip=,ip=",
    ],
)
def test_wrong_vifs(spec: str) -> None:
    with pytest.raises(WrongSpec):
        xl_vif.vif(spec)


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3,5,^1", "0,2-3,5"), ("7", "7"), ("^1,0-2", "0-2"), ("1, 2 - 4", "1-4")]
)
def test_cpu_lists(text: str, cpus: str) -> None:
    read = xl_vif.cpu_set(text)
    assert read is not None
    assert xl_vif.ranges(read) == cpus


def test_cpu_lists_that_only_the_host_can_resolve() -> None:
    assert xl_vif.cpu_set("all") is None
    for text in ("all,^7", "nodes:0-1", "node:2,^9"):
        with pytest.raises(xl_vif.HostCpus):
            xl_vif.cpu_set(text)
    for text in ("3-1", "99999", "x", "1,^1", "1,,2"):
        with pytest.raises(WrongSpec) as caught:
            xl_vif.cpu_set(text)
        assert not isinstance(caught.value, xl_vif.HostCpus)


@given(st.frozensets(st.integers(0, xl_vif.MAX_CPU), min_size=1, max_size=40))
def test_ranges_say_the_same_cpus(cpus: frozenset[int]) -> None:
    assert xl_vif.cpu_set(xl_vif.ranges(cpus)) == cpus


def test_letters_of_disks() -> None:
    assert [xl_disk.letters_of(n) for n in (0, 25, 26, 51, 52, 701, 702)] == [
        "a", "z", "aa", "az", "ba", "zz", "aaa",
    ]  # fmt: skip
