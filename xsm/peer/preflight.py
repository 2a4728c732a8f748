"""Looking before leaping: what the VMs that are to start here need of this host.

Decides which needs are looked up, and whether that has been done: before, this host claims none of them, so nothing is
stopped elsewhere for a start that could not succeed. What is lacking holds the VM by the plan (`plan.round`). Costs
nothing while all VMs of the host run. Must not know how needs are looked up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from xsm.peer.definition import needs_of
from xsm.plan.observed import HostReport
from xsm.plan.wanted import Wanted, WantedVM
from xsm.site.disk import volumes
from xsm.site.needs import Needs


@dataclass(frozen=True)
class _Asked:
    want: WantedVM
    active: bool
    needs: Needs
    at: float  # a look that began before shows what other needs lack


class Preflight:
    def __init__(self) -> None:
        self._asked: dict[str, _Asked] = {}
        self._done: set[str] = set()

    def ask(
        self,
        wanted: Wanted | None,
        report: HostReport | None,
        host: str,
        now: float,
        doubted: Collection[str] = (),
    ) -> Mapping[str, Needs]:
        """What the next look is to find out: the needs of each VM that is to be on here and is not; and of one that is,
        how its own disks are. `doubted`: VMs whose disks here may be old; where one is active, it is found out whether
        it runs here to stay."""
        if wanted is None or report is None or report.facts is None:
            return {}
        active = {d.uuid for d in report.domains if d.is_guest}
        asked: dict[str, _Asked] = {}
        here = {d.tag.vm for d in report.domains if d.tag is not None and d.uuid in active}
        mine = wanted.by_host.get(host, ())
        others = here & set(doubted) & wanted.by_name.keys()
        for vm in (*mine, *sorted(others - set(mine))):
            want = wanted.by_name[vm]
            on = want.uuid in active
            runs = want.uuid if on and vm in doubted else ""
            if not (want.is_on or runs) or (on and not want.vm.disks):
                continue
            known = self._asked.get(vm)
            now_asked = (known.want is want, known.active, known.needs.runs) if known else ()
            if known is None or now_asked != (True, on, runs):
                own = volumes(vm, want.vm.disks)
                needs = Needs(own=own, runs=runs) if on else needs_of(want, report.facts)
                since = known.at if known is not None and known.needs == needs else now
                known = _Asked(want, on, needs, since)
            asked[vm] = known
        self._asked = asked
        return {vm: each.needs for vm, each in asked.items() if not each.needs.nothing}

    def saw(self, report: HostReport, began_at: float) -> None:
        """A look is over."""
        known = self._asked.items()
        self._done = {vm for vm, each in known if vm in report.lacks and began_at >= each.at}

    def is_asked(self, vm: str) -> bool:
        """Whether the looks find out what the VM needs."""
        return vm in self._asked

    def is_done(self, vm: str) -> bool:
        """Whether it is known what the VM lacks here, if anything."""
        asked = self._asked.get(vm)
        return asked is not None and (asked.needs.nothing or vm in self._done)
