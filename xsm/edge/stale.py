"""What a git that was killed leaves in a repository: locks that stop every later one, and files that nobody finishes.

Decides what may be removed, and when: all of it while a daemon starts alone, only old locks while it runs.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from xsm.edge.git import LOCK_STALE_S

_STALE = (
    ("", "*.lock"),  # HEAD.lock, config.lock, packed-refs.lock, shallow.lock, gc.pid.lock
    ("", "gc.pid"),  # git's gc would wait for the process of that number for half a day
    ("", "fast_import_crash_*"),
    ("refs", "**/*.lock"),
    ("objects", "*.lock"),
    ("objects", "tmp_*"),  # objects being written, and a push's quarantine
    ("objects", "incoming-*"),
    ("objects", "??/tmp_obj_*"),
    ("objects/info", "**/*.lock"),
    ("objects/pack", "*.lock"),
    ("objects/pack", "tmp_*"),
    ("objects/pack", ".tmp-*"),  # gc's new packs
    ("objects/pack", "*.keep"),  # of a pack being received: gc would leave it alone for good
)
"""What git, or this module, leaves behind when it is killed: folder, pattern."""


def clear(path: Path) -> None:
    """What a killed git left: locks that would stop every later one, half-received packs, half-written objects."""
    for folder, pattern in _STALE:
        for left in sorted((path / folder).glob(pattern)):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def clear_old_locks(path: Path) -> None:
    """Remove the locks on refs of a git that was killed. A push may be under way, whose locks are new."""
    for lock in sorted([*path.glob("*.lock"), *(path / "refs").glob("**/*.lock")]):
        try:
            # A lock from the future is of a time when this host's clock was ahead.
            age_s = abs(time.time() - lock.stat().st_mtime)
        except FileNotFoundError:  # it was somebody's, who is done
            continue
        if age_s > LOCK_STALE_S:
            lock.unlink(missing_ok=True)
