"""The claimant's side: what counts, and in which order earlier claimants let go. Most of these were accidents once."""

from dataclasses import replace

from tests.sim.narrow import settled_site
from xsm.peer import claims
from xsm.peer.ballots import Ballots
from xsm.peer.claims import Attempt
from xsm.peer.events import Observed, Persist, Received, Send
from xsm.peer.messages import ClaimAnswer, ClaimAsk, EvictAnswer, EvictAsk
from xsm.peer.register import Register, begin_attempt, complete, may_hand_over, vote
from xsm.site import state_file
from xsm.site.model import HypervisorKind
from xsm.site.state import Member

A, B, C = "dmz01", "dmz02", "dmz03"
ALL = frozenset({A, B, C})
NOW = 1000.0
BLANK = Register()


def claimed(epoch: int, me: str, register: Register = BLANK) -> tuple[Register, Attempt]:
    """A new attempt of `me`, with its own vote."""
    register = begin_attempt(register)
    attempt = claims.open_attempt("vm1", register, me, epoch)
    register, own = vote(register, attempt.epoch, me)
    return register, replace(attempt, voters=frozenset({me}), earlier=own.earlier)


def granted(attempt: Attempt, *earlier: str) -> ClaimAnswer:
    return ClaimAnswer("vm1", attempt.epoch, True, earlier, 0, "", attempt.number)


def let_go(attempt: Attempt) -> EvictAnswer:
    return EvictAnswer("vm1", attempt.epoch, True, "", round=attempt.round, attempt=attempt.number)


def asked(attempt: Attempt, register: Register, me: str, members=ALL) -> dict[str, EvictAsk]:
    _, asks = claims.questions(attempt, register, me, members, None, NOW)
    return {to: ask for to, ask in asks if isinstance(ask, EvictAsk)}


def test_answers_to_an_attempt_from_before_a_restart_do_not_count():
    """Else a host that was off and forgotten starts its VM again, by votes given before."""
    register, before = claimed(1, A)
    register, now = claimed(1, A, register)
    assert now.epoch == before.epoch
    assert claims.hear_vote(now, B, granted(before), register, A, NOW) == now
    assert claims.hear_eviction(now, B, let_go(before), register, A, NOW) == now
    assert B in claims.hear_vote(now, B, granted(now), register, A, NOW).voters


def test_votes_name_the_attempt_that_asked():
    register, attempt = claimed(1, A)
    _, asks = claims.questions(attempt, register, A, ALL, None, NOW)
    answer = Ballots(B, {}).answer(A, dict(asks)[B], False)
    assert B in claims.hear_vote(attempt, B, answer, register, A, NOW).voters


def test_only_the_last_to_let_go_may_hand_the_vm_over():
    """Else it runs on C by migration while B, once A is forgotten, wins its older claim and starts it too."""
    register, attempt = claimed(3, C)
    attempt = claims.hear_vote(attempt, B, granted(attempt, A, B), register, C, NOW)
    asks = asked(attempt, register, C)
    assert set(asks) == {A, B}
    assert not any(ask.last for ask in asks.values())
    attempt = claims.hear_eviction(attempt, B, let_go(attempt), register, C, NOW)
    assert asked(attempt, register, C)[A].last


def test_who_hands_over_has_claimed_nothing_newer_and_let_go_for_nothing_newer():
    assert may_hand_over(newest=2, epoch=3, last=True)
    assert may_hand_over(newest=3, epoch=3, last=True)
    assert not may_hand_over(newest=4, epoch=3, last=True)
    assert not may_hand_over(newest=2, epoch=3, last=False)


def test_several_are_asked_twice_even_when_one_of_them_was_forgotten_meanwhile():
    """The forgotten one may have migrated the VM to the other after that one had let go."""
    register, attempt = claimed(3, C)
    attempt = claims.hear_vote(attempt, B, granted(attempt, A, B), register, C, NOW)
    attempt = claims.hear_eviction(attempt, B, let_go(attempt), register, C, NOW)
    left = ALL - {A}
    assert not claims.won(attempt, register, C, left)
    attempt = claims.next_round(attempt, register, C, left)
    assert set(asked(attempt, register, C, left)) == {B}
    attempt = claims.hear_eviction(attempt, B, let_go(attempt), register, C, NOW)
    assert claims.won(attempt, register, C, left)


def test_a_host_that_the_site_does_not_know_gets_no_vote_and_no_vm():
    """Else a forgotten host, which all others count as gone, could start its VM again."""
    world = settled_site()
    peer = world.hosts[A].peer
    assert peer is not None
    before = dict(peer.ballots.registers)
    asks = (ClaimAsk("vm1", 9, 1), EvictAsk("vm1", 9, HypervisorKind.TEST, "", "", last=True))
    effects = peer.step(Received("dmz09", asks), world.now)
    assert not [e for e in effects if isinstance(e, Send | Persist)]
    assert peer.ballots.registers == before
    assert peer.letting_go.evictions == {}
    peer.step(Received(B, asks[:1]), world.now)
    assert peer.report is not None
    known = peer.step(Observed(peer.report, world.now), world.now)
    votes = [e.to for e in known if isinstance(e, Send) and isinstance(e.message, ClaimAnswer)]
    assert votes == [B]


def test_nobody_votes_before_having_looked():
    """A look from before the question, or one that shows nothing, doesn't tell whether the VM runs here by now."""
    world = settled_site()
    peer = world.hosts[A].peer
    assert peer is not None and peer.report is not None
    now = world.now + 1
    peer.step(Received(B, (ClaimAsk("vm1", 9, 1),)), now)
    blind = replace(peer.report, facts=None, domains=(), error="no answer")
    for report, began_at in ((peer.report, now - 0.1), (blind, now + 1)):
        effects = peer.step(Observed(report, began_at), now + 2)
        assert not [
            e for e in effects if isinstance(e, Send) and isinstance(e.message, ClaimAnswer)
        ]


def test_a_running_vm_is_claimed_anew_when_members_have_joined():
    """Else two that joined outvote the only host that knew of the claim, and one of them starts the VM."""
    world = settled_site()
    peer = world.hosts[A].peer
    assert peer is not None
    assert peer.claiming.attempts == {}
    assert peer.claiming.is_known_to("vm1", peer.members)
    assert not peer.claiming.is_known_to("vm1", peer.members | {"dmz09"})
    host = world.hosts[A]
    members = {
        **host.document.state.members,
        "dmz09": Member("dmz09", "192.168.5.9", "https://192.168.5.9:8701"),
    }
    joined = state_file.write(replace(host.document.state, members=members))
    host.commit({**host.head_files, **joined}, "dmz09 joins")
    world.run(2.0)
    assert peer.claiming.is_known_to("vm1", peer.members)
    assert "dmz09" in peer.members
    assert {h.peer.ballots.of("vm1").voted for h in world.hosts.values() if h.peer} == {1}


def test_a_voter_on_which_it_runs_without_a_claim_is_evicted_first():
    """`virsh migrate` by hand: its old host found the VM gone, and started it a second time 0.2 s later."""
    register, attempt = claimed(1, A)
    answer = Ballots(B, {}).answer(A, ClaimAsk("vm1", attempt.epoch, attempt.number), True)
    assert answer.granted and answer.earlier == (B,)
    attempt = claims.hear_vote(attempt, B, answer, register, A, NOW)
    attempt = claims.hear_vote(attempt, C, granted(attempt), register, A, NOW)
    assert not claims.won(attempt, register, A, ALL)
    assert set(asked(attempt, register, A)) == {B}


def test_a_claim_that_was_complete_before_is_opened_anew_when_it_runs_on_a_voter():
    """The old host claims its old epoch again, and a claim that was complete once evicts nobody."""
    register, attempt = claimed(1, A)
    register = complete(register, attempt.epoch)
    again = claims.open_attempt("vm1", begin_attempt(register), A)
    assert again.epoch == attempt.epoch == register.held
    anew = claims.hear_vote(again, B, granted(again, B), register, A, NOW)
    assert anew.epoch > register.held and not anew.voters
    anew = claims.hear_vote(anew, B, granted(anew, B), register, A, NOW)
    assert claims.to_evict(anew, register, A, ALL) == {B}


def test_a_majority_waits_a_moment_for_the_others_that_answer():
    """The VM may run on just the host whose vote wasn't needed."""
    register, attempt = claimed(1, A)
    attempt = claims.hear_vote(attempt, B, granted(attempt), register, A, NOW)
    attempt = claims.agreed(attempt, ALL, NOW)
    assert claims.awaits_voices(attempt, ALL, lambda _m: False, NOW)
    assert not claims.awaits_voices(attempt, ALL, lambda _m: False, NOW + claims.VOICES_S)
    assert not claims.awaits_voices(attempt, ALL, lambda m: m == C, NOW)
    heard = claims.hear_vote(attempt, C, granted(attempt), register, A, NOW)
    assert not claims.awaits_voices(heard, ALL, lambda _m: False, NOW)
