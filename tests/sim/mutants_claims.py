"""The rules that keep a VM from running twice, each switched off: real code with one piece replaced.

This module and its like are the only ones that replace attributes. `Patch` undoes it all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.sim.checkers import Checkers
from tests.sim.host import SimHost
from tests.sim.network import Network
from xsm.peer import ballots, claiming, claims, letting_go, machine, membership, register
from xsm.peer.claims import Attempt
from xsm.peer.events import Effect, Persist
from xsm.peer.register import Register, Vote
from xsm.peer.work import Work
from xsm.plan.actions import Step
from xsm.plan.observed import Domain

Patch = pytest.MonkeyPatch


def document_only(patch: Patch) -> None:
    """A host starts what the file gives it, without any claim."""
    patch.setattr(claiming.Claiming, "may_start", lambda self, vm, observed_at: True)


def no_quorum(patch: Patch) -> None:
    patch.setattr(claims, "has_majority", lambda attempt, members: True)
    real = register.may_start

    def may_start(reg, epoch, host, voters, members, evicted, earlier):  # type: ignore[no-untyped-def]
        return real(reg, epoch, host, members, members, evicted, earlier)

    patch.setattr(claims, "may_start", may_start)


def nobody_evicted(patch: Patch) -> None:
    """Voters don't tell who claimed before."""
    _voters_tell(patch, lambda reg, host: frozenset())


def only_the_last_claimant_evicted(patch: Patch) -> None:
    _voters_tell(patch, lambda reg, host: frozenset({reg.claimant}) - {host, ""})


def _voters_tell(patch: Patch, earlier: Any) -> None:
    real = register.vote

    def vote(reg: Register, epoch: int, host: str) -> tuple[Register, Vote]:
        after, answer = real(reg, epoch, host)
        return after, replace(answer, earlier=earlier(reg, host))

    patch.setattr(register, "vote", vote)


def fenced_before_claimed(patch: Patch) -> None:
    """The operator's word that the last claimant is off stands for the votes, too."""
    real = claims.won

    def won(attempt: Attempt, reg: Register, me: str, members: frozenset[str]) -> bool:
        before = attempt.earlier - {me}
        return bool(before and not before & members) or real(attempt, reg, me, members)

    patch.setattr(claims, "won", won)


def a_vote_for_anyone(patch: Patch) -> None:
    """A host votes for two claimants of one epoch."""
    real = register.vote

    def vote(reg: Register, epoch: int, host: str) -> tuple[Register, Vote]:
        return real(replace(reg, claimant=host) if epoch == reg.voted else reg, epoch, host)

    patch.setattr(register, "vote", vote)
    patch.setattr(Checkers, "_votes_never_go_back", lambda self, world: None)


def a_vote_for_a_forgotten_host(patch: Patch) -> None:
    patch.setattr(machine.Peer, "_is_stranger", lambda self, host: False)
    patch.setattr(machine, "expulsion", lambda name, head, contacts: "")
    lists_are_mixed(patch)

    real = Network.request

    def request(net: Network, *what: Any, **more: Any) -> None:
        real(net, *what, **{**more, "stranger": True})

    patch.setattr(Network, "request", request)


def lists_are_mixed(patch: Patch) -> None:
    """A vote counts whatever list of members the voter has."""
    patch.setattr(ballots.Ballots, "may_vote", lambda self, claimant, its, mine: True)


def members_change_without_votes(patch: Patch) -> None:
    patch.setattr(membership, "enough", lambda change, names: True)


def newcomers_know_no_claims(patch: Patch) -> None:
    """What is known of claims is not brought together before the members change."""
    patch.setattr(membership, "together", lambda known: {})


def votes_not_on_disk(patch: Patch) -> None:
    """A daemon that starts knows nothing of what the one before it had voted."""
    real = SimHost.start_daemon

    def start_daemon(host: SimHost) -> None:
        host.disk.forget_votes()
        real(host)

    patch.setattr(SimHost, "start_daemon", start_daemon)
    patch.setattr(Checkers, "_votes_never_go_back", lambda self, world: None)


def answers_before_the_vote_is_on_disk(patch: Patch) -> None:
    def persist(host: SimHost, votes: Persist, others: list[Effect], done: Any) -> None:
        life = host.life
        host.disk.begin_write(votes.registers)
        host._carry_out(others, done)

        def written() -> None:
            if life == host.life:
                host.disk.end_write(votes.registers)
                host._step_on()

        host.world.after(host.disk.fsync_s, written)

    patch.setattr(SimHost, "_persist", persist)


def boots_without_claiming_again(patch: Patch) -> None:
    """An epoch that was won once is enough for ever."""
    real = claims.won

    def won(attempt: Attempt, reg: Register, me: str, members: frozenset[str]) -> bool:
        return (reg.held > 0 and reg.held >= reg.bar) or real(attempt, reg, me, members)

    patch.setattr(claims, "won", won)


def a_win_lasts(patch: Patch) -> None:
    """A start does not use the votes up."""
    real = claiming.Claiming.drop

    def drop(self: claiming.Claiming, vm: str) -> None:
        if vm not in self._won_at:
            real(self, vm)

    patch.setattr(claiming.Claiming, "drop", drop)


def answers_from_before_a_restart_count(patch: Patch) -> None:
    vote, eviction = claims.hear_vote, claims.hear_eviction

    def hear_vote(attempt: Attempt, sender: str, answer: Any, *more: Any) -> Attempt:
        return vote(attempt, sender, replace(answer, attempt=attempt.number), *more)

    def hear_eviction(attempt: Attempt, sender: str, answer: Any, *more: Any) -> Attempt:
        return eviction(attempt, sender, replace(answer, attempt=attempt.number), *more)

    patch.setattr(claims, "hear_vote", hear_vote)
    patch.setattr(claims, "hear_eviction", hear_eviction)


def bars_not_honoured(patch: Patch) -> None:
    """Letting go changes nothing: not on disk, and not for the attempt under way."""
    patch.setattr(register, "bar", lambda reg, epoch: reg)
    patch.setattr(claiming.Claiming, "drop_below", lambda self, vm, epoch: None)


def settled_whatever_the_last_vote(patch: Patch) -> None:
    """Earlier claimants are dropped by voters whose last vote was another claim."""
    patch.setattr(
        register,
        "settle",
        lambda reg, epoch, host: replace(reg, claimants=frozenset({host})),
    )


def lets_go_of_what_runs(patch: Patch) -> None:
    """An earlier claimant says that it let go whatever runs there."""
    patch.setattr(
        letting_go.LettingGo, "_why_not", lambda self, vm, eviction, sight, now: ("", False)
    )


def lets_go_while_a_start_is_under_way(patch: Patch) -> None:
    real = letting_go.LettingGo._why_not

    def why_not(self, vm, eviction, sight, now):  # type: ignore[no-untyped-def]
        work, self._work = self._work, Work()
        try:
            return real(self, vm, eviction, sight, now)
        finally:
            self._work = work

    patch.setattr(letting_go.LettingGo, "_why_not", why_not)


def lets_go_of_what_it_is_receiving(patch: Patch) -> None:
    real = letting_go.Sight.active_domain

    def active_domain(self: letting_go.Sight, vm: str) -> Domain | None:
        found = real(self, vm)
        return None if found is not None and found.incoming else found

    patch.setattr(letting_go.Sight, "active_domain", active_domain)


def lets_go_by_an_old_look(patch: Patch) -> None:
    """It answers from an observation that began before it was asked."""
    real = letting_go.LettingGo.answers

    def answers(self, sight, now):  # type: ignore[no-untyped-def]
        self.evictions = {vm: replace(e, first_at=-1.0) for vm, e in self.evictions.items()}
        return real(self, sight, now)

    patch.setattr(letting_go.LettingGo, "answers", answers)


def a_new_daemon_lets_go_at_once(patch: Patch) -> None:
    """What the daemon before it had asked libvirt for comes later."""
    patch.setattr(letting_go, "SETTLE_S", 0.0)


def a_new_daemon_claims_at_once(patch: Patch) -> None:
    """It knows nothing of a migration that the daemon before it began."""
    patch.setattr(letting_go.LettingGo, "may_be_leaving", lambda self, vm, now: False)


def voters_do_not_say_that_it_runs_there(patch: Patch) -> None:
    """A VM that was migrated by hand to a voter is taken for one that is off."""
    patch.setattr(letting_go.Sight, "may_run", lambda self, vm: False)


def what_was_sent_to_a_fenced_host_is_off(patch: Patch) -> None:
    """A migration that waits for its connection counts for nothing once its target is fenced."""
    patch.setattr(ballots.Ballots, "may_be_at", lambda self, vm, epoch, fenced: "")


def a_leaving_vm_is_claimed_back(patch: Patch) -> None:
    """A VM that is being migrated away, and is not at its target yet, is claimed meanwhile."""
    real = claiming.Claiming.keep
    patch.setattr(
        claiming.Claiming,
        "keep",
        lambda self, needed, busy, who, now: real(self, needed, (), who, now),
    )


def a_cut_off_guest_goes_on_unclaimed(patch: Patch) -> None:
    """What a migration left paused at its source is let go on there, as if somebody had paused it."""
    for steps in ("STARTS", "CLAIMED"):
        patch.setattr(machine, steps, getattr(machine, steps) - {Step.CONTINUE})


def leftovers_are_cleared_away_unasked(patch: Patch) -> None:
    """A guest that a migration left paused at its source is taken for a leftover, though nobody says that it runs."""
    patch.setattr(letting_go.LettingGo, "elsewhere", lambda self: dict.fromkeys(["vm1"], "dmz02"))


def claimants_asked_once(patch: Patch) -> None:
    """One that let go receives the VM by a migration that was agreed before."""
    patch.setattr(claims, "_asks_twice", lambda attempt, me: False)


def the_source_need_not_be_the_last(patch: Patch) -> None:
    patch.setattr(letting_go, "may_hand_over", lambda newest, epoch, last: newest <= epoch)


def hands_over_to_an_old_claim(patch: Patch) -> None:
    """The source takes no notice of what it has claimed, or let go for, since."""
    patch.setattr(letting_go, "may_hand_over", lambda newest, epoch, last: last)
    patch.setattr(ballots.Ballots, "newest", lambda self, vm: 0)


def nobody_remembers_newer_claims(patch: Patch) -> None:
    """A source that gave the VM to a newer claimant too early tells an older one that it is off."""
    the_source_need_not_be_the_last(patch)
    patch.setattr(ballots.Ballots, "newest", lambda self, vm: 0)


def hands_over_without_a_claim(patch: Patch) -> None:
    """A source migrates or stops a VM as soon as the file gives it to another host."""
    from xsm.plan import moves

    real = moves._receiver

    def receiver(r, w, home):  # type: ignore[no-untyped-def]
        kind, cold_only, _ = real(r, w, home)
        return kind, cold_only, True

    patch.setattr(moves, "_receiver", receiver)
