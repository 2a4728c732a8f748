"""Mutants: the real code with one safety rule switched off. Something here has to notice each of them.

python -m tests.sim.mutants [NAME...] [--lives N] [--processes N] [--write]

Each is let loose on lives by chance (`seeds.life_of`) until a checker sees an accident; on its narrow story if it has
one. Prints a table, and writes it to docs/safety-tables.md with --write. Only a life that has no accident without the
mutant counts: that is tried each time.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.sim import mutants_claims as c
from tests.sim import mutants_disks as d
from tests.sim import mutants_edits as e
from tests.sim import mutants_fencing as f
from tests.sim import narrow, narrow_acts, narrow_disks, narrow_fencing
from tests.sim import test_exhaustive as by_state
from tests.sim import test_exhaustive_members as by_list
from tests.sim.host import Violation
from tests.sim.seeds import life_of
from tests.sim.world import World

Patch = pytest.MonkeyPatch
Story = Callable[[], object]
DOCUMENT = Path(__file__).parents[2] / "docs" / "safety-tables.md"
MARK = "<!-- mutants: python -m tests.sim.mutants --write -->"
END = "<!-- end of mutants -->"
LIVES_LIMIT = 300
"""Lives by chance that a mutant gets before it counts as too narrow for them."""
WORDS_LIMIT = 110
"""Of a violation, in the table."""


@dataclass(frozen=True)
class Mutant:
    """`seed`: the first life that caught it when it was last hunted; a place to begin, for tests. `narrow`: a story
    that catches it, for those that chance finds seldom or never. `searched`: what the exhaustive search calls it.
    `signs`: what has to be seen, one of them; none: anything. A mutant makes another life of a seed, and what goes
    wrong there may have nothing to do with it."""

    switch: Callable[[Patch], None]
    seed: int | None = None
    narrow: Story | None = None
    searched: str = ""
    signs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.switch.__name__

    @property
    def words(self) -> str:
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class Hunt:
    """How one mutant was caught. `lives`: how many it took, 0: none of them did. `told`: by the narrow story. `steps`:
    of the accident that the exhaustive search found, for those that nothing else catches."""

    name: str
    tried: int
    lives: int
    seen: str
    told: str
    steps: int = 0

    @property
    def caught(self) -> bool:
        return bool(self.lives or self.told or self.steps)


def at_any_pace(story: Callable[[float], World]) -> Story:
    """The story at all its paces."""

    def tell() -> None:
        for pace_s in narrow.PACES_S:
            story(pace_s)

    tell.__name__ = story.__name__
    return tell


CLAIMS = (" runs on ", "no claim of it", "has on its disk", "went back")
"""What is seen where a rule of claims is missing."""
BLANK = ("with a blank",)
OLD = ("on an old", "on an incomplete")

ALL: tuple[Mutant, ...] = (
    Mutant(c.document_only, seed=0, signs=CLAIMS),
    Mutant(c.no_quorum, seed=0, signs=CLAIMS),
    Mutant(c.nobody_evicted, seed=0, signs=CLAIMS),
    Mutant(c.only_the_last_claimant_evicted, seed=3, signs=CLAIMS),
    Mutant(
        c.fenced_before_claimed, signs=CLAIMS, narrow=narrow_acts.the_operators_word_on_both_sides
    ),
    Mutant(c.a_vote_for_anyone, signs=CLAIMS, narrow=narrow_acts.two_claims_of_one_epoch),
    Mutant(
        c.a_vote_for_a_forgotten_host, signs=CLAIMS, narrow=narrow_acts.a_forgotten_host_is_back
    ),
    Mutant(c.lists_are_mixed, signs=CLAIMS, searched="a vote by another list"),
    Mutant(c.members_change_without_votes, signs=CLAIMS, searched="half of the hosts agree"),
    Mutant(c.newcomers_know_no_claims, signs=CLAIMS, searched="nothing is shared"),
    Mutant(
        c.what_was_sent_to_a_fenced_host_is_off,
        signs=CLAIMS,
        narrow=narrow_acts.it_arrives_at_a_fenced_host,
    ),
    Mutant(c.votes_not_on_disk, seed=15, signs=CLAIMS),
    Mutant(c.answers_before_the_vote_is_on_disk, seed=0, signs=CLAIMS),
    Mutant(c.boots_without_claiming_again, signs=CLAIMS, searched="no claim anew after a boot"),
    Mutant(c.a_win_lasts, seed=11, signs=CLAIMS),
    Mutant(
        c.answers_from_before_a_restart_count,
        signs=CLAIMS,
        searched="answers from before a restart count",
    ),
    Mutant(c.bars_not_honoured, seed=0, signs=CLAIMS),
    Mutant(
        c.settled_whatever_the_last_vote, signs=CLAIMS, searched="settled whatever the last vote"
    ),
    Mutant(c.lets_go_of_what_runs, seed=0, signs=CLAIMS),
    Mutant(c.lets_go_while_a_start_is_under_way, seed=21, signs=CLAIMS),
    Mutant(
        c.lets_go_of_what_it_is_receiving,
        signs=CLAIMS,
        searched="lets go of what it is just receiving",
    ),
    Mutant(c.lets_go_by_an_old_look, signs=CLAIMS, narrow=narrow_acts.a_look_from_before_it_came),
    Mutant(
        c.a_new_daemon_lets_go_at_once,
        signs=CLAIMS,
        narrow=at_any_pace(narrow.a_start_outlives_its_daemon),
    ),
    Mutant(
        c.a_new_daemon_claims_at_once,
        signs=CLAIMS,
        narrow=at_any_pace(narrow.a_move_is_called_back_by_a_new_daemon),
    ),
    Mutant(
        c.voters_do_not_say_that_it_runs_there,
        signs=CLAIMS,
        narrow=at_any_pace(narrow.somebody_migrates_it),
    ),
    Mutant(
        c.a_leaving_vm_is_claimed_back,
        signs=CLAIMS,
        narrow=at_any_pace(narrow.a_move_is_called_back),
    ),
    Mutant(
        c.a_cut_off_guest_goes_on_unclaimed,
        signs=CLAIMS,
        narrow=narrow_acts.a_move_is_cut_off_at_its_end,
    ),
    Mutant(c.leftovers_are_cleared_away_unasked, narrow=narrow_acts.the_only_copy_is_cut_off),
    Mutant(
        c.claimants_asked_once, signs=CLAIMS, narrow=at_any_pace(narrow.an_overtaken_move_goes_on)
    ),
    Mutant(
        c.the_source_need_not_be_the_last, signs=CLAIMS, searched="the source need not be the last"
    ),
    Mutant(
        c.hands_over_to_an_old_claim, signs=CLAIMS, searched="hands over to anybody who ever asked"
    ),
    Mutant(
        c.nobody_remembers_newer_claims,
        signs=CLAIMS,
        narrow=at_any_pace(narrow.a_newer_claimant_gets_it),
    ),
    Mutant(c.hands_over_without_a_claim, narrow=narrow_acts.a_move_to_a_dead_host),
    Mutant(e.merges_are_merged, seed=1),
    Mutant(e.delete_beats_modify, seed=1),
    Mutant(e.a_kept_vm_is_not_marked, seed=1),
    Mutant(e.the_later_edit_wins_in_silence, narrow=narrow_acts.one_field_on_two_sides),
    Mutant(e.the_later_move_wins_in_silence, seed=4),
    Mutant(e.entries_are_merged_as_a_whole, seed=1),
    Mutant(e.merged_without_the_base, seed=1),
    Mutant(e.a_third_edit_settles_unseen, narrow=narrow_acts.a_third_edit_of_one_field),
    Mutant(e.any_edit_settles_all_conflicts, seed=1),
    Mutant(e.conflicts_are_acted_on, seed=4),
    Mutant(e.an_old_base_overwrites, seed=0),
    Mutant(e.committed_beside_the_head, narrow=narrow_acts.an_edit_beside_the_head),
    Mutant(e.dates_by_the_clock_alone, seed=0),
    Mutant(e.heads_that_others_contain, seed=0),
    Mutant(e.merge_version_ignored, narrow=narrow_acts.a_newer_merge_rule),
    Mutant(e.trusts_its_last_answer, narrow=narrow_acts.a_look_that_hangs),
    Mutant(e.acts_unchecked, narrow=narrow_acts.another_domain_in_its_place),
    Mutant(e.unmarked_domains_are_taken, narrow=narrow_acts.a_foreign_domain_has_the_vms_name),
    Mutant(
        e.another_sites_domains_are_taken, narrow=narrow_acts.another_sites_domain_has_the_vms_name
    ),
    Mutant(e.copies_are_taken, narrow=narrow_acts.a_copy_outlives_the_vm),
    Mutant(e.memory_not_looked_at, narrow=narrow_acts.a_host_runs_short),
    Mutant(e.restarts_unasked, seed=1),
    Mutant(e.elsewhere_means_removed, seed=0),
    Mutant(e.live_only_is_stopped, narrow=narrow_acts.a_move_that_can_only_be_cold),
    Mutant(e.never_means_live, seed=53),
    Mutant(e.drained_hosts_take_vms, seed=16),
    Mutant(e.stale_shutdown_clocks, narrow=narrow_acts.a_stop_that_was_taken_back),
    Mutant(e.drift_is_repaired_always, narrow=narrow_acts.drift_is_left_to_people),
    Mutant(
        d.whoever_lacks_a_disk_makes_it,
        signs=BLANK,
        narrow=narrow_disks.it_moves_to_a_host_without_its_disk,
    ),
    Mutant(d.any_claimant_makes_a_disk, signs=BLANK, narrow=narrow_disks.its_host_is_forgotten),
    Mutant(
        d.a_disk_is_forgotten,
        signs=BLANK,
        narrow=narrow_disks.its_pool_is_not_mounted_after_a_boot,
    ),
    Mutant(
        f.fenced_without_a_majority,
        signs=CLAIMS,
        narrow=narrow_fencing.a_host_cut_off_has_the_others_fenced,
    ),
    Mutant(
        f.fenced_whatever_the_device_says,
        signs=CLAIMS,
        narrow=narrow_fencing.a_fence_device_fails,
    ),
    Mutant(
        f.hosts_that_others_hear_are_fenced,
        signs=("was fenced unasked",),
        narrow=narrow_fencing.a_host_that_another_one_hears,
    ),
    Mutant(
        f.a_storm_fences_on,
        signs=("were fenced unasked",),
        narrow=narrow_fencing.the_network_fails_bit_by_bit,
    ),
    Mutant(
        f.arrivals_do_not_wait_for_room,
        signs=("are for VMs",),
        narrow=narrow_fencing.a_drained_host_makes_room,
    ),
    Mutant(
        f.arrivals_do_not_wait_for_those_apart,
        signs=("to be apart",),
        narrow=narrow_fencing.two_that_are_to_be_apart_change_hosts,
    ),
    Mutant(
        d.what_left_is_not_marked,
        signs=OLD,
        narrow=narrow_disks.its_sources_xsmd_dies_as_it_moves,
    ),
    Mutant(
        d.what_leaves_is_marked_only_afterwards,
        signs=OLD,
        narrow=narrow_disks.its_sources_xsmd_dies_as_it_moves,
    ),
    Mutant(
        d.a_copy_that_was_cut_off_is_taken_for_whole,
        signs=OLD,
        narrow=narrow_disks.its_source_is_lost_as_it_moves,
    ),
    Mutant(
        d.who_was_fenced_takes_its_disks_for_the_newest,
        signs=OLD,
        narrow=narrow_disks.its_host_comes_back_after_it_ran_elsewhere,
    ),
    Mutant(
        d.a_volume_of_ones_own_is_taken_for_shared,
        signs=OLD,
        narrow=narrow_disks.somebody_put_a_volume_where_it_goes,
    ),
)


def accident(live: Story) -> str:
    """What a checker says of it; "" when nothing is wrong, or when the mutant merely broke down."""
    try:
        live()
    except Violation as violation:
        return str(violation)
    except Exception:  # noqa: BLE001 - a mutant may do anything; only what a checker says counts
        return ""
    return ""


def with_mutant(mutant: Mutant, live: Story) -> str:
    """The accident that a mutant has in a life or story that is free of any without it."""
    with pytest.MonkeyPatch.context() as patch:
        mutant.switch(patch)
        seen = accident(live)
    fits = not mutant.signs or any(sign in seen for sign in mutant.signs)
    return seen if seen and fits and not accident(live) else ""


def first_accident(mutant: Mutant, seeds: Iterable[int]) -> tuple[int, str]:
    """How many lives it took, and what was seen; 0 when none had an accident."""
    for tries, seed in enumerate(seeds, 1):
        seen = with_mutant(mutant, lambda: life_of(seed).run())  # noqa: B023 - called at once
        if seen:
            return tries, seen
    return 0, ""


def hunt(name: str, lives: int) -> Hunt:
    """Let one mutant loose."""
    mutant = next(m for m in ALL if m.name == name)
    told = with_mutant(mutant, mutant.narrow) if mutant.narrow else ""
    tries, seen = first_accident(mutant, range(lives))
    steps = steps_by_search(mutant.searched) if mutant.searched and not (told or tries) else 0
    return Hunt(name, lives, tries, seen, told, steps)


def steps_by_search(name: str) -> int:
    """How long the shortest accident is that the exhaustive search finds. Without mutants it finds none: that is
    `test_exhaustive`'s, and its sites are searched there."""
    for search in (by_state, by_list):
        known = {**search.MUTANTS, **search.SLOW_MUTANTS}
        if name in known:
            site, change = known[name]
            return len(search.search(replace(site, **change)).trace)
    return 0


# -- the command -------------------------------------------------------------------------------------------------------


def row(found: Hunt) -> str:
    mutant = next(m for m in ALL if m.name == found.name)
    lives = str(found.lives) if found.lives else f"> {found.tried}"
    story = mutant.narrow.__name__.replace("_", " ") if mutant.narrow and found.told else ""
    if found.steps:
        story = f"exhaustive search: {found.steps} steps"
    seen = " ".join((found.seen or found.told or "").replace("|", "/").split())
    if not found.caught:
        seen = "NOT CAUGHT"
    short = seen if len(seen) <= WORDS_LIMIT else f"{seen[:WORDS_LIMIT]}..."
    return f"| {mutant.words} | {lives} | {story} | {short} |"


def stamp() -> str:
    """When, on what, and on which machine."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=DOCUMENT.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    day = datetime.now(UTC).date()
    return f"{day}, commit {commit}, {platform.machine()}, {os.cpu_count()} cores"


def table(hunts: Sequence[Hunt]) -> str:
    caught = sum(h.caught for h in hunts)
    lines = [
        f"{caught} of {len(hunts)} caught ({stamp()}).",
        "",
        "| without this rule | lives until caught | also, or else, by | what was seen first |",
        "| --- | ---: | --- | --- |",
        *map(row, hunts),
    ]
    return "\n".join(lines)


def with_rows(text: str, hunts: Sequence[Hunt]) -> str:
    """A table as it stands, with the rows of these hunts in it; the others are of an earlier one, which it says."""
    head, *lines = text.strip().splitlines()
    rows = {line.split(" | ")[0]: line for line in lines if line.startswith("| ")}
    rows |= {line.split(" | ")[0]: line for line in map(row, hunts)}
    count = len(rows) - 2  # less its head
    caught = count - sum("NOT CAUGHT" in line for line in rows.values())
    before = head[head.index("(") + 1 : head.index(")")]
    first = f"{caught} of {count} caught ({before}); the last {len(hunts)} hunted: {stamp()}."
    return "\n".join([first, "", *rows.values()])


def write(hunts: Sequence[Hunt], some: bool) -> None:
    """Put the table between its marks. `some`: only the rows of these."""
    document = DOCUMENT.read_text()
    before, _, rest = document.partition(MARK)
    there, _, after = rest.partition(END)
    text = with_rows(there, hunts) if some else table(hunts)
    DOCUMENT.write_text(f"{before}{MARK}\n{text}\n{END}{after}")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mutants")
    parser.add_argument("names", nargs="*", help="only these")
    parser.add_argument("--lives", type=int, default=LIVES_LIMIT)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--write",
        action="store_true",
        help="into docs/safety-tables.md; with NAMEs only their rows",
    )
    given = parser.parse_args(argv)
    names = given.names or [m.name for m in ALL]
    unknown = sorted(set(names) - {m.name for m in ALL})
    if unknown:
        parser.error(f"no mutant {unknown[0]}; there are {', '.join(m.name for m in ALL)}")
    os.nice(10)
    hunts = []
    with ProcessPoolExecutor(given.processes) as pool:
        for found in pool.map(hunt, names, [given.lives] * len(names)):
            print(row(found), flush=True)
            hunts.append(found)
    print(f"\n{table(hunts)}")
    if given.write:
        write(hunts, bool(given.names))
    return 0 if all(h.caught for h in hunts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
