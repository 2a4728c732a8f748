"""The language of scenarios: one command a line, played on a simulated site.

The same lines are written by people (tests/scenarios), made up by chance (tests/sim/chance.py) and left out one after
the other (tests/sim/shrink.py). The commands are the methods that start with `do_`; `python -m tests.sim.script` lists
them.
"""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from collections.abc import Callable, Iterable

from tests.sim.checkers import Checkers
from tests.sim.edits_checker import EditsChecker
from tests.sim.script_edits import Edits, pairs, value_of
from tests.sim.script_faults import Faults
from tests.sim.script_looks import Looks
from tests.sim.stage import SITES, Draft, ScriptError, Senseless, names
from tests.sim.world import World
from xsm.edge.hypervisor import HypervisorError
from xsm.peer.commands import CommandRefused
from xsm.peer.edit import Overtaken, PlaceRefused
from xsm.plan.actions import Step
from xsm.site.model import HypervisorKind
from xsm.site.problems import Invalid

SETTLE_LIMIT_S = 300.0
AFTERMATH_S = 3.0
"""After all is as wanted, claims of what came by migration may still be on their way."""
TOLD = ("action", "claim", "fence", "held", "member")
"""Kinds of log lines that are shown under the command after which they came."""
BEGUN = re.compile("(" + "|".join(Step) + "): ")
"""How the log of an action's beginning starts. It is left out where its end follows at once."""
NOTHING = "nothing: "
"""What a command says that makes no sense now."""


class Script(Edits, Faults, Looks):
    """One story being told."""

    def __init__(self) -> None:
        super().__init__()
        self.told = 0
        self.revisions: dict[str, str] = {}
        self._before: list[str] = []  # lines before the site began

    def begin(self, world: World) -> None:
        self.played = world
        world.story[:0] = [(0.0, "", "script", "", line) for line in self._before]
        Checkers(world)
        EditsChecker(world)

    def run(self, line: str) -> list[str]:
        """Carry out one command; gives the lines that it prints, and what hosts did meanwhile."""
        printed = self.perform(line)
        return [self._readable(text) for text in [*printed, *self._news()]]

    def perform(self, line: str) -> list[str]:
        """Carry out one command; gives the lines that it prints. Raises `Violation`, and `ScriptError` for a command
        that can't be read."""
        name, *args = shlex.split(line)
        method: Callable[..., Iterable[str] | None] | None = getattr(
            self, f"do_{name.replace('-', '_')}", None
        )
        if method is None:
            raise ScriptError(f"no command {name!r}")
        try:
            inspect.signature(method).bind(*args)
        except TypeError as error:
            raise ScriptError(f"{line!r}: {error}") from error
        if self.played is None:
            self._before.append(line)
        else:
            self.played.tell("", "script", "", line)
            self.look_after()
        printed = self._printed(method, args)
        if self.played is not None:
            for text in printed:
                if text.startswith(("refused", NOTHING)):
                    self.played.tell("", "script", "", f"  {text}")
            self.played.check()
        return printed

    def _printed(self, method: Callable[..., Iterable[str] | None], args: list[str]) -> list[str]:
        try:
            return list(method(*args) or ())
        except Invalid as invalid:
            return [f"refused: {problem}" for problem in invalid.problems]
        except (Overtaken, CommandRefused, PlaceRefused, HypervisorError) as error:
            hint = getattr(error, "hint", "")
            return [f"refused: {error}" + (f" ({hint})" if hint else "")]
        except Senseless as senseless:
            return [f"{NOTHING}{senseless}"]

    def _news(self) -> list[str]:
        """What hosts did since the last command."""
        if self.played is None:
            return []
        news, self.told = self.played.story[self.told :], len(self.played.story)
        ended = {
            (host, vm)
            for _, host, kind, vm, text in news
            if kind == "action" and not BEGUN.match(text)
        }
        return [
            f"{host}: {vm + ': ' if vm else ''}{text}"
            for _, host, kind, vm, text in news
            if kind in TOLD and not (BEGUN.match(text) and (host, vm) in ended)
        ]

    def _readable(self, text: str) -> str:
        """Revisions as r1, r2, ... in the order in which they are first met."""
        for commit_id in self.played.archive.commits if self.played else ():
            self.revisions.setdefault(commit_id, f"r{len(self.revisions) + 1}")
        return re.sub(
            r"\b[0-9a-f]{8,40}\b",
            lambda match: next(
                (r for c, r in self.revisions.items() if c.startswith(match[0])), match[0]
            ),
            text,
        )

    # -- the site and its time -----------------------------------------------------

    def do_site(self, folder: str, *options: str) -> Iterable[str]:
        """site FOLDER [hosts=N] [live] [kind=qemu] [memory=MIB] [told]: hosts dmz01.. with that sample site; all is
        running when it begins. site random [hosts=N] [seed=N] [live] [fence[=SECONDS]] [witness]: a site with the
        VMs of the `vm` lines that follow, which starts from nothing; the seed is that of its network; the last host is
        a witness, if so."""
        given = dict(o.split("=", 1) if "=" in o else (o, "yes") for o in options)
        hosts = int(given.get("hosts", "4"))
        if folder == "random":
            seed = int(given.get("seed", "0"))
            fence, witness = given.get("fence", ""), "witness" in given
            self.draft = Draft(hosts, seed, "live" in given, fence, witness)
            return []
        root = SITES / folder
        paths = sorted(p for p in root.rglob("*") if p.is_file())
        files = {str(p.relative_to(root)): p.read_bytes() for p in paths}
        world = World(names(hosts), files, live="live" in given)
        for host in world.hosts.values():
            host.hypervisor.kind = HypervisorKind(given.get("kind", "test"))
            host.hypervisor.memory_mib = int(given.get("memory", host.hypervisor.memory_mib))
        self.begin(world)
        problems = list(self.do_settle())
        if "told" not in given:
            self.told = len(self.world.story)
        return problems

    def do_vm(self, name: str, *words: str) -> None:
        """vm VM ELEMENT VALUE...: the site has this VM from the beginning (apache_svr, 2 VCPUs, 96 MiB). Only right
        after `site random`."""
        if self.played is not None or self.draft is None:
            raise Senseless("the site has begun")
        given = {"VCPUS": "2", "MEM": "96", **dict(pairs(words))}
        for tag, text in given.items():
            value_of(tag, text)
        elements = "".join(f"<{tag}>{text}</{tag}>" for tag, text in given.items())
        self.draft.vms[name] = f'<VM name="{name}" config="apache_svr">{elements}</VM>'

    def do_settle(self, limit: str = str(SETTLE_LIMIT_S)) -> Iterable[str]:
        """settle [SECONDS]: let time go by until all daemons that run show one revision and have nothing left to do."""
        settled = self.world.run_until(self.world.settled, float(limit))
        self.world.run(AFTERMATH_S)
        return () if settled else (f"NOT SETTLED within {limit} s", *self._left())

    def _left(self) -> list[str]:
        reports = [(h.name, h.peer.own_report()) for h in self.world.alive() if h.peer]
        return [f"{name}: {line}" for name, r in reports if r for line in r.pending]

    def do_wait(self, seconds: str) -> None:
        """wait SECONDS: let time go by."""
        self.world.run(float(seconds))

    def do_times(self, count: str, *command: str) -> Iterable[str]:
        """times N COMMAND...: the same command N times; `{}` in it is 1, 2, ... The last one's words are shown."""
        said: list[str] = []
        for i in range(1, int(count) + 1):
            said = self.run(shlex.join(word.replace("{}", str(i)) for word in command))
        return said


def commands() -> Iterable[str]:
    """What each command does, one paragraph each."""
    for name, method in sorted(inspect.getmembers(Script, inspect.isfunction)):
        if name.startswith("do_"):
            yield " ".join((method.__doc__ or "").split())


if __name__ == "__main__":
    sys.stdout.write("\n".join(commands()) + "\n")
