"""On which host each guest executes, from outside XSM and libvirt: from /proc and from what the guests say.

How it decides. A guest counts on its console, five times a second, under the boot ID that its kernel drew, and QEMU
writes the console into a file of the host on which it runs. So a line in a host's file is the guest's own proof that its
vCPUs ran on that host then; a live migration's target, which is paused until the source has stopped, writes nothing.
QEMU processes are found in /proc by their -uuid, and are of the host whose process namespace they are in. A guest has
run twice when any of this is seen:

1. Two QEMU processes of one UUID at one instant of which at most one was started to receive a migration
   (`-incoming`)... with neither told to wait, both boot. Only processes that are not incoming count, since an incoming
   one that has taken over is told by the other rules.
2. One number of one boot ID in the files of two hosts (or twice in one): two executions of the same past.
3. Within one boot ID the counter comes back to a QEMU process that it had left: what was left has run on.
4. Two boot IDs of one guest counting at the same time: lines of the one both before and after a line of the other.

A number that is missing within one boot ID is a gap: the guest lost time of its own. The line that a migration cuts in
two is put together from the end of one file and the start of the next.

Looks are `LOOK_S` apart, so rule 1 can miss two processes that overlap for less; rules 2 to 4 miss nothing that a guest
said. Must not ask XSM or libvirt.
"""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import processes
from tests.lab.places import CONSOLES, HOSTS

LOOK_S = 0.05
TICK = re.compile(r"TICK (\S+) n=(\d+) boot=(\S+) memory=(\d+) cpus=(\d+)")


@dataclass(frozen=True)
class Machine:
    """A QEMU process."""

    vm: str
    uuid: str
    host: str
    pid: int
    started: str
    incoming: bool


@dataclass(frozen=True)
class Tick:
    """One line that a guest counted."""

    vm: str
    boot: str
    n: int
    host: str
    at: float  # monotonic seconds, when it was read
    machine: Machine | None  # the process that wrote it, as far as it was seen
    memory_kib: int
    cpus: int


@dataclass
class _Console:
    """How far a host's file of one guest has been read."""

    inode: int = 0
    offset: int = 0
    rest: str = ""  # the start of a line
    ticked: bool = False
    first: str = ""  # what was left of the line that a migration cut


@dataclass
class Seen:
    """What was seen of one guest."""

    ticks: list[Tick] = field(default_factory=list)
    machines: list[Machine] = field(default_factory=list)  # every process there was, in order


class Observer:
    """A thread that looks, from `with` until its end. Raises nothing; `twice` says what it found."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._looked = threading.Condition(self._lock)
        self._looks = 0
        self._consoles: dict[tuple[str, str], _Console] = defaultdict(_Console)
        self._seen: dict[str, Seen] = defaultdict(Seen)
        self._now: tuple[Machine, ...] = ()
        self._at_once: list[str] = []
        self._known: dict[tuple[int, str], Machine | None] = {}
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def __enter__(self) -> Observer:
        self._look(first=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        if self._trouble is not None:
            raise self._trouble

    def _run(self) -> None:
        try:
            while not self._ending.wait(LOOK_S):
                self._look()
        except BaseException as error:
            self._trouble = error
            raise

    # -- looking -----------------------------------------------------

    def _look(self, first: bool = False) -> None:
        machines = self._machines()
        with self._looked:
            if first:
                machines = self._machines()
            self._now = machines
            for machine in machines:
                seen = self._seen[machine.vm].machines
                if machine not in seen:
                    seen.append(machine)
            self._note_at_once(machines)
            for name, place in HOSTS.items():
                folder = place.inside(CONSOLES)
                for path in sorted(folder.glob("*.log")) if folder.is_dir() else ():
                    self._read(name, path, only_end=first)
            self._looks += 1
            self._looked.notify_all()

    def _machines(self) -> tuple[Machine, ...]:
        """Every QEMU process of the lab. What a process is, is read once: it doesn't change."""
        spaces: dict[str, str] = {}
        for name, place in HOSTS.items():
            outer = processes.pid_of(place.pid_file)
            inner = processes.child_of(outer) if outer else 0
            space = processes.namespace(inner) if inner else ""
            if space:
                spaces[space] = name
        known: dict[tuple[int, str], Machine | None] = {}
        for pid in processes.all_pids():
            started = processes.start_time(pid)
            if not started:
                continue
            key = (pid, started)
            # Before exec it is a copy of libvirtd: what isn't QEMU yet is looked at again.
            known[key] = self._known.get(key) or _machine(pid, started, spaces)
        self._known = known
        return tuple(machine for machine in known.values() if machine is not None)

    def _note_at_once(self, machines: tuple[Machine, ...]) -> None:
        by_uuid = defaultdict(list)
        for machine in machines:
            if not machine.incoming:
                by_uuid[machine.uuid].append(machine)
        for found in by_uuid.values():
            # One that has handed over and one that was started anew elsewhere since: the former is about to end.
            if len(found) > 1:
                where = " and ".join(f"{m.host} (process {m.pid})" for m in sorted(found, key=lambda m: m.host))
                said = f"{found[0].vm}: started on {where}, both at once"
                if said not in self._at_once:
                    self._at_once.append(said)

    def _read(self, host: str, path: Path, only_end: bool) -> None:
        console = self._consoles[host, path.stem]
        status = path.stat()
        if status.st_ino != console.inode:  # a new file; also the first look
            console.inode, console.offset, console.rest = status.st_ino, 0, ""
            if only_end:
                console.offset = status.st_size
        if status.st_size <= console.offset:
            return
        with path.open("rb") as stream:
            stream.seek(console.offset)
            data = stream.read()
        console.offset += len(data)
        *lines, console.rest = (console.rest + data.decode(errors="replace")).split("\n")
        for line in lines:
            self._tick(host, path.stem, console, line)

    def _tick(self, host: str, vm: str, console: _Console, line: str) -> None:
        found = TICK.search(line)
        if found is None:
            joined = self._cut_line(host, vm, line)
            found = TICK.search(joined) if joined else None
        if found is None:
            return
        machine = next((m for m in reversed(self._seen[vm].machines) if m.host == host), None)
        name, n, boot, memory, cpus = found.groups()
        tick = Tick(name, boot, int(n), host, time.monotonic(), machine, int(memory), int(cpus))
        self._seen[vm].ticks.append(tick)

    def _cut_line(self, host: str, vm: str, line: str) -> str:
        """The line whose start another host's file has as its end; "" where none fits."""
        for (other, name), console in self._consoles.items():
            if name == vm and other != host and console.rest.startswith("TICK") and TICK.search(console.rest + line):
                start, console.rest = console.rest, ""
                return start + line
        return ""

    # -- what was seen -----------------------------------------------------

    def wait_look(self) -> None:
        """Until a look that began after this call is done."""
        with self._looked:
            wanted = self._looks + 2
            self._looked.wait_for(lambda: self._looks >= wanted or self._ending.is_set(), timeout=30)

    def machines(self, vm: str) -> list[Machine]:
        with self._lock:
            return [machine for machine in self._now if machine.vm == vm]

    def ticks(self, vm: str) -> list[Tick]:
        with self._lock:
            return list(self._seen[vm].ticks)

    def last(self, vm: str) -> Tick | None:
        ticks = self.ticks(vm)
        return ticks[-1] if ticks else None

    def hosts(self, vm: str) -> list[str]:
        """Where there is a QEMU process of it now, by name."""
        return sorted(machine.host for machine in self.machines(vm))

    def shown(self) -> str:
        """All guests in one text, for people."""
        with self._lock:
            vms = sorted({machine.vm for machine in self._now})
        lines = []
        for vm in vms:
            where = ", ".join(
                f"{m.host} ({'incoming, ' if m.incoming else ''}process {m.pid})" for m in self.machines(vm)
            )
            lines.append(f"{vm}: {where}")
        return "\n".join(lines + self.twice())

    def twice(self) -> list[str]:
        """Every instance of a guest that ran twice, in words; empty when none did."""
        with self._lock:
            found = list(self._at_once)
            for vm in sorted(self._seen):
                found += judged(self._seen[vm].ticks)
        return found

    def gaps(self, vm: str) -> list[str]:
        """Numbers that a boot of the guest left out, in words."""
        with self._lock:
            return missing(self._seen[vm].ticks)


def _machine(pid: int, started: str, spaces: dict[str, str]) -> Machine | None:
    try:
        args = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    if "qemu-system" not in args[0] or "-uuid" not in args:
        return None
    host = spaces.get(processes.namespace(pid), "")
    if not host:
        return None
    name = args[args.index("-name") + 1].split(",")[0].removeprefix("guest=")
    return Machine(name, args[args.index("-uuid") + 1], host, pid, started, "-incoming" in args)


# --- judging what the guests said -------------------------------------------------------------------


def judged(ticks: list[Tick]) -> list[str]:
    """Rules 2, 3 and 4 for one guest's ticks, in the order in which they were read."""
    boots: dict[str, list[Tick]] = defaultdict(list)
    for tick in ticks:
        boots[tick.boot].append(tick)
    found = []
    for boot, own in boots.items():
        found += _repeated(boot, own)
        found += _came_back(boot, own)
    return found + _interleaved(ticks)


def _repeated(boot: str, ticks: list[Tick]) -> list[str]:
    first: dict[int, Tick] = {}
    found = []
    for tick in ticks:
        before = first.setdefault(tick.n, tick)
        if before is not tick:
            found.append(f"{tick.vm}: n={tick.n} of boot {boot} counted on {before.host} and on {tick.host}")
    return found[:1]


def _came_back(boot: str, ticks: list[Tick]) -> list[str]:
    left: set[Machine] = set()
    before: Machine | None = None
    for tick in sorted(ticks, key=lambda t: t.n):
        if tick.machine is None or tick.machine == before:
            continue
        if tick.machine in left:
            return [f"{tick.vm}: at n={tick.n} boot {boot} was back in a process on {tick.host} that it had left"]
        if before is not None:
            left.add(before)
        before = tick.machine
    return []


def _interleaved(ticks: list[Tick]) -> list[str]:
    ended: set[str] = set()
    before = ""
    for tick in ticks:
        if tick.boot == before:
            continue
        if tick.boot in ended:
            return [f"{tick.vm}: boots {tick.boot} and {before} counted at the same time, the former on {tick.host}"]
        ended.add(before)
        before = tick.boot
    return []


def missing(ticks: list[Tick]) -> list[str]:
    """The numbers that are not there between the first and the last that was read of each boot."""
    boots: dict[str, set[int]] = defaultdict(set)
    for tick in ticks:
        boots[tick.boot].add(tick.n)
    found = []
    for boot, numbers in boots.items():
        left_out = sorted(set(range(min(numbers), max(numbers) + 1)) - numbers)
        if left_out:
            found.append(f"boot {boot}: no n={', '.join(map(str, left_out[:10]))}")
    return found
