"""The scenario language: any lines of a script can be left out, and what is played again happens again."""

from __future__ import annotations

import random

import pytest

from tests.sim import story
from tests.sim.chance import Life
from tests.sim.script import Script, ScriptError, commands
from tests.sim.shrink import failure


def played(lines: list[str]) -> Script:
    script = Script()
    for line in lines:
        script.perform(line)
    return script


def test_a_life_that_is_played_again_is_the_same() -> None:
    life = Life(3)
    life.run()
    assert story.told(played(life.lines).world) == story.told(life.world)


@pytest.mark.parametrize("seed", range(4))
def test_any_lines_can_be_left_out(seed: int) -> None:
    """What makes no sense any more is a no-op: no part of a script breaks, nor does the site that it is played on."""
    life = Life(seed, events=40)
    life.run()
    chance = random.Random(seed)
    for _ in range(3):
        site, *rest, peace = life.lines
        some = [line for line in rest if chance.random() < 0.5]
        wrong = failure([site, *some, peace])
        assert wrong is None, wrong


def test_what_makes_no_sense_says_so_and_does_nothing() -> None:
    script = played(["site random hosts=2 seed=1", "vm vm1 DOM0 dmz01", "wait 10"])
    for line, said in (
        ("kill dmz07", "nothing: no host 'dmz07'"),
        ("edit dmz01 vm9 MEM 64", "nothing: no VM 'vm9'"),
        ("boot dmz01", "nothing: xsmd runs on dmz01"),
        ("power-on dmz01", "nothing: dmz01 is not off"),
        ("restore dmz01", "nothing: libvirtd of dmz01 answers, or dmz01 is off"),
        ("edit-from anna dmz01 vm1 MEM 64", "nothing: anna has no such VM before him"),
        ("hand dmz02 destroy vm1", "nothing: no vm1 on dmz02"),
        ("command dmz01 forget dmz02 it-is-off", "nothing: dmz02 is not off"),
        ("vm vm2 DOM0 dmz01", "nothing: the site has begun"),
    ):
        assert script.perform(line) == [said]
    assert len(script.world.archive.commits) == 1


@pytest.mark.parametrize(
    "line", ["frobnicate", "edit dmz01", "edit dmz01 vm1 MEM", "edit dmz01 vm1 SIZE 3", "wait 1 2"]
)
def test_a_line_that_can_not_be_read_is_a_mistake(line: str) -> None:
    script = played(["site random hosts=2 seed=1", "vm vm1 DOM0 dmz01", "wait 1"])
    with pytest.raises(ScriptError):
        script.perform(line)


def test_every_command_says_what_it_does() -> None:
    for text in commands():
        name, _, rest = text.partition(" ")
        assert name.islower() or name.startswith("site"), text
        assert len(rest) > 20, text


def test_the_story_has_the_script_and_what_hosts_did() -> None:
    world = played(
        [
            "site random hosts=3 seed=1",
            "vm vm1 DOM0 dmz01",
            "vm vm2 DOM0 dmz03",
            "wait 10",
            "edit dmz02 vm1 STATE stopped",
            "kill dmz09",
            "wait 10",
        ]
    ).world
    told = story.told(world)
    assert told.splitlines()[1] == "    0.00  $ vm vm1 DOM0 dmz01"
    assert "   10.00  $ edit dmz02 vm1 STATE stopped" in told.splitlines()
    assert "   10.00    nothing: no host 'dmz09'" in told.splitlines()
    assert "dmz01  action  vm1: shutdown: power running => stopped" in told
    assert told.index("$ edit") < told.index("vm1: shutdown")
    of_one = story.told(world, "vm2")
    assert "vm2: claim won" in of_one
    assert "vm1:" not in of_one
