"""Commands of a scenario script that only look: files, domains, what hosts say."""

from __future__ import annotations

from collections.abc import Iterable

from tests.sim.stage import Stage
from tests.sim.world import registers
from xsm.api.views import held_once
from xsm.plan import forms
from xsm.plan.observed import ACTIVE
from xsm.plan.planner import plan
from xsm.plan.view import View
from xsm.plan.wanted import wanted


class Looks(Stage):
    """What an operator sees."""

    def do_file(self, on: str) -> Iterable[str]:
        """file HOST: the site file as HOST shows it."""
        host = self.open(on)
        yield from host.head_files[host.document.site_path].decode().splitlines()

    def do_show(self, *names: str) -> Iterable[str]:
        """show [VM...]: all domains (or those of these names), as their hypervisors have them."""
        for host in self.world.hosts.values():
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

    def do_disks(self) -> Iterable[str]:
        """disks: the volumes of all hosts and of what they share, and which of them a guest ever ran on."""
        places = [("shared", self.world.switch.pools)]
        places += [(h.name, h.hypervisor.storage.own) for h in self.world.hosts.values()]
        for where, pools in places:
            for pool, volumes in sorted(pools.items()):
                for name, volume in sorted(volumes.items()):
                    used = "used" if volume.used else "blank"
                    used = "incomplete" if volume.partial else used
                    yield f"{where} {pool}/{name} {volume.size_mib} MiB {volume.format} {used}"

    def do_status(self, *hosts: str) -> Iterable[str]:
        """status [HOST...]: what hosts say that they have left to do. Asked for all, what two of them hold is told
        once, as by `xsm status`."""
        reports = [host.peer.own_report() for host in self.world.alive() if host.peer]
        once = held_once(r for r in reports if r is not None)
        for host in self.world.alive():
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
        """plan HOST: `xsm plan` on a host."""
        host = self.open(on)
        around = host.surroundings()
        view = View(around.reports, around.unreachable, around.now, {}, None)
        found = plan(wanted(host.document), host.document, view)
        yield from forms.text(found).splitlines()

    def do_revisions(self) -> Iterable[str]:
        """revisions: which revision each host shows."""
        for host in self.world.alive():
            assert host.peer is not None
            assert host.peer.head is not None
            yield f"{host.name}: {host.peer.head.revision}"

    def do_claims(self, vm: str) -> Iterable[str]:
        """claims VM: the votes on each host's disk."""
        for name in self.world.hosts:
            r = registers(self.world, name).get(vm)
            if r is not None:
                yield (
                    f"{name}: voted for {r.claimant} in epoch {r.voted}"
                    + (f", holds {r.held}" if r.held else "")
                    + (f", barred below {r.bar}" if r.bar else "")
                )
