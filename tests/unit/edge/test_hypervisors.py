"""A witness: it needs no libvirt, runs nothing, and no host that may run VMs turns into one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from xsm.edge import hypervisors, opening
from xsm.edge.act import perform
from xsm.edge.hypervisor import HypervisorError
from xsm.edge.settings import parse_settings, places
from xsm.peer.events import Way
from xsm.plan.actions import Action, Consequence, Step
from xsm.site.model import HypervisorKind

TOML = b'name = "w"\naddress = "192.0.2.9"\nhypervisor = "none"\n'


def test_a_witness_has_no_domains_and_makes_none() -> None:
    settings = parse_settings(TOML, "xsmd.toml", places({}, 0))
    witness = hypervisors.connect(settings, lambda _uuid: None)
    facts = witness.facts()
    assert (facts.kind, facts.cpus, facts.memory_mib) == (HypervisorKind.NONE, 0, 0)
    assert (witness.domains(), witness.alive()) == ((), True)
    for step in (Step.CREATE, Step.MIGRATE):
        action = Action("vm1", "w", Consequence.CREATE, step, "domain", "", "", "", uuid="u")
        with pytest.raises(HypervisorError):
            perform(witness, action, xml="<domain/>", way=Way("qemu+tls://x/system"))
    witness.close()


def test_the_daemon_of_a_witness_never_loads_libvirt() -> None:
    code = (
        "import sys; sys.modules['libvirt'] = None\n"  # as where it is not installed
        "import xsm.daemon\n"
        "from xsm.edge import hypervisors\n"
        "from xsm.edge.settings import parse_settings, places\n"
        f"settings = parse_settings({TOML!r}, 'x', places({{}}, 0))\n"
        "print(hypervisors.connect(settings, print).facts().kind)\n"
        f"other = parse_settings({TOML!r}.replace(b'none', b'libvirt'), 'x', places({{}}, 0))\n"
        "try: hypervisors.connect(other, print)\n"
        "except hypervisors.HypervisorError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kind, why = done.stdout.splitlines()
    assert kind == "none" and why.startswith("libvirt's library is not installed")


def test_no_host_that_may_run_vms_turns_into_a_witness(tmp_path: Path) -> None:
    witness = replace(parse_settings(TOML, "xsmd.toml", places({}, 0)), data_dir=tmp_path)
    with pytest.raises(ValueError, match="did not join as a witness"):
        opening.check_witness(witness)
    witness.witness_path.touch()
    opening.check_witness(witness)
    # Once it has had a hypervisor, there is no way back.
    opening.check_witness(replace(witness, hypervisor="libvirt"))
    with pytest.raises(ValueError, match="forget it"):
        opening.check_witness(witness)
