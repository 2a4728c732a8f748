"""Limits of disks and cards: which words are, how they are told, and that they ask for no restart."""

from __future__ import annotations

from lxml import etree

from xsm.site import config_file, domain, io_limits
from xsm.site.model import VM, HypervisorKind

XML = """\
<domain><devices>
  <disk type='file'><source file='/a'/><target dev='vda'/>
    <iotune><total_bytes_sec> 1048576 </total_bytes_sec><write_iops_sec>0</write_iops_sec></iotune></disk>
  <disk type='file'><source file='/b'/><target dev='vdb'/></disk>
  <interface type='bridge'><mac address='52:54:00:AA:00:01'/><source bridge='br0'/></interface>
  <interface type='bridge'><mac address='52:54:00:aa:00:02'/><source bridge='br1'/>
    <bandwidth><inbound average='1000' peak='2000'/><outbound average='128'/></bandwidth></interface>
</devices></domain>"""


def test_the_words() -> None:
    found = io_limits.of(XML)
    assert found.disks == {"vda": {"total_bytes_sec": "1048576"}, "vdb": {}}
    card = {"inbound.average": "1000", "inbound.peak": "2000", "outbound.average": "128"}
    assert found.cards == {"52:54:00:aa:00:01": {}, "52:54:00:aa:00:02": card}
    assert io_limits.text(etree.fromstring(XML)) == (
        "vda total_bytes_sec=1048576; card 2 inbound.average=1000 inbound.peak=2000 outbound.average=128"
    )
    bare = etree.fromstring(XML)
    io_limits.strip(bare)
    assert io_limits.text(bare) == ""


def test_long_words_are_cut_and_still_differ() -> None:
    def text(last: int) -> str:
        disks = "".join(
            f"<disk><target dev='vd{i}'/><iotune><total_bytes_sec>{last}</total_bytes_sec></iotune></disk>"
            for i in range(20)
        )
        return io_limits.text(etree.fromstring(f"<domain><devices>{disks}</devices></domain>"))

    assert len(text(1)) <= io_limits.MAX_TEXT_CHARS and text(1) != text(2)


def test_limits_are_no_part_of_the_boot() -> None:
    one = VM("vm1", "c", "s", vcpus=1, memory_mib=64)

    def parts(xml: str) -> dict[str, str]:
        config = config_file.parse("c", "configs/c.xml", xml.encode())
        mac = "00:16:3e:00:00:01"
        return dict(domain.fingerprint(one, config, uuid="u", mac=mac, kind=HypervisorKind.KVM))

    assert parts(XML) == parts(XML.replace("1048576", "2097152").replace("1000", "1"))
    assert parts(XML) != parts(XML.replace("/a", "/c"))
