"""XSM as this clone has it, as a file system for the hosts: what `make install` would put into /opt/xsm there.

Decides nothing but the form. Compiled beforehand: under emulation Python would take half a minute for that.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.lab.processes import LabFailed
from xsm.edge import program_copy

PYTHON = "3.11"
"""Debian 12's, in the hosts."""
INTERPRETER = "/usr/bin/python3"
SPARE_MIB = 16
COMMAND_LIMIT_S = 120.0


def write(path: Path) -> None:
    """An ext4 image at `path`. Raises `LabFailed`."""
    _, version, _ = program_copy.needs()
    if version != PYTHON:
        raise LabFailed(f"the hosts have Python {PYTHON}, and this is {version}")
    folder = path.with_suffix(".folder")
    shutil.rmtree(folder, ignore_errors=True)
    archive = io.BytesIO()
    program_copy.write_to(archive.write, INTERPRETER)
    archive.seek(0)
    with tarfile.open(fileobj=archive, mode="r:gz") as tar:
        tar.extractall(folder)
    compiled = [
        sys.executable,
        "-m",
        "compileall",
        "-q",
        "-j",
        "2",
        "--invalidation-mode",
        "unchecked-hash",
    ]
    subprocess.run([*compiled, str(folder / "venv/lib")], check=True, timeout=COMMAND_LIMIT_S)
    size_mib = sum(file.lstat().st_size + 4096 for file in folder.rglob("*")) // 2**20
    command = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(folder)]
    size = f"{size_mib * 5 // 4 + SPARE_MIB}M"
    path.unlink(missing_ok=True)
    subprocess.run([*command, str(path), size], check=True, timeout=COMMAND_LIMIT_S)
    shutil.rmtree(folder)
