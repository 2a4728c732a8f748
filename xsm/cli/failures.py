"""Failures that a user can understand, and the exit codes they end in.

Decides which failure is the input's fault (2) and which is not (1). Must not know how they are
printed.
"""

from __future__ import annotations

from xsm.api.types import Refusal
from xsm.site.problems import Problem

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_INVALID = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
EXIT_PIPE = 141  # 128 + SIGPIPE: the reader of our output has gone

INPUT_CODES = frozenset({"invalid", "bad-request", "unknown"})
"""Refusal codes that mean: what you gave is wrong. The others mean: right, but it can't be done
now.
"""


class Failure(Exception):
    """An expected failure: one sentence, and a hint at what to do about it."""

    def __init__(self, message: str, hint: str = "", exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def refusal(self) -> Refusal:
        """The same as a value, for `-o json`."""
        code = "invalid" if self.exit_code == EXIT_INVALID else "failed"
        return Refusal(code, self.message, self.hint)


class InputFailure(Failure):
    """What the user gave is wrong."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, EXIT_INVALID)


class Unreachable(Failure):
    """No xsmd answers at the socket, or it stopped answering half way."""


class Refused(Failure):
    """xsmd answered, and said no."""

    def __init__(self, refused: Refusal) -> None:
        exit_code = EXIT_INVALID if refused.code in INPUT_CODES else EXIT_FAILED
        super().__init__(refused.message, refused.hint, exit_code)
        self.refused = refused

    @property
    def code(self) -> str:
        return self.refused.code

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.refused.problems

    def refusal(self) -> Refusal:
        return self.refused
