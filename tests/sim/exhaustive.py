"""Every state that a small site's claims can reach: the project's own rule, searched exhaustively.

One VM on two to four hosts. The transitions call `xsm.peer.register` and `xsm.peer.claims`; what is modelled here is only
what surrounds them: the network, disks, hypervisors, people. Breadth first, so that the first accident found is a shortest one.

How the search is kept small without leaving anything out:
- A message that was sent can be delivered at any later time, any number of times, or never. So loss, doubling, delay and
  reordering are one thing. An answer is "available" to its claimant from then on, and what the claimant has heard is chosen when it
  decides: hearing has no other effect.
- A host that is off, cut off, or whose daemon is dead does nothing, as one that isn't scheduled. So a crash is one step (guests
  and memory gone, disk kept), and so is a daemon's death (memory gone, guests and libvirt's work go on).
- A message is dropped once it can't change anything any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from typing import Any

from xsm.peer import claims, register
from xsm.peer.claims import Attempt
from xsm.peer.messages import ClaimAnswer, EvictAnswer, EvictAsk
from xsm.peer.register import Register

VM = "v"
NAMES = "abcd"
OPEN, AGAIN, WON = range(3)
LATER = 1e9
"""Any timer of `claims` has run out by then: waiting only delays, and the search knows no time."""

Reg = tuple[int, int, int, int, int]  # a Register: voted, claimant, claimants (bits), bar, held
Try = tuple[int, int, int, int]  # an attempt: epoch, OPEN|AGAIN|WON, voters and earlier heard so far
Mail = tuple[int, tuple[int, ...], int]  # answers available: epoch, earlier by voter (-1: none), evicted
Host = tuple[int, Reg, Try | None, int, tuple[Mail, ...]]  # runs, register, attempt, start under way, answers
State = tuple[Any, ...]


@dataclass(frozen=True)
class Site:
    """What is searched, and which part of the rule is taken away or replaced."""

    hosts: int
    epochs: int
    forget: bool = True
    migrate: bool = True
    running: bool = False  # start where host a runs the VM under epoch 1, by everybody's vote
    limit: int = 3_000_000
    # parts of the rule; a mutant replaces one
    vote: Callable[..., Any] = register.vote
    bar: Callable[..., Register] = register.bar
    complete: Callable[..., Register] = register.complete
    settle: Callable[..., Register] = register.settle
    won: Callable[..., bool] = claims.won
    questions: Callable[..., Any] = claims.questions
    may_hand_over: Callable[..., bool] = getattr(register, "may_hand_over", lambda r, e, last: True)
    fresh_answers: bool = True  # answers to an earlier attempt don't count
    votes_on_disk: bool = True
    boot_claims: bool = True
    waits_for_start: bool = True  # lets go only when no start is under way here
    looks_first: bool = True  # lets go only when it doesn't run here
    drops_attempt: bool = True  # letting go ends an attempt for a lower epoch
    source_lets_go: bool = True  # a start waits for the source


@dataclass
class Result:
    states: int
    trace: list[str] = field(default_factory=list)
    finished: bool = True
    elsewhere: int = 0  # states where the VM runs: shows that the search isn't about a site that does nothing

    @property
    def safe(self) -> bool:
        return not self.trace


@lru_cache(None)
def names(bits: int) -> frozenset[str]:
    return frozenset(n for i, n in enumerate(NAMES) if bits >> i & 1)


@lru_cache(None)
def bits(hosts: frozenset[str]) -> int:
    return sum(1 << NAMES.index(h) for h in hosts)


@lru_cache(None)
def unpack(reg: Reg) -> Register:
    voted, claimant, claimants, barred, held = reg
    return Register(voted, NAMES[claimant] if claimant >= 0 else "", names(claimants), barred, held)


@lru_cache(None)
def pack(r: Register) -> Reg:
    claimant = NAMES.index(r.claimant) if r.claimant else -1
    return r.voted, claimant, bits(r.claimants), r.bar, r.held


BLANK: Reg = (0, -1, 0, 0, 0)


class Search:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.n = site.hosts
        self.k = site.epochs
        self.all = (1 << self.n) - 1
        self.index: dict[Host, int] = {}
        self.table: list[Host] = []
        self._prospects: dict[Any, Any] = {}
        self._votes: dict[Any, Any] = {}

    # -- the project's rule, remembered -----------------------------------------------------

    def vote(self, reg: Reg, epoch: int, host: int) -> tuple[Reg, bool, int]:
        key = (reg, epoch, host)
        if key not in self._votes:
            after, answer = self.site.vote(unpack(reg), epoch, NAMES[host])
            self._votes[key] = pack(after), answer.granted, bits(answer.earlier)
        return self._votes[key]

    def epochs(self, reg: Reg, me: int) -> list[int]:
        """Epochs that this host may claim now, whatever refusals it got."""
        key = (reg, me)
        if key not in self._votes:
            r = unpack(reg)
            found = {claims.open_attempt(VM, r, NAMES[me], least).epoch for least in range(self.k + 1)}
            self._votes[key] = sorted(e for e in found if e <= self.k)
        return self._votes[key]

    def prospects(
        self, reg: Reg, attempt: Try, mail: Mail, members: int, me: int
    ) -> tuple[int, int, list[Try], bool]:
        """What the attempt can come to by the answers available: whom it asks to let go, whom as the last one,
        the confirmations that it can begin, and whether it can be won."""
        key = (reg, attempt, mail, members, me)
        if key in self._prospects:
            return self._prospects[key]
        epoch, phase, voters0, earlier0 = attempt
        _, votes, evicted = mail
        asks = last = 0
        again: dict[int, Try] = {}
        won = False
        who = names(members)
        open_votes = [v for v in range(self.n) if votes[v] >= 0 and not voters0 >> v & 1]
        for size in range(len(open_votes) + 1):
            for heard in combinations(open_votes, size):
                a = Attempt(VM, epoch, names(voters0), names(earlier0), **self._phase(phase))
                r = unpack(reg)
                for v in heard:
                    answer = ClaimAnswer(
                        VM, epoch, True, tuple(sorted(names(votes[v]))), 0, "", **TOKEN(a)
                    )
                    a = claims.hear_vote(a, NAMES[v], answer, r, NAMES[me], LATER)
                for x in range(self.n):
                    if evicted >> x & 1:
                        done = EvictAnswer(VM, epoch, True, "", **TOKEN(a))
                        a = claims.hear_eviction(a, NAMES[x], done)
                if self.site.won(a, r, NAMES[me], who):
                    won = True
                if not claims.has_majority(a, who):
                    continue
                b = claims.confirm(a, r, NAMES[me], who) if hasattr(claims, "confirm") else a
                if b is not a:
                    found = (epoch, AGAIN, bits(b.voters), bits(b.earlier))
                    if not any(e & found[3] == e for e in again):
                        again[found[3]] = found
                    continue
                for to, ask in self.site.questions(a, r, NAMES[me], who, None, LATER)[1]:
                    if isinstance(ask, EvictAsk):
                        asks |= 1 << NAMES.index(to)
                        if getattr(ask, "last", True):
                            last |= 1 << NAMES.index(to)
        result = asks, last, list(again.values()), won
        self._prospects[key] = result
        return result

    @staticmethod
    def _phase(phase: int) -> dict[str, Any]:
        return {"confirming": True} if phase == AGAIN else {}

    # -- states -----------------------------------------------------

    def host(self, value: Host) -> int:
        number = self.index.get(value)
        if number is None:
            number = self.index[value] = len(self.table)
            self.table.append(value)
        return number

    def first(self) -> State:
        if not self.site.running:
            hosts = [(0, BLANK, None, 0, ())] * self.n
        else:
            hosts = [
                (int(i == 0), (1, 0, 1, 0, int(i == 0)), None, 0, ()) for i in range(self.n)
            ]
        return (tuple(self.host(h) for h in hosts), None, 0, 0, 0, 0, -1, 0)

    def members(self, forgotten: int, seen: int, i: int) -> int:
        return self.all & ~(1 << forgotten) if forgotten >= 0 and seen >> i & 1 else self.all

    def bit(self, h: int, epoch: int, x: int = 0) -> int:
        return 1 << ((h * self.k + epoch - 1) * self.n + x)

    def tidy(
        self, hosts: list[Host], move: Any, asked: int, evict: int, last: int, settled: int, fg: int, seen: int
    ) -> State:
        """Add what claimants now send, drop what can't matter any more."""
        n, k = self.n, self.k
        for h in range(n):
            run, reg, attempt, flight, mail = hosts[h]
            if attempt is not None and attempt[1] != WON:
                m = next(m for m in mail if m[0] == attempt[0])
                asks, lasts, _, _ = self.prospects(reg, attempt, m, self.members(fg, seen, h), h)
                base = self.bit(h, attempt[0])
                evict |= base * asks
                last |= base * lasts
        for h in range(n):
            run, reg, attempt, flight, mail = hosts[h]
            for epoch in range(1, k + 1):
                one = self.bit(h, epoch)
                row = one * self.all
                now = attempt is not None and attempt[0] == epoch
                if asked & one and not now and all(x[1][0] >= epoch for x in hosts):
                    asked &= ~one
                if settled & one and all(
                    x[1][0] > epoch or (x[1][0] == epoch and (x[1][1] != h or x[1][2] == 1 << h))
                    for x in hosts
                ):
                    settled &= ~one
                if not now and (evict | last) & row:
                    for x in range(n):
                        if hosts[x][1][3] > epoch:
                            last &= ~(one << x)
                        if hosts[x][1][3] >= epoch:
                            evict &= ~(one << x)
            if mail and attempt is None:
                kept = tuple(
                    m for m in mail
                    if reg[0] < m[0] or (reg[0] == m[0] and reg[1] == h and reg[3] <= m[0])
                ) if not self.site.fresh_answers else ()
                if kept != mail:
                    hosts[h] = (run, reg, attempt, flight, kept)
        return (tuple(self.host(x) for x in hosts), move, asked, evict, last, settled, fg, seen)

    # -- transitions -----------------------------------------------------

    def successors(self, state: State) -> Iterator[tuple[str, State]]:
        numbers, move, asked, evict, last, settled, fg, seen = state
        hosts = [self.table[i] for i in numbers]
        site, n, k, tidy = self.site, self.n, self.k, self.tidy
        rest = (asked, evict, last, settled, fg, seen)

        def put(i: int, value: Host, *more: tuple[int, Host]) -> list[Host]:
            new = list(hosts)
            new[i] = value
            for j, v in more:
                new[j] = v
            return new

        for i in range(n):
            run, reg, attempt, flight, mail = hosts[i]
            name = NAMES[i]
            kept = () if site.fresh_answers else mail
            # power, guests, daemons
            disk = reg if site.votes_on_disk else ((1, 0, 1, 0, int(i == 0)) if site.running else BLANK)
            if run or attempt or flight or disk != reg:
                stays = None if move and i in move else move
                yield f"{name} crashes and boots", tidy(put(i, (0, disk, None, 0, kept)), stays, *rest)
            if attempt or flight == 1:
                yield (
                    f"{name}'s daemon dies and comes back",
                    tidy(put(i, (run, reg, None, 2 * bool(flight), kept)), move, *rest),
                )
            if run:
                stays = None if move and move[0] == i else move
                yield f"{name}'s guest dies", tidy(put(i, (0, reg, attempt, flight, mail)), stays, *rest)
            if not site.boot_claims and not run and reg[4] and reg[4] >= reg[3] and not flight:
                yield f"{name} starts it again", tidy(put(i, (run, reg, None, 1, kept)), move, *rest)
            # a claim
            for epoch in self.epochs(reg, i):
                if attempt is None or attempt[1] == WON or attempt[0] != epoch:
                    after, granted, earlier = self.vote(reg, epoch, i)
                    if not granted:
                        continue
                    old = next((m for m in kept if m[0] == epoch), (epoch, (-1,) * n, 0))
                    votes = old[1]
                    fresh = (epoch, (*votes[:i], -1, *votes[i + 1 :]), old[2])
                    mails = tuple(sorted((*(m for m in kept if m[0] != epoch), fresh)))
                    new = (run, after, (epoch, OPEN, 1 << i, earlier), flight, mails)
                    more = (asked | self.bit(i, epoch), *rest[1:])
                    yield f"{name} claims {epoch}", tidy(put(i, new), move, *more)
            # a claim won, its start
            if attempt is not None and attempt[1] != WON:
                m = next(m for m in mail if m[0] == attempt[0])
                _, _, again, won = self.prospects(reg, attempt, m, self.members(fg, seen, i), i)
                epoch = attempt[0]
                if won:
                    r = unpack(reg)
                    if r.held != epoch:
                        r = site.settle(site.complete(r, epoch), epoch, name)
                        more = (asked, evict, last, settled | self.bit(i, epoch), fg, seen)
                    else:
                        more = rest
                    new = (run, pack(r), (epoch, WON, 0, 0), flight, kept)
                    yield f"{name} wins {epoch}", tidy(put(i, new), move, *more)
                for a in again:
                    new = (run, reg, a, flight, tuple((m[0], m[1], 0) if m[0] == epoch else m for m in mail))
                    yield f"{name} asks again whether all let go for {epoch}", tidy(put(i, new), move, *rest)
            if attempt is not None and attempt[1] == WON and not run and not flight:
                yield f"{name} asks libvirt to start it ({attempt[0]})", tidy(put(i, (0, reg, None, 1, kept)), move, *rest)
            if flight and not run:
                yield f"it starts on {name}", tidy(put(i, (1, reg, attempt, 0, mail)), move, *rest)
            elif flight:
                yield f"{name}: started already", tidy(put(i, (run, reg, attempt, 0, mail)), move, *rest)
            # messages from h to i
            for h in range(n):
                if h == i:
                    continue
                theirs = hosts[h]
                for epoch in range(1, k + 1):
                    one = self.bit(h, epoch)
                    now = theirs[2] is not None and theirs[2][0] == epoch and theirs[2][1] != WON
                    if asked & one:
                        after, granted, earlier = self.vote(reg, epoch, h)
                        if granted:
                            box = self._post(theirs, epoch, now, i, earlier, h)
                            if after != reg or box != theirs:
                                new = put(i, (run, after, attempt, flight, mail), (h, box))
                                yield f"{name} votes for {NAMES[h]} {epoch}", tidy(new, move, *rest)
                    if settled & one:
                        after = pack(site.settle(unpack(reg), epoch, NAMES[h]))
                        if after != reg:
                            new = put(i, (run, after, attempt, flight, mail))
                            yield f"{name} hears that {NAMES[h]} {epoch} is settled", tidy(new, move, *rest)
                    if evict & (one << i) and not (run and site.looks_first) and self._settled_down(flight):
                        after = pack(site.bar(unpack(reg), epoch))
                        mine = attempt
                        if site.drops_attempt and attempt is not None and attempt[0] < epoch:
                            mine = None
                        box = theirs
                        if now or not site.fresh_answers:
                            box = (*theirs[:4], tuple(
                                (m[0], m[1], m[2] | 1 << i) if m[0] == epoch else m for m in theirs[4]
                            ))
                        if after != reg or mine != attempt or box != theirs:
                            new = put(i, (run, after, mine, flight, mail), (h, box))
                            yield f"{name} lets go for {NAMES[h]} {epoch}", tidy(new, move, *rest)
                    if site.migrate and run and move is None and (evict | last) & (one << i):
                        if site.may_hand_over(unpack(reg), epoch, bool(last & (one << i))):
                            yield f"{name} begins to migrate it to {NAMES[h]} ({epoch})", tidy(list(hosts), (i, h), *rest)
            if fg >= 0 and not seen >> i & 1:
                yield f"{name} learns that {NAMES[fg]} is forgotten", tidy(list(hosts), move, *rest[:5], seen | 1 << i)
        if move is not None:
            s, t = move
            a, b = hosts[s], hosts[t]
            yield "the migration fails", tidy(list(hosts), None, *rest)
            if not b[0]:
                new = put(s, (0, *a[1:]), (t, (1, *b[1:])))
                yield f"it runs on {NAMES[t]} now, migrated", tidy(new, None, *rest)
        if site.forget and fg < 0:
            for f in range(n):
                stays = None if move and f in move else move
                old = hosts[f]
                off = (0, old[1], None, 0, () if site.fresh_answers else old[4])
                yield f"{NAMES[f]} is powered off and forgotten", tidy(put(f, off), stays, *rest[:4], f, 0)

    def _settled_down(self, flight: int) -> bool:
        return not flight or not self.site.waits_for_start

    def _post(self, theirs: Host, epoch: int, now: bool, voter: int, earlier: int, h: int) -> Host:
        """A vote becomes available to its claimant."""
        if not now and self.site.fresh_answers:
            return theirs
        mails = theirs[4]
        box = next((m for m in mails if m[0] == epoch), None)
        if box is None:
            if now:
                raise AssertionError("an attempt has its box")
            box = (epoch, (-1,) * self.n, 0)
        votes = box[1]
        if votes[voter] >= 0 and votes[voter] & earlier == votes[voter]:
            return theirs  # the old answer asks for no more than the new one
        new = (epoch, (*votes[:voter], earlier, *votes[voter + 1 :]), box[2])
        return (*theirs[:4], tuple(sorted((*(m for m in mails if m[0] != epoch), new))))

    # -- the search -----------------------------------------------------

    def run(self) -> Result:
        first = self.first()
        parents: dict[State, State | None] = {first: None}
        layer = [first]
        running = 0
        while layer:
            following = []
            for state in layer:
                for _, then in self.successors(state):
                    if then in parents:
                        continue
                    parents[then] = state
                    count = sum(self.table[i][0] for i in then[0])
                    running += count == 1
                    if count > 1:
                        return Result(len(parents), self.trace(parents, then))
                    following.append(then)
            layer = following
            if len(parents) > self.site.limit:
                return Result(len(parents), finished=False, elsewhere=running)
        return Result(len(parents), elsewhere=running)

    def trace(self, parents: dict[State, State | None], state: State) -> list[str]:
        steps = []
        before = parents[state]
        while before is not None:
            steps.append(next(text for text, then in self.successors(before) if then == state))
            state, before = before, parents[before]
        return steps[::-1]


def TOKEN(attempt: Attempt) -> dict[str, Any]:
    return {"token": attempt.token} if hasattr(attempt, "token") else {}


def search(site: Site) -> Result:
    return Search(site).run()
