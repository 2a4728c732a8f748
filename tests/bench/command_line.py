"""`xsm` from start to exit: real processes, asking an API of recorded answers for a site of 100 hosts and 1,000 VMs.

The answers are the real types, made by the real planner and views; a socket server of a few lines hands them out, so
that only the command is measured. What xsmd needs to make such an answer is measured beside it, in this process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.bench import paper
from tests.bench.report import Row, Table, ms, quantile
from xsm.api import views
from xsm.api.asking import json_answer
from xsm.api.types import MemberStatus, PlanAnswer, Status
from xsm.peer.contacts import Reach
from xsm.plan.planner import plan
from xsm.plan.wanted import wanted

HOSTS, VMS = 100, 1_000
TIMES = 7
GOAL = "< 300 ms"
XSM = Path(sys.executable).parent / "xsm"
REQUEST_LIMIT_BYTES = 65_536
HEAVY = ("xsm.cli.main", "xsm.daemon")


def answers() -> Mapping[str, object]:
    """Route -> what xsmd would say; a tenth of the VMs is still to be created."""
    document = paper.document(VMS, HOSTS)
    want = wanted(document)
    hosts = sorted(document.state.members)
    seen = paper.view(want, hosts[: HOSTS * 9 // 10])
    reports = {**paper.view(want, hosts, empty=True).reports, **seen.reports}
    view = paper.View(reports, {}, paper.NOW, {}, None)
    found = plan(want, document, view)
    lines = tuple(str(action) for action in found.actions)
    members = tuple(
        MemberStatus(m.name, m.address, m.url, Reach.ALIVE, 0.4, "ab" * 20, False)
        for m in document.state.members.values()
    )
    return {
        "/v1/status": Status(
            host=hosts[0],
            site_id=paper.SITE_ID,
            version="0",
            revision="ab" * 20,
            heads=("ab" * 20,),
            subject="An edit",
            author="A <a@b.c>",
            date=paper.NOW,
            members=members,
            majority=True,
            conflicts=(),
            frozen="",
            checkout="/etc/xsm/site",
            checkout_problems=(),
            converged=False,
            pending=lines,
            held=(),
        ),
        "/v1/plan": PlanAnswer("ab" * 20, found, reports, {}),
        "/v1/vms": views.vms(want, reports, {}, found),
    }


@contextmanager
def served(bodies: Mapping[str, bytes]) -> Iterator[str]:
    """A unix socket that answers each request with its body."""
    with tempfile.TemporaryDirectory(prefix="xsm-bench-") as folder:
        path = f"{folder}/xsmd.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            thread = threading.Thread(target=_serve, args=(listener, bodies))
            thread.start()
            try:
                yield path
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()


def _serve(listener: socket.socket, bodies: Mapping[str, bytes]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # shut down
        with connection:
            path = connection.recv(REQUEST_LIMIT_BYTES).split()[1].decode()
            body = bodies[path]
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            connection.sendall(head.encode() + body)


def run_process(*command: str) -> tuple[float, float]:
    """Seconds from start to exit, and CPU seconds of the process."""
    before, started = os.times(), time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment())
    wall_s, after = time.monotonic() - started, os.times()
    cpu_s = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    return wall_s, cpu_s


def environment() -> dict[str, str]:
    """As an installed XSM has it: its modules are compiled once."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def row(what: str, *command: str, goal: str = "") -> Row:
    runs = [run_process(*command) for _ in range(TIMES)]
    wall, cpu = (quantile([run[k] for run in runs], 0.5) for k in (0, 1))
    size = "" if not goal else f"{HOSTS} hosts, {VMS:,} VMs"
    return Row(what, size, f"{ms(wall)}, {ms(cpu)} CPU", goal)


def imported_mib(module: str) -> str:
    """Memory of a fresh Python that has imported one module."""
    say = "print(next(l for l in open('/proc/self/status') if l.startswith('VmRSS')).split()[1])"
    command = [sys.executable, "-c", f"import {module}; {say}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    return f"{int(done.stdout) / 1024:.1f} MiB"


def run() -> Table:
    found = answers()
    encode_s, _ = paper.cpu_s(lambda: [json_answer(value) for value in found.values()])
    bodies = {path: bytes(json_answer(value).body) for path, value in found.items()}  # type: ignore[arg-type]
    make_s, _ = paper.cpu_s(answers)
    rows = [row("python, nothing imported", sys.executable, "-c", "pass")]
    rows.append(row("xsm --version", str(XSM), "--version"))
    with served(bodies) as path:
        for command in ("status", "plan", "vms"):
            told = row(f"xsm {command}", str(XSM), "--socket", path, command, goal=GOAL)
            rows.append(told)
    size = f"{HOSTS} hosts, {VMS:,} VMs"
    rows.append(Row("making these answers", size, f"{ms(make_s)} CPU"))
    kib = sum(map(len, bodies.values())) >> 10
    rows.append(Row("writing them as JSON", f"{kib:,} KiB", f"{ms(encode_s)} CPU"))
    rows += [Row(f"memory once {module} is imported", "", imported_mib(module)) for module in HEAVY]
    about = f"Medians of {TIMES} runs, from start to exit and CPU time."
    return Table("The command line", tuple(rows), about)
