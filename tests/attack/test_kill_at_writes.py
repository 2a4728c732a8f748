"""kill -9 of xsmd at calls that write: a few of them here, all of them with `make attack`."""

from __future__ import annotations

import os

import pytest

from tests.attack.kill_at_writes import SITUATIONS, attack, table
from tests.attack.tracing import Victims, usable

pytestmark = [
    pytest.mark.libvirt,
    pytest.mark.skipif(bool(usable()), reason=usable() or "-"),
]
FEW = 200
"""In `make test` every 200th call, in `make attack` each one; where a part is killed, every fourth."""
LONG = "XSM_ATTACK" in os.environ


def test_killed_at_writes(capsys: pytest.CaptureFixture[str]) -> None:
    if not LONG:
        results = attack(["an edit applied here"], [Victims.ALL], FEW, lambda _text: None)
    else:
        with capsys.disabled():
            results = attack(list(SITUATIONS), [Victims.ALL], 1, print)
            results += attack(list(SITUATIONS), [Victims.DAEMON, Victims.CHILD], 4, print)
            print(table(results))
    assert [failure for result in results for failure in result.failures] == []
    assert all(result.kills for result in results if result.victims is Victims.ALL)
