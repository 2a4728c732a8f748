"""This host and a change of members: the one that it makes, and its vote for those that others make.

Decides whom to ask for a vote and when again, and whether this host may leave the site alive. The rules are
`membership.py`'s. Must not know why the members are to change: joins and forgets are the API's.
"""

from __future__ import annotations

from dataclasses import replace

from xsm.peer import membership
from xsm.peer.ballots import Ballots
from xsm.peer.claiming import Claiming
from xsm.peer.contacts import Contacts
from xsm.peer.events import ChangeAsked, Effect, Send
from xsm.peer.letting_go import LettingGo, Sight
from xsm.peer.membership import Change
from xsm.peer.messages import MemberAnswer, MemberAsk


class Changing:
    def __init__(
        self, ballots: Ballots, claiming: Claiming, letting_go: LettingGo, contacts: Contacts
    ) -> None:
        self.me = ballots.me
        self.change: Change | None = None  # that this host makes
        self._ballots = ballots
        self._claiming = claiming
        self._letting_go = letting_go
        self._contacts = contacts

    def asked(self, event: ChangeAsked, members: frozenset[str], number: int) -> None:
        """Begin to make a change of the list `number`, or end that."""
        if event.after is None or event.now != members:
            self.change = None  # it is over, or the members changed before it began
            return
        vote = self._ballots.of(membership.MEMBERS)
        self.change = membership.open_change(vote, number, members, event)

    def is_unended(self, number: int) -> bool:
        """Whether a change that this host made broke off: the members have to be numbered anew."""
        vote = self._ballots.of(membership.MEMBERS)
        return self.change is None and membership.is_unended(vote, self.me, number)

    def carry_on(self, number: int, sight: Sight, now: float) -> list[Effect]:
        """Vote for the change oneself, then ask those who haven't."""
        if self.change is None or now < self.change.asked_at + membership.ASK_AGAIN_S:
            return []
        if number != self.change.base:
            self.change = None  # it was overtaken
            return []
        change = replace(self.change, asked_at=now)
        mine = self.vote(self.me, change.ask, number, sight, now)
        self.change = change = membership.hear(change, self.me, mine)
        if self.me not in change.voters:
            return []  # nobody may vote for what its maker has not on its own disk
        return [Send(m, change.ask) for m in membership.silent(change, change.voters)]

    def hear(self, sender: str, answer: MemberAnswer) -> None:
        if self.change is not None:
            self.change = membership.hear(self.change, sender, answer)

    def vote(
        self, sender: str, ask: MemberAsk, number: int, sight: Sight, now: float
    ) -> MemberAnswer:
        """This host's vote. One that is to leave alive must run nothing, and starts nothing from then on."""
        leaves = self.me in ask.leaving
        why_not = self._letting_go.why_it_stays(sight, now) if leaves else ""
        why_not = why_not or membership.still_heard(ask, lambda h: self._contacts.heard_s(h, now))
        if why_not:
            return MemberAnswer(ask.number, False, why_not)
        answer = self._ballots.vote_for_change(sender, ask, number)
        if answer.granted and leaves:
            self._claiming.drop_all()
        return answer
