"""A VM's life on Xen, as the paper has it: created from a regular Xen configuration, changed while it runs, paused,
migrated live, removed. Looked at with `xl` in Domain-0 and by the guest's own word, not through XSM."""

from dataclasses import replace

import pytest

from tests.lab.processes import wait_for
from tests.labxen import xl
from tests.labxen.guests import Guests
from tests.labxen.lab import XenLab
from tests.labxen.site import SOON_S, VM, Site

PV = VM("vm1", "xen01")
PVH = VM("vm2", "xen01", config="apache_pvh")


def test_an_xl_configuration_becomes_a_running_pv_guest(
    lab: XenLab, site: Site, guests: Guests
) -> None:
    """Proves that a VM of Figure 3 with config="apache_svr" runs on its host, with its entry's memory and vCPUs."""
    said = site.apply(PV)
    assert "vm1" in said
    guests.wait_ticks("vm1", 3, "xen01")
    there = xl.domains(lab["xen01"])["vm1"]
    assert (there.memory_mib, there.vcpus) == (144, 1)
    assert xl.domains(lab["xen02"]) == {}


def test_memory_vcpus_and_weight_change_while_it_runs(
    lab: XenLab, site: Site, guests: Guests
) -> None:
    """Proves that each is what the entry says, by Xen's word and the guest's, without a restart."""
    changed = replace(PV, memory_mib=128, vcpus=2, more="<WEIGHT>512</WEIGHT>")
    before = guests.wait_ticks("vm1", 1, "xen01")
    site.apply(changed)
    there = xl.domains(lab["xen01"])["vm1"]
    assert (there.memory_mib, there.vcpus) == (128, 2)
    assert xl.weight_and_cap(lab["xen01"], "vm1") == (512, 0)
    after = guests.wait_ticks("vm1", 3, "xen01")
    assert before.memory_kib - after.memory_kib > 12 * 1024
    assert (after.cpus, after.boot) == (2, before.boot)


def test_a_pause_stops_it_and_its_end_lets_it_go_on(
    lab: XenLab, site: Site, guests: Guests
) -> None:
    lab["xen01"].xsm("pause", "vm1", "--yes", "--no-wait")
    site.wait_converged()
    assert "p" in xl.domains(lab["xen01"])["vm1"].states
    stood = guests.last("vm1")
    lab["xen01"].xsm("resume", "vm1", "--yes", "--no-wait")
    site.wait_converged()
    went_on = guests.wait_ticks("vm1", 2, "xen01")
    assert stood is not None and went_on.boot == stood.boot
    assert "p" not in xl.domains(lab["xen01"])["vm1"].states


@pytest.mark.parametrize("source, target", [("xen01", "xen02"), ("xen02", "xen01")])
def test_it_migrates_live_and_keeps_its_weight(
    lab: XenLab, site: Site, guests: Guests, source: str, target: str
) -> None:
    """Proves that DOM0's change moves the running guest, which counts on without a gap; that its weight, which Xen's
    migrations forget, is set again; and that nothing is put right again and again afterwards."""
    moved = VM("vm1", target, memory_mib=128, vcpus=2, more="<WEIGHT>512</WEIGHT>")
    said = site.apply(moved, message=f"vm1 goes to {target}")
    assert "Migrate live" in said
    guests.wait_ticks("vm1", 5, target)
    assert guests.one_life("vm1")[-2:] == [source, target]
    assert "vm1" not in xl.domains(lab[source])
    there = xl.domains(lab[target])["vm1"]
    assert (there.memory_mib, there.vcpus) == (128, 2)
    assert xl.weight_and_cap(lab[target], "vm1") == (512, 0)
    stays_content(lab, guests, target)


def stays_content(lab: XenLab, guests: Guests, host: str) -> None:
    """Once converged, no host does anything more."""
    done = {name: acted(lab, name) for name in lab.hosts}
    guests.wait_ticks("vm1", 20, host)
    assert {name: acted(lab, name) for name in lab.hosts} == done


def acted(lab: XenLab, host: str) -> int:
    return lab[host].xsmd_log().count("kind=action")


def test_a_removed_vm_is_gone(lab: XenLab, site: Site, guests: Guests) -> None:
    """Proves that the guest is shut down, by its own farewell, and its definition is gone."""
    site.apply()
    wait_for("vm1 is gone", lambda: xl.domains(lab["xen01"]) == {}, SOON_S)
    assert lab["xen01"].virsh("list", "--all", "--name").split() == ["Domain-0"]
    assert "BYE" in lab["xen01"].run("cat", "/var/log/xen/console/guest-vm1.log").stdout


def test_a_pvh_guest_lives_and_migrates(lab: XenLab, site: Site, guests: Guests) -> None:
    """Proves the same for type="pvh"."""
    site.apply(PVH)
    guests.wait_ticks("vm2", 3, "xen01")
    assert xl.domains(lab["xen01"])["vm2"].memory_mib == 144
    assert "Migrate live" in site.apply(replace(PVH, host="xen02"))
    guests.wait_ticks("vm2", 3, "xen02")
    assert guests.one_life("vm2") == ["xen01", "xen02"]
    site.apply()
