"""What commands write into the site file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.plan.planned_site import XEN, document, facts, made, report, vm
from xsm.peer import commands
from xsm.plan.observed import Transfer
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


def test_a_move_that_cant_be_ended_is_not_called_back() -> None:
    """On Xen: while it is in flight the command says so; before and afterwards it is an edit like any other."""
    there = made(document(vm("vm1", "dmz01")))["vm1"]
    doc = document(vm("vm1", "dmz02"))
    files = {"site.xml": COLD % b""}
    why = "libvirt's Xen driver can't end a live migration that has begun"
    xen = report("dmz01", there, of=replace(facts(XEN), no_abort=why))
    flying = replace(xen, transfers=(Transfer("vm1", "dmz01", "dmz02"),))
    with pytest.raises(commands.CommandRefused) as caught:
        commands.call_back(files, doc, "vm1", {"dmz01": flying})
    assert str(caught.value).startswith(f"vm1 is on its way to dmz02, and {why}")
    assert caught.value.hint == "`xsm migrate vm1 dmz01` moves it back once it has arrived"
    assert b"dmz01" in commands.call_back(files, doc, "vm1", {"dmz01": xen}).files["site.xml"]
