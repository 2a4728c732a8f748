import pytest
from lxml import etree

from xsm.edge.hypervisor import HypervisorError
from xsm.edge.libvirt_facts import kind_of
from xsm.site.model import HypervisorKind

QEMU = "<guest><arch name='x86_64'><domain type='qemu'/></arch></guest>"
KVM = "<guest><arch name='x86_64'><domain type='qemu'/><domain type='kvm'/></arch></guest>"


@pytest.mark.parametrize(
    ("driver", "guests", "kind"),
    [
        ("QEMU", QEMU, HypervisorKind.QEMU),
        ("QEMU", QEMU + KVM, HypervisorKind.KVM),
        ("Xen", "", HypervisorKind.XEN),
        ("TEST", "", HypervisorKind.TEST),
    ],
)
def test_a_driver_and_its_capabilities_make_the_kind(
    driver: str, guests: str, kind: HypervisorKind
) -> None:
    capabilities = etree.fromstring(f"<capabilities>{guests}</capabilities>")
    assert kind_of(driver, capabilities) is kind


def test_other_drivers_are_refused_by_name() -> None:
    with pytest.raises(HypervisorError) as caught:
        kind_of("LXC", etree.fromstring("<capabilities/>"))
    assert "LXC" in caught.value.reason
