"""One value of everything that crosses the wire, as of version 1; `wire/v1` holds their JSON as it was then."""

from __future__ import annotations

from xsm.api.types import (
    Applied,
    Command,
    Event,
    Invitation,
    JoinAnswer,
    JoinRequest,
    Proposal,
    Refusal,
    Verb,
)
from xsm.edge.transport import Fetch, Heads, Heard
from xsm.peer import messages
from xsm.plan.observed import HostReport
from xsm.site.model import HypervisorKind
from xsm.site.problems import Problem

ID = "0123456789abcdef0123456789abcdef01234567"

MESSAGES: tuple[messages.Message, ...] = (
    messages.Hello((ID,), ID, reply=True),
    messages.ClaimAsk("vm1", 7, attempt=3),
    messages.ClaimAnswer("vm1", 7, True, ("dmz02",), 6, "dmz02", attempt=3),
    messages.EvictAsk(
        "vm1", 7, HypervisorKind.KVM, "", "qemu+tls://dmz01/system", round=2, attempt=3, last=True
    ),
    messages.EvictAnswer("vm1", 7, False, "it runs here", held=True, round=2, newest=8, attempt=3),
    messages.Settled("vm1", 7),
)

VALUES: dict[str, object] = {
    "applied": Applied(ID, ("vm1: MEM 96 => 128",), (Problem("site.xml", 3, "big", "smaller"),)),
    "command": Command(Verb.FORGET, host="dmz02", sure=True),
    "event": Event(7, 1.5, "dmz01", "action", "vm1", "started", 3),
    "fetch": Fetch((ID,), (ID,)),
    "heads": Heads((ID,)),
    "heard": Heard(9),
    "invitation": Invitation("xsm1.x", "https://dmz01:8701", 2.5),
    "join-answer": JoinAnswer("ca", "certificate", "site", ("https://dmz01:8701",)),
    "join-request": JoinRequest("xsm1.x", "dmz03", "192.168.5.103", "https://dmz03:8701", "csr"),
    "proposal": Proposal(
        {"site.xml": "eA=="}, ID, ("site.yaml",), "message", "Ann <a@x>", ID, ("vm1",)
    ),
    "refusal": Refusal("invalid", "no", "yes", (Problem("site.xml", 3, "big", "smaller"),), (ID,)),
    "report": HostReport("dmz01", 1.5, ID),
}
