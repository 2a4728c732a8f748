"""On which host each guest executes, from outside XSM and libvirt: from /proc and from what the guests say.

How it decides. A guest counts on its console, five times a second, under the boot ID that its kernel drew, and QEMU
writes the console into a file of the host on which it runs. So a line in a host's file is the guest's own proof that
its vCPUs ran on that host then; a live migration's target, which is paused until the source has stopped, writes
nothing. QEMU processes are found in /proc by their -uuid, and are of the host whose process namespace they are in. A
guest has run twice when any of this is seen:

1. Two QEMU processes of one UUID are there at one instant, neither of them made to receive a migration (`-incoming`):
   such a process boots as soon as it is there. What a receiving one does is told by the other rules.
2. One number of one boot ID is in the files of two hosts, or twice in one: the same past was gone on from twice.
3. Within one boot ID the counter comes back to a QEMU process that it had left: what was left has run on.
4. Two boot IDs of one guest count at the same time: lines of the one both before and after a line of the other.

A number that is missing within one boot ID is a gap: the guest lost time of its own. The line that a migration cuts in
two is put together from the end of one file and the start of another.

Looks are `LOOK_S` apart, so rule 1 can miss two processes that overlap for less; rules 2 to 4 miss nothing that a guest
said. Must not ask XSM or libvirt.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import processes
from tests.lab.places import CONSOLES, HOSTS

LOOK_S = 0.1
TICK_LIMIT_S = 120.0
"""For a guest's boot and its counting, on a machine that does much else."""
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

    host: str
    vm: str
    inode: int = 0
    offset: int = 0
    rest: str = ""  # the start of a line


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
        self._consoles: dict[tuple[str, str], _Console] = {}
        self._seen: dict[str, Seen] = defaultdict(Seen)
        self._now: tuple[Machine, ...] = ()
        self._at_once: list[str] = []
        self._own_space = processes.namespace(os.getpid())
        self._elsewhere: set[int] = set()  # processes of this machine, not of a host
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
            self._now = machines
            for machine in machines:
                seen = self._seen[machine.vm].machines
                if machine not in seen:
                    seen.append(machine)
            self._note_at_once(machines)
            # All files first, then their lines: the start of a line that a migration cut is written before its end.
            news = [(console, self._read(console, path, first)) for console, path in self._files()]
            for console, lines in news:
                for line in lines:
                    self._tick(console, line)
            self._looks += 1
            self._looked.notify_all()

    def _files(self) -> list[tuple[_Console, Path]]:
        found = []
        for host, place in HOSTS.items():
            for path in _consoles_in(place.inside(CONSOLES)):
                console = self._consoles.setdefault((host, path.stem), _Console(host, path.stem))
                found.append((console, path))
        return found

    def _machines(self) -> tuple[Machine, ...]:
        """Every QEMU process of the lab."""
        spaces: dict[str, str] = {}
        for name, place in HOSTS.items():
            outer = processes.pid_of(place.pid_file)
            inner = processes.child_of(outer) if outer else 0
            space = processes.namespace(inner) if inner else ""
            if space:
                spaces[space] = name
        found = []
        pids = processes.all_pids()
        self._elsewhere &= set(pids)
        for pid in pids:
            if pid in self._elsewhere:
                continue
            space = processes.namespace(pid)
            if space in (self._own_space, ""):
                self._elsewhere.add(pid)
            machine = _machine(pid, spaces[space]) if space in spaces else None
            if machine is not None:
                found.append(machine)
        return tuple(found)

    def _note_at_once(self, machines: tuple[Machine, ...]) -> None:
        by_uuid = defaultdict(list)
        for machine in machines:
            if not machine.incoming:
                by_uuid[machine.uuid].append(machine)
        for found in by_uuid.values():
            # One that has handed over and one that was started anew elsewhere since: the former is about to end.
            if len(found) > 1:
                where = " and ".join(
                    f"{m.host} (process {m.pid})" for m in sorted(found, key=lambda m: m.host)
                )
                said = f"{found[0].vm}: started on {where}, both at once"
                if said not in self._at_once:
                    self._at_once.append(said)

    @staticmethod
    def _read(console: _Console, path: Path, only_end: bool) -> list[str]:
        """Whole lines that have come; of a first look none, only how far the file is."""
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            return []  # the lab goes down
        with stream:
            status = os.fstat(stream.fileno())
            if status.st_ino != console.inode:
                console.inode, console.offset, console.rest = status.st_ino, 0, ""
                if only_end:
                    console.offset = status.st_size
            if status.st_size <= console.offset:
                return []
            stream.seek(console.offset)
            data = stream.read()
        console.offset += len(data)
        *lines, console.rest = (console.rest + data.decode(errors="replace")).split("\n")
        return lines

    def _tick(self, console: _Console, line: str) -> None:
        found = TICK.search(line) or TICK.search(self._cut_line(console, line))
        if found is None:
            return
        seen = self._seen[console.vm]
        machine = next((m for m in reversed(seen.machines) if m.host == console.host), None)
        _, n, boot, memory, cpus = found.groups()
        now = time.monotonic()
        seen.ticks.append(
            Tick(console.vm, boot, int(n), console.host, now, machine, int(memory), int(cpus))
        )

    def _cut_line(self, console: _Console, line: str) -> str:
        """The line whose start another host's file has as its end; "" where none fits."""
        for other in self._consoles.values():
            if (
                other.vm == console.vm
                and other.host != console.host
                and TICK.fullmatch((other.rest + line).strip())
            ):
                start, other.rest = other.rest, ""
                return start + line
        return ""

    # -- what was seen -----------------------------------------------------

    def wait_look(self) -> None:
        """Until a look that began after this call is done."""
        with self._looked:
            wanted = self._looks + 2
            self._looked.wait_for(
                lambda: self._looks >= wanted or self._ending.is_set(), timeout=30
            )

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
                f"{m.host} ({'incoming, ' if m.incoming else ''}process {m.pid})"
                for m in self.machines(vm)
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

    def pardon(self, vm: str) -> None:
        """Forget what was seen of a guest: a case has made it run twice on purpose."""
        with self._lock:
            self._seen.pop(vm, None)
            self._at_once = [said for said in self._at_once if not said.startswith(f"{vm}: ")]

    def wait_ticks(
        self, vm: str, count: int, limit_s: float = TICK_LIMIT_S, host: str = ""
    ) -> Tick:
        """Until the guest has counted that many numbers more (on `host`); gives the last. Raises `LabFailed`."""
        began = len(self.ticks(vm))

        def counted() -> bool:
            new = self.ticks(vm)[began:]
            return sum(not host or tick.host == host for tick in new) >= count

        processes.wait_for(f"{vm} counts on {host or 'any host'}", counted, limit_s)
        return self.ticks(vm)[-1]

    def gaps(self, vm: str) -> list[str]:
        """Numbers that a boot of the guest left out, in words."""
        with self._lock:
            return missing(self._seen[vm].ticks)


def _consoles_in(folder: Path) -> list[Path]:
    """None in a folder that isn't there: the lab comes up, or goes down."""
    try:
        return sorted(folder / name for name in os.listdir(folder) if name.endswith(".log"))
    except FileNotFoundError:
        return []


def _machine(pid: int, host: str) -> Machine | None:
    """The QEMU that the process is; None for another one. Before exec it is a copy of libvirtd: looked at again."""
    started = processes.start_time(pid)
    try:
        args = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    if not started or "qemu-system" not in args[0] or "-uuid" not in args:
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
            found.append(
                f"{tick.vm}: n={tick.n} of boot {boot} counted on {before.host} and on {tick.host}"
            )
    return found[:1]


def _came_back(boot: str, ticks: list[Tick]) -> list[str]:
    left: set[Machine] = set()
    before: Machine | None = None
    for tick in sorted(ticks, key=lambda t: t.n):
        if tick.machine is None or tick.machine == before:
            continue
        if tick.machine in left:
            return [
                f"{tick.vm}: at n={tick.n} boot {boot} was back in a process on {tick.host} that it had left"
            ]
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
            return [
                f"{tick.vm}: boots {tick.boot} and {before} counted at the same time, the former on {tick.host}"
            ]
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
