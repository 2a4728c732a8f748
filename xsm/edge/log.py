"""xsmd's log: one line a record on stderr, `key=value` or JSON.

Decides the form of a line. journald adds time, host and process by itself; the line begins with the
priority that it reads ("<6>") when stderr goes to it. Secrets are masked here as a last resort.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from typing import TextIO

PRIORITY = {
    logging.CRITICAL: 2,
    logging.ERROR: 3,
    logging.WARNING: 4,
    logging.INFO: 6,
    logging.DEBUG: 7,
}
MESSAGE_LIMIT_CHARS = 16 * 1024

SECRETS = (
    (re.compile(r"xsm1\.[A-Za-z0-9_-]{8,}"), "xsm1.(secret)"),
    (
        re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(-----END \1-----|\Z)", re.DOTALL),
        "(private key)",
    ),
    (re.compile(r"(?i)\b(password|passwd|secret|token)=\S+"), r"\1=(secret)"),
)

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up(
    log_format: str, level: str, environ: Mapping[str, str], stream: TextIO | None = None
) -> None:
    """Send all logging to `stream` (stderr) in the given format ("text", "json")."""
    stream = stream or sys.stderr
    journald = is_journal(environ, stream)
    output = logging.StreamHandler(stream)
    output.setFormatter(JsonLines() if log_format == "json" else TextLines(journald))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(output)
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)


def is_journal(environ: Mapping[str, str], stream: TextIO) -> bool:
    """Whether `stream` is the one that systemd connected to its journal (JOURNAL_STREAM)."""
    try:
        stat = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


class TextLines(logging.Formatter):
    """`2026-11-21T10:20:30Z info xsm.daemon: memory 96 => 128 (site file) vm=vm1`."""

    def __init__(self, journald: bool) -> None:
        super().__init__()
        self._journald = journald

    def format(self, record: logging.LogRecord) -> str:
        text = masked(record.getMessage())[:MESSAGE_LIMIT_CHARS]
        pairs = "".join(f" {key}={_quoted(value)}" for key, value in extras(record))
        line = f"{record.levelname.lower()} {record.name}: {_one_line(text)}{pairs}"
        if record.exc_info:
            line += "\n" + masked(self.formatException(record.exc_info))
        if self._journald:
            priority = f"<{PRIORITY.get(record.levelno, 6)}>"
            return "\n".join(priority + part for part in line.split("\n"))
        return f"{_at(record)} {line}"


class JsonLines(logging.Formatter):
    """One JSON object a line: at, level, logger, message, the extras, and exception."""

    def format(self, record: logging.LogRecord) -> str:
        out: dict[str, object] = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage())[:MESSAGE_LIMIT_CHARS],
        }
        for key, value in extras(record):
            plain = isinstance(value, int | float | bool) or value is None
            out.setdefault(key, value if plain else masked(str(value)))
        if record.exc_info:
            out["exception"] = masked(self.formatException(record.exc_info))
        return json.dumps(out, ensure_ascii=False)


def extras(record: logging.LogRecord) -> list[tuple[str, object]]:
    """What `extra={...}` added, sorted."""
    return sorted((key, value) for key, value in vars(record).items() if key not in _PLAIN)


def masked(text: str) -> str:
    """The text without tokens, keys and passwords."""
    for pattern, instead in SECRETS:
        text = pattern.sub(instead, text)
    return text


def _at(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03d}Z"


def _one_line(text: str) -> str:
    """What others said must not look like a line of ours."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _quoted(value: object) -> str:
    text = masked(str(value))
    if text and all(char.isprintable() and char not in ' "=' for char in text):
        return text
    return json.dumps(text, ensure_ascii=False)
