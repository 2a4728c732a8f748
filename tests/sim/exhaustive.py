"""Every state that a small site's claims can reach: the project's own rule, searched exhaustively.

One VM on two to four hosts. What decides is called: `xsm.peer.register`, `ballots` and `claims`. Modelled here is only
what surrounds them: network, disks, hypervisors, people, and of `letting_go` and `claiming` the order of things.
Breadth first, so that the accident found is one of the shortest.

How the search is kept small without leaving anything out:
- A message that was sent can be delivered at any later time, any number of times, or never. So loss, doubling, delay
  and reordering are one thing. An answer is "available" to its claimant from then on; what of it the claimant has heard
  is chosen when it decides, since hearing has no other effect. A refusal only makes a claimant try a higher epoch;
  here it may at any time.
- A host that is off or cut off, or whose daemon is dead, does nothing, like one that isn't scheduled. So a crash is one
  step (guests and memory gone, disk kept), and so is a daemon's death (memory gone, guests and libvirt's work go on).
- What can't change anything any more is dropped from a state, and states that differ in the hosts' names only are one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tests.sim.breadth_first import BreadthFirst
from tests.sim.packed import (
    NAMES,
    Host,
    Mail,
    Move,
    Net,
    Reg,
    Result,
    Rule,
    Site,
    State,
    Steps,
    Try,
    spread,
)


class Search(BreadthFirst[State]):
    def __init__(self, site: Site) -> None:
        self.site, self.limit = site, site.limit
        self.rule = Rule(site)
        self.n, self.k = site.hosts, site.epochs
        self.all = (1 << self.n) - 1
        self.epochs = range(1, self.k + 1)
        self.index: dict[Host, int] = {}
        self.table: list[Host] = []
        self.keys: list[tuple[Any, ...]] = []
        self.one = [[self.bit(h, max(e, 1)) for e in range(self.k + 1)] for h in range(self.n)]
        self.renamed = lru_cache(None)(self._renamed)
        self.renamed_bits = lru_cache(None)(self._renamed_bits)

    # -- states -----------------------------------------------------

    def first(self) -> State:
        hosts = [Host()] * self.n
        if self.site.running:
            hosts = [Host(i == 0, Reg(1, 0, 1, 0, int(i == 0))) for i in range(self.n)]
        if self.site.newcomers:
            hosts = [Host(True, Reg(1, 0, 1, 0, 1)), *[Host()] * (self.n - 1)]
        return self.tidy(hosts, None, Net())

    def members(self, net: Net, i: int) -> int:
        return self.all & ~(1 << net.gone) if net.gone >= 0 and net.told >> i & 1 else self.all

    def bit(self, host: int, epoch: int, to: int = 0) -> int:
        return 1 << ((host * self.k + epoch - 1) * self.n + to)

    def tidy(self, hosts: list[Host], move: Move | None, net: Net) -> State:
        """Add what claimants now send, drop what can't matter any more."""
        _, evicts, lasts, settled, gone, told = net
        asks = net.asks
        for h, host in enumerate(hosts):
            t = host.attempt
            if t is None and host.mail:
                hosts[h] = host._replace(mail=self.kept_mail(h, host))
            elif t is not None and not t.won:
                mail = next(m for m in host.mail if m.epoch == t.epoch)
                to, last, _, _ = self.rule.prospects(host.reg, t, mail, self.members(net, h), h)
                evicts |= self.one[h][t.epoch] * to
                lasts |= self.one[h][t.epoch] * last
        regs = [x.reg for x in hosts]
        least = min(r.voted for r in regs)
        bars = min(r.bar for r in regs)
        for h in range(self.n):
            t = hosts[h].attempt
            for epoch in self.epochs:
                one = self.one[h][epoch]
                if not (asks | settled | evicts) & one * self.all:
                    continue
                if t is not None and t.epoch == epoch:
                    continue
                if epoch <= least:
                    asks &= ~one
                    if settled & one and not any(
                        r.voted == epoch and r.claimant == h and r.claimants != 1 << h for r in regs
                    ):
                        settled &= ~one
                if bars > epoch:
                    evicts &= ~(one * self.all)
                    lasts &= evicts
                elif evicts & (one * self.all):
                    for x, r in enumerate(regs):
                        if r.bar > epoch:
                            evicts &= ~(one << x)
                    lasts &= evicts | ~(one * self.all)
        return tuple(map(self.number, hosts)), move, Net(asks, evicts, lasts, settled, gone, told)

    def number(self, host: Host) -> int:
        number = self.index.get(host)
        if number is None:
            number = self.index[host] = len(self.table)
            self.table.append(host)
            voted, _, claimants, barred, held = host.reg
            t = host.attempt or Try(0, 0, False, 0, 0)
            self.keys.append(
                (host.runs, voted, barred, held, host.flight, t[:3], claimants.bit_count())
            )
        return number

    # -- hosts are alike -----------------------------------------------------

    def canonical(self, state: State) -> State:
        """The same state with the hosts in a certain order."""
        order = self.order(state)
        return self.reordered(state, order) if order != sorted(order) else state

    def order(self, state: State) -> list[int]:
        """Hosts by what can be said of them without a name. Where they can't be told apart any order is right."""
        numbers, move, net = state
        keys = self.keys
        ends = (move.source, move.target) if move else (-1, -1)
        return sorted(
            range(self.n),
            key=lambda i: (
                keys[numbers[i]],
                i == net.gone,
                net.told >> i & 1,
                i == ends[0],
                i == ends[1],
            ),
        )

    def reordered(self, state: State, order: list[int]) -> State:
        numbers, move, net = state
        new = [0] * self.n  # old place -> new place
        for place, i in enumerate(order):
            new[i] = place
        to = tuple(new)
        return (
            tuple(self.renamed(numbers[i], to) for i in order),
            move and move._replace(source=to[move.source], target=to[move.target]),
            Net(
                self.renamed_bits(net.asks, to, False),
                self.renamed_bits(net.evicts, to, True),
                self.renamed_bits(net.lasts, to, True),
                self.renamed_bits(net.settled, to, False),
                to[net.gone] if net.gone >= 0 else -1,
                spread(net.told, to),
            ),
        )

    def _renamed(self, number: int, to: tuple[int, ...]) -> int:
        runs, reg, t, flight, mail = self.table[number]
        claimant = to[reg.claimant] if reg.claimant >= 0 else -1
        reg = reg._replace(claimant=claimant, claimants=spread(reg.claimants, to))
        t = t and t._replace(voters=spread(t.voters, to), earlier=spread(t.earlier, to))
        boxes = []
        for m in mail:
            votes = [-1] * self.n
            for v, e in enumerate(m.votes):
                votes[to[v]] = spread(e, to) if e >= 0 else -1
            boxes.append(Mail(m.epoch, tuple(votes), spread(m.gone, to)))
        return self.number(Host(runs, reg, t, flight, tuple(boxes)))

    def _renamed_bits(self, bits: int, to: tuple[int, ...], addressed: bool) -> int:
        new = 0
        for h in range(self.n):
            for epoch in self.epochs:
                row = bits // self.one[h][epoch] & self.all
                new |= self.one[to[h]][epoch] * (spread(row, to) if addressed else row)
        return new

    def kept_mail(self, h: int, host: Host) -> tuple[Mail, ...]:
        """Answers that a later attempt could hear."""
        if self.site.fresh_answers:
            return ()
        voted, claimant = host.reg.voted, host.reg.claimant
        return tuple(
            m for m in host.mail if voted < m.epoch or (voted == m.epoch and claimant == h)
        )

    def successors(self, state: State) -> Steps:
        hosts, (_, move, net) = [self.table[i] for i in state[0]], state
        others = self.all & ~(1 << net.gone) if net.gone >= 0 else 0
        for i in range(self.n):
            if i == net.gone and self.site.stays_off and net.told != others:
                continue
            yield from self.accidents(hosts, move, net, i)
            yield from self.claims(hosts, move, net, i)
            yield from self.starts(hosts, move, net, i)
            yield from self.hears(hosts, move, net, i)
            if net.gone not in (-1, i) and not net.told >> i & 1:
                then = self.tidy(list(hosts), move, net._replace(told=net.told | 1 << i))
                yield f"{NAMES[i]} learns that {NAMES[net.gone]} is forgotten", then
        if move is not None:
            yield from self.migrates(hosts, move, net)
        if self.site.forget and net.gone < 0:
            for i in range(self.n):
                off = self.off(hosts[i], hosts[i].reg)
                then = self.tidy(put(hosts, i, off), unless(move, i), net._replace(gone=i))
                yield f"{NAMES[i]} is powered off and forgotten", then

    # -- steps -----------------------------------------------------

    def off(self, host: Host, disk: Reg) -> Host:
        return Host(False, disk, mail=() if self.site.fresh_answers else host.mail)

    def accidents(self, hosts: list[Host], move: Move | None, net: Net, i: int) -> Steps:
        host, name = hosts[i], NAMES[i]
        disk = host.reg if self.site.votes_on_disk else Reg()
        if host.runs or host.attempt or host.flight or disk != host.reg:
            then = self.tidy(put(hosts, i, self.off(host, disk)), unless(move, i), net)
            yield f"{name} crashes and boots", then
        known = move is not None and move.source == i and move.known
        if host.attempt or host.flight == 1 or known:
            mail = () if self.site.fresh_answers else host.mail
            reborn = host._replace(attempt=None, flight=2 * bool(host.flight), mail=mail)
            stays = move._replace(known=False) if move and known else move
            yield (
                f"{name}'s daemon dies and comes back",
                self.tidy(put(hosts, i, reborn), stays, net),
            )
        if host.runs:
            stays = unless(move, i) if move and move.source == i else move
            then = self.tidy(put(hosts, i, host._replace(runs=False)), stays, net)
            yield f"{name}'s guest dies", then

    def claims(self, hosts: list[Host], move: Move | None, net: Net, i: int) -> Steps:
        host, name = hosts[i], NAMES[i]
        t = host.attempt
        # The source's daemon knows its migration; a new one waits until libvirt shows what the old one asked for.
        moving = move is not None and move.source == i and (move.known or not move.seen)
        if not (moving and self.site.no_claim_in_move):
            for epoch in self.rule.epochs(host.reg, i):
                if t is None or t.won or t.epoch != epoch:
                    yield f"{name} claims {epoch}", self.claim(hosts, move, net, i, epoch)
        if t is None or t.won:
            return
        mail = next(m for m in host.mail if m.epoch == t.epoch)
        _, _, rounds, won = self.rule.prospects(host.reg, t, mail, self.members(net, i), i)
        if won:
            reg, settled = host.reg, net.settled
            if reg.held != t.epoch:
                reg, settled = self.rule.win(reg, t.epoch, i), settled | self.bit(i, t.epoch)
            winner = host._replace(reg=reg, attempt=Try(t.epoch, 1, True, 0, 0))
            if self.site.fresh_answers:
                winner = winner._replace(mail=())
            then = self.tidy(put(hosts, i, winner), move, net._replace(settled=settled))
            yield f"{name} wins {t.epoch}", then
        for again in rounds:
            rest = tuple(m._replace(gone=0) if m is mail else m for m in host.mail)
            then = self.tidy(put(hosts, i, host._replace(attempt=again, mail=rest)), move, net)
            yield f"{name} asks them all again about {t.epoch}", then

    def claim(self, hosts: list[Host], move: Move | None, net: Net, i: int, epoch: int) -> State:
        """Open an attempt and vote for oneself."""
        host = hosts[i]
        reg, _, earlier = self.rule.vote(host.reg, epoch, i)
        old = () if self.site.fresh_answers else host.mail
        box = next((m for m in old if m.epoch == epoch), Mail(epoch, (-1,) * self.n, 0))
        mail = tuple(sorted((*(m for m in old if m.epoch != epoch), box)))
        claimant = host._replace(reg=reg, attempt=Try(epoch, 1, False, 1 << i, earlier), mail=mail)
        asks = net.asks | self.bit(i, epoch)
        return self.tidy(put(hosts, i, claimant), move, net._replace(asks=asks))

    def starts(self, hosts: list[Host], move: Move | None, net: Net, i: int) -> Steps:
        """A win is used up by a start, and libvirt's start takes its time."""
        host, name = hosts[i], NAMES[i]
        reg = host.reg
        idle = not host.runs and not host.flight
        unasked = not self.site.boot_claims and reg.held and reg.held >= reg.bar
        if idle and (unasked or (host.attempt is not None and host.attempt.won)):
            asked = host._replace(attempt=None, flight=1)
            yield f"{name} asks libvirt to start it", self.tidy(put(hosts, i, asked), move, net)
        if host.flight:
            receives = move is not None and move.target == i and move.seen
            done = host._replace(flight=0, runs=host.runs or not receives)
            yield f"libvirt starts it on {name}", self.tidy(put(hosts, i, done), move, net)

    def hears(self, hosts: list[Host], move: Move | None, net: Net, i: int) -> Steps:
        """Messages to host i from host h."""
        host, name, rule = hosts[i], NAMES[i], self.rule
        voters = self.members(net, i) if self.site.members_only else self.all
        for h in range(self.n):
            for epoch in self.epochs:
                one, what = self.bit(h, epoch), f"{NAMES[h]}'s {epoch}"
                if h == i or not voters >> h & 1:
                    continue
                if net.asks & one:
                    reg, granted, earlier = rule.vote(host.reg, epoch, h)
                    box = self.vote_sent(hosts[h], epoch, i, earlier)
                    if granted and (reg != host.reg or box != hosts[h]):
                        new = put(hosts, i, host._replace(reg=reg), (h, box))
                        yield f"{name} votes for {what}", self.tidy(new, move, net)
                if net.settled & one:
                    reg = rule.settle(host.reg, epoch, h)
                    if reg != host.reg:
                        new = put(hosts, i, host._replace(reg=reg))
                        yield f"{name} hears that {what} is settled", self.tidy(new, move, net)
                if not net.evicts & one << i:
                    continue
                if self.lets_go(host, move, i) and rule.newest(host.reg, i) <= epoch:
                    new = self.let_go(hosts, i, h, epoch)
                    if new[i] != host or new[h] != hosts[h]:
                        yield f"{name} lets go for {what}", self.tidy(new, move, net)
                last = bool(net.lasts & one << i)
                if self.site.may_hand_over(rule.newest(host.reg, i), epoch, last):
                    yield from self.hands_over(hosts, move, net, i, h, epoch)

    def hands_over(
        self, hosts: list[Host], move: Move | None, net: Net, i: int, h: int, epoch: int
    ) -> Steps:
        """Begin to migrate to the claimant. A target that is off is found out at once."""
        host, on = hosts[i], h != net.gone or not self.site.stays_off
        if self.site.migrate and host.runs and move is None and on:
            reg = self.rule.bar(host.reg, epoch) if self.site.source_bars else host.reg
            source = host._replace(reg=reg, attempt=None)
            then = self.tidy(put(hosts, i, source), Move(i, h, False, True), net)
            yield f"{NAMES[i]} begins to migrate it, by {NAMES[h]}'s {epoch}", then

    def vote_sent(self, claimant: Host, epoch: int, voter: int, earlier: int) -> Host:
        """The claimant, to whom a vote is available now."""
        t = claimant.attempt
        now = t is not None and t.epoch == epoch and not t.won
        if self.site.fresh_answers and not now:
            return claimant
        box = next((m for m in claimant.mail if m.epoch == epoch), None)
        box = box or Mail(epoch, (-1,) * self.n, 0)
        old = box.votes[voter]
        if old >= 0 and old & earlier == old:
            return claimant  # the answer sent before asks for no more than this one
        new = box._replace(votes=(*box.votes[:voter], earlier, *box.votes[voter + 1 :]))
        rest = (m for m in claimant.mail if m.epoch != epoch)
        return claimant._replace(mail=tuple(sorted((*rest, new))))

    def lets_go(self, host: Host, move: Move | None, i: int) -> bool:
        site = self.site
        incoming = move is not None and move.target == i and move.seen
        return not (
            (host.runs and site.looks_first)
            or (host.flight and site.waits_for_start)
            or (incoming and site.sees_incoming)
        )

    def let_go(self, hosts: list[Host], i: int, h: int, epoch: int) -> list[Host]:
        host, claimant = hosts[i], hosts[h]
        host = host._replace(reg=self.rule.bar(host.reg, epoch))
        if self.site.drops_attempt and host.attempt is not None and host.attempt.epoch < epoch:
            host = host._replace(attempt=None)
        t = claimant.attempt
        if (t is not None and t.epoch == epoch and not t.won) or not self.site.fresh_answers:
            mail = (
                m._replace(gone=m.gone | 1 << i) if m.epoch == epoch else m for m in claimant.mail
            )
            claimant = claimant._replace(mail=tuple(mail))
        return put(hosts, i, host, (h, claimant))

    def migrates(self, hosts: list[Host], move: Move, net: Net) -> Steps:
        a, b = hosts[move.source], hosts[move.target]
        yield "the migration fails", self.tidy(list(hosts), None, net)
        if not move.seen and not b.runs:
            then = self.tidy(list(hosts), move._replace(seen=True), net)
            yield f"{NAMES[move.target]}'s libvirt shows it as incoming", then
        if move.seen:
            new = put(
                hosts, move.source, a._replace(runs=False), (move.target, b._replace(runs=True))
            )
            yield f"it has moved to {NAMES[move.target]}", self.tidy(new, None, net)

    def copies(self, state: State) -> int:
        return sum(self.table[number].runs for number in state[0])


def put(hosts: list[Host], i: int, host: Host, *more: tuple[int, Host]) -> list[Host]:
    new = list(hosts)
    new[i] = host
    for j, other in more:
        new[j] = other
    return new


def unless(move: Move | None, i: int) -> Move | None:
    """The migration, unless host i takes part in it."""
    return None if move and i in (move.source, move.target) else move


def search(site: Site) -> Result:
    return Search(site).run()
