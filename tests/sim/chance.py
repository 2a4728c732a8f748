"""A site's life by chance: edits, commands, hands and faults, all from one seed; then peace, and what came of it.

A life makes up the lines of a scenario script (tests/sim/script.py) one after the other, each one plausible in what the
site has come to, and plays them. So whatever goes wrong in it can be played again, told and shortened as a script.
`python -m tests.sim.chance SEED [restless] [hosts=N]` tells one; tests/sim/soak.py runs many.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

from tests.sim import story
from tests.sim.script import Script
from tests.sim.stage import USER_DATA, names
from tests.sim.world import OFF, SimHost, World
from xsm.plan.observed import ACTIVE
from xsm.site.model import Drift, Migration, Power

START_LIMIT_S = 4.0
"""A start that a killed daemon had asked for ends within `letting_go.SETTLE_S`."""
SIZES = {2: 8, 3: 32, 4: 32, 5: 18, 8: 6, 16: 3, 32: 1}
"""How many hosts a site has -> of a hundred sites. In small ones accidents are more likely, and a life is cheap."""
SMALL = 5
"""In larger sites a minute costs more, so fewer things happen: a life costs about the same everywhere."""
WITNESSED = 0.2
"""Of the sites of three hosts or more, so many have a witness for their last one; of hosts that join, so many are."""
SEEDED = 0.1
"""So many VMs have user-data."""
DISKED = 0.3
"""Of all sites, so many have VMs with disks of the site file."""
PEOPLE = ("anna", "bert", "carl")
"""Operators who open the files and save them later."""


class Life:
    """One seed's site and what happens in it."""

    def __init__(
        self, seed: int, events: int = 60, restless: bool = False, hosts: int | None = None
    ) -> None:
        """`restless`: nearly nothing but moves of VMs, among daemons and links that come and go. `hosts`: a site of
        that size instead of one by chance."""
        self.seed = seed
        self.random = random.Random(f"life {seed}")
        # By chances of their own, so that lives of older seeds stay what they were.
        self.fences = random.Random(f"fences of life {seed}").choice(
            ["", "", " fence", " fence=30"]
        )
        self.witness = random.Random(f"witness of life {seed}").random() < WITNESSED
        self.newcomers = random.Random(f"newcomers of life {seed}")
        self.seeds = random.Random(f"user-data of life {seed}")
        self.disks = random.Random(f"disks of life {seed}")
        self.copies = random.Random(f"copied disks of life {seed}")
        self.has_disks = self.disks.random() < DISKED
        more = (*(FENCED if self.fences else ()), *(STORED if self.has_disks else ()))
        self.happenings = (*(RESTLESS if restless else ORDINARY), *more)
        by_chance = self.random.choices([*SIZES], [*SIZES.values()])[0]
        self.hosts = hosts or by_chance  # at the beginning
        self.names = names(self.hosts)
        self.events = events * SMALL // max(len(self.names), SMALL)
        self.rate_s = self.random.choice([0.4, 1.5, 1.5, 4.0])
        self.script = Script()
        self.lines: list[str] = []
        for line in self._beginning():
            self.do(line)

    @property
    def world(self) -> World:
        return self.script.world

    def do(self, line: str) -> None:
        """The next line of the script."""
        self.lines.append(line)
        self.script.perform(line)

    def run(self) -> World:
        """Raises `Violation`."""
        if self.random.random() < 0.5:
            self.do("wait 10")  # all is running when it begins
        happens, weights = zip(*self.happenings, strict=True)
        for _ in range(self.events):
            for line in self.random.choices(happens, weights)[0](self):
                self.do(line)
            self._wait(self.random.expovariate(1 / self.rate_s))
        self.do("peace")
        return self.world

    def _wait(self, seconds: float) -> None:
        if seconds >= 0.01:
            self.do(f"wait {seconds:.2f}")

    def _beginning(self) -> list[str]:
        chance, pick = self.random, self.random.choice
        live = " live" if chance.random() < 0.7 else ""
        witness = " witness" if self.witness and len(self.names) > 2 else ""
        site = f"site random hosts={len(self.names)} seed={self.seed}{live}{self.fences}{witness}"
        lines = [site]
        for i in range(1, max(5, len(self.names) // 2) + 1):
            host = pick([*self.names, ""])
            more = pick(["", " MIGRATION cold", " DRIFT report", " APART a"])
            seeded = " USER_DATA init" if self.seeds.random() < SEEDED else ""
            own = self.disk()
            if i == 1 and self.has_disks and self.copies.random() < 0.6:
                own = ' DISK "name=root size=1G pool=local" COPY_DISKS yes'  # what moves most
            seeded += own
            lines.append(f"vm vm{i}{f' DOM0 {host}' if host else ''}{more}{seeded}")
        lines += ["pool san"] if self.has_disks else []
        lines.append(f"latency {pick([0.005, 0.005, 0.1, 0.6])}")
        lines += pick([[], [], ["announce 2"]])
        lines += pick([[], [], ["doubled 20"]])
        lines += pick([[], [], [], ["jitter 40"]])
        slow = chance.choices(self.names, k=pick([0, 0, 1]))
        lines += [f"disk {name} {pick([0.03, 0.3, 2])} {pick([0, 0.05, 0.5])}" for name in slow]
        for name in self.names:
            lines.append(f"slow {name} migrate {chance.uniform(0.2, 6.0):.1f}")
            lines.append(f"slow {name} start {chance.uniform(0.2, START_LIMIT_S):.1f}")
        # By chances of their own, so that lives of older seeds stay what they were.
        others = random.Random(f"aborts of life {self.seed}")
        late = [name for name in self.names if others.random() < 0.3]
        lines += [f"slow {name} abort {others.uniform(0.1, 6.0):.1f}" for name in late]
        if self.has_disks:
            fails = [name for name in self.names if self.copies.random() < 0.3]
            lines += [f"fail {name} set_aside 'it failed' 9" for name in fails]
        lines.append(f"hand {self.names[0]} foreign scratch")
        return lines

    # -- who and what ----------------------------------------------------------------------------------------------

    def there(self) -> list[SimHost]:
        """The site's hosts, as far as anybody knows."""
        out = self.script.gone | self.script.blank
        return [h for h in self.world.hosts.values() if h.name not in out]

    def running(self) -> list[SimHost]:
        """Those whose daemon runs, with a revision that can be read."""
        return [h for h in self.there() if self.script.readable(h)]

    def off(self) -> list[str]:
        return [h.name for h in self.there() if h.hypervisor.lost == OFF]

    def vm(self, host: SimHost) -> str:
        """A VM as the host knows the site; "" when there is none."""
        vms = sorted(host.document.vms)
        return self.random.choice(vms) if vms else ""

    def value(self) -> str:
        """An element of a VM and what it may become."""
        pick = self.random.choice
        return pick(
            [
                f"DOM0 {pick(self.names)}",
                f"DOM0 {pick(self.names)}",
                f"DOM0 {pick(self.names)}",
                "DOM0 -",
                f"MEM {pick([64, 96, 128, 200, 250])}",
                f"VCPUS {pick([1, 2, 4])}",
                f"STATE {pick(list(Power))}",
                f"MIGRATION {pick(list(Migration))}",
                f"DRIFT {pick(list(Drift))}",
                f"APART {pick(['-', 'a', 'b'])}",
                f"HWADDR aa:00:00:00:00:{self.random.randrange(256):02x}",
                f"UUID 11111111-2222-4333-8444-5555555555{self.random.randrange(100):02}",
            ]
        )

    def disk(self) -> str:
        """A disk of a VM that is made, on the pool that all hosts share or on one of each host's own."""
        if not self.has_disks or self.disks.random() < 0.3:
            return ""
        pool, size = self.disks.choice(["san", "default"]), self.disks.choice([1, 1, 2, 3])
        if pool == "default" and self.copies.random() < 0.7:
            # A pool of each host's own, which is never unmounted: hosts can't tell that one that is has lost its data.
            how = self.copies.choice(["yes", "yes", "yes", "no"])
            return f' DISK "name=root size={size}G pool=local" COPY_DISKS {how}'
        return f' DISK "name=root size={size}G pool={pool}"'

    # -- edits -----------------------------------------------------------------------------------------------------

    def edit(self) -> list[str]:
        running = self.running()
        host = self.random.choice(running) if running else None
        vm = self.vm(host) if host else ""
        if not host or not vm:
            return []
        also = f" and {self.vm(host)} {self.value()}" if self.random.random() < 0.2 else ""
        return [f"edit {host.name} {vm} {self.value()}{also}"]

    def edit_at_once(self) -> list[str]:
        """Several operators at the same instant, mostly about one VM."""
        running = self.running()
        if len(running) < 2:
            return []
        some = self.random.sample(running, min(len(running), self.random.choice([2, 2, 3])))
        vm = self.vm(some[0])
        if not vm:
            return []
        words = [self.value() for _ in some]
        if self.random.random() < 0.5:
            words = [f"DOM0 {self.random.choice(self.names)}" for _ in some]
        lines = [f"edit {h.name} {vm} {w}" for h, w in zip(some, words, strict=True)]
        if self.random.random() < 0.2:
            lines[-1] = f"remove {some[-1].name} {vm}"
        return lines

    def move(self) -> list[str]:
        """The same VM again and again, so that moves meet."""
        running = [h for h in self.running() if "vm1" in h.document.vms]
        if not running:
            return []
        return [
            f"edit {self.random.choice(running).name} vm1 DOM0 {self.random.choice(self.names)}"
        ]

    def add_or_remove(self) -> list[str]:
        running = self.running()
        if not running:
            return []
        host = self.random.choice(running)
        vm = self.vm(host)
        if vm and self.random.random() < 0.5:
            return [f"remove {host.name} {vm}"]
        new = f"vm{self.random.randrange(1, 9)}"
        if new in host.document.vms:
            return []
        place, how = self.random.choice(["-", *self.names]), self.random.choice(list(Migration))
        return [f"add {host.name} {new} MEM 96 DOM0 {place} MIGRATION {how}{self.disk()}"]

    def old_base(self) -> list[str]:
        """Somebody opens the files, or saves what he opened before."""
        running = self.running()
        if not running:
            return []
        host, who = self.random.choice(running), self.random.choice(PEOPLE)
        vm = self.vm(host)
        if who not in self.script.bases or not vm or self.random.random() < 0.2:
            return [f"remember {host.name} {who}"]
        return [f"edit-from {who} {host.name} {vm} {self.value()}"]

    def user_data(self) -> list[str]:
        """What cloud-init is to do changes."""
        running = [h for h in self.running() if USER_DATA in h.head_files]
        if not running:
            return []
        host = self.random.choice(running)
        edition = host.head_files[USER_DATA].decode().split()[-1]
        return [f"config {host.name} {USER_DATA} 'edition {edition}' 'edition {int(edition) + 1}'"]

    def config(self) -> list[str]:
        """The config of all VMs, or all files in another format."""
        running = self.running()
        if not running:
            return []
        host = self.random.choice(running)
        if self.random.random() < 0.2 and host.document.site_path.endswith(".xml"):
            return [f"convert {host.name}"]
        texts = [t for t in CONFIG_TEXTS if t in host.head_files.get(CONFIG, b"").decode()]
        if not texts:
            return []
        text, number = self.random.choice(texts), self.random.choice([4, 8, 300, 512])
        return [f"config {host.name} {CONFIG} '{text}' '{text} {number} #'"]

    def command(self) -> list[str]:
        running = self.running()
        host = self.random.choice(running) if running else None
        vm = self.vm(host) if host else ""
        if not host or not vm:
            return []
        pick, other = self.random.choice, self.random.choice(self.names)
        what = pick(
            [
                f"migrate {vm} {other}",
                f"migrate {vm} {other} cold",
                f"restart {vm}",
                f"drain {other}",
                f"undrain {other}",
                f"resolve {vm}",
                f"rollback {pick([1, 1, 2, 3])}",
                f"start {vm}",
                f"start {vm}",
                f"{pick(['stop', 'pause', 'resume'])} {vm}",
            ]
        )
        return [f"command {host.name} {what}"]

    # -- members ---------------------------------------------------------------------------------------------------

    def forget(self) -> list[str]:
        """A host is powered off for good, and the operator gives his word; or it is drained before."""
        running, off = self.running(), self.off()
        if not running or len(self.script.gone) >= len(self.names) // 4:
            return []
        on = self.random.choice(running)
        drained = sorted(on.document.state.drained - {on.name})
        if drained and self.random.random() < 0.5:
            return [f"forget {on.name} {self.random.choice(drained)}"]
        return [f"forget {on.name} {self.random.choice(off)} it-is-off"] if off else []

    def fence(self) -> list[str]:
        """Somebody has a host fenced, dead or alive; its device may be broken."""
        running = self.running()
        if not running:
            return []
        on, lost = self.random.choice(running).name, self.random.choice(self.there()).name
        broken = [f"break-fence {lost}"] if self.random.random() < 0.2 else []
        return [*broken, f"fence {on} {lost}"]

    def join(self) -> list[str]:
        """A machine joins, or tries again."""
        running = self.running()
        waiting = [n for n in sorted(self.script.blank) if not self.script.is_busy(n)]
        if not running:
            return []
        if waiting:
            return [f"join {self.random.choice(waiting)} {self.random.choice(running).name}"]
        if len(self.names) > self.hosts + self.hosts // 4:
            return []
        new = names(len(self.names) + 1)[-1]
        self.names.append(new)
        word = " witness" if self.newcomers.random() < WITNESSED else ""
        return [f"new-host {new}{word}", f"join {new} {self.random.choice(running).name}"]

    # -- hands and guests ------------------------------------------------------------------------------------------

    def hand(self) -> list[str]:
        host = self.random.choice(self.there())
        active = [
            d.name
            for d in host.hypervisor.domains_unchecked()
            if d.tag and d.state in ACTIVE and not d.incoming
        ]
        if not active:
            return []
        what, vm = self.random.choice(HANDS), self.random.choice(active)
        return [f"hand {host.name} {what} {vm}{' 64' if what == 'set-memory' else ''}"]

    # -- faults ----------------------------------------------------------------------------------------------------

    def kill(self) -> list[str]:
        running = [h.name for h in self.there() if h.peer]
        return [f"kill {self.random.choice(running)}"] if running else []

    def crash(self) -> list[str]:
        on = [h.name for h in self.there() if h.hypervisor.lost != OFF]
        if not on:
            return []
        some = on if self.random.random() < 0.1 else [self.random.choice(on)]
        after = self.random.choice([[], [], ["power-on"], ["boot"]])
        return [f"{what} {' '.join(some)}" for what in ("crash", *after)]

    def boot(self) -> list[str]:
        down = [h.name for h in self.there() if h.peer is None]
        return [f"boot {self.random.choice(down)}"] if down else []

    def come_back(self) -> list[str]:
        """A host that was forgotten is switched on again."""
        back = [name for name in sorted(self.script.gone) if not self.world.hosts[name].peer]
        return [f"boot {self.random.choice(back)}"] if back else []

    def cut(self) -> list[str]:
        mixed = self.random.sample(self.names, len(self.names))
        at = self.random.randrange(1, len(mixed))
        return [f"cut {','.join(sorted(mixed[:at]))} {','.join(sorted(mixed[at:]))}"]

    def cut_pair(self) -> list[str]:
        """Only one pair of hosts does not hear of each other."""
        return [f"cut-pair {' '.join(self.random.sample(self.names, 2))}"]

    def cut_one_way(self) -> list[str]:
        return [f"cut-one-way {' '.join(self.random.sample(self.names, 2))}"]

    def heal(self) -> list[str]:
        return ["heal"]

    def lossy(self) -> list[str]:
        return [f"lossy {self.random.choice([0, 10, 40])}"]

    def fail(self) -> list[str]:
        host, call = self.random.choice(self.there()), self.random.choice(FAILING)
        after = " after" if self.random.random() < 0.3 else ""
        return [f"fail {host.name} {call} 'it failed' {self.random.randrange(1, 5)}{after}"]

    def hang(self) -> list[str]:
        """A call that does not return; later some return, others when xsmd is killed."""
        name = self.random.choice(self.there()).name
        if self.random.random() < 0.4:
            return [f"release {name}"]
        return [f"hang {name} {self.random.choice(HANGING)}"]

    def storage(self) -> list[str]:
        """What is mounted on a host comes and goes; or somebody wants another disk for a VM."""
        host, running = self.random.choice(self.there()), self.running()
        if running and self.disks.random() < 0.5:
            on = self.disks.choice(running)
            vm, disk = self.vm(on), self.disk()
            return [f"edit {on.name} {vm}{disk}"] if vm and disk else []
        away = "default" in host.hypervisor.storage.away
        return [f"{'mount' if away else 'unmount'} {host.name} default"]

    def libvirt(self) -> list[str]:
        host = self.random.choice(self.there())
        if host.hypervisor.lost == OFF:
            return []
        return [f"{'restore' if host.hypervisor.lost else 'lose'} {host.name}"]

    def clock(self) -> list[str]:
        name = self.random.choice(self.there()).name
        seconds = self.random.choice([20, 20, 20, 3 * 3600])
        return [f"clock {name} {self.random.uniform(-seconds, seconds):.0f}"]


CONFIG = "configs/apache_svr.cfg"
CONFIG_TEXTS = ("maxmem   =", "maxvcpus =")
"""What is put before "#" counts."""
HANDS = (
    "destroy",
    "suspend",
    "resume",
    "set-memory",
    "undefine",
    "autostart",
    "deaf",
    "guest-crashes",
)
FAILING = ("define", "start", "shutdown", "migrate", "undefine", "set_memory", "set_tag", "any")
HANGING = ("domains", "start", "migrate", "shutdown", "define", "undefine")
Happening = tuple[Callable[[Life], list[str]], int]
ORDINARY: tuple[Happening, ...] = (
    (Life.edit, 14),
    (Life.edit_at_once, 3),
    (Life.move, 8),
    (Life.add_or_remove, 3),
    (Life.old_base, 3),
    (Life.config, 1),
    (Life.user_data, 1),
    (Life.command, 8),
    (Life.forget, 1),
    (Life.join, 1),
    (Life.hand, 6),
    (Life.kill, 5),
    (Life.crash, 3),
    (Life.boot, 9),
    (Life.cut, 3),
    (Life.cut_pair, 3),
    (Life.cut_one_way, 2),
    (Life.heal, 5),
    (Life.lossy, 2),
    (Life.fail, 3),
    (Life.libvirt, 3),
    (Life.hang, 2),
    (Life.clock, 1),
    (Life.come_back, 2),
)
RESTLESS: tuple[Happening, ...] = (
    (Life.move, 20),
    (Life.edit, 4),
    (Life.hand, 2),
    (Life.kill, 5),
    (Life.crash, 2),
    (Life.boot, 8),
    (Life.cut, 2),
    (Life.cut_pair, 6),
    (Life.cut_one_way, 3),
    (Life.heal, 5),
    (Life.lossy, 3),
    (Life.forget, 2),
    (Life.join, 1),
    (Life.come_back, 2),
    (Life.libvirt, 1),
    (Life.hang, 2),
)
"""What may happen, and how likely. Nothing happens where it makes no sense."""
FENCED: tuple[Happening, ...] = ((Life.fence, 2), (Life.boot, 3))
"""The same, where hosts can be fenced."""
STORED: tuple[Happening, ...] = ((Life.storage, 8),)
"""The same, where VMs have disks of their own."""


def main(argv: list[str]) -> int:
    sizes = [int(word.removeprefix("hosts=")) for word in argv if word.startswith("hosts=")]
    life = Life(int(argv[0]), restless="restless" in argv, hosts=sizes[0] if sizes else None)
    try:
        life.run()
    finally:
        print(story.told(life.world))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
