"""The comments of a site file, by the entry they belong to: how they survive a conversion.

Decides nothing; must not know how either format writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

END = "/end"
"""As a field: behind the last thing inside the entry."""


@dataclass(frozen=True, order=True)
class Place:
    """What a comment stands at: an entry, one of its fields (by model attribute), or an entry's end.

    The file itself is kind "site" with the name "".
    """

    kind: str  # "site", or an Entry's `what`: "VM", "host", "set"
    name: str = ""
    attribute: str = ""


@dataclass(frozen=True)
class Comments:
    """`before`: lines on their own before the place; `beside`: one at the end of the place's own line."""

    before: Mapping[Place, tuple[str, ...]] = field(default_factory=dict)
    beside: Mapping[Place, str] = field(default_factory=dict)

    def at(self, place: Place) -> Iterator[str]:
        yield from self.before.get(place, ())


class Collector:
    """Comments in the making, in file order."""

    def __init__(self) -> None:
        self._before: dict[Place, tuple[str, ...]] = {}
        self._beside: dict[Place, str] = {}

    def add_before(self, place: Place, text: str) -> None:
        lines = tuple(line.strip() for line in text.strip().splitlines())
        self._before[place] = self._before.get(place, ()) + lines

    def add_beside(self, place: Place, text: str) -> None:
        line = " ".join(text.split())
        known = self._beside.get(place)
        self._beside[place] = line if known is None else f"{known}; {line}"

    def result(self) -> Comments:
        return Comments(self._before, self._beside)


NONE = Comments()
