"""Calls of a simulated hypervisor that do not return, until they are released or whoever asked is gone."""

from __future__ import annotations

from collections.abc import Callable, Collection


class Hanging:
    """A part of `hypervisor.SimHypervisor`."""

    _hangs: list[str]
    _hanging: list[Callable[[bool], None]]

    def hang(self, call: str) -> None:
        """Let the next call of `call` not return before `release`. A simulation has to ask `hangs` of each call."""
        self._hangs.append(call)

    def hangs(self, calls: Collection[str], then: Callable[[bool], None]) -> bool:
        """Whether one of these calls hangs now. `then` is called when that ends: True when it is done after all, False
        when it never will be."""
        found = next((call for call in self._hangs if call in calls), None)
        if found is None:
            return False
        self._hangs.remove(found)
        self._hanging.append(then)
        return True

    def release(self) -> None:
        """What hangs is done now, and nothing hangs from now on."""
        self._hangs.clear()
        hanging, self._hanging = self._hanging, []
        for then in hanging:
            then(True)

    def give_up_hanging(self) -> None:
        """Who waited for what hangs is gone; it is never done."""
        hanging, self._hanging = self._hanging, []
        for then in hanging:
            then(False)
