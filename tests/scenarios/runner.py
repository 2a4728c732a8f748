"""Runs scenario scripts: stories of a simulated site, with what it does written under each command.

A script is text. Lines that start with `$ ` are commands, the indented lines under one are what it has to print,
everything else is prose. `python -m tests.scenarios.runner --update [FILE...]` writes what is printed now; read the
difference before you commit it. The commands are the methods of `Script` that start with `do_`.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from tests.sim.world import SimHost, World, never_twice, registers
from xsm.api.views import held_once
from xsm.edge.hypervisor import HypervisorError
from xsm.peer import commands
from xsm.peer.commands import CommandRefused, Intent
from xsm.peer.edit import Overtaken, PlaceRefused, describe_changes
from xsm.plan import forms
from xsm.plan.actions import Step
from xsm.plan.observed import ACTIVE
from xsm.plan.planner import plan
from xsm.plan.view import View
from xsm.plan.wanted import wanted
from xsm.site import fields, xml_file
from xsm.site.changes import AddVM, Change, RemoveVM, SetVM
from xsm.site.convert import convert
from xsm.site.document import Files
from xsm.site.model import VM, HypervisorKind
from xsm.site.problems import Invalid

HERE = Path(__file__).parent
SITES = HERE.parents[1] / "sites"
SETTLE_LIMIT_S = 300.0
TOLD = ("action", "claim", "held", "member")
BEGUN = re.compile("(" + "|".join(Step) + "): ")
"""How the log of an action's beginning starts. It is left out where its end follows at once."""
AFTERMATH_S = 3.0
"""After all is as wanted, claims of what came by migration may still be on their way."""
FOREIGN = """<domain type="test"><name>{name}</name><memory unit="MiB">64</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""

VM_FIELDS = {f.tag: f for f in fields.VM_ENTRY.fields}


def _value(tag: str, text: str) -> object:
    """The value of an element as the model has it; "-" means that the element is absent."""
    known = VM_FIELDS[tag]
    if text == "-":
        return known.default
    return (known.kind.parse(text),) if known.repeatable else known.kind.parse(text)


class ScriptError(Exception):
    """A command of the script can't be carried out. That is a mistake in the script."""


class Script:
    """One story being told."""

    def __init__(self) -> None:
        self.world: World | None = None
        self.told = 0
        self.revisions: dict[str, str] = {}
        self.bases: dict[str, Files] = {}

    def run(self, line: str) -> list[str]:
        """Carry out one command; gives the lines that it prints."""
        name, *args = shlex.split(line)
        method: Callable[..., Iterable[str] | None] | None = getattr(
            self, f"do_{name.replace('-', '_')}", None
        )
        if method is None:
            raise ScriptError(f"no command {name!r}")
        try:
            printed = list(method(*args) or ())
        except Invalid as invalid:
            printed = [f"refused: {problem}" for problem in invalid.problems]
        except (Overtaken, CommandRefused, PlaceRefused, HypervisorError) as error:
            hint = getattr(error, "hint", "")
            printed = [f"refused: {error}" + (f" ({hint})" if hint else "")]
        return [self._readable(text) for text in [*printed, *self._news()]]

    def _news(self) -> list[str]:
        """What hosts did since the last command."""
        if self.world is None:
            return []
        news, self.told = self.world.story[self.told :], len(self.world.story)
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
        assert self.world is not None
        for commit_id in self.world.archive.commits:
            self.revisions.setdefault(commit_id, f"r{len(self.revisions) + 1}")
        return re.sub(
            r"\b[0-9a-f]{8,40}\b",
            lambda match: next(
                (r for c, r in self.revisions.items() if c.startswith(match[0])), match[0]
            ),
            text,
        )

    @property
    def _world(self) -> World:
        if self.world is None:
            raise ScriptError("the first command has to be `site`")
        return self.world

    def _host(self, name: str) -> SimHost:
        if name not in self._world.hosts:
            raise ScriptError(f"no host {name!r}")
        return self._world.hosts[name]

    # -- the site -----------------------------------------------------

    def do_site(self, folder: str, *options: str) -> Iterable[str]:
        """site FOLDER [hosts=N] [live] [kind=qemu] [memory=MIB] [told]: hosts dmz01.. with that sample site."""
        given = dict(
            option.split("=", 1) if "=" in option else (option, "yes") for option in options
        )
        root = SITES / folder
        paths = sorted(p for p in root.rglob("*") if p.is_file())
        files = {str(p.relative_to(root)): p.read_bytes() for p in paths}
        names = [f"dmz{i:02}" for i in range(1, int(given.get("hosts", "4")) + 1)]
        self.world = World(names, files, live="live" in given)
        for host in self.world.hosts.values():
            host.hypervisor.kind = HypervisorKind(given.get("kind", "test"))
            host.hypervisor.memory_mib = int(given.get("memory", host.hypervisor.memory_mib))
        self.world.checkers.append(never_twice)
        problems = list(self.do_settle())
        if "told" not in given:
            self.told = len(self.world.story)
        return problems

    def do_settle(self, limit: str = str(SETTLE_LIMIT_S)) -> Iterable[str]:
        """Let time go by until all daemons that run show one revision and have nothing left to do."""
        settled = self._world.run_until(self._world.settled, float(limit))
        self._world.run(AFTERMATH_S)
        return () if settled else (f"NOT SETTLED within {limit} s", *self._left())

    def _left(self) -> list[str]:
        reports = [(h.name, h.peer.own_report()) for h in self._world.alive() if h.peer]
        return [f"{name}: {line}" for name, r in reports if r for line in r.pending]

    def do_times(self, count: str, *command: str) -> Iterable[str]:
        """times N COMMAND...: the same command N times; `{}` in it is 1, 2, ... The last one's words are shown."""
        said: list[str] = []
        for i in range(1, int(count) + 1):
            said = self.run(shlex.join(word.replace("{}", str(i)) for word in command))
        return said

    def do_wait(self, seconds: str) -> None:
        """Let time go by."""
        self._world.run(float(seconds))

    def do_edit(self, on: str, vm: str, *words: str) -> Iterable[str]:
        """edit HOST VM ELEMENT VALUE...: `xsm apply` of a file with these values; "-" takes the element out, Set moves
        the VM to another set."""
        host = self._host(on)
        document = host.document
        old = document.site.vm(vm)
        if old is None:
            raise ScriptError(f"no VM {vm!r}")
        changes = []
        for tag, text in zip(words[::2], words[1::2], strict=True):
            attribute = "set_name" if tag == "Set" else VM_FIELDS[tag].attribute
            value = text if tag == "Set" else _value(tag, text)
            changes.append(SetVM(vm, attribute, getattr(old, attribute), value))
        return self._change(host, changes)

    def do_add(self, on: str, vm: str, *words: str) -> Iterable[str]:
        """add HOST VM ELEMENT VALUE...: `xsm apply` of a file with one VM more (apache_svr, 1 VCPU, 64 MiB)."""
        host = self._host(on)
        document = host.document
        values = {
            VM_FIELDS[t].attribute: _value(t, text)
            for t, text in zip(words[::2], words[1::2], strict=True)
        }
        new = replace(VM(vm, "apache_svr", document.site.sets[0].name, 1, 64), **values)
        return self._change(host, [AddVM(new)])

    def do_remove(self, on: str, *vms: str) -> Iterable[str]:
        """remove HOST VM...: `xsm apply` of a file without them."""
        host = self._host(on)
        changes = [RemoveVM(commands.find_vm(host.document, name)) for name in vms]
        return self._change(host, changes)

    def do_replace(self, on: str, old: str, new: str) -> Iterable[str]:
        """replace HOST TEXT TEXT: `xsm apply` of the site file with one text in place of another."""
        host = self._host(on)
        text = host.head_files[host.document.site_path].decode()
        if old not in text:
            raise ScriptError(f"{old!r} is not in the site file")
        return self._apply(host, text.replace(old, new.replace("\\n", "\n")).encode())

    def do_config(self, on: str, name: str, old: str, new: str) -> Iterable[str]:
        """config HOST PATH TEXT TEXT: `xsm apply` with one text of a config in place of another."""
        host = self._host(on)
        text = host.head_files[name].decode()
        if old not in text:
            raise ScriptError(f"{old!r} is not in {name}")
        return self._propose(host, {name: text.replace(old, new).encode()})

    def do_convert(self, on: str) -> Iterable[str]:
        """Apply the same site as YAML instead of XML."""
        host = self._host(on)
        text = convert(host.head_files[host.document.site_path], "yaml", host.document.site_path)
        return self._propose(host, {"site.yaml": text})

    def do_remember(self, on: str, name: str) -> None:
        """remember HOST NAME: somebody opens the files as HOST shows them now; `edit-from` saves them later."""
        self.bases[name] = dict(self._host(on).head_files)

    def do_edit_from(self, name: str, on: str, vm: str, tag: str, text: str) -> Iterable[str]:
        """edit-from NAME HOST VM ELEMENT VALUE: apply an edit that was made from remembered files."""
        host, base = self._host(on), self.bases[name]
        path = host.document.site_path
        new = xml_file.edit(
            base[path], [SetVM(vm, VM_FIELDS[tag].attribute, "", _value(tag, text))]
        )
        return self._propose(host, {path: new}, base)

    def _change(self, host: SimHost, changes: Sequence[Change]) -> Iterable[str]:
        return self._propose(host, commands.edit_site(host.head_files, host.document, changes))

    def _apply(self, host: SimHost, site: bytes) -> Iterable[str]:
        return self._propose(host, {host.document.site_path: site})

    def _propose(self, host: SimHost, files: Files, base: Files | None = None) -> Iterable[str]:
        before = host.head_files
        self._world.propose(host.name, files, "An edit", base)
        return self._applied(host, before)

    def _applied(self, host: SimHost, before: Files) -> list[str]:
        lines = [f"applied: {line}" for line in describe_changes(before, host.head_files)]
        lines += [str(problem) for problem in self._world.warnings]
        return lines or ["applied: nothing changes"]

    def do_command(self, on: str, verb: str, *args: str) -> Iterable[str]:
        """command HOST VERB ARGS: migrate VM HOST [cold], start/stop/pause/resume/restart VM, drain/undrain HOST,
        forget HOST [it-is-off], resolve VM, rollback N (that many revisions back)."""
        host = self._host(on)
        before = host.head_files
        self._world.intend(on, self._intent(host, verb, *args))
        return self._applied(host, before)

    def _intent(self, host: SimHost, verb: str, *args: str) -> Intent:
        files, document = host.head_files, host.document
        if verb in commands.POWER_COMMANDS:
            return commands.power(files, document, args[0], verb)
        if verb in commands.HOST_COMMANDS:
            return commands.HOST_COMMANDS[verb](files, document, args[0])
        if verb == "migrate":
            vm, to, *cold = args
            return commands.migrate(files, document, vm, to, host.surroundings(), bool(cold))
        if verb == "restart":
            token = f"restart-{self._world.now:.0f}"
            return commands.restart(files, document, args, token, host.surroundings())
        if verb == "resolve":
            return commands.resolve(files, document, *args)
        if verb == "rollback":
            assert host.peer is not None
            assert host.peer.head is not None
            revision = host.peer.head.revision
            for _ in range(int(args[0])):
                revision = host.history.commit(revision).parents[0]
            return commands.rollback(files, document, host.history.files(revision), revision)
        if verb == "forget":
            around = host.surroundings()
            alive = args[0] not in around.unreachable
            sure = "it-is-off" in args
            return commands.forget(
                files, document, args[0], around.reports.get(args[0]), alive, sure, host.name
            )
        raise ScriptError(f"no verb {verb!r}")

    # -- what befalls hosts and guests -----------------------------------------------------

    def do_hand(self, on: str, what: str, vm: str, *args: str) -> None:
        """hand HOST CALL VM [N]: somebody uses virsh: start, destroy, suspend, resume, set-memory, set-vcpus,
        undefine, autostart; foreign: defines and starts such a domain; guest-crashes; deaf: ignores shutdown."""
        hypervisor = self._host(on).hypervisor
        if what == "foreign":
            hypervisor.by_hand_define(FOREIGN.format(name=vm), start=True)
        elif what == "guest-crashes":
            hypervisor.guest_crashes(vm)
        elif what == "deaf":
            hypervisor.deaf.add(vm)
        else:
            getattr(hypervisor, f"by_hand_{what.replace('-', '_')}")(
                vm, *(int(arg) for arg in args)
            )
        self._world.check()

    def do_fail(self, on: str, call: str, reason: str, times: str = "1") -> None:
        """fail HOST CALL REASON [TIMES]: the hypervisor's next such calls fail."""
        self._host(on).hypervisor.fail_next(call, reason, times=int(times))

    def do_lose(self, on: str) -> None:
        """The daemon's connection to libvirtd is gone."""
        self._host(on).hypervisor.lose()

    def do_restore(self, on: str) -> None:
        self._host(on).hypervisor.restore()

    def do_slow(self, on: str, call: str, seconds: str) -> None:
        """slow HOST CALL SECONDS: such calls of the hypervisor take so long from now on."""
        self._host(on).hypervisor.slow_s[call] = float(seconds)

    def do_kill(self, on: str) -> None:
        """kill -9 of xsmd."""
        self._host(on).kill_daemon()

    def do_crash(self, *hosts: str) -> None:
        """Hosts lose power."""
        for name in hosts:
            self._host(name).crash()

    def do_boot(self, *hosts: str) -> None:
        """xsmd starts."""
        for name in hosts:
            self._host(name).start_daemon()

    def do_cut(self, *groups: str) -> None:
        """cut A,B C,D: only hosts of one group reach each other."""
        self._world.cut_off(*(group.split(",") for group in groups))

    def do_heal(self) -> None:
        self._world.heal()

    def do_lossy(self, percent: str) -> None:
        """So many of a hundred requests get lost from now on."""
        self._world.loss = int(percent) / 100

    # -- looking -----------------------------------------------------

    def do_file(self, on: str) -> Iterable[str]:
        """The site file as HOST shows it."""
        host = self._host(on)
        yield from host.head_files[host.document.site_path].decode().splitlines()

    def do_show(self, *names: str) -> Iterable[str]:
        """All domains (or those of these names), as their hypervisors have them."""
        for host in self._world.hosts.values():
            for d in host.hypervisor.domains_unchecked():
                if names and d.name not in names:
                    continue
                foreign = "" if d.tag else " (foreign)"
                size = (
                    f" {d.memory_mib} MiB {d.vcpus} VCPU{'s' * (d.vcpus != 1)}"
                    if d.state in ACTIVE
                    else ""
                )
                yield f"{host.name} {d.name} {d.state}{size}{'' if d.persistent else ' transient'}{foreign}"

    def do_status(self, *hosts: str) -> Iterable[str]:
        """What hosts say that they have left to do. Asked for all, what two of them hold is told once, as by `xsm
        status`."""
        reports = [host.peer.own_report() for host in self._world.alive() if host.peer]
        once = held_once(r for r in reports if r is not None)
        for host in self._world.alive():
            if hosts and host.name not in hosts:
                continue
            report = host.peer.own_report() if host.peer else None
            if report is None:
                yield f"{host.name}: no report"
                continue
            if report.frozen:
                yield f"{host.name}: frozen: {report.frozen}"
            yield from (f"pending: {line}" for line in report.pending)
            yield from (line for line in report.held if hosts or line in once)
            yield from (f"note: {line}" for line in report.notes)

    def do_plan(self, on: str) -> Iterable[str]:
        """`xsm plan` on a host."""
        host = self._host(on)
        around = host.surroundings()
        view = View(around.reports, around.unreachable, around.now, {}, None)
        found = plan(wanted(host.document), host.document, view)
        yield from forms.text(found).splitlines()

    def do_revisions(self) -> Iterable[str]:
        """Which revision each host shows."""
        for host in self._world.alive():
            assert host.peer is not None
            assert host.peer.head is not None
            yield f"{host.name}: {host.peer.head.revision}"

    def do_claims(self, vm: str) -> Iterable[str]:
        """The votes on each host's disk."""
        for name in self._world.hosts:
            r = registers(self._world, name).get(vm)
            if r is not None:
                yield (
                    f"{name}: voted for {r.claimant} in epoch {r.voted}"
                    + (f", holds {r.held}" if r.held else "")
                    + (f", barred below {r.bar}" if r.bar else "")
                )


def play(text: str) -> str:
    """The script with what its commands print now."""
    script, out = Script(), []
    for line in text.splitlines():
        if line.startswith("$ "):
            out += [line, *(f"    {printed}" for printed in script.run(line[2:]))]
        elif not line.startswith("    "):
            out.append(line)
    return "\n".join(out) + "\n"


def main(argv: list[str]) -> int:
    update = "--update" in argv
    paths = [Path(a) for a in argv if not a.startswith("-")] or sorted(HERE.glob("*.txt"))
    changed = 0
    for path in paths:
        old = path.read_text()
        new = play(old)
        if new != old:
            changed += 1
            print(f"{path.name}: {'written' if update else 'differs'}")
            if update:
                path.write_text(new)
    return 0 if update or not changed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
