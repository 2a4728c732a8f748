"""Changes of a running guest, by the guest's own word."""

import pytest

from tests.lab import cgroups
from tests.lab.lab import Lab
from tests.lab.observer import Observer
from tests.lab.processes import wait_for
from tests.lab.site import SOON_S, VM, Site


def test_memory_changes_live(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that MEM moves the guest's balloon up and down while it runs, by the guest's own count of its memory, and
    that no restart comes of it."""
    site.apply(VM("live1", "dmz01", memory_mib=96))
    small = observer.wait_ticks("live1", 5)
    site.apply(VM("live1", "dmz01", memory_mib=128))
    last = wait_more_memory(observer, small.memory_kib + 24 * 1024)
    site.apply(VM("live1", "dmz01", memory_mib=104))
    wait_for("the guest has less", lambda: memory_kib(observer) <= last - 20 * 1024, SOON_S)
    assert len({tick.boot for tick in observer.ticks("live1")}) == 1
    assert observer.gaps("live1") == []


def wait_more_memory(observer: Observer, least_kib: int) -> int:
    wait_for(f"the guest has {least_kib} KiB", lambda: memory_kib(observer) >= least_kib, SOON_S)
    return memory_kib(observer)


def memory_kib(observer: Observer) -> int:
    last = observer.last("live1")
    assert last is not None
    return last.memory_kib


def test_a_vcpu_more_while_it_runs(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that VCPUS plugs a CPU into the running guest, which then counts two."""
    site.apply(VM("live1", "dmz01"))
    observer.wait_ticks("live1", 1)
    site.apply(VM("live1", "dmz01", vcpus=2))
    wait_for(
        "the guest has two CPUs",
        lambda: (last := observer.last("live1")) and last.cpus == 2,
        SOON_S,
    )
    assert observer.gaps("live1") == []


@pytest.mark.skipif(
    "cpu" not in cgroups.usable(), reason="this machine lets nobody use its cpu control groups"
)
def test_cpu_shares_change_live(lab: Lab, site: Site, observer: Observer) -> None:
    """Proves that WEIGHT sets the guest's CPU shares in its host's control groups while it runs."""
    site.apply(VM("live1", "dmz01", vcpus=2))
    observer.wait_ticks("live1", 1)
    site.apply(VM("live1", "dmz01", vcpus=2, more="<WEIGHT>512</WEIGHT>"))
    shares = dict(line.split(":") for line in lab["dmz01"].virsh("schedinfo", "live1").splitlines())
    assert {key.strip(): value.strip() for key, value in shares.items()}["cpu_shares"] == "512"
    site.wait_converged()
    assert observer.gaps("live1") == []
