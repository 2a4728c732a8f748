"""Files that are whole and on disk when a call returns, or unchanged.

Decides nothing; knows nothing of what is in the files.
"""

from __future__ import annotations

import glob
import os
import tempfile
from pathlib import Path


def write_secret(path: Path, content: bytes) -> None:
    """Like `write_durably`, readable by the owner only."""
    write_durably(path, content, 0o600)


def write_durably(path: Path, content: bytes, mode: int) -> None:
    """Replace `path` as a whole; on disk when this returns. At no time readable beyond `mode`."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_dir(path.parent)


def sync_dir(path: Path) -> None:
    """A rename or unlink in `path` is on disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_temporaries(path: Path) -> None:
    """Remove what a process that was killed in `write_durably` left behind. The caller has `path` for itself."""
    for left in sorted(path.parent.glob(f".{glob.escape(path.name)}.*")):
        left.unlink(missing_ok=True)
