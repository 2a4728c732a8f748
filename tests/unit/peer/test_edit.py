"""What an edit that was overtaken is told: who says what."""

from __future__ import annotations

import pytest

from xsm.peer.edit import Overtaken, Surroundings, edit
from xsm.site import state_file
from xsm.site.document import Files
from xsm.site.state import State

NOBODY = Surroundings({}, {}, 0.0)
VM = b'<VM name="%s" config="c"><DOM0>dmz01</DOM0><VCPUS>1</VCPUS><MEM>%d</MEM>%s</VM>'


def files(*vms: bytes) -> Files:
    return {
        "site.xml": b'<XSMConfig><Set name="s"><Owner>o</Owner>'
        + b"".join(vms)
        + b"</Set></XSMConfig>",
        "configs/c.cfg": b'kernel = "/k"\n',
        **state_file.write(State(site_id="6f1d7a52-37f5-4a9e-9f60-0e5e4ac10001")),
    }


WAS = files(VM % (b"vm1", 96, b""), VM % (b"vm2", 96, b""))
GONE = files(VM % (b"vm2", 96, b""))
PAUSED = files(VM % (b"vm1", 96, b"<STATE>paused</STATE>"), VM % (b"vm2", 96, b""))
LARGER = files(VM % (b"vm1", 128, b""), VM % (b"vm2", 96, b""))
LARGEST = files(VM % (b"vm1", 200, b""), VM % (b"vm2", 96, b""))


@pytest.mark.parametrize(
    ("head", "mine", "told"),
    [
        (PAUSED, GONE, "vm1: you remove it, meanwhile somebody changed it"),
        (GONE, PAUSED, "vm1: you change it, meanwhile somebody removed it"),
        (LARGER, LARGEST, "vm1: MEM: you say 200, meanwhile somebody said 128"),
        (LARGEST, LARGER, "vm1: MEM: you say 128, meanwhile somebody said 200"),
    ],
)
def test_it_is_told_who_said_what(head: Files, mine: Files, told: str) -> None:
    with pytest.raises(Overtaken) as overtaken:
        edit(head, "b" * 40, WAS, "a" * 40, mine, NOBODY)
    assert str(overtaken.value) == told


def test_a_disk_that_gets_another_name_is_told_of() -> None:
    disk = b"<DISK>name=%s size=1G</DISK>"
    was, now = (files(VM % (b"vm1", 96, disk % name)) for name in (b"root", b"system"))
    told = [p.message for p in edit(was, "a", was, "a", now, NOBODY).warnings]
    assert "vm1 loses its disk root, and gets a new one: system (empty)" in told
