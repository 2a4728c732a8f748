"""A script that goes wrong, made shorter: lines are left out for as long as the same kind of thing goes wrong.

Lines that make no sense any more without others are no-ops (tests/sim/stage.py), so any of them can go. First what
happens is left out while the time between stays as it was, because accidents are a matter of timing; then time itself.
Deterministic, and bounded by a number of tries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.sim.checkers import Violation
from tests.sim.script import Script

TRIES = 600
"""About as many lives: a few minutes. Most scripts are as short as they get after half of them."""
NUMBER = re.compile(r"\d+(\.\d+)?")
MASKED = re.compile(r"[0-9a-f]{8}[0-9a-f-]{4,}|\b(vm|dmz)\d+\b|\b\d+(\.\d+)?\b|'[^']*'")
ROUND = (0, 1, 2)
"""Decimals of a duration that are tried, in this order."""
Lines = tuple[str, ...]


@dataclass(frozen=True)
class Failure:
    """What a script came to: the kind is what it stays the same in while the script gets shorter."""

    kind: str
    text: str
    line: int  # how many lines were begun


def kind_of(error: Exception) -> str:
    """A violation without the names and numbers in it; other errors by where they came from."""
    if not isinstance(error, Violation):
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        where = last.tb_frame.f_code.co_qualname if last else ""
        return f"{type(error).__name__} in {where}"
    masked = MASKED.sub("#", str(error))
    return re.split(r"[:\[{]", re.sub("#(, #)+", "#", masked))[0].strip()


def failure(lines: Sequence[str]) -> Failure | None:
    """Play the script. None: nothing goes wrong."""
    script = Script()
    for number, line in enumerate(lines, 1):
        try:
            script.perform(line)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is what is looked for
            return failure_of(error, number)
    return None


def failure_of(error: Exception, line: int) -> Failure:
    return Failure(kind_of(error), f"{type(error).__name__}: {error}", line)


class Shrinking:
    """One script on its way to a shorter one."""

    def __init__(
        self, lines: Sequence[str], kind: str, tries: int = TRIES, told: Callable[[int], None] = id
    ) -> None:
        """`told` hears how many lines are left, whenever they are fewer."""
        self.lines: Lines = tuple(lines)
        self.kind = kind
        self.tries = tries
        self._told = told
        self._seen: set[Lines] = set()

    def shrunk(self) -> Lines:
        before: Lines = ()
        while self.lines != before and self.tries > 0:
            before = self.lines
            self._leave_out([i for i, line in enumerate(self.lines) if not _is_wait(line)])
            self._together()
            self._leave_out(list(range(len(self.lines))))
            self._smaller_site()
            self._rounder()
        return self.lines

    def _accept(self, lines: Sequence[str]) -> bool:
        """Take these lines when they still go wrong in the same way."""
        shorter = tuple(lines)
        if shorter in self._seen or shorter == self.lines or self.tries < 1:
            return False
        self._seen.add(shorter)
        self.tries -= 1
        found = failure(shorter)
        if found is None or found.kind != self.kind:
            return False
        self.lines = shorter[: found.line]  # what came after never happened
        self._told(len(self.lines))
        return True

    def _leave_out(self, which: list[int]) -> None:
        """ddmin (Zeller): halves, quarters, ... single lines of these are left out while that can be done. The first
        line, the site's, stays."""
        size = max(1, len(which) // 2)
        which = [i for i in which if i > 0]
        while which and self.tries > 0:
            at, went = 0, False
            while at < len(which):
                out = set(which[at : at + size])
                if self._accept([line for i, line in enumerate(self.lines) if i not in out]):
                    gone = sorted(out)
                    which = [i for i in which if i not in out]
                    which = [i - sum(g < i for g in gone) for i in which]
                    which = [i for i in which if i < len(self.lines)]
                    went = True
                else:
                    at += size
            if size == 1 and not went:
                return
            size = max(1, size // 2)

    def _together(self) -> None:
        """Waits that follow each other as one. That changes nothing but rounding, if at all."""
        merged: list[str] = []
        for line in self.lines:
            if _is_wait(line) and merged and _is_wait(merged[-1]):
                merged[-1] = f"wait {float(merged[-1].split()[1]) + float(line.split()[1]):.2f}"
            else:
                merged.append(line)
        self._accept(merged)

    def _smaller_site(self) -> None:
        """Fewer hosts, and a network that is as good as the others."""
        found = re.search(r"hosts=(\d+)", self.lines[0])
        for count in range(2, int(found[1]) if found else 0):
            if self._accept(
                [re.sub(r"hosts=\d+", f"hosts={count}", self.lines[0]), *self.lines[1:]]
            ):
                break
        self._accept([self.lines[0].replace(" live", ""), *self.lines[1:]])

    def _rounder(self) -> None:
        """Durations with fewer digits."""
        for i, line in enumerate(self.lines):
            for rounder in _rounded(line):
                if i < len(self.lines) and self._accept(
                    [*self.lines[:i], rounder, *self.lines[i + 1 :]]
                ):
                    break


def _is_wait(line: str) -> bool:
    return line.startswith("wait ")


def _rounded(line: str) -> Iterator[str]:
    """The line with a rounder duration at its end, the roundest first."""
    if line.split(maxsplit=1)[0] not in ("wait", "slow", "clock", "latency"):
        return
    start, text = line.rsplit(" ", 1)
    digits = len(text.partition(".")[2])
    for decimals in ROUND:
        if decimals < digits:
            number = round(float(text), decimals) if decimals else round(float(text))
            yield f"{start} {number}"
