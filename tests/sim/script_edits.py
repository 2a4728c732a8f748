"""Commands of a scenario script that are edits of the site: files that are applied, and `xsm migrate`, `stop`, ..."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tests.sim.script_members import Members
from tests.sim.stage import VM_FIELDS, ScriptError, Senseless
from tests.sim.world import SimHost
from xsm.peer import commands, servicing
from xsm.peer.commands import Intent
from xsm.peer.edit import describe_changes
from xsm.site import kinds, xml_file, yaml_file
from xsm.site.changes import AddVM, Change, RemoveVM, SetVM
from xsm.site.convert import convert
from xsm.site.document import Files, load
from xsm.site.model import VM

AND = "and"
"""Between the changes of one edit."""
RESUMES = {"undrain": (False, False), "undrain-home": (True, False), "drain-off": (False, True)}
"""Ways to take a host back: whether its VMs come home, whether those stay that have not begun to leave."""


def value_of(tag: str, text: str) -> object:
    """The value of an element as the model has it; "-" means that the element is absent."""
    known = VM_FIELDS[tag]
    if text == "-":
        return known.default
    try:
        if known.repeatable:
            return tuple(known.kind.parse(each.strip()) for each in text.split(","))
        return known.kind.parse(text)
    except kinds.Wrong as wrong:
        raise ScriptError(f"{tag}: {wrong}") from wrong


def pairs(words: Sequence[str]) -> Iterable[tuple[str, str]]:
    """ELEMENT VALUE ELEMENT VALUE... by twos."""
    if len(words) % 2:
        raise ScriptError(f"each element needs one value: {' '.join(words)}")
    unknown = sorted({*words[::2]} - {*VM_FIELDS, "Set"})
    if unknown:
        raise ScriptError(f"a VM has no element {unknown[0]!r}")
    return zip(words[::2], words[1::2], strict=True)


class Edits(Members):
    """What operators do with the site's files."""

    def do_edit(self, on: str, vm: str, *words: str) -> Iterable[str]:
        """edit HOST VM ELEMENT VALUE... [and VM ELEMENT VALUE...]: `xsm apply` of a file with these values; "-" takes
        the element out, Set moves the VM to another set."""
        host = self.open(on)
        changes: list[Change] = []
        todo = [vm, *words]
        while todo:
            end = todo.index(AND) if AND in todo else len(todo)
            changes += self._changes(host, todo[0], todo[1:end])
            todo = todo[end + 1 :]
        return self._change(host, changes)

    def _changes(self, host: SimHost, vm: str, words: Sequence[str]) -> Iterable[Change]:
        old = host.document.site.vm(vm)
        if old is None:
            raise Senseless(f"no VM {vm!r}")
        for tag, text in pairs(words):
            attribute = "set_name" if tag == "Set" else VM_FIELDS[tag].attribute
            value = text if tag == "Set" else value_of(tag, text)
            yield SetVM(vm, attribute, getattr(old, attribute), value)

    def do_add(self, on: str, vm: str, *words: str) -> Iterable[str]:
        """add HOST VM ELEMENT VALUE...: `xsm apply` of a file with one VM more (apache_svr, 1 VCPU, 64 MiB)."""
        host = self.open(on)
        values = {VM_FIELDS[t].attribute: value_of(t, text) for t, text in pairs(words)}
        first = host.document.site.sets[0].name
        return self._change(host, [AddVM(replace(VM(vm, "apache_svr", first, 1, 64), **values))])

    def do_remove(self, on: str, *vms: str) -> Iterable[str]:
        """remove HOST VM...: `xsm apply` of a file without them."""
        host = self.open(on)
        return self._change(host, [RemoveVM(commands.find_vm(host.document, vm)) for vm in vms])

    def do_replace(self, on: str, old: str, new: str) -> Iterable[str]:
        """replace HOST TEXT TEXT: `xsm apply` of the site file with one text in place of another."""
        host = self.open(on)
        return self._replace(host, host.document.site_path, old, new.replace("\\n", "\n"))

    def do_config(self, on: str, name: str, old: str, new: str) -> Iterable[str]:
        """config HOST PATH TEXT TEXT: `xsm apply` with one text of a config in place of another."""
        return self._replace(self.open(on), name, old, new)

    def _replace(self, host: SimHost, path: str, old: str, new: str) -> Iterable[str]:
        if path not in host.head_files:
            raise Senseless(f"no file {path!r}")
        text = host.head_files[path].decode()
        if old not in text:
            raise Senseless(f"{old!r} is not in {path}")
        return self._propose(host, {path: text.replace(old, new).encode()})

    def do_convert(self, on: str) -> Iterable[str]:
        """convert HOST: apply the same site as YAML instead of XML."""
        host = self.open(on)
        if not host.document.site_path.endswith(".xml"):
            raise Senseless("the site is YAML already")
        text = convert(host.head_files[host.document.site_path], "yaml", host.document.site_path)
        return self._propose(host, {"site.yaml": text})

    def do_remember(self, on: str, name: str) -> None:
        """remember HOST NAME: somebody opens the files as HOST shows them now; `edit-from` saves them later."""
        self.bases[name] = dict(self.open(on).head_files)

    def do_edit_from(self, name: str, on: str, vm: str, tag: str, text: str) -> Iterable[str]:
        """edit-from NAME HOST VM ELEMENT VALUE: apply an edit that was made from remembered files."""
        host, base = self.open(on), self.bases.get(name, {})
        path = host.document.site_path
        if path not in base or load(base).site.vm(vm) is None:
            raise Senseless(f"{name} has no such VM before him")
        edit_text = xml_file.edit if path.endswith(".xml") else yaml_file.edit
        change = SetVM(vm, VM_FIELDS[tag].attribute, "", value_of(tag, text))
        return self._propose(host, {path: edit_text(base[path], [change])}, base)

    def _change(self, host: SimHost, changes: Sequence[Change]) -> Iterable[str]:
        return self._propose(host, commands.edit_site(host.head_files, host.document, changes))

    def _propose(self, host: SimHost, files: Files, base: Files | None = None) -> Iterable[str]:
        before = host.head_files
        self.world.propose(host.name, files, "An edit", base)
        return self._applied(host, before)

    def _applied(self, host: SimHost, before: Files) -> list[str]:
        lines = [f"applied: {line}" for line in describe_changes(before, host.head_files)]
        lines += [str(problem) for problem in self.world.warnings]
        return lines or ["applied: nothing changes"]

    # -- commands -----------------------------------------------------

    def do_command(self, on: str, verb: str, *args: str) -> Iterable[str]:
        """command HOST VERB ARGS: migrate VM HOST [cold], call-back VM, start/stop/pause/resume/restart VM,
        drain/undrain/undrain-home/drain-off HOST, forget HOST [it-is-off], resolve VM,
        rollback N (that many revisions back), make-disk VM DISK, use-disk VM DISK HOST."""
        host = self.open(on)
        if verb == "forget":
            return self.forget_now(on, args[0], "it-is-off" in args)
        before = host.head_files
        self.world.intend(on, self._intent(host, verb, *args))
        return self._applied(host, before)

    def _intent(self, host: SimHost, verb: str, *args: str) -> Intent:
        files, document = host.head_files, host.document
        if verb in commands.POWER_COMMANDS:
            return commands.power(files, document, args[0], verb)
        if verb == "drain" or verb in RESUMES:
            commands.refuse_witness(document, args[0], host.surroundings().reports)
        if verb == "drain":
            return servicing.drain(files, document, args[0], host.surroundings())
        if verb in RESUMES:
            return servicing.resume(files, document, args[0], *RESUMES[verb], host.surroundings())
        if verb == "migrate":
            vm, to, *cold = args
            return commands.migrate(files, document, vm, to, host.surroundings(), bool(cold))
        if verb == "call-back":
            return commands.call_back(files, document, args[0], host.surroundings().reports)
        if verb == "restart":
            token = f"restart-{self.world.now:.0f}"
            return commands.restart(files, document, args, token, host.surroundings())
        if verb == "make-disk":
            token = f"disk-{self.world.now:.0f}"
            return commands.make_disk(files, document, *args, token)
        if verb == "use-disk":
            token = f"disk-{self.world.now:.0f}"
            reports = host.surroundings().reports
            return commands.use_disk(files, document, *args, token, reports)
        if verb == "resolve":
            return commands.resolve(files, document, *args)
        if verb == "rollback":
            return self._rollback(host, int(args[0]))
        raise ScriptError(f"no verb {verb!r}")

    def _rollback(self, host: SimHost, count: int) -> Intent:
        assert host.peer is not None
        assert host.peer.head is not None
        revision = host.peer.head.revision
        for _ in range(count):
            revision = (*host.history.commit(revision).parents, revision)[0]
        old = host.history.files(revision)
        return commands.rollback(host.head_files, host.document, old, revision)
