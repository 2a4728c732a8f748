"""What several hosts hold of one VM is told once."""

from __future__ import annotations

from xsm.api.views import held_once
from xsm.plan.observed import HostReport

KEEPS = "vm1 on dmz01: host dmz01 => dmz02: held: it can't go live"
KEPT = "vm1 on dmz02: running, 96 MiB, 4 VCPUs: held: dmz01 keeps it: it can't go live"
WAITS = "vm1 on dmz01: host dmz01 => dmz02: held: waiting for dmz02 to claim it"
SMALL = "vm1 on dmz02: running, 96 MiB, 4 VCPUs: held: dmz02 is too small for it"


def held(*of: tuple[str, ...]) -> tuple[str, ...]:
    return held_once(HostReport(f"dmz0{i}", 0.0, "r1", held=lines) for i, lines in enumerate(of, 1))


def test_the_host_that_knows_why_tells() -> None:
    assert held((KEEPS,), (KEPT,)) == (KEEPS,)
    assert held((WAITS,), (SMALL,)) == (SMALL,)


def test_a_host_that_waits_tells_when_the_other_does_not() -> None:
    for alone in (KEPT, WAITS, SMALL, KEEPS):
        assert held((alone,)) == (alone,)
    other = KEEPS.replace("vm1", "vm2")
    assert held((other,), (KEPT,)) == (other, KEPT)
    assert held((WAITS,), (KEPT,)) == (WAITS, KEPT)  # neither says why
