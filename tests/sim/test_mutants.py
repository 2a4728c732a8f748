"""The checkers prove themselves: with one safety rule switched off, lives by chance have an accident, and it is seen.

This is the one place where module attributes are replaced: a mutant is the real code with one rule taken out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.sim.chance import Life
from tests.sim.checkers import Checkers, Violation
from tests.sim.narrow import (
    PACES_S,
    a_move_is_called_back,
    a_move_is_called_back_by_a_new_daemon,
    a_newer_claimant_gets_it,
    a_start_outlives_its_daemon,
    an_overtaken_move_goes_on,
)
from tests.sim.world import SimHost
from xsm.peer import ballots, claiming, claims, letting_go, register
from xsm.peer.register import Register, Vote
from xsm.plan import wanted

Patch = pytest.MonkeyPatch
TWICE = " runs on "
"""What `never_twice` says."""


def one_vote_is_enough(patch: Patch) -> None:
    """No quorum."""
    patch.setattr(claims, "has_majority", lambda attempt, members: True)
    real = register.may_start

    def may_start(reg, epoch, host, voters, members, evicted, earlier):  # type: ignore[no-untyped-def]
        return real(reg, epoch, host, members, members, evicted, earlier)

    patch.setattr(claims, "may_start", may_start)


def nobody_is_evicted(patch: Patch) -> None:
    """Voters don't tell who claimed before."""
    real = register.vote

    def vote(reg: Register, epoch: int, host: str) -> tuple[Register, Vote]:
        after, answer = real(reg, epoch, host)
        return after, replace(answer, earlier=frozenset())

    patch.setattr(register, "vote", vote)


def only_the_last_claimant_is_evicted(patch: Patch) -> None:
    real = register.vote

    def vote(reg: Register, epoch: int, host: str) -> tuple[Register, Vote]:
        after, answer = real(reg, epoch, host)
        return after, replace(answer, earlier=frozenset({reg.claimant}) - {host, ""})

    patch.setattr(register, "vote", vote)


def votes_are_not_on_disk(patch: Patch) -> None:
    """A daemon that starts knows nothing of what the one before it had voted."""
    real = SimHost.start_daemon

    def start_daemon(host: SimHost) -> None:
        host.disk.forget_votes()
        real(host)

    patch.setattr(SimHost, "start_daemon", start_daemon)
    patch.setattr(Checkers, "_votes_never_go_back", lambda self, world: None)


def boot_without_claiming_again(patch: Patch) -> None:
    """An epoch that was won once is enough for ever."""
    real = claims.won

    def won(attempt, reg, me, members):  # type: ignore[no-untyped-def]
        return (reg.held > 0 and reg.held >= reg.bar) or real(attempt, reg, me, members)

    patch.setattr(claims, "won", won)


def bars_are_not_honoured(patch: Patch) -> None:
    """Who let go starts the VM again under its old epoch, without a new claim."""
    boot_without_claiming_again(patch)
    patch.setattr(register, "bar", lambda reg, epoch: reg)
    patch.setattr(Checkers, "_what_is_said_is_on_disk", lambda self, world: None)


def conflicts_are_acted_on(patch: Patch) -> None:
    patch.setattr(wanted, "active_conflicts", lambda site, state: ())


def a_new_daemon_lets_go_at_once(patch: Patch) -> None:
    """What the daemon before it had asked libvirt for comes later."""
    patch.setattr(letting_go, "SETTLE_S", 0.0)


def claimants_are_asked_once(patch: Patch) -> None:
    """One that let go receives the VM by a migration that was agreed before."""
    patch.setattr(claims, "_asks_twice", lambda attempt, me: False)


def a_leaving_vm_is_claimed(patch: Patch) -> None:
    """A VM that is being migrated away, and is not at its target yet, is claimed back meanwhile."""
    real = claiming.Claiming.keep
    patch.setattr(
        claiming.Claiming,
        "keep",
        lambda self, needed, busy, who, now: real(self, needed, (), who, now),
    )


def a_new_daemon_claims_at_once(patch: Patch) -> None:
    """...or by a daemon that has just started and knows nothing of the migration."""
    patch.setattr(letting_go.LettingGo, "may_be_leaving", lambda self, vm, now: False)


def nobody_remembers_newer_claims(patch: Patch) -> None:
    """A source that gave the VM to a newer claimant too early tells an older one that it is off."""
    patch.setattr(letting_go, "may_hand_over", lambda newest, epoch, last: newest <= epoch)
    patch.setattr(ballots.Ballots, "newest", lambda self, vm: 0)


def lets_go_of_what_runs(patch: Patch) -> None:
    """An earlier claimant says that it let go whatever runs there."""
    patch.setattr(
        letting_go.LettingGo, "_why_not", lambda self, vm, eviction, sight, now: ("", False)
    )


@dataclass(frozen=True)
class Mutant:
    switch: Callable[[Patch], None]
    lives: tuple[tuple[int, bool], ...]  # seeds that are tried, and whether restless
    sign: str = TWICE  # what the violation has to say


BY_CHANCE = {
    m.switch.__name__: m
    for m in (
        Mutant(one_vote_is_enough, ((0, False), (0, True), (1, False))),
        Mutant(nobody_is_evicted, ((0, False), (0, True), (1, False))),
        Mutant(only_the_last_claimant_is_evicted, ((0, True), (2, True), (4, True), (1, True))),
        Mutant(votes_are_not_on_disk, ((0, False), (3, True), (1, True), (6, False), (2, True))),
        Mutant(boot_without_claiming_again, tuple((seed, True) for seed in (18, 24, *range(12)))),
        Mutant(bars_are_not_honoured, ((0, True), (1, False), (1, True))),
        Mutant(conflicts_are_acted_on, ((4, False), (8, False), (10, True)), "two edits disagree"),
        Mutant(lets_go_of_what_runs, ((0, False), (0, True), (1, False))),
    )
}
"""The first lives that are tried have the accident today; the others are there for tomorrow's code."""

NARROW = {
    switch.__name__: (switch, story)
    for switch, story in (
        (claimants_are_asked_once, an_overtaken_move_goes_on),
        (nobody_remembers_newer_claims, a_newer_claimant_gets_it),
        (a_leaving_vm_is_claimed, a_move_is_called_back),
        (a_new_daemon_claims_at_once, a_move_is_called_back_by_a_new_daemon),
        (a_new_daemon_lets_go_at_once, a_start_outlives_its_daemon),
    )
}


def accident(live: Callable[[], object], sign: str) -> bool:
    """Whether it ends in a violation of that kind."""
    try:
        live()
    except Violation as violation:
        return sign in str(violation)
    return False


@pytest.mark.parametrize("name", sorted(BY_CHANCE))
def test_a_rule_that_is_switched_off_is_missed(name: str, monkeypatch: Patch) -> None:
    mutant = BY_CHANCE[name]
    mutant.switch(monkeypatch)
    lives = (Life(seed, restless=restless).run for seed, restless in mutant.lives)
    assert any(accident(live, mutant.sign) for live in lives)


@pytest.mark.parametrize("name", sorted(NARROW))
def test_a_rule_that_is_switched_off_is_missed_in_a_narrow_story(
    name: str, monkeypatch: Patch
) -> None:
    switch, story = NARROW[name]
    switch(monkeypatch)
    assert any(accident(lambda p=pace_s: story(p), TWICE) for pace_s in PACES_S)  # type: ignore[misc]
