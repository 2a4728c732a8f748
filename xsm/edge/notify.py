"""Telling systemd how xsmd is: sd_notify(3), without a library.

Decides nothing; without NOTIFY_SOCKET every call does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)

STATUS_LIMIT_CHARS = 500


class Notify:
    """The notification socket of one process. A systemd that doesn't listen is never an error of
    xsmd."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._watchdog_us = environ.get("WATCHDOG_USEC", "")
        self._watchdog_pid = environ.get("WATCHDOG_PID", "")

    @property
    def watchdog_s(self) -> float | None:
        """How often systemd must hear `watchdog()` at least; None: it doesn't ask. Call it twice
        as often."""
        if not self._address or not self._watchdog_us.isdigit() or int(self._watchdog_us) == 0:
            return None
        if self._watchdog_pid and self._watchdog_pid != str(os.getpid()):
            return None
        return int(self._watchdog_us) / 1_000_000

    def ready(self, status: str = "") -> None:
        self._send("READY=1", status)

    def stopping(self, status: str = "") -> None:
        self._send("STOPPING=1", status)

    def status(self, status: str) -> None:
        self._send("", status)

    def watchdog(self) -> None:
        self._send("WATCHDOG=1", "")

    def _send(self, state: str, status: str) -> None:
        if not self._address or self._address[0] not in "@/":
            return
        lines = [state] if state else []
        if status:
            lines.append("STATUS=" + " ".join(status.split())[:STATUS_LIMIT_CHARS])
        # "@" stands for an abstract address.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            log.debug("systemd could not be told %s: %s", state or status, error)
