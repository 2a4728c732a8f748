"""A site's life by chance: edits, commands, hands and faults, all from one seed; then peace, and what came of it.

Run one with its story: `python -m tests.sim.chance SEED`; many: `python -m tests.sim.chance FROM TO [restless]`.
"""

from __future__ import annotations

import random
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.sim.checkers import Checkers, Violation, at_rest
from tests.sim.world import SimHost, World
from xsm.edge.hypervisor import HypervisorError
from xsm.peer import commands
from xsm.peer.commands import CommandRefused
from xsm.peer.edit import Overtaken, PlaceRefused
from xsm.plan.observed import ACTIVE
from xsm.site.changes import AddVM, Change, RemoveVM, SetVM
from xsm.site.document import Files
from xsm.site.model import VM, Drift, HypervisorKind, Migration, Power
from xsm.site.problems import Invalid

CONFIGS = Path(__file__).parents[2] / "sites" / "figure3" / "configs"
PEACE_LIMIT_S = 400.0
"""By then a site without faults has nothing left to do: the longest backoff and a guest's minute to shut down twice."""
HEAR_S = 10.0
"""By then everybody has heard that the faults are over."""
FAULTS = ("no majority", "does not answer", "failed")
"""What is said while something is broken; at rest nobody should have a reason to."""
HOST_MEMORY_MIB = 1100
START_LIMIT_S = 4.0
"""A start that a killed daemon had asked for ends within `letting_go.SETTLE_S`."""
FOREIGN = """<domain type="test"><name>scratch</name><memory unit="MiB">64</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""


class Life:
    """One seed's world and what happens in it."""

    def __init__(self, seed: int, events: int = 60, restless: bool = False) -> None:
        """`restless`: nearly nothing but moves of VMs, among daemons and links that come and go."""
        self.seed = seed
        self.events = events
        self.restless = restless
        self.random = random.Random(f"life {seed}")
        chance = self.random
        count = chance.choice([3, 3, 4, 4, 5])
        self.names = [f"dmz{i:02}" for i in range(1, count + 1)]
        self.live = chance.random() < 0.7
        self.world = World(self.names, self._site(), seed=seed, live=self.live)
        self.world.latency_s = chance.choice([0.005, 0.005, 0.1, 0.6])
        self.world.announce_s = random.Random(f"announce {seed}").choice([0.0, 0.0, 2.0])
        self.world.doubled = chance.choice([0.0, 0.0, 0.2])
        self.gone: set[str] = set()
        self.rate_s = chance.choice([0.4, 1.5, 1.5, 4.0])
        for host in self.world.hosts.values():
            host.hypervisor.kind = HypervisorKind.XEN
            host.hypervisor.memory_mib = HOST_MEMORY_MIB
            host.hypervisor.slow_s = {
                "migrate": chance.uniform(0.2, 6.0),
                "start": chance.uniform(0.2, START_LIMIT_S),
            }
        self.world.hosts[self.names[0]].hypervisor.by_hand_define(FOREIGN, start=True)
        Checkers(self.world)

    def _site(self) -> Files:
        lines = ['<XSMConfig><Set name="web">']
        for i in range(1, 6):
            host = self.random.choice([*self.names, ""])
            place = f"<DOM0>{host}</DOM0>" if host else ""
            more = self.random.choice(
                ["", "<MIGRATION>cold</MIGRATION>", "<DRIFT>report</DRIFT>", "<APART>a</APART>"]
            )
            lines.append(
                f'<VM name="vm{i}" config="apache_svr">{place}<VCPUS>2</VCPUS><MEM>96</MEM>{more}</VM>'
            )
        lines.append("</Set></XSMConfig>")
        configs = {f"configs/{p.name}": p.read_bytes() for p in sorted(CONFIGS.iterdir())}
        return {"site.xml": "\n".join(lines).encode(), **configs}

    # -- the course of it ----------------------------------------------------------------------------------------------

    def run(self) -> World:
        """Raises `Violation`."""
        self.world.run(self.random.choice([0.0, 10.0]))
        for _ in range(self.events):
            event, weight = zip(*(RESTLESS if self.restless else EVENTS), strict=True)
            self.random.choices(event, weight)[0](self)
            self.world.check()
            self.world.run(self.random.expovariate(1 / self.rate_s))
        self.peace()
        at_rest(self.world)
        return self.world

    def peace(self) -> None:
        """All faults end. What somebody has to say (a guest that is to be forgotten) stays unsaid."""
        self.tell("", "all faults end")
        self.world.heal()
        self.world.loss = self.world.doubled = 0.0
        for host in self.world.hosts.values():
            hypervisor = host.hypervisor
            hypervisor.no_more_faults()
            if host.name in self.gone:
                host.kill_daemon()  # it is no part of the site any more
                continue
            if hypervisor.lost:
                hypervisor.restore()
            if host.peer is None:
                host.start_daemon()
        self.world.run(HEAR_S)
        if not self.world.run_until(self._at_ease, PEACE_LIMIT_S):
            reports = [(h.name, h.peer.own_report()) for h in self.world.alive() if h.peer]
            left = [f"{name}: {line}" for name, r in reports if r for line in (*r.pending, *r.held)]
            heads = {
                h.name: h.peer.head.revision[:10]
                for h in self.world.alive()
                if h.peer and h.peer.head
            }
            raise Violation(
                f"not at rest {PEACE_LIMIT_S:.0f} s after all faults ended: {left}, {heads}"
            )

    def _at_ease(self) -> bool:
        """Nothing is left to do, and nothing waits for a fault to end: there are none."""
        reports = [h.peer.own_report() for h in self.world.alive() if h.peer]
        held = [line for r in reports if r is not None for line in r.held]
        held = [line for line in held if not any(gone in line for gone in self.gone)]
        return self.world.settled() and not any(fault in line for line in held for fault in FAULTS)

    def tell(self, host: str, text: str) -> None:
        self.world.tell(host, "chance", "", text)

    # -- who and what --------------------------------------------------------------------------------------------------

    def host(self) -> SimHost | None:
        """A host whose daemon runs."""
        there = [h for h in self.world.alive() if h.name not in self.gone]
        alive = [h for h in there if h.peer and h.peer.head and h.peer.head.document]
        return self.random.choice(alive) if alive else None

    def any_host(self) -> SimHost | None:
        there = [h for h in self.world.hosts.values() if h.name not in self.gone]
        return self.random.choice(there)

    def try_to(self, host: SimHost, what: str, do: Callable[[], object]) -> None:
        try:
            do()
            self.tell(host.name, what)
        except (Invalid, Overtaken, PlaceRefused, CommandRefused, HypervisorError) as error:
            self.tell(host.name, f"{what}: refused: {str(error)[:120]}")

    # -- edits ---------------------------------------------------------------------------------------------------------

    def edit(self) -> None:
        host = self.host()
        vms = sorted(host.document.vms) if host else []
        if host is None or not vms:
            return
        vm = host.document.vms[self.random.choice(vms)]
        changes = [self._change(vm)]
        if self.random.random() < 0.2:
            changes.append(self._change(host.document.vms[self.random.choice(vms)]))
        self._propose(host, list({(c.name, c.field): c for c in changes}.values()))

    def _change(self, vm: VM) -> SetVM:
        pick = self.random.choice
        field, value = pick(
            [
                ("host", pick(self.names)),
                ("host", pick(self.names)),
                ("host", pick(self.names)),
                ("host", None),
                ("memory_mib", pick([64, 96, 128, 200, 250])),
                ("vcpus", pick([1, 2, 4])),
                ("power", pick(list(Power))),
                ("migration", pick(list(Migration))),
                ("drift", pick(list(Drift))),
                ("apart", pick([(), ("a",), ("b",)])),
                ("mac", f"aa:00:00:00:00:{self.random.randrange(256):02x}"),
                ("uuid", f"11111111-2222-4333-8444-5555555555{self.random.randrange(100):02}"),
            ]
        )
        return SetVM(vm.name, field, getattr(vm, field), value)

    def move(self) -> None:
        """The same VM again and again, so that moves meet."""
        host = self.host()
        if host is None or "vm1" not in host.document.vms:
            return
        vm = host.document.vms["vm1"]
        self._propose(host, [SetVM("vm1", "host", vm.host, self.random.choice(self.names))])

    def add_or_remove(self) -> None:
        host = self.host()
        if host is None:
            return
        there = sorted(host.document.vms)
        if there and self.random.random() < 0.5:
            self._propose(host, [RemoveVM(host.document.vms[self.random.choice(there)])])
            return
        name = f"vm{self.random.randrange(1, 9)}"
        if name in there:
            return
        place = self.random.choice([None, *self.names])
        new = VM(name, "apache_svr", host.document.site.sets[0].name, 1, 96, host=place)
        self._propose(host, [AddVM(replace(new, migration=self.random.choice(list(Migration))))])

    def _propose(self, host: SimHost, changes: list[Change]) -> None:
        def do() -> None:
            files = commands.edit_site(host.head_files, host.document, changes)
            self.world.propose(host.name, files, "An edit")

        self.try_to(host, f"edit: {'; '.join(map(_short, changes))}", do)

    def command(self) -> None:
        host = self.host()
        if host is None:
            return
        files, document, pick = host.head_files, host.document, self.random.choice
        vms = sorted(document.vms) or ["none"]
        vm, other = pick(vms), pick(self.names)
        verb = pick(
            [
                "migrate",
                "migrate",
                "restart",
                "drain",
                "undrain",
                "resolve",
                "rollback",
                "resume",
                "resume",
            ]
        )

        def intent() -> commands.Intent:
            assert host.peer is not None
            assert host.peer.head is not None
            match verb:
                case "migrate":
                    return commands.migrate(files, document, vm, other)
                case "restart":
                    return commands.restart(files, document, [vm], f"restart {self.world.now}")
                case "drain" | "undrain":
                    return commands.HOST_COMMANDS[verb](files, document, other)
                case "resolve":
                    return commands.resolve(files, document, vm)
                case "resume":
                    return commands.set_power(files, document, vm, Power.RUNNING)
            revision = host.peer.head.revision
            for _ in range(self.random.randrange(1, 4)):
                revision = (*host.history.commit(revision).parents, revision)[0]
            return commands.rollback(files, document, host.history.files(revision), revision)

        self.try_to(
            host, f"command: {verb} {vm} {other}", lambda: self.world.intend(host.name, intent())
        )

    def forget(self) -> None:
        """A host is powered off for good, and the operator gives his word."""
        host = self.host()
        off = [
            h
            for h in self.world.hosts.values()
            if h.peer is None and h.hypervisor.lost == OFF and h is not host
        ]
        if host is None or not off or self.gone or len(self.names) < 4:
            return
        lost = self.random.choice(off).name

        def do() -> None:
            self.world.intend(
                host.name,
                commands.forget(
                    host.head_files, host.document, lost, None, alive=False, sure=True, me=host.name
                ),
            )
            self.gone.add(lost)

        self.try_to(host, f"command: forget {lost} --it-is-off", do)

    # -- hands and guests ----------------------------------------------------------------------------------------------

    def hand(self) -> None:
        host = self.any_host()
        active = [
            d
            for d in host.hypervisor.domains_unchecked()
            if d.tag and d.state in ACTIVE and not d.incoming
        ]
        if not active:
            return
        name, hypervisor = self.random.choice(active).name, host.hypervisor
        what = self.random.choice(
            ["destroy", "suspend", "resume", "set_memory", "undefine", "autostart", "deaf"]
        )
        if what == "deaf":
            hypervisor.deaf.add(name)
        elif what == "set_memory":
            hypervisor.by_hand_set_memory(name, 64)
        else:
            getattr(hypervisor, f"by_hand_{what}")(name)
        self.tell(host.name, f"by hand: {what} {name}")

    # -- faults --------------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        host = self.any_host()
        if host.peer is not None:
            host.kill_daemon()
            self.tell(host.name, "kill -9 xsmd")

    def crash(self) -> None:
        host = self.any_host()
        host.crash()
        if self.random.random() < 0.6:
            host.hypervisor.lose(OFF)
        self.tell(host.name, "the host loses power")

    def boot(self) -> None:
        down = [h for h in self.world.hosts.values() if h.peer is None and h.name not in self.gone]
        if down:
            host = self.random.choice(down)
            if host.hypervisor.lost == OFF:
                host.hypervisor.restore()
            self.tell(host.name, "xsmd starts")
            host.start_daemon()

    def come_back(self) -> None:
        """A host that was forgotten is switched on again, once all who are there know that it was."""
        back = sorted(name for name in self.gone if self.world.hosts[name].peer is None)
        alive = [h for h in self.world.alive() if h.name not in self.gone]
        if not back or any(
            back[0] in h.document.state.members for h in alive if h.peer and h.peer.head
        ):
            return
        host = self.world.hosts[back[0]]
        host.hypervisor.restore()
        self.tell(host.name, "the forgotten host is back")
        host.start_daemon()

    def cut(self) -> None:
        names = self.random.sample(self.names, len(self.names))
        at = self.random.randrange(1, len(names))
        self.world.cut_off(names[:at], names[at:])
        self.tell("", f"cut: {','.join(names[:at])} | {','.join(names[at:])}")

    def cut_one_way_out(self) -> None:
        """Only one pair of hosts does not hear of each other."""
        one, other = self.random.sample(self.names, 2)
        self.world.cut = {*self.world.cut, frozenset({one, other})}
        self.world.switch.cut = self.world.cut
        self.tell("", f"cut: {one} | {other}")

    def heal(self) -> None:
        self.world.heal()
        self.tell("", "healed")

    def loss(self) -> None:
        self.world.loss = self.random.choice([0.0, 0.1, 0.4])
        self.tell("", f"{self.world.loss:.0%} of all requests get lost")

    def fail(self) -> None:
        host = self.any_host()
        call = self.random.choice(
            ["define", "start", "shutdown", "migrate", "undefine", "set_memory", "set_tag", ""]
        )
        after = self.random.random() < 0.3
        host.hypervisor.fail_next(call, "it failed", times=self.random.randrange(1, 5), after=after)
        self.tell(host.name, f"the next {call or 'calls'} fail{' though done' if after else ''}")

    def libvirt(self) -> None:
        host = self.any_host()
        if host.hypervisor.lost:
            if host.hypervisor.lost != OFF:
                host.hypervisor.restore()
                self.tell(host.name, "libvirtd answers again")
        else:
            host.hypervisor.lose()
            self.tell(host.name, "libvirtd does not answer")

    def clock(self) -> None:
        host = self.any_host()
        host.clock_skew_s = self.random.uniform(-20, 20)
        self.tell(host.name, f"its clock is {host.clock_skew_s:+.0f} s off")


OFF = "powered off"
EVENTS: tuple[tuple[Callable[[Life], None], int], ...] = (
    (Life.edit, 14),
    (Life.move, 8),
    (Life.add_or_remove, 3),
    (Life.command, 8),
    (Life.forget, 1),
    (Life.hand, 6),
    (Life.kill, 5),
    (Life.crash, 3),
    (Life.boot, 9),
    (Life.cut, 3),
    (Life.cut_one_way_out, 3),
    (Life.heal, 5),
    (Life.loss, 2),
    (Life.fail, 3),
    (Life.libvirt, 3),
    (Life.clock, 1),
    (Life.come_back, 2),
)
RESTLESS: tuple[tuple[Callable[[Life], None], int], ...] = (
    (Life.move, 20),
    (Life.edit, 4),
    (Life.hand, 2),
    (Life.kill, 5),
    (Life.crash, 2),
    (Life.boot, 8),
    (Life.cut, 2),
    (Life.cut_one_way_out, 6),
    (Life.heal, 5),
    (Life.loss, 3),
    (Life.forget, 2),
    (Life.come_back, 2),
    (Life.libvirt, 1),
)


def _short(change: Change) -> str:
    match change:
        case SetVM(name, field, old, new):
            return f"{name} {field} {old} => {new}"
        case AddVM(vm):
            return f"add {vm.name} on {vm.host or 'any host'}"
        case RemoveVM(vm):
            return f"remove {vm.name}"
    return str(change)


def story(world: World, vm: str = "") -> str:
    """What happened, one line each; of one VM only when `vm` is given."""
    lines = []
    for at, host, kind, about, text in world.story:
        if not vm or about in ("", vm):
            lines.append(f"{at:8.2f}  {host:6}  {kind:7} {about + ': ' if about else ''}{text}")
    return "\n".join(lines)


def broken(seed: int, events: int = 60, restless: bool = False) -> str:
    """What is wrong with the life of a seed, with its story; "" when nothing is."""
    life = Life(seed, events, restless)
    try:
        life.run()
    except Violation as violation:
        return f"seed {seed}: {violation}\n\n{story(life.world)}\n\nseed {seed}: {violation}"
    except Exception:  # noqa: BLE001 - whatever it is, the seed and its story go with it
        return f"seed {seed}:\n\n{story(life.world)}\n\nseed {seed}:\n{traceback.format_exc()}"
    return ""


def main(argv: list[str]) -> int:
    if len(argv) == 1:
        life = Life(int(argv[0]))
        try:
            life.run()
        finally:
            print(story(life.world))
        return 0
    failed = 0
    restless = "restless" in argv
    for seed in range(int(argv[0]), int(argv[1])):
        text = broken(seed, restless=restless)
        if text:
            failed += 1
            print(
                text.splitlines()[0]
                if "Traceback" not in text
                else text.splitlines()[-1] + f" (seed {seed})",
                flush=True,
            )
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
