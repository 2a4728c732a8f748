"""What a host that joins knows of claims: what the members tell, beside what it may remember itself."""

from __future__ import annotations

from pathlib import Path

from xsm.edge import enrol
from xsm.edge.register_file import RegisterFile
from xsm.edge.settings import Settings
from xsm.peer.membership import MEMBERS
from xsm.peer.register import Register, from_entry, is_overtaken, to_entry


def test_a_host_that_was_forgotten_and_joins_again_knows_that_others_had_its_vms(
    tmp_path: Path,
) -> None:
    """It was off all the while, so that it never saw that it was no member."""
    settings = Settings(
        name="dmz01",
        address="10.0.0.1",
        data_dir=tmp_path,
        listen="10.0.0.1:7600",
        url="https://10.0.0.1:7600",
        libvirt_uri="test:///default",
        checkout_dir=tmp_path / "site",
        socket=tmp_path / "xsmd.sock",
    )
    mine = Register(3, "dmz01", frozenset({"dmz01"}), held=3, disks=frozenset({"root"}))
    with_it = RegisterFile.create(settings.votes_path)
    with_it.write({"vm1": to_entry(mine), "vm2": to_entry(mine), MEMBERS: to_entry(mine)})
    with_it.close()
    theirs = Register(5, "dmz02", frozenset({"dmz02"}), held=5)
    enrol._know(settings, {"vm1": to_entry(theirs)})
    file = RegisterFile(settings.votes_path)
    known = {vm: from_entry(entry) for vm, entry in file.load().items()}
    file.close()
    assert is_overtaken(known["vm1"], "dmz01")
    assert known["vm2"].expelled == 3
    assert known[MEMBERS] == mine
