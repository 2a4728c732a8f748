import libvirt
import pytest
from lxml import etree

from xsm.edge import domain_facts
from xsm.edge.hypervisor import HypervisorError
from xsm.edge.libvirt_facts import Paused, arrives, kind_of, weight_of, why_paused
from xsm.plan.observed import DomainState
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


NO_ROOM = "stopped at an I/O error: its disk has no room to grow, or is gone"
NO_WORD = (None, 0, None)
NOT_HERE = (None, libvirt.VIR_ERR_OPERATION_UNSUPPORTED, None)
NO_JOB = (None, 0, libvirt.VIR_DOMAIN_JOB_NONE)
OUT = (libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, 0, libvirt.VIR_DOMAIN_JOB_UNBOUNDED)
IN = (libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN, 0, libvirt.VIR_DOMAIN_JOB_UNBOUNDED)


@pytest.mark.parametrize(
    ("reason", "job", "persistent", "expected"),
    [
        # As seen of libvirt 9.0 and QEMU 7.2, on the target: also where an old definition of it is.
        (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, NOT_HERE, False, Paused(incoming=True)),
        (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, NOT_HERE, True, Paused(incoming=True)),
        (libvirt.VIR_DOMAIN_PAUSED_STARTING_UP, NOT_HERE, True, Paused(incoming=True)),
        # On the source, when it has stopped; and a domain that libvirt is just starting.
        (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, OUT, True, Paused(DomainState.RUNNING)),
        (libvirt.VIR_DOMAIN_PAUSED_STARTING_UP, NO_JOB, True, Paused(DomainState.RUNNING)),
        # Paused by somebody, whatever goes on.
        (libvirt.VIR_DOMAIN_PAUSED_USER, OUT, True, Paused()),
        # Where its disk's storage is full (tests/lab/test_trouble.py).
        (libvirt.VIR_DOMAIN_PAUSED_IOERROR, NO_JOB, True, Paused(stopped=NO_ROOM)),
        # After libvirtd of the source was killed while it waited for the target's word (tests/lab/test_cut_off.py).
        (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, NO_JOB, True, Paused(cut_off=True)),
        # A new xsmd must not clear away what the guest still fetches its memory from.
        (libvirt.VIR_DOMAIN_PAUSED_POSTCOPY, OUT, True, Paused(incoming=True)),
        (libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED, NO_JOB, True, Paused(cut_off=True)),
        (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, NO_JOB, False, Paused(incoming=True)),
        # Drivers that say what comes, and those that say nothing.
        (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, IN, True, Paused(incoming=True)),
        (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, NO_WORD, False, Paused(incoming=True)),
        (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, NO_WORD, True, Paused()),
    ],
)
def test_what_a_paused_domain_is(
    reason: int, job: tuple[int | None, int, int | None], persistent: bool, expected: Paused
) -> None:  # fmt: skip
    operation, refused, job_type = job
    assert why_paused(reason, operation, refused, job_type, persistent) == expected


SIZED = """<domain type='test'><name>vm1</name><memory unit='MiB'>160</memory>
<currentMemory unit='MiB'>96</currentMemory><cputune><shares>512</shares></cputune><os><type>hvm</type></os></domain>"""


def test_the_weight_of_a_domain_that_runs_on_xen_is_the_schedulers_word() -> None:
    """Its XML still says what it was defined with when a migration has made Xen forget it. libvirt's test driver has
    a scheduler with a fixed weight, and so stands for one that forgot."""
    conn = libvirt.open("test:///default")
    try:
        dom = conn.lookupByName("test")
        forgot = dom.schedulerParameters()["weight"]
        xml = domain_facts.read(SIZED)
        assert forgot != xml.shares == 512
        assert weight_of(HypervisorKind.XEN, dom, xml, active=True) == forgot
        assert weight_of(HypervisorKind.XEN, dom, xml, active=False) == 512
        assert weight_of(HypervisorKind.KVM, dom, xml, active=True) == 512
        assert weight_of(HypervisorKind.TEST, dom, xml, active=True) is None
    finally:
        conn.close()


def test_a_domain_that_is_off_and_has_no_definition_is_arriving_on_xen() -> None:
    for persistent, state, expected in (
        (False, DomainState.SHUTOFF, True),
        (True, DomainState.SHUTOFF, False),
        (False, DomainState.RUNNING, False),
    ):
        assert arrives(HypervisorKind.XEN, state, persistent) is expected
        assert not arrives(HypervisorKind.QEMU, state, persistent)
