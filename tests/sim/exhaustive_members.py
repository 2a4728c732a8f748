"""Every state that a small site can reach while its members change: the project's own rule, searched exhaustively.

What decides is called: `xsm.peer.membership`, `register`, `ballots` and `claims`. Modelled here is what surrounds it.
Breadth first, as `exhaustive.py`; what that one searches (live migrations, starts under way, daemons that die, answers
that come late) is left out here: it doesn't depend on the members.

- A host has one list of members, that of its document; it learns of any other committed list with a higher number at
  any later time, or never. Whoever makes a change collects votes and registers one by one, has them written one by one,
  commits, and may crash between any two of these steps.
- A question and its answer are one step. That an answer is lost or late gives nothing new: the voter then only refuses
  more and names more claimants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tests.sim.breadth_first import BreadthFirst
from tests.sim.member_states import Claim, Host, List, Making, State, nameless, put, text, tidy
from tests.sim.packed import NAMES, VM, Reg, Result, bits, forward, names, pack, spread, unpack
from xsm.peer import claims, membership, register
from xsm.peer.ballots import Ballots
from xsm.peer.claims import Attempt
from xsm.peer.membership import Change
from xsm.peer.register import Register

Steps = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Changes:
    """What is searched: hosts A.. of which the first `members` are the site's, and the rule."""

    hosts: int
    members: int
    join: str = ""  # who may join
    forget: str = ""  # who may be powered off, and forgotten by the operator's word
    leave: str = ""  # who may be forgotten alive
    fence: str = ""  # who may be fenced, at any time; and be switched on again, and be taken back
    renew: bool = False  # hosts number the members anew, too
    together: bool = False  # all of `forget` at once, instead of one by one
    running: int = (
        0  # begin where A runs the VM under epoch 1, by the votes of so many; else it runs nowhere
    )
    begin: tuple[Host, ...] = ()  # begin there instead
    crashes: bool = True  # and guests stop
    epochs: int = 2
    numbers: int = 2  # changes have at most this number
    limit: int = 5_000_000
    vote: Callable[..., tuple[Register, str]] = membership.vote
    may_vote: Callable[..., bool] = membership.may_vote
    enough: Callable[..., bool] = membership.enough
    enough_wrote: Callable[..., bool] = membership.enough
    learn: Callable[..., Register] = register.learn
    fresh_votes: bool = True  # a claim is made anew when the list changes
    strangers: bool = False  # a host that isn't on the voter's list gets votes
    runs_nothing: bool = True  # who leaves alive runs nothing and drops what it has won
    newcomer_knows: bool = True
    stays_off: bool = True  # a forgotten host comes back only when all others know
    fenced_first: bool = True  # who is fenced is off before the change is committed
    fenced_last: bool = True  # ...and only once enough have voted for it
    back_empty: bool = True  # who was fenced comes back only when it runs nothing


class Search(BreadthFirst[State]):
    def __init__(self, site: Changes) -> None:
        self.site, self.n, self.limit = site, site.hosts, site.limit
        self.voted = lru_cache(None)(self._voted)
        self.change_voted = lru_cache(None)(self._change_voted)
        self.may_vote = lru_cache(None)(self._may_vote)
        self.enough = lru_cache(None)(self._enough)
        self.won = lru_cache(None)(self._won)
        self.outlived = lru_cache(None)(self._outlived)
        self.learnt = lru_cache(None)(self._learnt)
        self.opened = lru_cache(None)(self._opened)
        self.newest = lru_cache(None)(self._newest)
        self.renamed = lru_cache(None)(self._renamed)

    # -- the project's functions on packed values -----------------------------------------------------

    def _voted(self, reg: Reg, epoch: int, host: int) -> tuple[Reg, bool, int]:
        after, answer = register.vote(unpack(reg), epoch, NAMES[host])
        return forward(reg, pack(after)), answer.granted, bits(answer.earlier)

    def _change_voted(
        self, mine: Reg, m: Making, base: int, now: int, who: int, number: int
    ) -> Reg | None:
        change = self.change(m, base, now)
        after, why_not = self.site.vote(unpack(mine), change.ask, NAMES[who], number)
        return None if why_not else pack(after)

    def _may_vote(self, mine: Reg, claimant: int, its: int, number: int) -> bool:
        return self.site.may_vote(unpack(mine), NAMES[claimant], its, number)

    def change(self, m: Making, base: int, now: int) -> Change:
        lists = names(now), names(m.after), names(m.off), names(m.fence)
        return Change(m.number, base, *lists, voters=names(m.voters))

    def _enough(self, m: Making, now: int, took_part: int, wrote: bool) -> bool:
        rule = self.site.enough_wrote if wrote else self.site.enough
        return rule(self.change(m, 0, now), names(took_part))

    def _won(self, reg: Reg, c: Claim, me: int, members: int) -> tuple[bool, int]:
        """Whether the claim may start the VM, and whom it asks to let go."""
        who = names(members)
        a = Attempt(
            VM,
            c.epoch,
            voters=names(c.voters),
            earlier=names(c.earlier),
            evicted=names(c.gone),
            round=2,
        )
        asks = (
            claims.to_evict(a, unpack(reg), NAMES[me], who)
            if claims.has_majority(a, who)
            else frozenset()
        )
        return claims.won(a, unpack(reg), NAMES[me], who), bits(asks)

    def _outlived(self, vote: Reg, new: List) -> Reg:
        return pack(membership.outlive(unpack(vote), new.number, names(new.fenced)))

    def _learnt(self, mine: Reg, other: Reg) -> Reg:
        return pack(self.site.learn(unpack(mine), unpack(other)))

    def _opened(self, reg: Reg, me: int) -> list[int]:
        least = range(self.site.epochs + 1)
        found = {claims.open_attempt(VM, unpack(reg), NAMES[me], e).epoch for e in least}
        return sorted(e for e in found if e <= self.site.epochs)

    def _newest(self, reg: Reg, me: int) -> int:
        return Ballots(NAMES[me], {VM: unpack(reg)}).newest(VM)

    # -- steps -----------------------------------------------------

    def first(self) -> State:
        if self.site.begin:
            lists = {h.list for h in self.site.begin if h.list.number >= 0}
            return State(self.site.begin, tuple(sorted(lists)))
        list_ = List(0, (1 << self.site.members) - 1)
        voted = Reg(1, 0, 1, 0, 0)
        hosts = [
            Host(True, list_, False, voted if i < self.site.running else Reg())
            if i < self.site.members
            else Host()
            for i in range(self.n)
        ]
        if self.site.running:
            hosts[0] = hosts[0]._replace(runs=True, reg=voted._replace(held=1))
        return State(tuple(hosts), (list_,))

    def successors(self, s: State) -> Steps:
        for i, host in enumerate(s.hosts):
            if not host.on:
                yield from self.back(s, i, host)
                continue
            yield from self.accidents(s, i, host)
            yield from self.documents(s, i, host)
            yield from self.claims(s, i, host)
            yield from self.answers(s, i, host)
            yield from self.changes(s, i, host)
            yield from self.votes_for_changes(s, i, host)

    def back(self, s: State, i: int, host: Host) -> Steps:
        others = [h for x, h in enumerate(s.hosts) if x != i and h.on]
        known = NAMES[i] in self.site.fence or all(not h.list.members >> i & 1 for h in others)
        if host.list.number >= 0 and (known or not self.site.stays_off):
            yield f"{NAMES[i]} is powered on", put(s, i, host._replace(on=True))

    def accidents(self, s: State, i: int, host: Host) -> Steps:
        name = NAMES[i]
        down = host._replace(runs=False, claim=None, making=None)
        if down != host and self.site.crashes:
            yield f"{name} crashes and boots", put(s, i, down)
        if host.runs and self.site.crashes:
            yield f"{name}'s guest stops", put(s, i, host._replace(runs=False))
        if name in self.site.forget or name in self.site.fence:
            yield f"{name} is powered off", put(s, i, down._replace(on=False))

    def documents(self, s: State, i: int, host: Host) -> Steps:
        for new in s.lists:
            if new != host.list and new.number >= host.list.number:
                kept = (
                    host.claim
                    if host.claim and (host.claim.won or not self.site.fresh_votes)
                    else None
                )
                vote = self.outlived(host.vote, new)
                then = host._replace(list=new, claim=kept, making=None, vote=vote)
                yield (
                    f"{NAMES[i]} learns of list {new.number}: {text(new.members)}",
                    put(s, i, then),
                )

    def claims(self, s: State, i: int, host: Host) -> Steps:
        """The claimant's steps."""
        name, number, claim = NAMES[i], host.list.number, host.claim
        if host.list.members >> i & 1 and self.may_vote(host.vote, i, number, number):
            for epoch in self.opened(host.reg, i):
                if claim is None or (not claim.won and claim.epoch != epoch):
                    reg, _, earlier = self.voted(host.reg, epoch, i)
                    new = host._replace(reg=reg, claim=Claim(epoch, 1 << i, earlier))
                    yield f"{name} claims {epoch}", put(s, i, new)
        if claim is None:
            return
        if claim.won:
            new = host._replace(runs=True, claim=None)
            yield f"{name} starts it", put(s, i, new)
        elif self.won(host.reg, claim, i, host.list.members)[0]:
            reg = register.settle(
                register.complete(unpack(host.reg), claim.epoch), claim.epoch, name
            )
            new = host._replace(reg=forward(host.reg, pack(reg)), claim=claim._replace(won=True))
            then = put(s, i, new)._replace(settled=s.settled | {(i, claim.epoch)})
            yield f"{name} wins {claim.epoch}", then

    def answers(self, s: State, i: int, host: Host) -> Steps:
        """A voter's and an earlier claimant's."""
        for h, epoch in sorted(s.settled):
            reg = pack(register.settle(unpack(host.reg), epoch, NAMES[h]))
            if reg != host.reg:
                yield (
                    f"{NAMES[i]} hears that {NAMES[h]}'s {epoch} is settled",
                    put(s, i, host._replace(reg=reg)),
                )
        for h, other in enumerate(s.hosts):
            c = other.claim
            stranger = not host.list.members >> h & 1 and not self.site.strangers
            if h == i or not other.on or c is None or c.won or stranger:
                continue
            what = f"{NAMES[h]}'s {c.epoch}"
            if other.list.members & ~c.voters & 1 << i and self.may_vote(
                host.vote, h, other.list.number, host.list.number
            ):
                reg, granted, earlier = self.voted(host.reg, c.epoch, h)
                if granted:
                    gone = c.gone if not earlier & ~c.earlier else 0
                    heard = c._replace(
                        voters=c.voters | 1 << i, earlier=c.earlier | earlier, gone=gone
                    )
                    new = put(s, i, host._replace(reg=reg), (h, other._replace(claim=heard)))
                    yield f"{NAMES[i]} votes for {what}", new
            asks = self.won(other.reg, c, h, other.list.members)[1]
            if asks >> i & 1 and not host.runs and self.newest(host.reg, i) <= c.epoch:
                mine = host.claim if host.claim and host.claim.epoch >= c.epoch else None
                reg = pack(register.bar(unpack(host.reg), c.epoch))
                heard = c._replace(gone=c.gone | 1 << i)
                new = put(
                    s, i, host._replace(reg=reg, claim=mine), (h, other._replace(claim=heard))
                )
                yield f"{NAMES[i]} lets go for {what}", new

    def changes(self, s: State, i: int, host: Host) -> Steps:
        """The steps of the host that makes a change."""
        m, now = host.making, host.list.members
        if m is None:
            if now >> i & 1:
                yield from self.begins(s, i, host)
            return
        if m.fence & ~m.fenced and not self.site.fenced_last:
            yield from self.fences(s, i, host, m)
        if not self.enough(m, now, m.voters, False):
            return
        if m.fence & ~m.fenced:
            yield from self.fences(s, i, host, m)
        for x in range(self.n):
            to = s.hosts[x]
            if m.voters & ~m.wrote & 1 << x and to.on:
                making = m._replace(wrote=m.wrote | 1 << x)
                noted = to._replace(reg=self.learnt(to.reg, m.known))
                if x == i:
                    yield f"{NAMES[i]} notes it down", put(s, i, noted._replace(making=making))
                else:
                    new = put(s, i, host._replace(making=making), (x, noted))
                    yield f"{NAMES[x]} notes down what {NAMES[i]} knows", new
        off = m.fenced == m.fence or not self.site.fenced_first
        if off and m.wrote >> i & 1 and self.enough(m, now, m.wrote, True):
            new_list = List(m.number, m.after, (host.list.fenced | m.fence) & ~m.after)
            knows = host.reg if self.site.newcomer_knows else Reg()
            kept = (
                host.claim if host.claim and (host.claim.won or not self.site.fresh_votes) else None
            )
            vote = self.outlived(host.vote, new_list)
            new = put(s, i, host._replace(list=new_list, claim=kept, making=None, vote=vote))
            for x in range(self.n):
                if m.after & ~now & 1 << x:
                    # One that joined by another change already keeps what it wrote down.
                    joins = new.hosts[x]._replace(reg=self.learnt(new.hosts[x].reg, knows))
                    newer = max(joins.list, new_list)
                    vote = self.outlived(joins.vote, newer)
                    new = put(new, x, joins._replace(on=True, list=newer, vote=vote))
            lists = tuple(sorted({*s.lists, new_list}))
            yield f"{NAMES[i]} commits list {m.number}: {text(m.after)}", new._replace(lists=lists)

    def fences(self, s: State, i: int, host: Host, m: Making) -> Steps:
        """All that are to be fenced, at once; each may be switched on again in the next step."""
        new = put(s, i, host._replace(making=m._replace(fenced=m.fence)))
        for x in range(self.n):
            if m.fence >> x & 1:
                off = new.hosts[x]._replace(on=False, runs=False, claim=None, making=None)
                new = put(new, x, off)
        yield f"{NAMES[i]} has {text(m.fence)} fenced", new

    def returns(self, s: State, x: int) -> bool:
        """Whether a host that was fenced asks to be taken back."""
        host = s.hosts[x]
        empty = not (host.runs or host.claim) or not self.site.back_empty
        return NAMES[x] in self.site.fence and host.on and host.list.number >= 0 and empty

    def begins(self, s: State, i: int, host: Host) -> Steps:
        now, base = host.list.members, host.list.number
        # The members afterwards, who of the others is off, and who is to be fenced.
        wants: list[tuple[int, int, int]] = [(now, 0, 0)] if self.site.renew else []
        for x, name in enumerate(NAMES[: self.n]):
            if name in self.site.join and s.hosts[x].list.number < 0:
                wants.append((now | 1 << x, 0, 0))
            if not now >> x & 1 and self.returns(s, x):
                wants.append((now | 1 << x, 0, 0))
            if x != i and now >> x & 1 and name in self.site.fence:
                wants.append((now & ~(1 << x), 0, 1 << x))
            if x != i and now >> x & 1 and name in self.site.leave and s.hosts[x].on:
                wants.append((now & ~(1 << x), 0, 0))
        off = sum(1 << x for x, h in enumerate(s.hosts) if now >> x & 1 and not h.on)
        if self.site.together:
            wants += [(now & ~off, off, 0)] if off else []
        else:
            wants += [
                (now & ~(1 << x), 1 << x, 0)
                for x, name in enumerate(NAMES[: self.n])
                if off >> x & 1 and name in self.site.forget
            ]
        for after, gone, fence in wants:
            for number in range(max(host.vote.voted, base) + 1, self.site.numbers + 1):
                m = Making(number, after, gone, 1 << i, host.reg, fence=fence)
                mine = self.change_voted(host.vote, m, base, now, i, base)
                if mine is not None:
                    what = f"{NAMES[i]} begins to make list {number}: {text(after)}"
                    yield what, put(s, i, host._replace(vote=mine, making=m))

    def votes_for_changes(self, s: State, i: int, host: Host) -> Steps:
        for h, other in enumerate(s.hosts):
            m = other.making
            if h == i or m is None or not other.list.members & ~m.voters & ~m.off & 1 << i:
                continue
            leaves = not m.after >> i & 1
            if not host.list.members >> h & 1 or (leaves and host.runs and self.site.runs_nothing):
                continue
            now, base = other.list.members, other.list.number
            mine = self.change_voted(host.vote, m, base, now, h, host.list.number)
            if mine is None:
                continue
            kept = None if leaves and self.site.runs_nothing else host.claim
            making = m._replace(voters=m.voters | 1 << i, known=self.learnt(m.known, host.reg))
            new = put(
                s, i, host._replace(vote=mine, claim=kept), (h, other._replace(making=making))
            )
            yield f"{NAMES[i]} votes for {NAMES[h]}'s list {m.number}", new

    # -- hosts are alike -----------------------------------------------------

    def role(self, i: int) -> tuple[bool, ...]:
        site = self.site
        may = (site.join, site.forget, site.leave, site.fence)
        return i < site.members, *(NAMES[i] in w for w in may)

    def canonical(self, s: State) -> State:
        """The same state with hosts that are alike in a certain order. Where they can't be told apart any is right."""
        s = tidy(s)
        to = self.places(s)
        if to == tuple(range(self.n)):
            return s
        hosts: list[Host] = [Host()] * self.n
        for i, host in enumerate(s.hosts):
            hosts[to[i]] = self.renamed(host, to)
        lists = tuple(
            sorted(List(x.number, spread(x.members, to), spread(x.fenced, to)) for x in s.lists)
        )
        return State(tuple(hosts), lists, frozenset((to[h], e) for h, e in s.settled))

    def places(self, s: State) -> tuple[int, ...]:
        """Where each host goes: among those that may do the same."""
        places = sorted(range(self.n), key=self.role)
        order = sorted(range(self.n), key=lambda i: (self.role(i), nameless(s.hosts[i])))
        to = [0] * self.n
        for place, i in zip(places, order, strict=True):
            to[i] = place
        return tuple(to)

    def _renamed(self, host: Host, to: tuple[int, ...]) -> Host:
        def reg(r: Reg) -> Reg:
            claimant = to[r.claimant] if r.claimant >= 0 else -1
            return r._replace(claimant=claimant, claimants=spread(r.claimants, to))

        def sets(value: Any, *fields: str) -> Any:
            return value and value._replace(**{f: spread(getattr(value, f), to) for f in fields})

        making = sets(host.making, "after", "off", "voters", "wrote", "fence", "fenced")
        return host._replace(
            list=sets(host.list, "members", "fenced"),
            reg=reg(host.reg),
            vote=reg(host.vote),
            claim=sets(host.claim, "voters", "earlier", "gone"),
            making=making and making._replace(known=reg(making.known)),
        )

    def order(self, s: State) -> list[int]:
        to = self.places(tidy(s))
        return [to.index(place) for place in range(self.n)]

    def copies(self, s: State) -> int:
        return sum(h.runs for h in s.hosts)


def search(site: Changes) -> Result:
    return Search(site).run()
