"""What is wrong with a site's files, said so that a person can mend it.

Decides nothing. A `Problem` says where, what, and what would be right; `Invalid` carries all the
problems of one reading at once, because a person mends a file in one go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from xsm.site.model import Site


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in one place.

    `path` is relative to the site's folder (`site.xml`, `configs/apache_svr.cfg`); `line` counts
    from 1, and 0 means the file as a whole.
    """

    path: str
    line: int
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}: {self.severity}: {self.message}{hint}"


class Invalid(Exception):
    """A file or a whole site that can't be accepted.

    Invariant: `problems` is not empty, sorted by place, and holds at least one error. `partial` is the
    site as far as it could be read, only good for finding more that is wrong; None when too little was.
    """

    def __init__(self, problems: Iterable[Problem], partial: Site | None = None) -> None:
        self.problems = tuple(sorted(set(problems)))
        self.partial = partial
        super().__init__("\n".join(str(p) for p in self.problems))
