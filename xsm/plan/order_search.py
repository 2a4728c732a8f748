"""The search for an order of moves that empties a host. Each move fits when it is made.

Decides by sizes and tags alone: VMs with memory and anti-affinity tags, hosts with room. Must not know what a VM is
otherwise, nor why one may not go somewhere (`allowed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

SEARCH_LIMIT = 20_000
"""States that the thorough search looks at, at most: about a second. Every state of a small site is among them: 6 VMs
on 5 hosts have 15,625."""
MOVES_LIMIT = 400
"""Ways from one state (VMs that may move x hosts) up to which the thorough search is tried."""
EVICTED_LIMIT = 3
"""VMs of another host that are moved away for one VM, at most, where the thorough search is not tried or ends early."""


@dataclass(frozen=True)
class Hop:
    vm: str
    source: str
    target: str


class Rooms:
    """Which VMs are on which hosts, and what is free there. Changes as VMs are moved."""

    def __init__(
        self, capacity_mib: Mapping[str, int | None], allowed: Mapping[str, Sequence[str]]
    ) -> None:
        self.allowed = allowed  # VM that may move -> hosts to which, by name
        self.capacity_mib = capacity_mib  # None: nobody knows
        self.free: dict[str, int | None] = dict(capacity_mib)
        self.tagged: dict[str, dict[str, list[str]]] = {name: {} for name in capacity_mib}
        self.on: dict[str, str] = {}
        self.memory: dict[str, int] = {}
        self.apart: dict[str, Sequence[str]] = {}

    def put(self, vm: str, host: str, memory_mib: int, apart: Sequence[str]) -> None:
        self.memory[vm], self.apart[vm] = memory_mib, apart
        if host in self.free:
            self._come(vm, host)

    def _come(self, vm: str, host: str) -> None:
        self.on[vm] = host
        free = self.free[host]
        if free is not None:
            self.free[host] = free - self.memory[vm]
        for tag in self.apart[vm]:
            self.tagged[host].setdefault(tag, []).append(vm)

    def _go(self, vm: str) -> None:
        host = self.on.pop(vm)
        free = self.free[host]
        if free is not None:
            self.free[host] = free + self.memory[vm]
        for tag in self.apart[vm]:
            self.tagged[host][tag].remove(vm)

    def move(self, vm: str, host: str) -> None:
        self._go(vm)
        self._come(vm, host)

    def settle(self, hops: Iterable[Hop]) -> None:
        for hop in hops:
            self.move(hop.vm, hop.target)

    def rivals(self, vm: str, host: str) -> list[str]:
        """VMs on `host` that are to be apart from `vm`, by name."""
        there = self.tagged[host]
        return sorted({other for tag in self.apart[vm] for other in there.get(tag, ())} - {vm})

    def fits(self, vm: str, host: str) -> bool:
        free = self.free[host]
        return (free is None or self.memory[vm] <= free) and not self.rivals(vm, host)

    def obstacle(self, vm: str, host: str) -> str:
        """Why it doesn't fit there, for people."""
        rivals = self.rivals(vm, host)
        if rivals:
            return f"{host} has {rivals[0]}, which is to be apart from it"
        left = max(0, self.free[host] or 0)
        return f"{host} has {left} MiB left for VMs, {self.memory[vm]} MiB are needed"

    def targets(self, vm: str) -> list[str]:
        """Where it fits now, tightest first: large rooms are kept for large VMs. Hosts of unknown size last."""
        here = self.on.get(vm)
        found = [h for h in self.allowed[vm] if h != here and self.fits(vm, h)]
        return sorted(found, key=lambda h: (self.free[h] is None, self.free[h] or 0, h))

    def crowd(self, host: str) -> tuple[bool, float, str]:
        """Emptiest first, as placement has it: by the free share."""
        free, capacity = self.free[host], self.capacity_mib[host]
        return (free is None, -free / capacity if free and capacity else 0.0, host)

    def fits_unvacated(self, hop: Hop, others: Iterable[Hop]) -> bool:
        """Whether `hop` fits beside `others`, all arrived and none of them gone from where it was."""
        beside = [o for o in others if o.target == hop.target]
        if any(o.vm == hop.vm for o in others) or not self.fits(hop.vm, hop.target):
            return False
        if any({*self.apart[o.vm]} & {*self.apart[hop.vm]} for o in beside):
            return False
        free = self.free[hop.target]
        return free is None or free >= sum(self.memory[o.vm] for o in (*beside, hop))

    def ends_in_any_order(self, hops: Sequence[Hop]) -> bool:
        """Whether all of `hops` are made at last if each is made as soon as it fits, in whatever order.

        It is so where each VM moves once, and no host that needs others to leave first waits for itself by way of
        where those go: the first one in the row sends its VMs to hosts that have room for all that come, and so on.
        """
        if len({hop.vm for hop in hops}) < len(hops):
            return False
        tight = {
            host
            for host in sorted({hop.target for hop in hops})
            if not self._room_for_all(host, [hop for hop in hops if hop.target == host])
        }
        waits = {
            host: {h.target for h in hops if h.source == host and h.target in tight}
            for host in tight
        }
        while waits:
            ready = [host for host, on in waits.items() if not on & waits.keys()]
            if not ready:
                return False
            for host in ready:
                del waits[host]
        return True

    def _room_for_all(self, host: str, coming: Sequence[Hop]) -> bool:
        free = self.free[host]
        if free is not None and free < sum(self.memory[hop.vm] for hop in coming):
            return False
        return not any(self.rivals(hop.vm, host) for hop in coming)


def empty_host(rooms: Rooms, host: str, leaving: Sequence[str], others: Sequence[str]) -> list[Hop]:
    """Moves by which as many of `leaving` as can leave `host`. VMs of `others` move only where it takes them.

    Changes `rooms`.
    """
    for spread in (True, False):
        hops = _straight(rooms, leaving, spread)
        if len(hops) == len(leaving):
            return hops
        _undo(rooms, hops)
    hops = _making_room(rooms, leaving, others)
    left = sum(rooms.on[vm] == host for vm in leaving)
    if sum(len(rooms.allowed[vm]) for vm in (*leaving, *others)) > MOVES_LIMIT:
        return hops
    _undo(rooms, hops)
    fewest = _thorough(rooms, host, leaving, others)
    if sum(rooms.on[vm] == host for vm in leaving) <= left:
        return fewest
    _undo(rooms, fewest)
    rooms.settle(hops)
    return hops


def _largest_first(rooms: Rooms, vms: Iterable[str]) -> list[str]:
    """Those with the fewest ways first, where sizes are alike."""
    return sorted(vms, key=lambda vm: (-rooms.memory[vm], len(rooms.allowed[vm]), vm))


def _straight(rooms: Rooms, leaving: Sequence[str], spread: bool) -> list[Hop]:
    """Each to a host that has room as it is. `spread`: to where most is free, else to where it just fits."""
    hops = []
    for vm in _largest_first(rooms, leaving):
        targets = rooms.targets(vm)
        if targets:
            target = min(targets, key=rooms.crowd) if spread else targets[0]
            hops.append(Hop(vm, rooms.on[vm], target))
            rooms.move(vm, target)
    return hops


def _undo(rooms: Rooms, hops: Sequence[Hop]) -> None:
    for hop in reversed(hops):
        rooms.move(hop.vm, hop.source)


def _making_room(rooms: Rooms, leaving: Sequence[str], others: Sequence[str]) -> list[Hop]:
    """For a large site: straight, and for whoever is left some host is found from which a few VMs can go elsewhere."""
    hops = _straight(rooms, leaving, spread=False)
    gone = {hop.vm for hop in hops}
    movable: dict[str, set[str]] = {}
    for vm in others:
        movable.setdefault(rooms.on[vm], set()).add(vm)
    for vm in _largest_first(rooms, [vm for vm in leaving if vm not in gone]):
        found: list[Hop] = []
        for target in rooms.targets(vm)[:1] or rooms.allowed[vm]:
            found = _room_at(rooms, vm, target, movable.get(target, set()))
            if found:
                break
        for hop in found:
            movable.get(hop.source, set()).discard(hop.vm)
        hops += found
    return hops


def _room_at(rooms: Rooms, vm: str, target: str, movable: Iterable[str]) -> list[Hop]:
    """Moves after which `vm` is at `target`, made in `rooms`; none where that can't be, and then nothing is changed."""
    rivals = rooms.rivals(vm, target)
    free = movable if isinstance(movable, set) else set(movable)
    hops: list[Hop] = []
    if not {*rivals} <= free:
        return hops
    rest = iter(sorted(free - {*rivals}, key=lambda other: (-rooms.memory[other], other)))
    evicted = iter(rivals)
    while not rooms.fits(vm, target):
        other = next(evicted, None) or next(rest, None)
        if other is None or len(hops) == EVICTED_LIMIT:
            break
        to = rooms.targets(other)
        if to:
            hops.append(Hop(other, target, to[0]))
            rooms.move(other, to[0])
        elif other in rivals:
            break
    if not rooms.fits(vm, target):
        _undo(rooms, hops)
        return []
    hops.append(Hop(vm, rooms.on[vm], target))
    rooms.move(vm, target)
    return hops


_State = tuple[str, ...]
"""Where each VM that may move is, in the order of their names."""


def _thorough(rooms: Rooms, host: str, leaving: Sequence[str], others: Sequence[str]) -> list[Hop]:
    """The fewest moves that empty `host`, by looking at every state that can be reached (A*); else those by which the
    most of `leaving` leave. The bound: each that is still there takes a move."""
    names = sorted({*leaving, *others})
    mine = [at for at, vm in enumerate(names) if vm in set(leaving)]
    first: _State = tuple(rooms.on[vm] for vm in names)

    def left(state: _State) -> int:
        return sum(state[at] == host for at in mine)

    came: dict[_State, tuple[_State | None, int]] = {first: (None, 0)}
    queue: list[tuple[int, int, _State]] = [(left(first), left(first), first)]
    best, shown = (left(first), 0, first), first
    while queue and len(came) < SEARCH_LIMIT:
        bound, still, state = heappop(queue)
        cost = came[state][1]
        if bound > cost + still:
            continue  # a shorter way there was found meanwhile
        best = min(best, (still, cost, state))
        if not still:
            break
        _arrange(rooms, names, shown, state)
        shown = state
        for after in _next_states(rooms, names, state, host):
            if after not in came or came[after][1] > cost + 1:
                came[after] = (state, cost + 1)
                heappush(queue, (cost + 1 + left(after), left(after), after))
    _arrange(rooms, names, shown, best[2])
    return _way(names, came, best[2])


def _next_states(rooms: Rooms, names: Sequence[str], state: _State, host: str) -> Iterator[_State]:
    for at, vm in enumerate(names):
        for target in rooms.allowed[vm]:
            if target not in (state[at], host) and rooms.fits(vm, target):
                yield (*state[:at], target, *state[at + 1 :])


def _arrange(rooms: Rooms, names: Sequence[str], before: _State, after: _State) -> None:
    for vm, was, now in zip(names, before, after, strict=True):
        if was != now:
            rooms.move(vm, now)


def _way(
    names: Sequence[str], came: Mapping[_State, tuple[_State | None, int]], last: _State
) -> list[Hop]:
    hops: list[Hop] = []
    state: _State | None = last
    while state is not None:
        before = came[state][0]
        if before is not None:
            moved = next(at for at, place in enumerate(state) if place != before[at])
            hops.append(Hop(names[moved], before[moved], state[moved]))
        state = before
    return hops[::-1]
