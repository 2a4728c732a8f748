"""This host as an earlier claimant: asked to let go of a VM, when does it say that it has?

Decides the answer, and remembers who asked. It says "done" only when its hypervisor, looked at after the question
came, shows no active domain that could be the VM, and nothing of its own is under way; its bar is on disk before the
answer leaves. Must not stop or migrate anything: the plan does, once a target has asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xsm.peer.ballots import Ballots
from xsm.peer.claiming import Claiming
from xsm.peer.events import Effect, Log, Send
from xsm.peer.messages import EvictAnswer, EvictAsk
from xsm.peer.register import may_hand_over
from xsm.peer.work import Work
from xsm.plan.observed import ACTIVE, Domain, DomainState, HostReport
from xsm.plan.round import why_rival
from xsm.plan.sightings import is_own
from xsm.plan.view import Handover
from xsm.plan.wanted import Wanted, WantedVM

ASK_LIFE_S = 5.0
"""A claimant that hasn't asked again for so long no longer waits: nothing is stopped or migrated for it."""
SETTLE_S = 5.0
"""After the daemon started, a start that its predecessor had asked libvirt for may still be under way this long, and a
migration may still be unknown to its target."""


@dataclass(frozen=True)
class Eviction:
    """A claimant asked this host to let go of a VM."""

    ask: EvictAsk
    asker: str
    first_at: float
    last_at: float


@dataclass(frozen=True)
class Sight:
    """What this host knows of itself as it answers. `doing`: VM -> what hinders its move, and whether that may last."""

    report: HostReport | None
    observed_at: float  # when the look at the hypervisor began
    wanted: Wanted | None
    revision: str
    frozen: str
    doing: Mapping[str, tuple[str, bool]]

    def active_domain(self, vm: str) -> Domain | None:
        """An active domain that is, or could be taken for, the VM: by tag, UUID or name, so that none is
        overlooked. The VM's own goes first."""
        want = self.wanted.by_name.get(vm) if self.wanted else None
        found = None
        for domain in self.report.domains if self.report else ():
            tagged = domain.tag is not None and domain.tag.vm == vm
            same = domain.name == vm or (want is not None and domain.uuid == want.uuid)
            if domain.state in ACTIVE and (tagged or same):
                if tagged and same:
                    return domain
                found = found or domain
        return found

    def may_run(self, vm: str) -> bool:
        """Whether the VM is active here by the last look, or a domain that could be it: one with its UUID or name that
        has lost XSM's mark, or that somebody started by hand from a copy of its definition. A clone that bears the mark
        under another name and UUID is none."""
        domain = self.active_domain(vm)
        want = self.wanted.by_name.get(vm) if self.wanted else None
        if domain is None or want is None:
            return domain is not None
        return vm == domain.name or want.uuid == domain.uuid

    def is_on(self, vm: str) -> bool:
        """Whether its guest runs here, and not merely one end of a live migration is active."""
        return self.report is not None and any(
            domain.state is DomainState.RUNNING
            and domain.is_guest
            and domain.tag is not None
            and domain.tag.vm == vm
            for domain in self.report.domains
        )

    def rival(self, want: WantedVM, domain: Domain) -> str:
        """Why the VM can't be started while `domain` is active here, which nothing moves or stops for it; "" when
        the domain is the VM's own."""
        assert self.wanted is not None and self.report is not None
        site_id = self.wanted.site_id
        own = is_own(want, domain, site_id)
        return "" if own else why_rival(want, self.report.host, domain, site_id)


class LettingGo:
    def __init__(self, ballots: Ballots, claiming: Claiming, work: Work, started_at: float) -> None:
        self.me = ballots.me
        self.evictions: dict[str, Eviction] = {}
        self._ballots = ballots
        self._claiming = claiming
        self._work = work
        self._started_at = started_at

    def asked(self, sender: str, ask: EvictAsk, now: float) -> None:
        """Remember the question; the answer follows from the next look at the hypervisor."""
        known = self.evictions.get(ask.vm)
        question = (ask.epoch, ask.attempt, ask.round)
        before = (known.ask.epoch, known.ask.attempt, known.ask.round) if known else (0, 0, 0)
        if before > question:
            return
        again = known is not None and known.asker == sender and before == question
        first_at = known.first_at if known and again else now
        self.evictions[ask.vm] = Eviction(ask, sender, first_at, now)

    def expire(self, now: float) -> None:
        for vm, eviction in sorted(self.evictions.items()):
            if now > eviction.last_at + ASK_LIFE_S:
                del self.evictions[vm]

    def answers(self, sight: Sight, now: float) -> list[Effect]:
        """Answer those that asked before this look began: what it shows was so after they asked."""
        effects: list[Effect] = []
        for vm, eviction in sorted(self.evictions.items()):
            if eviction.first_at > sight.observed_at:
                continue
            reason, held = self._why_not(vm, eviction, sight, now)
            if reason:
                effects.append(self._answer(eviction, reason, held, sight.is_on(vm)))
                continue
            epoch = eviction.ask.epoch
            if self._ballots.of(vm).bar < epoch:
                text = f"let go: {eviction.asker} claims epoch {epoch}; it does not run here"
                effects.append(Log("claim", vm, text))
            self._ballots.let_go(vm, epoch)
            self._claiming.drop_below(vm, epoch)
            effects.append(self._answer(eviction, "", False))
            del self.evictions[vm]
        return effects

    def may_be_leaving(self, vm: str, now: float) -> bool:
        """Whether the daemon before this one may have begun to migrate the VM away: it handed the VM over (its bar is
        above what it held), and libvirt has not had time yet to announce it to the target."""
        register = self._ballots.of(vm)
        return register.bar > register.held and now < self._started_at + SETTLE_S

    def is_unsettled(self, vm: str, observed_at: float, now: float) -> bool:
        """Whether a look that began then may not show what was under way with the VM."""
        return self._work.is_unsettled(vm, observed_at) or self.may_be_leaving(vm, now)

    def handovers(self, sight: Sight) -> dict[str, Handover]:
        """The claims for which a VM that runs here may be migrated or stopped."""
        return {
            vm: Handover(
                e.asker,
                e.ask.epoch,
                e.ask.kind,
                e.ask.cold_only,
                e.ask.wait,
                e.ask.copies,
                e.ask.shared,
            )
            for vm, e in self.evictions.items()
            if sight.active_domain(vm) is not None
            and may_hand_over(self._ballots.newest(vm), e.ask.epoch, e.ask.last)
        }

    def elsewhere(self) -> dict[str, str]:
        """VMs of which members say that they run there: by the questions that came, and by answers to this host's own.
        Only those count that no claim has overtaken."""
        known = {
            vm: attempt.runs_on
            for vm, attempt in self._claiming.attempts.items()
            if attempt.runs_on
        }
        for vm, eviction in self.evictions.items():
            ask = eviction.ask
            if ask.runs_on and ask.epoch >= self._ballots.newest(vm):
                known[vm] = ask.runs_on
        return {vm: host for vm, host in known.items() if host != self.me}

    def why_it_stays(self, sight: Sight, now: float) -> str:
        """Why this host can't leave the site alive, "" when it runs none of its VMs and nothing is under way."""
        if self._work.in_flight:
            return f"actions are under way on {self.me}"
        if now < self._started_at + SETTLE_S:
            return f"xsmd on {self.me} has just started and waits for its hypervisor to settle"
        if sight.report is None or sight.report.facts is None:
            return f"{self.me} can't see what it runs"
        if any(ended > sight.observed_at for ended in self._work.ended_at.values()):
            return f"{self.me} is looking again after its last action"
        running = [d.name for d in sight.report.domains if d.state in ACTIVE and d.tag is not None]
        return f"{self.me} runs {', '.join(sorted(running))}" if running else ""

    def _answer(self, eviction: Eviction, reason: str, held: bool, runs: bool = False) -> Send:
        ask = eviction.ask
        newest = self._ballots.newest(ask.vm)
        answer = EvictAnswer(
            ask.vm, ask.epoch, not reason, reason, held, ask.round, newest, ask.attempt, runs
        )
        return Send(eviction.asker, answer)

    def _why_not(self, vm: str, eviction: Eviction, sight: Sight, now: float) -> tuple[str, bool]:
        """Why this host can't say yet that the VM doesn't run here, "" when it can; and whether that may last."""
        register = self._ballots.of(vm)
        newest = self._ballots.newest(vm)
        if newest > eviction.ask.epoch:
            return f"{self.me} has claimed it since, or let go of it (epoch {newest})", False
        flight = self._work.in_flight.get(vm)
        if flight is not None:
            took_s = now - flight.since
            return f"{flight.action.step} under way on {self.me} for {took_s:.0f} s", False
        if self._work.ended_at.get(vm, float("-inf")) > sight.observed_at:
            return f"{self.me} is looking again after its last action", False
        domain = sight.active_domain(vm)
        if domain is None:
            settling = register.held and now < self._started_at + SETTLE_S
            why = f"xsmd on {self.me} has just started and waits for its hypervisor to settle"
            if settling:
                return why, False
            return self._ballots.may_be_at(vm, eviction.ask.epoch, eviction.ask.fenced), True
        want = sight.wanted.by_name.get(vm) if sight.wanted else None
        if domain.incoming:
            return f"{self.me} is just receiving it by a live migration", False
        rival = sight.rival(want, domain) if want is not None else ""
        if rival:
            return rival, True
        if sight.frozen:
            return f"it runs there, and {self.me} acts on nothing: {sight.frozen}", True
        if want is not None and want.host == eviction.asker:
            return sight.doing.get(vm, (f"runs on {self.me}, about to move", False))
        where = (
            f"it belongs on {want.host}" if want and want.host else "the site has no place for it"
        )
        revision = sight.revision[:10] or "none"
        return f"it runs there, and {where} by {self.me}'s revision {revision}", False
