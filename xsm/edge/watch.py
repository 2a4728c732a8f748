"""Notices saves in a folder: one call for each save, however an editor makes it.

Decides when a save is over: when nothing happened for a moment. Must not know what was saved. Editors write a
temporary file and rename it, write twice, or remove and create; all of that is one save.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    EVENT_TYPE_CLOSED,
    EVENT_TYPE_CREATED,
    EVENT_TYPE_DELETED,
    EVENT_TYPE_MODIFIED,
    EVENT_TYPE_MOVED,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

QUIET_S = 1.0
"""A save is over when nothing was written for this long: a script that writes line by line is not done in between."""
MAX_WAIT_S = 5.0
"""It is taken for over after this long even when somebody keeps writing."""
STOP_TIMEOUT_S = 5.0

_SAVES = {
    EVENT_TYPE_CREATED,
    EVENT_TYPE_MODIFIED,
    EVENT_TYPE_MOVED,
    EVENT_TYPE_DELETED,
    EVENT_TYPE_CLOSED,
}
_TEMPORARY = re.compile(
    r"4913|.*~|#.*#|\.#.*|\..*\.sw[a-z]x?|.*\.(swp|swo|tmp|bak|orig|part)|\.xsm-.*|\.goutputstream-.*|___jb_.*"
)
"""What vim, Emacs, JetBrains', GNOME's editors and XSM itself write beside the file that is meant."""


def is_temporary(path: str) -> bool:
    """True for the files that editors make while they save."""
    return _TEMPORARY.fullmatch(path.rpartition("/")[2]) is not None


class Watch(FileSystemEventHandler):
    """Calls `on_save` in a thread of its own after each save under `path`, until `stop`."""

    def __init__(self, path: Path, on_save: Callable[[], object], quiet_s: float = QUIET_S) -> None:
        self._root = str(path)
        self._identity = _identity(path)
        self._on_save = on_save
        self._quiet_s = quiet_s
        self._changed = threading.Condition()
        self._first: float | None = None  # monotonic time of the first event of the present save
        self._last = 0.0
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="checkout saves", daemon=True)
        self._observer = Observer()
        self._observer.schedule(self, self._root, recursive=True)
        self._observer.start()
        self._thread.start()

    @property
    def intact(self) -> bool:
        """Whether the folder of that name is still the one that is watched: it may be moved away and made again."""
        return self._identity == _identity(Path(self._root))

    def on_any_event(self, event: FileSystemEvent) -> None:
        """watchdog's thread: note that something was saved."""
        if event.event_type not in _SAVES:
            return
        if not any(
            self._counts(str(p), event.is_directory) for p in (event.src_path, event.dest_path) if p
        ):
            return
        with self._changed:
            self._last = time.monotonic()
            if self._first is None:
                self._first = self._last
            self._changed.notify()

    def _counts(self, path: str, is_folder: bool) -> bool:
        inside = path[len(self._root) :].strip("/") if path.startswith(self._root) else path
        if not inside or inside == ".git" or inside.startswith(".git/"):
            return False
        return is_folder or not is_temporary(inside)

    def _run(self) -> None:
        while self._wait():
            self._on_save()

    def _wait(self) -> bool:
        """Wait for a save and for its end; False when stopped."""
        with self._changed:
            while not self._stopped:
                if self._first is None:
                    self._changed.wait()
                    continue
                end = min(self._last + self._quiet_s, self._first + MAX_WAIT_S)
                left = end - time.monotonic()
                if left <= 0:
                    self._first = None
                    return True
                self._changed.wait(left)
            return False

    def stop(self) -> None:
        """No call of `on_save` begins after this returns."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._observer.stop()
        self._observer.join(STOP_TIMEOUT_S)
        if threading.current_thread() is not self._thread:
            self._thread.join(STOP_TIMEOUT_S)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def watch(path: Path, on_save: Callable[[], object], quiet_s: float = QUIET_S) -> Watch:
    """Call `on_save` after each save under `path`; `stop()` the result to end it."""
    return Watch(Path(path), on_save, quiet_s)
