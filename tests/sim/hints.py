"""What a membership engine would tell a simulated site's hosts: late, doubled, in any order, wrongly, or never.

Decides when a hint comes. A site has none unless somebody sets `World.hints`, so that nothing can depend on them.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from xsm.peer.contacts import Hint
from xsm.peer.events import Hinted

if TYPE_CHECKING:
    from tests.sim.host import SimHost
    from tests.sim.world import World

NOTICED_S = {Hint.FAILED: 4.0, Hint.LEFT: 0.1, Hint.JOINED: 0.1, Hint.NEWS: 0.1}
"""How long Serf takes at least on a good network."""


class Hints:
    """`loss`, `doubled`: shares of the hints. `late_s`: up to so much later. Its chance is its own, so that a life with
    hints differs from one without by nothing else."""

    def __init__(
        self, world: World, loss: float = 0.0, doubled: float = 0.0, late_s: float = 1.0
    ) -> None:
        self._world = world
        self._random = random.Random(f"hints {world.seed}")
        self.loss = loss
        self.doubled = doubled
        self.late_s = late_s

    def tell(self, about: SimHost, hint: Hint) -> None:
        """All others hear of a host, as far as packets get there; of one that is off, whoever is left tells."""
        revision = about.head.revision if about.head and hint is Hint.NEWS else ""
        for host in list(self._world.hosts.values()):
            if host is about or not (
                hint is Hint.FAILED or self._world.flows(about.name, host.name)
            ):
                continue
            for _ in range(1 + (self._random.random() < self.doubled)):
                if self._random.random() >= self.loss:
                    self.say(host, Hinted(about.name, hint, revision))

    def say(self, to: SimHost, what: Hinted) -> None:
        delay_s = NOTICED_S[what.hint] + self.late_s * self._random.random()
        self._world.after(delay_s, lambda: to.feed(what))
