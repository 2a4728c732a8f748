"""One host's daemon as a state machine: `Peer.step(event, now)` gives the effects to carry out, in order.

Decides when to observe, which planned actions go, whose claims get a vote, and when this host lets go of a VM.
Must not know libvirt, git, sockets or clocks: `daemon.py` and the simulation carry effects out and feed events in.
`now` is seconds on a clock that never goes back; wall-clock time only appears inside reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from xsm.peer import disks, membership
from xsm.peer.arriving import Arriving
from xsm.peer.ballots import Ballots
from xsm.peer.calling_back import call_back
from xsm.peer.changing import Changing
from xsm.peer.claiming import Claiming, Electorate
from xsm.peer.contacts import Contacts
from xsm.peer.definition import definition, way_to
from xsm.peer.events import (
    ChangeAsked,
    Contact,
    Deliver,
    Effect,
    Event,
    Fetch,
    Finished,
    Head,
    HeadChanged,
    Hinted,
    Learned,
    Log,
    Observe,
    Observed,
    Perform,
    Persist,
    Received,
    Send,
    Tick,
    Way,
)
from xsm.peer.letting_go import LettingGo, Sight
from xsm.peer.messages import (
    ClaimAnswer,
    ClaimAsk,
    EvictAnswer,
    EvictAsk,
    Hello,
    MemberAnswer,
    MemberAsk,
    Offer,
    Settled,
)
from xsm.peer.preflight import Preflight
from xsm.peer.receiving import LIMITS, Limits, Receiving
from xsm.peer.register import Register
from xsm.peer.standing import expulsion, why_frozen
from xsm.peer.telling import ToDo, Told
from xsm.peer.voting import Voting
from xsm.peer.work import Work
from xsm.plan.actions import CLAIMED, CLAIMING, STARTS, Action, Consequence, Plan, Step
from xsm.plan.observed import HostReport
from xsm.plan.planner import going_off, plan_host
from xsm.plan.view import View
from xsm.plan.wanted import Wanted, wanted
from xsm.site.problems import Invalid

TICK_S = 0.5
"""The machine wants a `Tick` at least this often."""
OBSERVE_EVERY_S = 1.0
"""Slow poll beside libvirt's events: drivers don't announce every change (a balloon's, say)."""
ACT_AFTER_HEAD_S = 0.5
"""Edits made at once on several hosts merge within this time; acting on the first alone would undo and redo."""
ACT_AFTER_HEAD_LIMIT_S = 5.0
"""...but a site that is edited all the time is acted on all the same."""
LOOKING = "looking whether the host has what it needs"
HANDOVER_WAIT_S = 10.0
"""A VM that is to go and that its target doesn't claim for so long is shown as held."""


class Peer:
    """The state of one host's daemon. Everything but the ballots is volatile."""

    def __init__(
        self, name: str, votes: Mapping[str, Register], now: float, limits: Limits = LIMITS
    ) -> None:
        self.name = name
        self.ballots = Ballots(name, votes)
        self.claiming = Claiming(self.ballots)
        self.contacts = Contacts(name)
        self.work = Work(limits.migrations)
        self.receiving = Receiving(limits.arrivals)
        self.arriving = Arriving(self.ballots)
        self.preflight = Preflight()
        self.head: Head | None = None
        self.wanted: Wanted | None = None
        self.report: HostReport | None = None
        self.letting_go = LettingGo(self.ballots, self.claiming, self.work, now)
        self.voting = Voting(self.ballots)
        self.changing = Changing(self.ballots, self.claiming, self.letting_go, self.contacts)
        self.frozen = "no revision yet"
        self.expelled = ""  # why this host is of the site no more, so that nothing may be edited
        self.todo = ToDo()
        self._head_at = now
        self._unacted_since: float | None = None
        self._observe_at = float("-inf")
        self._observing = False
        self._observed_at = float("-inf")
        self._told = Told()
        self._doing: dict[str, tuple[str, bool]] = {}  # VM -> what hinders its move; may it last?
        self._waits_since: dict[str, float] = {}  # VM -> since when the plan holds its action
        self._out: list[Effect] = []

    # -- the one way in -----------------------------------------------------

    def step(self, event: Event, now: float) -> list[Effect]:
        """Take one event. The effects must be carried out in order; a `Persist` comes first and must be on disk
        before any of the others."""
        match event:
            case HeadChanged():
                self._head_changed(event, now)
            case Observed():
                self._observed(event, now)
            case Received():
                self._received(event, now)
            case Contact(member, error, expels):
                if error:
                    self.contacts.failed(member, error, now, expels)
                else:
                    self.contacts.heard(member, now)
                self._consider_membership()
            case Finished():
                self._finished(event, now)
            case Hinted(member, hint, revision):
                if member in self.members - {self.name} and revision != self._revision:
                    self.contacts.hinted(member, hint)
                    self._greet(now)
            case Learned(known):
                self.ballots.learn(known)
            case ChangeAsked():
                self.changing.asked(event, self.members, self.members_number)
                self._carry_on_change(now)
            case Tick():
                self._tick(now)
        out, self._out = self._out, []
        unwritten = self.ballots.take_unwritten()
        if unwritten:
            out.insert(0, Persist(unwritten))
        return out

    @property
    def members(self) -> frozenset[str]:
        document = self.head.document if self.head else None
        return frozenset(document.state.members) if document else frozenset()

    @property
    def members_number(self) -> int:
        """Which list of members this host has."""
        document = self.head.document if self.head else None
        return document.state.members_number if document else 0

    @property
    def has_unended_change(self) -> bool:
        """Whether the members have to be numbered anew: `membership.is_unended`."""
        return not self.expelled and self.changing.is_unended(self.members_number)

    def _is_stranger(self, host: str) -> bool:
        """Whether the site has forgotten this host, or doesn't know it yet. It gets no vote and no VM: others count it
        as gone. (While the site file can't be read nobody is a stranger.)"""
        return bool(self.members) and host not in self.members

    @property
    def _revision(self) -> str:
        return self.head.revision if self.head else ""

    def why_it_stays(self, now: float) -> str:
        """Why this host can't leave the site alive, nor come back to it: `LettingGo.why_it_stays`."""
        return self.letting_go.why_it_stays(self._sight(), now)

    def own_report(self) -> HostReport | None:
        """This host's word on itself, with what it still has to do."""
        if self.report is None:
            return None
        return replace(
            self.report,
            revision=self.todo.revision,
            pending=self.todo.pending,
            held=self.todo.held,
            notes=self.todo.notes,
            frozen=self.frozen or self.todo.frozen,
        )

    # -- events -----------------------------------------------------

    def _head_changed(self, event: HeadChanged, now: float) -> None:
        before = self.head
        self.head = event.head
        self._freeze(event.head)
        if event.head.document is not None:
            state = event.head.document.state
            self.ballots.outlive(state.members_number, state.fenced)
        if before is None or before.revision != event.head.revision:
            self._head_at = now
            self._unacted_since = self._unacted_since if self._unacted_since is not None else now
            self.work.forget_failures()
            was = before.revision[:10] if before else "nothing"
            merged = f", {len(event.head.heads)} edits merged" if len(event.head.heads) > 1 else ""
            self._out.append(Log("revision", "", f"{was} => {event.head.revision[:10]}{merged}"))
        others = tuple(sorted(self.members - {self.name}))
        if event.local and others:
            self._out.append(Deliver(others))
        self._observe(now)

    def _freeze(self, head: Head) -> None:
        """Set why this host must act on nothing, if so. Its VMs run on, and it goes on voting and answering."""
        expelled = expulsion(self.name, head, self.contacts)
        if expelled != self.expelled:
            again = f"this host, {self.name}, is a member of the site again"
            if not (expelled and self.expelled):  # else another member only says it in other words
                self._out.append(Log("member", "", expelled or again))
            self.expelled = expelled
            if expelled:
                self.ballots.expel()
        self.frozen = why_frozen(head, expelled)
        self.wanted = wanted(head.document) if head.document and not self.frozen else None

    def _consider_membership(self) -> None:
        head = self.head
        if head is not None and expulsion(self.name, head, self.contacts) != self.expelled:
            self._freeze(head)

    def _observed(self, event: Observed, now: float) -> None:
        self._observing = False
        unsettled = partial(self.letting_go.is_unsettled, observed_at=event.started_at, now=now)
        disks.keep(event.report, self.ballots, self.wanted, unsettled)
        self.report = disks.judged(event.report, self.ballots, self.wanted, unsettled)
        self._observed_at = event.started_at
        self.preflight.saw(event.report, event.started_at)
        if event.report.facts is None:
            why = f"the hypervisor does not answer: {event.report.error}"
            self.todo = ToDo(self._revision, held=(f"{self.name}: {why}",))
            self._out += self._told.news({"": why})
            return
        self._out += self.voting.answers(self._sight(), self.members_number, now)
        self._out += self.letting_go.answers(self._sight(), now)
        self._act(now)

    def _received(self, event: Received, now: float) -> None:
        self.contacts.heard(event.sender, now)
        self._consider_membership()
        for message in event.messages:
            match message:
                case Hello():
                    self._hear_hello(event.sender, message, event.missing)
                case ClaimAsk() | EvictAsk() | MemberAsk() if self._is_stranger(event.sender):
                    continue
                case ClaimAsk(vm=vm) | EvictAsk(vm=vm) if not self.ballots.has_room(vm):
                    continue  # silence is always safe: the claim waits
                case ClaimAsk(vm=vm, members=number):
                    mine = self.members_number
                    if vm == membership.MEMBERS or not self.ballots.may_vote(
                        event.sender, number, mine
                    ):
                        continue
                    self.voting.asked(event.sender, message, now)
                    self._observe(now)
                case ClaimAnswer():
                    who = self._electorate()
                    self._out += self.claiming.hear_vote(event.sender, message, who, now)
                case EvictAsk():
                    self.letting_go.asked(event.sender, message, now)
                    self._observe(now)
                case EvictAnswer():
                    who = self._electorate()
                    self._out += self.claiming.hear_eviction(event.sender, message, who, now)
                case Offer(vm):
                    self.arriving.offered(vm, now)
                case Settled(vm, epoch):
                    self.ballots.settle(vm, epoch, event.sender)
                case MemberAsk():
                    about = (self.members_number, self._sight(), now)
                    vote = self.changing.vote(event.sender, message, *about)
                    self._out.append(Send(event.sender, vote))
                case MemberAnswer():
                    self.changing.hear(event.sender, message)

    def _finished(self, event: Finished, now: float) -> None:
        self.work.end(event.action, event.error, now, event.pause_s)
        if not event.error:
            disks.done(self.ballots, event.action)
        text = f"{event.action.step} failed: {event.error}" if event.error else event.outcome
        self._out.append(Log("action", event.action.vm, text, {"reason": event.action.reason}))
        self._observe(now)

    def _tick(self, now: float) -> None:
        self._greet(now)
        self._out += self.claiming.carry_on(self._electorate(), now)
        self._carry_on_change(now)
        self.letting_go.expire(now)
        for member, was, now_is in self.contacts.changes(self.members, now):
            self._out.append(Log("member", "", f"{member}: {was} => {now_is}"))
        unacted = self._unacted_since is not None and now >= self._act_due(now)
        if (unacted or now >= self._observe_at + OBSERVE_EVERY_S) and not self._observing:
            self._observe(now)

    # -- revisions -----------------------------------------------------

    def _greet(self, now: float) -> None:
        if self.head is not None:
            hello, members = Hello(self.head.heads, self.head.revision), dict.fromkeys(self.members)
            self._out += [Send(m, hello) for m in self.contacts.to_greet(members, now)]

    def _hear_hello(self, sender: str, hello: Hello, missing: tuple[str, ...]) -> None:
        self.contacts.revisions[sender] = hello.revision
        if missing:
            self._out.append(Fetch(sender, missing))
        if self.head and hello.heads != self.head.heads and not hello.reply:
            self._out.append(Send(sender, Hello(self.head.heads, self.head.revision, reply=True)))

    # -- claims: this host as a claimant, and as an earlier one -----------------------------------------------------

    def _electorate(self) -> Electorate:
        number = self.members_number
        may_claim = self.ballots.may_vote(self.name, number, number)
        facts = self.report.facts if self.report else None
        along = partial(self.arriving.asked, report=self.report)
        asked = (self.contacts.is_silent, number, may_claim, self._turn, self._sight().is_on, along)
        document = self.head.document if self.head else None
        fenced = frozenset(document.state.fenced) if document else frozenset()
        return Electorate(self.members, facts, *asked, fenced)

    def _turn(self, vm: str, now: float) -> str:
        """Why whoever runs a VM that this host is to get should keep it for now."""
        wait = self.arriving.wait(vm, self.report)
        return wait or self.receiving.turn(vm, self.report, self.claiming.attempts, now)

    def _sight(self) -> Sight:
        """What it knows of itself, for those who ask it to let go of a VM."""
        return Sight(
            self.report, self._observed_at, self.wanted, self._revision, self.frozen, self._doing
        )

    def _unclaimed(self, now: float) -> set[str]:
        """VMs that belong here and run here, but without this host's claim (adopted, or the votes were lost), or with
        one that other members than the present ones voted for: hosts that joined since know nothing of it."""
        here = self.wanted.by_host.get(self.name, ()) if self.wanted else ()
        return {
            vm
            for vm in here
            if self._runs_tagged(vm)
            and not (self.ballots.holds(vm) and self.claiming.is_known_to(vm, self.members))
            and not self.letting_go.may_be_leaving(vm, now)
        }

    def _carry_on_change(self, now: float) -> None:
        self._out += self.changing.carry_on(self.members_number, self._sight(), now)

    def _runs_tagged(self, vm: str) -> bool:
        domain = self._sight().active_domain(vm)
        return domain is not None and domain.tag is not None and domain.tag.vm == vm

    # -- acting -----------------------------------------------------

    def _observe(self, now: float) -> None:
        self._observe_at = now
        self._observing = True
        about = (self.wanted, self.report, self.name, now, self.ballots.doubted())
        self._out.append(Observe(self.preflight.ask(*about)))

    def _act(self, now: float) -> None:
        """Plan from the last observation, and let those actions go that may."""
        document = self.head.document if self.head else None
        if self.frozen or self.wanted is None or document is None or not self.report:
            self.todo = ToDo(self._revision, frozen=self.frozen)
            return
        due = now >= self._act_due(now)
        self._unacted_since = None if due else self._unacted_since
        view = View(
            reports={self.name: self.report},
            unreachable={},
            now=now,
            shutdowns=self.work.shutdowns,
            handovers=self.letting_go.handovers(self._sight()),
            elsewhere=self.letting_go.elsewhere(),
            offered=self.arriving.offers(now),
        )
        plan = plan_host(self.wanted, document, view, self.name)
        self.work.keep_shutdowns(going_off(plan))
        self.arriving.plan(plan, self.report)
        if due:
            self._out += call_back(self.work, self.wanted, self.report)
            self._claim(plan, now)
        self._waits_since = {a.vm: self._waits_since.get(a.vm, now) for a in plan.actions if a.held}
        pending, held = [], []
        notes = [
            f"{n.host}: {n.vm}: {n.message}" if n.vm else f"{n.host}: {n.message}"
            for n in plan.notices
            if not n.foreign
        ]
        told: dict[str, str | None] = {}
        doing: dict[str, tuple[str, bool]] = {}
        for action in plan.actions:
            under_way = (
                action.consequence is not Consequence.HELD and action.vm in self.work.in_flight
            )
            if action.held and under_way:
                state, stuck = self.work.hindrance(action, self._observed_at, now), False
            elif action.held:
                state, stuck = action.held, self._stays(action, now)
                if action.copies and due:
                    self._out.append(Send(action.target, Offer(action.vm)))
                if action.target and self.contacts.is_silent(action.target):
                    state = f"{state}, but it does not answer"
            elif due:
                state, stuck = self._go(action, now)
            else:
                state, stuck = "the revision has just come", False
            if action.vm not in doing or action.what == "host":
                went = state if stuck else f"{action.consequence}: {state}" if state else ""
                doing[action.vm] = (went or str(action.consequence), stuck)
            if action.consequence is Consequence.NEXT_BOOT:
                notes.append(str(action))
            elif stuck:
                held.append(str(replace(action, held=state)))
                kept = action.step in CLAIMING and self.claiming.kept(action.vm, self._electorate())
                told[action.vm] = None if kept else state
            else:
                line = str(replace(action, held=""))
                pending.append(f"{line} [{state}]" if state else line)
                told.setdefault(action.vm, None)
        self._out += self._told.news(told)
        self._doing = doing
        self.todo = ToDo(self._revision, tuple(pending), tuple(held), tuple(notes))

    def _claim(self, plan: Plan, now: float) -> None:
        """Have claims for all that is to start here, once it is known that this host has what it needs."""
        starts = {a.vm for a in plan.actions if a.step in CLAIMING and not a.held}
        looked = self.preflight
        if not all(looked.is_asked(vm) for vm in starts):
            self._observe(now)  # with their needs
        starts = {vm for vm in starts if vm in self.claiming.attempts or looked.is_done(vm)}
        needed = starts | self._unclaimed(now)
        self._out += self.claiming.keep(needed, self.work.in_flight, self._electorate(), now)

    def _stays(self, action: Action, now: float) -> bool:
        """Whether an action that the plan holds will stay so: one that waits for its target's claim may have to wait
        for something that only the target knows, and says in its own report."""
        if action.consequence is Consequence.HELD:
            return True
        asked = self.letting_go.evictions.get(action.vm)
        if asked is not None and asked.ask.wait:
            return False  # its turn comes
        waits = now - self._waits_since[action.vm]
        return self.contacts.is_silent(action.target) or waits > HANDOVER_WAIT_S

    def _act_due(self, now: float) -> float:
        """When the present head may be acted on."""
        since = self._unacted_since if self._unacted_since is not None else now
        return min(self._head_at + ACT_AFTER_HEAD_S, since + ACT_AFTER_HEAD_LIMIT_S)

    def _go(self, action: Action, now: float) -> tuple[str, bool]:
        """Start an action if nothing hinders it; else say what does, and whether that may last."""
        if action.step is Step.NONE:
            return "waiting", False
        hindrance = self.work.hindrance(action, self._observed_at, now)
        if hindrance:
            return hindrance, self.work.keeps_failing(action.vm)
        if action.step in CLAIMING and not self.preflight.is_done(action.vm):
            return LOOKING, False
        won = self.claiming.may_start(action.vm, self._observed_at)
        if action.step is Step.RECEIVE or (action.step in CLAIMED and not won):
            return self.claiming.waiting_for(action.vm, self._electorate())
        assert self.wanted is not None
        try:
            xml, tag = definition(action, self.wanted, self.report)
        except Invalid as error:
            return f"its domain XML can't be made: {error}", True
        if action.step in STARTS:
            self.claiming.drop(action.vm)  # the win is used up
        disks.begin(self.ballots, action)
        eviction = self.letting_go.evictions.get(action.vm)
        want = self.wanted.by_name.get(action.vm)
        way = way_to(eviction.ask, self.report, want) if eviction else Way()
        if action.step is Step.MIGRATE and eviction is not None:
            # From here on an older claimant must not hear from this host that the VM is off: it may run on the target.
            self.ballots.send(action.vm, eviction.ask.epoch)
            self.claiming.drop(action.vm)
        self.work.begin(action, now)
        self._out.append(Perform(action, xml, way, tag))
        self._out.append(
            Log(
                "action",
                action.vm,
                f"{action.step}: {action.what} {action.old} => {action.new}",
                {"reason": action.reason},
            )
        )
        return f"{action.step} under way", False
