import pytest

from xsm.edge.domain_facts import read

HEAD = "<domain type='test'><name>vm1</name>"


def test_sizes_in_libvirts_units() -> None:
    for memory, mib in (
        ("<memory>98304</memory>", 96),
        ("<memory unit='KiB'>98368</memory>", 96),  # Xen PVH reads 64 KiB high
        ("<memory unit='MiB'>96</memory>", 96),
        ("<memory unit='G'>1</memory>", 1024),
        ("<memory unit='bytes'>1048576</memory>", 1),
        ("<memory unit='MB'>100</memory>", 95),
    ):
        assert read(f"{HEAD}{memory}</domain>").max_memory_mib == mib


def test_what_is_left_out_has_libvirts_defaults() -> None:
    facts = read(f"{HEAD}<memory unit='MiB'>96</memory></domain>")
    assert (facts.memory_mib, facts.vcpus, facts.max_vcpus) == (96, 1, 1)
    assert (facts.uuid, facts.mac, facts.shares, facts.tag) == ("", None, None, None)


def test_everything_that_is_read() -> None:
    facts = read(
        f"""{HEAD}<uuid>5F0C1A52-0000-4000-8000-00000000BEEF</uuid>
        <memory unit='MiB'>128</memory><currentMemory unit='MiB'>96</currentMemory>
        <vcpu placement='static' current='2'>4</vcpu><cputune><shares>512</shares></cputune>
        <devices>
          <interface type='bridge'><mac address='AA:00:00:00:00:01'/></interface>
          <interface type='bridge'><mac address='AA:00:00:00:00:02'/></interface>
        </devices></domain>"""
    )
    assert facts.uuid == "5f0c1a52-0000-4000-8000-00000000beef"
    assert (facts.memory_mib, facts.max_memory_mib) == (96, 128)
    assert (facts.vcpus, facts.max_vcpus, facts.shares) == (2, 4, 512)
    assert facts.mac == "aa:00:00:00:00:01"


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        ("<domain", "line 1"),
        ("<network/>", "<domain> expected, not <network>"),
        ("<domain><memory>1</memory></domain>", "no <name>"),
        (f"{HEAD}</domain>", "no <memory>"),
        (f"{HEAD}<memory>much</memory></domain>", "memory: a number expected, not 'much'"),
        (f"{HEAD}<memory unit='acre'>1</memory></domain>", "unknown unit 'acre'"),
        (f"{HEAD}<memory>1</memory><vcpu current='x'>2</vcpu></domain>", "vcpu/@current"),
        ("<!DOCTYPE domain []><domain/>", "document type"),
    ],
)
def test_what_cant_be_read_says_why(xml: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(xml)
    assert why in str(caught.value)
