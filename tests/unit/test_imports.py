"""What a command or the daemon pays for before it does anything: the modules that it imports.

Said by modules and not by seconds, so that it fails alike on every machine. Figures: `make bench BENCH=command_line`.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = frozenset(
    {"aiohttp", "asyncio", "cryptography", "libvirt", "lxml", "paramiko", "rich", "ruamel", "watchdog"}
)  # fmt: skip
"""Packages that take milliseconds and MiBs each."""

LOOKING = ("status", "plan", "vms", "hosts", "show", "history", "why", "events", "power", "host")
"""Modules of commands that ask the local xsmd and show its answer."""

SAY = "import sys; print(*sorted(sys.modules))"


def imported(statement: str) -> frozenset[str]:
    """All modules that a fresh Python has after the statement."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; {SAY}"], capture_output=True, text=True, check=True
    )
    return frozenset(done.stdout.split())


def packages(modules: frozenset[str]) -> frozenset[str]:
    return frozenset(name.partition(".")[0] for name in modules)


def test_commands_that_ask_import_nothing_heavy() -> None:
    found = imported("import xsm.cli.main, " + ", ".join(f"xsm.cli.{name}" for name in LOOKING))
    assert packages(found) & HEAVY == frozenset()
    # Reading site files is for commands that are given one.
    assert {"xsm.site.document", "xsm.plan.planner", "xsm.api.server"} & found == set()


def test_finding_the_socket_imports_nothing_heavy() -> None:
    found = imported("from xsm.cli.context import socket_of; socket_of(None)")
    assert packages(found) & HEAVY == frozenset()


def test_apply_reads_a_site_without_what_it_does_not_need() -> None:
    found = imported("import xsm.cli.main, xsm.cli.apply, xsm.cli.site_folder, xsm.edge.folder")
    assert packages(found) & (HEAVY - {"lxml"}) == frozenset()


def test_the_daemon_imports_only_what_it_always_needs() -> None:
    """Every MiB counts on each host of a site. Certificates are issued, odd YAML is read and colours are shown
    elsewhere or seldom."""
    found = imported("import xsm.daemon")
    assert packages(found) & {"click", "cryptography", "paramiko", "rich", "ruamel"} == frozenset()
    assert not any(name.startswith(("xsm.cli", "xsm.demo")) for name in found)


@pytest.mark.parametrize("package", ["click", "msgspec"])
def test_the_count_sees_what_is_imported(package: str) -> None:
    assert package in packages(imported("import xsm.cli.main"))
