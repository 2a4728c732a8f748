"""Finding out what VMs that are to start here need and the host lacks.

Decides how old an answer may be, and how long storage may take to give one: it may hang, and then nothing else of a
look at the hypervisor may hang with it. What the host itself makes for a VM, its seed, is made here. Must not decide
what follows from what is lacking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from xsm.edge.hypervisor import Hypervisor, HypervisorError
from xsm.edge.seeds import Seeds
from xsm.plan.observed import FoundDisk
from xsm.site.needs import Needs

AGE_S = 2.0
"""Looks come in storms when many VMs start at once; so long an answer is used again."""
DISKS_AGE_S = 15.0
"""...and so long of VMs that run, about whose disks nothing else is asked."""
LIMIT_S = 3.0
"""A host that doesn't find out in that time lacks something: storage that answers."""
HANGS = f"whether its disks are here was not found out within {LIMIT_S:.0f} s: does their storage answer?"
TEXT_LIMIT_CHARS = 300
"""Of one VM's answer: it goes into every report of the host while the VM is held."""


@dataclass(frozen=True)
class Answer:
    lacks: str = ""  # "" nothing
    disks: tuple[FoundDisk, ...] = ()  # the VM's own


Answers = dict[Needs, Answer]


def age_s(needs: Needs) -> float:
    """How long an answer is used again: disks of a VM that runs change only when somebody grows them by hand."""
    return DISKS_AGE_S if needs == Needs(own=needs.own) else AGE_S


class Preflight:
    def __init__(
        self,
        call: Callable[[Callable[[Hypervisor], Answers]], Awaitable[Answers]],
        clock: Callable[[], float],
        limit_s: float = LIMIT_S,
        seeds: Seeds | None = None,
    ) -> None:
        """`call` runs a question to the hypervisor in a thread. `seeds`: where this host has the VMs' seeds made."""
        self._call = call
        self._clock = clock
        self._seeds = seeds
        self._limit_s = limit_s
        self._known: dict[Needs, tuple[float, Answer]] = {}
        self._asking: asyncio.Future[Answers] | None = None
        self._acted = 0  # answers from before an action are not used after it

    def acted(self) -> None:
        """Something was done to this host's disks, perhaps: what is known of them is old."""
        self._known.clear()
        self._acted += 1

    async def find(self, needs: Mapping[str, Needs]) -> dict[str, Answer]:
        """For each VM what is lacking, and its disks. Nothing at all while the hypervisor can't be asked."""
        now, acted = self._clock(), self._acted
        self._known = {
            each: known for each, known in self._known.items() if now <= known[0] + age_s(each)
        }
        unknown = {each for each in needs.values() if each not in self._known}
        if unknown:
            try:
                found = await self._find(unknown)
            except HypervisorError:
                return {}
            if acted == self._acted:
                self._known |= {each: (now, answer) for each, answer in found.items()}
        return {vm: self._known[each][1] for vm, each in needs.items() if each in self._known}

    async def _find(self, unknown: set[Needs]) -> Answers:
        waits_s = self._limit_s if self._asking is None else 0.0  # one that hangs holds up one look
        if self._asking is None:
            every = sorted(unknown, key=repr)
            self._asking = asyncio.ensure_future(
                self._call(lambda h: {n: self._answer(h, n) for n in every})
            )
        done, _ = await asyncio.wait({self._asking}, timeout=waits_s)
        if not done:
            return dict.fromkeys(unknown, Answer(HANGS))
        found, self._asking = self._asking, None
        return found.result()

    def _answer(self, hypervisor: Hypervisor, needs: Needs) -> Answer:
        """In a thread."""
        made = self._seeds.put(needs.seed) if self._seeds is not None and needs.seed else ""
        lacks = (made or hypervisor.lacking(needs))[:TEXT_LIMIT_CHARS]
        return Answer(lacks, found_disks(hypervisor, needs))


def found_disks(hypervisor: Hypervisor, needs: Needs) -> tuple[FoundDisk, ...]:
    """The VM's own disks; where it is asked for, whether its guest runs on them here to stay."""
    found = hypervisor.disks(needs.own) if needs.own else ()
    has = hypervisor.stays_on(needs.runs) if needs.runs else frozenset[tuple[str, str]]()
    named = {volume.disk for volume in needs.own if (volume.pool, volume.name) in has}
    return tuple(
        replace(d, current=d.size_mib is not None and d.disk in named) if has else d for d in found
    )
