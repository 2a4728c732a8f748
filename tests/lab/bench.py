"""`python -m tests.lab.bench [--docs]`: real guests through XSM beside plain virsh, in the same run.

Decides what is compared with what. Each figure of XSM is the time of the command that a user waits for, until all hosts
say that it is done; each of virsh that of the same calls by hand, without the claim, the commit and the others' word.
With --docs the table goes into docs/measured.md. Nothing is asserted: what counts is how the two stand to each other.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.report import machine
from tests.lab.hosts import LabHost
from tests.lab.lab import BY_SUITE, Lab
from tests.lab.observer import Observer
from tests.lab.places import HOSTS, PROJECT
from tests.lab.power_switch import PowerSwitch, fenced_hosts
from tests.lab.processes import wait_for
from tests.lab.site import APPLY_LIMIT_S, SOON_S, VM, Site, make_disk

ROUNDS = 5
WHOLE = {"max_memory_mib": 96}
"""The guests have all of their memory from the start: else XSM waits for them to give back what is too much."""
MANY = 20
FAILED_LIMIT_S = 180.0
FENCE_AFTER_S = 30
FENCED = fenced_hosts(FENCE_AFTER_S)
DOCS = PROJECT / "docs" / "measured.md"
BEGIN, END = "<!-- lab-bench: python -m tests.lab.bench --docs -->", "<!-- end of lab-bench -->"
MIGRATE = (
    "migrate",
    "--live",
    "--p2p",
    "--persistent",
    "--undefinesource",
    "--tls",
    "--auto-converge",
)


@dataclass(frozen=True)
class Idle(VM):
    """A guest that boots nothing: many of them at once leave the processors to who makes them."""

    @property
    def config(self) -> str:
        return re.sub(r" *<(kernel|initrd|cmdline)>.*\n", "", super().config)


class Bench:
    def __init__(self, lab: Lab, site: Site, observer: Observer) -> None:
        self.lab, self.site, self.observer = lab, site, observer
        self.rows: list[tuple[str, str, str, str]] = []

    def row(self, what: str, by_xsm: list[float], by_virsh: list[float], unit: str = "s") -> None:
        """Medians of both."""
        xsm, virsh = statistics.median(by_xsm), statistics.median(by_virsh)
        digits = 2 if unit == "s" else 0
        figures = (f"{xsm:.{digits}f} {unit}", f"{virsh:.{digits}f} {unit}")
        self.rows.append((what, *figures, f"{xsm / virsh:.2f}" if virsh else "-"))
        print(*self.rows[-1], sep=" | ", flush=True)

    def own_row(self, what: str, took_s: float) -> None:
        """Of something that plain virsh doesn't do."""
        self.rows.append((what, f"{took_s:.2f} s", "-", "-"))
        print(*self.rows[-1], sep=" | ", flush=True)

    # -- one guest -----------------------------------------------------

    def create_migrate_remove(self) -> None:
        """One guest by XSM, one by virsh, in turn, so that both see the same machine."""
        figures: dict[str, tuple[list[float], list[float]]] = {
            what: ([], []) for what in ("create", "migrate", "total", "downtime", "remove")
        }
        for _ in range(ROUNDS):
            for side, one_round in enumerate((self._xsm_round, self._virsh_round)):
                for what, figure in one_round():
                    figures[what][side].append(figure)
        self.row("create one VM", *figures["create"])
        self.row("migrate it live: the whole command", *figures["migrate"])
        self.row("... total time by libvirt's job statistics", *figures["total"], unit="ms")
        self.row("... its guest stood still", *figures["downtime"], unit="ms")
        self.row("remove it (ACPI shutdown, undefine)", *figures["remove"])

    def _xsm_round(self) -> Iterator[tuple[str, float]]:
        yield "create", self.apply_seconds(VM("bench1", "dmz01", **WHOLE))
        self.observer.wait_ticks("bench1", 5, host="dmz01")
        move = ("migrate", "bench1", "dmz02", "--yes")
        yield "migrate", seconds(lambda: self.lab["dmz01"].xsm(*move))
        told = [e["message"] for e in self.site.json("dmz01", "why", "bench1")["events"]]
        took = re.search(
            r": ([\d.]+) s, of which the guest stood still for (\d+) ms", "\n".join(told[-3:])
        )
        if took is not None:
            yield "total", float(took[1]) * 1000
            yield "downtime", float(took[2])
        self.observer.wait_ticks("bench1", 5, host="dmz02")
        yield "remove", self.apply_seconds()

    def _virsh_round(self) -> Iterator[tuple[str, float]]:
        make_disk("plain1")
        first, second = self.lab["dmz01"], self.lab["dmz02"]
        yield "create", seconds(lambda: start(first, VM("plain1", **WHOLE)))
        self.observer.wait_ticks("plain1", 5, host="dmz01")
        target = f"qemu+tls://{HOSTS['dmz02'].address}/system"
        yield "migrate", seconds(lambda: first.virsh(*MIGRATE, "plain1", target))
        completed = second.virsh("domjobinfo", "plain1", "--completed", check=False)
        for what, label in (("total", "Time elapsed"), ("downtime", "Total downtime")):
            found = re.search(rf"{label}:\s+(\d+)", completed)
            if found:
                yield what, float(found[1])
        self.observer.wait_ticks("plain1", 5, host="dmz02")
        yield "remove", seconds(lambda: stop(second, "plain1"))

    # -- many guests -----------------------------------------------------

    def many(self) -> None:
        """On four hosts: a loop of virsh as a script would have it, and one edit. The last thing of all: guests without
        a system heed no request to shut down."""
        hosts = list(HOSTS)
        places = [hosts[n % len(hosts)] for n in range(MANY)]
        by_hand = [Idle(f"loop{n:02}", host, **WHOLE) for n, host in enumerate(places)]
        for vm in by_hand:
            make_disk(vm.name)

        def loop() -> None:
            for vm in by_hand:
                start(self.lab[vm.host], vm)

        by_virsh = seconds(loop)
        for vm in by_hand:
            self.lab[vm.host].virsh("destroy", vm.name)
            self.lab[vm.host].virsh("undefine", vm.name)
        by_xsm = self.apply_seconds(
            *(Idle(f"many{n:02}", host, **WHOLE) for n, host in enumerate(places))
        )
        self.row(f"create {MANY} VMs over {len(hosts)} hosts", [by_xsm], [by_virsh])

    # -- the site -----------------------------------------------------

    def to_all_hosts(self) -> None:
        """From `xsm apply` on one host until the last one shows the revision, by the times of the hosts' own events."""
        took = []
        for n in range(ROUNDS):
            self.site.write(
                self.lab["dmz01"],
                VM("edited", "dmz01", more=f"<WEIGHT>{512 + n}</WEIGHT>", **WHOLE),
            )
            began = time.time()
            self.apply("--no-wait")
            self.site.wait_converged()
            revision = self.lab.status("dmz01")["revision"][:10]
            took.append(max(self._came(name, revision) for name in HOSTS) - began)
        self.own_row("an edit, until all four hosts have it", statistics.median(took))

    def failed_to_restarted(self) -> None:
        """A host dies, all its processes at once: until another shows it as failed, until it is fenced by the policy of
        the site file, and until its guest counts elsewhere. Once: it is patience above all."""
        with PowerSwitch(self.lab) as switch:
            self.site.apply(VM("bench2", **WHOLE), hosts=FENCED)
            if self.observer.hosts("bench2") != ["dmz04"]:
                self.lab["dmz01"].xsm("migrate", "bench2", "dmz04", "--yes")
            self.observer.wait_ticks("bench2", 5, host="dmz04")
            began = time.monotonic()
            self.lab["dmz04"].crash()
            wait_for("it is noticed", lambda: reach(self.lab, "dmz04") == "failed", FAILED_LIMIT_S)
            noticed = time.monotonic()
            wait_for("it is fenced", lambda: "off dmz04" in switch.asked, FAILED_LIMIT_S)
            fenced = time.monotonic()
            self.observer.wait_ticks("bench2", 1)
            again = time.monotonic()
            self.own_row("a host dies, until another shows it as failed", noticed - began)
            patience = f"FENCE_AFTER is {FENCE_AFTER_S} s"
            self.own_row(f"... until it is fenced ({patience})", fenced - began)
            self.own_row("... until its guest runs elsewhere", again - began)
            self.lab["dmz04"].power_on()
            self.lab["dmz04"].wait_up()
            self.lab["dmz04"].start_xsmd()
            self.lab.wait_whole()
            self.site.apply()

    def _came(self, host: str, revision: str) -> float:
        """When the host showed the revision, on the clock that all hosts of the lab share."""
        lines = self.lab[host].xsm("events", "-o", "json").splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        own = [e for e in events if e["host"] == host and e["kind"] == "revision"]
        return min(float(e["at"]) for e in own if f"=> {revision}" in e["message"])

    def apply(self, *options: str) -> None:
        """The edit that was written to /root/site of dmz01."""
        command = ("apply", "/root/site", "--yes", "-m", "An edit of the bench", *options)
        self.lab["dmz01"].xsm(*command, limit_s=APPLY_LIMIT_S)

    def apply_seconds(self, *vms: VM) -> float:
        """How long `xsm apply` takes for the site with these VMs; making the folder and the disks is not its work."""
        self.site.write(self.lab["dmz01"], *vms)
        return seconds(self.apply)


def reach(lab: Lab, about: str) -> str:
    """What dmz01 shows of a host."""
    members = lab.status("dmz01").get("members", [])
    return next((str(m["reach"]) for m in members if m["name"] == about), "")


def seconds(what: Callable[[], object]) -> float:
    began = time.monotonic()
    what()
    return time.monotonic() - began


def start(host: LabHost, vm: VM) -> None:
    """As XSM does it: define, and start."""
    script = "cat >/root/plain.xml && virsh -q define /root/plain.xml"
    host.run("sh", "-c", script, stdin=vm.config)
    host.virsh("start", vm.name)


def stop(host: LabHost, name: str) -> None:
    host.virsh("shutdown", name)
    wait_for(f"{name} is off", lambda: host.virsh("domstate", name) == "shut off", SOON_S)
    host.virsh("undefine", name)


@contextmanager
def lab_with_site() -> Iterator[Bench]:
    lab = Lab()
    lab.up(BY_SUITE)
    try:
        lab.make_site()
        with Observer() as observer:
            yield Bench(lab, Site(lab), observer)
    finally:
        lab.down()


def markdown(rows: list[tuple[str, str, str, str]], where: str) -> str:
    lines = [
        f"Real QEMU guests (96 MiB, emulated) on the lab's four hosts, which share this machine's cores: {where}.",
        f"Medians of {ROUNDS}, in turn. XSM's times are those of the whole command: preview, commit, claim, and the",
        "word of all hosts that it is done; virsh's are those of its calls alone.",
        "",
        "| what | through XSM | plain virsh | ratio |",
        "| --- | --- | --- | --- |",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines)


def write_docs(text: str, path: Path = DOCS) -> None:
    page = path.read_text(encoding="utf-8")
    block = f"{BEGIN}\n{text}\n{END}"
    before, begin, rest = page.partition(BEGIN)
    if begin:
        page = before + block + rest.partition(END)[2]
    else:
        page = page.rstrip("\n") + f"\n\n## Real guests\n\n{block}\n"
    path.write_text(page, encoding="utf-8")


def main(args: list[str]) -> int:
    where = machine()
    with lab_with_site() as bench:
        bench.create_migrate_remove()
        bench.to_all_hosts()
        bench.failed_to_restarted()
        bench.many()
        text = markdown(bench.rows, where)
    print(text)
    if "--docs" in args:
        write_docs(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
