"""The parts of a YAML site file, each with the characters it takes. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scalar:
    value: str
    quote: str  # "", "'" or '"'
    start: int
    end: int
    line: int

    @property
    def is_null(self) -> bool:
        return not self.quote and self.value in ("", "~", "null", "Null", "NULL")


@dataclass
class Mapping_:
    line: int
    start: int  # of the first key, or of {
    flow: bool
    end: int = -1  # behind the last value, or behind }
    pairs: list[tuple[Scalar, Node]] = field(default_factory=list)

    def get(self, key: str) -> Node | None:
        return next((node for scalar, node in self.pairs if scalar.value == key), None)


@dataclass
class Sequence_:
    line: int
    start: int  # of the first dash, or of [
    flow: bool
    end: int = -1
    items: list[Node] = field(default_factory=list)


Node = Scalar | Mapping_ | Sequence_


@dataclass(frozen=True)
class Shape:
    """What is expected at a place: a mapping with these keys, a list of `item`s, or (neither) a value."""

    keys: Mapping[str, Shape] | None = None
    item: Shape | None = None

    def name(self) -> str:
        if self.keys is not None:
            return "keys with values"
        return "a list" if self.item else "one value"


VALUE = Shape()
