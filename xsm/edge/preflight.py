"""Finding out what VMs that are to start here need and the host lacks.

Decides how old an answer may be, and how long storage may take to give one: it may hang, and then nothing else of a
look at the hypervisor may hang with it. What the host itself makes for a VM, its seed, is made here. Must not decide
what follows from what is lacking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from xsm.edge.hypervisor import Hypervisor, HypervisorError
from xsm.edge.seeds import Seeds
from xsm.site.needs import Needs

AGE_S = 2.0
"""Looks come in storms when many VMs start at once; so long an answer is used again."""
LIMIT_S = 3.0
"""A host that doesn't find out in that time lacks something: storage that answers."""
HANGS = f"whether its disks are here was not found out within {LIMIT_S:.0f} s: does their storage answer?"
TEXT_LIMIT_CHARS = 300
"""Of one VM's answer: it goes into every report of the host while the VM is held."""


class Preflight:
    def __init__(
        self,
        call: Callable[[Callable[[Hypervisor], dict[Needs, str]]], Awaitable[dict[Needs, str]]],
        clock: Callable[[], float],
        limit_s: float = LIMIT_S,
        seeds: Seeds | None = None,
    ) -> None:
        """`call` runs a question to the hypervisor in a thread. `seeds`: where this host has the VMs' seeds made."""
        self._call = call
        self._clock = clock
        self._seeds = seeds
        self._limit_s = limit_s
        self._known: dict[Needs, tuple[float, str]] = {}
        self._asking: asyncio.Future[dict[Needs, str]] | None = None

    async def lacks(self, needs: Mapping[str, Needs]) -> dict[str, str]:
        """For each VM what is lacking, "" nothing. Nothing at all while the hypervisor can't be asked."""
        now = self._clock()
        self._known = {
            each: (at, text) for each, (at, text) in self._known.items() if now <= at + AGE_S
        }
        unknown = {each for each in needs.values() if each not in self._known}
        if unknown:
            try:
                found = await self._find(unknown)
            except HypervisorError:
                return {}
            self._known |= {each: (now, text) for each, text in found.items()}
        return {vm: self._known[each][1] for vm, each in needs.items() if each in self._known}

    async def _find(self, unknown: set[Needs]) -> dict[Needs, str]:
        waits_s = self._limit_s if self._asking is None else 0.0  # one that hangs holds up one look
        if self._asking is None:
            every = sorted(unknown, key=repr)
            self._asking = asyncio.ensure_future(
                self._call(lambda h: {n: self._lack(h, n)[:TEXT_LIMIT_CHARS] for n in every})
            )
        done, _ = await asyncio.wait({self._asking}, timeout=waits_s)
        if not done:
            return dict.fromkeys(unknown, HANGS)
        found, self._asking = self._asking, None
        return found.result()

    def _lack(self, hypervisor: Hypervisor, needs: Needs) -> str:
        """In a thread."""
        made = self._seeds.put(needs.seed) if self._seeds is not None and needs.seed else ""
        return made or hypervisor.lacking(needs)
