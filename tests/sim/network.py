"""The network between a simulated site's hosts, and the clock by which everything happens.

Decides when a request arrives, whether it does, and what its sender hears of it. Knows no VM and no revision.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from xsm.peer.events import Contact

if TYPE_CHECKING:
    from tests.sim.host import SimHost

LATENCY_S = 0.005
Reply = Callable[[object], None]
NO_ANSWER = "no answer"


class Clock:
    """One queue of what is to happen, ordered by time, then by when it was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._seq = 0

    def after(self, delay_s: float, what: Callable[[], None]) -> None:
        self._seq += 1
        heapq.heappush(self._queue, (self.now + delay_s, self._seq, what))

    def next_until(self, end: float) -> Callable[[], None] | None:
        """What happens next, its time being now; None when that is after `end`."""
        if not self._queue or self._queue[0][0] > end:
            return None
        self.now, _, what = heapq.heappop(self._queue)
        return what


class Network(Clock):
    """Requests between hosts: they may get lost, be doubled, overtake one another, and have no answer.

    `loss`: share of requests that get lost, and of answers. `doubled`: share of requests that arrive twice.
    `latency_s`: one way; `jitter`: up to so many times as long for a single one (0: at most twice). `cut`: pairs that
    don't reach each other; `one_way`: (sender, receiver) whose packets vanish, others' don't.
    """

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.random = chance
        self.loss = 0.0
        self.doubled = 0.0
        self.latency_s = LATENCY_S
        self.jitter = 0.0
        self.cut: set[frozenset[str]] = set()
        self.one_way: set[tuple[str, str]] = set()
        self.hosts: dict[str, SimHost] = {}
        self._deaths = 0

    # -- links -----------------------------------------------------

    def flows(self, sender: str, receiver: str) -> bool:
        """Whether packets get from one host to another."""
        whole = not self.cut or frozenset({sender, receiver}) not in self.cut
        return whole and (sender, receiver) not in self.one_way

    def linked(self, one: str, other: str) -> bool:
        """Whether a request from one is answered by the other: both ways are needed."""
        return self.flows(one, other) and self.flows(other, one)

    def cut_off(self, *groups: Iterable[str]) -> None:
        """Only hosts of one group reach each other."""
        where = {name: i for i, group in enumerate(groups) for name in group}
        names = list(self.hosts)
        self.cut = {
            frozenset({a, b})
            for a in names
            for b in names
            if a != b and where.get(a, -1) != where.get(b, -2)
        }

    def cut_one_way(self, sender: str, receiver: str) -> None:
        """Packets from sender to receiver vanish. A request the other way arrives, and its answer does not."""
        self.one_way = {*self.one_way, (sender, receiver)}

    def heal(self) -> None:
        """All links are whole again."""
        self.cut = set()
        self.one_way = set()

    # -- requests -----------------------------------------------------

    def request(
        self,
        sender: SimHost,
        to: str,
        arrive: Callable[[SimHost, Reply], None],
        answered: Callable[[object, str], None] | None = None,
        stranger: bool = False,
    ) -> None:
        """One request: it arrives after the latency, and the sender's peer learns whether it was answered.

        `arrive` calls what it is given with its answer, at once or later; `answered` hears of it, or why there is none.
        A receiver that dies before it answers has not answered, and a sender that dies hears nothing. `stranger`: the
        sender need not be a member.
        """
        life = sender.life
        heard: list[bool] = []  # a request that was doubled has one answer all the same

        def back(answer: object, error: str, heads: tuple[str, ...] = ()) -> None:
            if sender.life == life:
                # Who is refused by a member whose revisions are all here has only not been heard of yet.
                news = any(head not in sender.history for head in heads)
                sender.feed(Contact(to, error, f"{to} says so" if news else ""))
                if answered is not None and not heard:
                    heard.append(True)
                    answered(answer, error)

        def arrival() -> None:
            receiver = self._reaches(sender, to)
            if receiver is None:
                self.after(self.one_latency_s(), lambda: back(None, NO_ANSWER))
                return
            members = receiver.peer.members if receiver.peer else ()
            if members and sender.name not in members and not stranger:
                # The API refuses whom the site forgot (`api.admission`), and says by which revisions.
                refusal = f"it refused: {sender.name} is not of this site any more"
                heads, whole = receiver.disk.heads, self.flows(to, sender.name)
                self.after(
                    self.one_latency_s(),
                    lambda: back(None, refusal, heads) if whole else back(None, NO_ANSWER),
                )
                return
            there = receiver.life

            def reply(answer: object) -> None:
                """Its answer leaves, or the connection breaks: the daemon has died."""
                receiver.on_death.pop(this, None)
                whole = receiver.life == there and self.flows(to, sender.name) and not self._lost()
                error = "" if whole else NO_ANSWER
                self.after(self.one_latency_s(), lambda: back(answer, error))

            this = self.on_death(receiver, lambda: reply(None))
            arrive(receiver, reply)

        for _ in range(1 + (self.random.random() < self.doubled)):
            self.after(self.one_latency_s(), arrival)

    def on_death(self, host: SimHost, tell: Callable[[], None]) -> int:
        """Have `tell` called when the daemon that runs there now dies. Gives the key by which that is undone."""
        self._deaths += 1
        host.on_death[self._deaths] = tell
        return self._deaths

    def one_latency_s(self) -> float:
        usual = self.latency_s * (1 + self.random.random())
        if not self.jitter:
            return usual
        # Few are very late: those are overtaken by all the others.
        return usual * (1 + self.jitter * self.random.random() ** 4)

    def _lost(self) -> bool:
        return self.loss > 0 and self.random.random() < self.loss

    def _reaches(self, sender: SimHost, to: str) -> SimHost | None:
        """The receiver of a request, or None when it gets lost or nobody listens."""
        receiver = self.hosts.get(to)
        if receiver is None or receiver.peer is None or not self.flows(sender.name, to):
            return None
        return None if self._lost() else receiver
