"""A search of every state that something can reach, step by step: the accident that it finds is one of the shortest.

Decides the order of the search and how a trace is told. Must not know what a state is: those who search say so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

from tests.sim.packed import NAMES, Result

S = TypeVar("S")


class BreadthFirst(ABC, Generic[S]):
    """States that differ in the hosts' names only count once, where `canonical` says so. `n`: how many hosts."""

    n: int
    limit: int

    @abstractmethod
    def first(self) -> S: ...

    @abstractmethod
    def successors(self, state: S) -> Iterator[tuple[str, S]]: ...

    @abstractmethod
    def canonical(self, state: S) -> S:
        """The state that stands for all that differ from it in names only."""

    @abstractmethod
    def order(self, state: S) -> list[int]:
        """Which host is where in `canonical`."""

    @abstractmethod
    def copies(self, state: S) -> int:
        """On how many hosts the VM runs."""

    def run(self) -> Result:
        first = self.first()
        parents: dict[S, S | None] = {first: None}
        layer, running = [first], 0
        while layer and len(parents) <= self.limit:
            following: list[S] = []
            for state in layer:
                for then in (self.canonical(s) for _, s in self.successors(state)):
                    if then in parents:
                        continue
                    parents[then] = state
                    copies = self.copies(then)
                    running += copies
                    if copies > 1:
                        return Result(len(parents), running, True, self.trace(parents, then))
                    following.append(then)
            layer = following
        return Result(len(parents), running, not layer)

    def trace(self, parents: dict[S, S | None], state: S) -> tuple[str, ...]:
        """The steps that led there, with the names that the hosts had at first."""
        path = [state]
        while (before := parents[path[-1]]) is not None:
            path.append(before)
        called, steps = list(NAMES[: self.n]), []
        for before, after in zip(path[::-1], path[-2::-1], strict=False):
            text, order = next(
                (text, self.order(then))
                for text, then in self.successors(before)
                if self.canonical(then) == after
            )
            steps.append(text.translate({ord(n): c for n, c in zip(NAMES, called, strict=False)}))
            called = [called[i] for i in order]
        return tuple(steps)
