"""libvirt's event loop: one thread a process, without which neither events nor keepalive work.

Decides when it starts and that it ends before the interpreter does. Must not know what the
events mean.
"""

from __future__ import annotations

import atexit
import threading

import libvirt

STOP_LIMIT_S = 2.0
"""How long the end of the process waits for the thread (a daemon thread: it can't block that)."""

_lock = threading.Lock()
_loop: _EventLoop | None = None


class _EventLoop:
    def __init__(self) -> None:
        libvirt.registerErrorHandler(_quiet, None)
        libvirt.virEventRegisterDefaultImpl()
        self._stopping = threading.Event()
        # A timer that is off until `stop` sets it to now: the loop has no other way to be woken.
        self._wake = libvirt.virEventAddTimeout(-1, _woken, None)
        self._thread = threading.Thread(target=self._run, name="libvirt-events", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            libvirt.virEventRunDefaultImpl()

    def stop(self) -> None:
        self._stopping.set()
        libvirt.virEventUpdateTimeout(self._wake, 0)
        self._thread.join(STOP_LIMIT_S)


def start() -> None:
    """Run the loop from now on. Call it before a connection is opened; more calls do nothing.

    From here on libvirt prints nothing to stderr: errors are raised, and told by who catches them.
    """
    global _loop  # noqa: PLW0603 - libvirt has one loop a process
    with _lock:
        if _loop is None:
            _loop = _EventLoop()
            atexit.register(_loop.stop)


def _quiet(_context: object, _error: object) -> None:
    """libvirt's error callback: the same error is raised as an exception."""


def _woken(_timer: int, _opaque: object) -> None:
    libvirt.virEventUpdateTimeout(_timer, -1)
