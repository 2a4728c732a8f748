"""Lint: no tracked file names the host of a package registry.

So XSM installs from whichever registry a machine is set up for. The hosts are asked of the tools
that know them (pip, apt, npm), and so are not written here either.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

COMMAND_TIMEOUT_S = 20
LOCK = Path("requirements.lock")


def output_of(*command: str) -> str:
    """What the command prints; nothing when there is no such command."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )
    return done.stdout


def pip_hosts() -> set[str]:
    """The index and file storage that pip was built with, and those that it is told of here."""
    from pip._internal.models.index import PyPI

    configured = output_of(sys.executable, "-m", "pip", "config", "list")
    return {PyPI.netloc, PyPI.file_storage_domain} | hosts_in(configured)


def hosts_in(text: str) -> set[str]:
    urls = re.findall(r"https?://[^\s'\",\]]+", text)
    return {urlsplit(url).hostname or "" for url in urls}


def registry_hosts() -> set[str]:
    apt = output_of("apt-get", "indextargets", "--format", "$(URI)")
    npm = output_of("npm", "config", "get", "registry")
    found = pip_hosts() | hosts_in(apt) | hosts_in(npm)
    return {host for host in found if host and host != "localhost"}


def tracked_files() -> list[Path]:
    return [Path(name) for name in output_of("git", "ls-files", "-z").split("\0") if name]


def problems() -> list[str]:
    found = []
    if "://" in LOCK.read_text(encoding="utf-8"):
        found.append(f"{LOCK}: holds a URL; make lock writes none")
    patterns = {host: host.encode() for host in sorted(registry_hosts())}
    for path in tracked_files():
        if not path.is_file():
            continue  # deleted in the work tree, not yet in the index
        content = path.read_bytes()
        found += [
            f"{path}: names the registry host {json.dumps(host)}"
            for host, pattern in patterns.items()
            if pattern in content
        ]
    return found


def main() -> int:
    found = problems()
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
