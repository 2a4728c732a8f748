"""What commands write into the site file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plan.planned_site import document, made, report, vm
from xsm.peer import commands
from xsm.site.model import Migration

COLD = b"""<XSMConfig>
  <Set name="My_site">
    <VM name="vm1" config="apache_svr"><DOM0>dmz02</DOM0><VCPUS>4</VCPUS><MEM>96</MEM>%s</VM>
  </Set>
</XSMConfig>
"""


@pytest.mark.parametrize(
    ("was", "says"),
    [
        (Migration.NEVER, b"<MIGRATION>never</MIGRATION>"),
        (Migration.COLD, b"<MIGRATION>cold</MIGRATION>"),
        (None, b"<MIGRATION>cold</MIGRATION>"),  # of another command: it knows nothing of this one
    ],
)
def test_a_call_back_puts_back_what_the_move_had_set(was: Migration | None, says: bytes) -> None:
    there = made(document(vm("vm1", "dmz01")))["vm1"]
    doc = document(vm("vm1", "dmz02", migration=Migration.COLD))
    files = {"site.xml": COLD % b"<MIGRATION>cold</MIGRATION>"}
    intent = commands.call_back(files, doc, "vm1", {"dmz01": report("dmz01", there)}, was)
    assert intent.files["site.xml"] == (COLD % says).replace(b"dmz02", b"dmz01")
    assert replace(intent, files={}).message == "Call vm1 back to dmz01 on its way to dmz02"
