import libvirt
import pytest
from lxml import etree

from xsm.edge.hypervisor import HypervisorError
from xsm.edge.libvirt_facts import Paused, kind_of, why_paused
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
