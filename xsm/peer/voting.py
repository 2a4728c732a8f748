"""Questions for this host's vote, until it has looked at its hypervisor.

Decides when a vote is given: not before a look that began after the question shows whether the VM runs here. Silence is
always safe; a vote that says "not here" without having looked is not. The rules of a vote are `register.py`'s.
"""

from __future__ import annotations

from xsm.peer.ballots import Ballots
from xsm.peer.events import Effect, Send
from xsm.peer.letting_go import ASK_LIFE_S, Sight
from xsm.peer.messages import ClaimAsk


class Voting:
    def __init__(self, ballots: Ballots) -> None:
        self._ballots = ballots
        self._asks: dict[
            tuple[str, str], tuple[ClaimAsk, float]
        ] = {}  # (claimant, VM) -> since when

    def asked(self, sender: str, ask: ClaimAsk, now: float) -> None:
        """Remember the question; the answer follows from the next look. Asked again, it is as old as at first."""
        known = self._asks.get((sender, ask.vm))
        self._asks[sender, ask.vm] = known if known and known[0] == ask else (ask, now)

    def answers(self, sight: Sight, members_number: int, now: float) -> list[Effect]:
        """The votes for those who asked before this look began. Who has waited for too long asks again."""
        effects: list[Effect] = []
        for (sender, vm), (ask, since) in sorted(self._asks.items(), key=lambda each: each[0]):
            if since > sight.observed_at:
                if now > since + ASK_LIFE_S:
                    del self._asks[sender, vm]
                continue
            del self._asks[sender, vm]
            if self._ballots.may_vote(sender, ask.members, members_number):
                answer = self._ballots.answer(sender, ask, sight.may_run(vm))
                effects.append(Send(sender, answer))
        return effects
