"""Events in memory and on disk."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from xsm.api.types import Event
from xsm.edge.event_log import EventLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    log = EventLog(tmp_path / "events.jsonl", "dmz01", ring_limit=5, journal_limit_bytes=1000)
    yield log
    log.close()


def add(log: EventLog, count: int) -> None:
    for number in range(count):
        log.add("action", "vm1", f"event {number}", 1.5)


def seqs(events: tuple[Event, ...] | list[Event]) -> list[int]:
    return [event.seq for event in events]


def test_what_is_added(log: EventLog) -> None:
    event = log.add("action", "vm1", "memory 96 => 128", 1.5)
    assert event == Event(1, 1.5, "dmz01", "action", "vm1", "memory 96 => 128", origin=1)
    assert log.since(0) == (event,)
    assert log.since(1) == log.since(99) == ()


def test_memory_is_bounded(log: EventLog) -> None:
    add(log, 12)
    assert seqs(log.since(0)) == [8, 9, 10, 11, 12]
    assert len(log.add("action", "", "x" * 10_000, 0.0).message) == 4096


def test_the_disk_is_bounded(log: EventLog, tmp_path: Path) -> None:
    add(log, 500)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"events.jsonl", "events.jsonl.1"}
    assert max(sizes.values()) <= 1000


def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first = EventLog(path, "dmz01", journal_limit_bytes=400)
    add(first, 5)
    first.close()
    second = EventLog(path, "dmz01")
    assert second.last == 5
    assert second.add("action", "", "next", 0.0).seq == 6
    assert seqs(second.since(0))[-3:] == [4, 5, 6]
    second.close()


@pytest.mark.parametrize(
    "tail", [b'{"seq": 3, "at"', b"\0" * 50, b"rubbish\n", b"\xff\xfe\n", b"{}\n"]
)
def test_damage_costs_only_what_is_damaged(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "events.jsonl"
    first = EventLog(path, "dmz01")
    add(first, 2)
    first.close()
    with path.open("ab") as stream:
        stream.write(tail)
    second = EventLog(path, "dmz01")
    assert seqs(second.since(0)) == [1, 2]
    add(second, 1)
    second.close()
    third = EventLog(path, "dmz01")
    assert seqs(third.since(0)) == [1, 2, 3]
    third.close()


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(5):
        return [await anext(events) for _ in range(count)]


async def test_followers_get_what_was_and_what_comes(log: EventLog) -> None:
    add(log, 2)
    first, second = log.follow(0), log.follow(1)
    assert seqs(await take(first, 2)) == [1, 2]
    waiting = asyncio.ensure_future(take(second, 2))
    await asyncio.sleep(0)
    add(log, 1)
    assert seqs(await waiting) == [2, 3]
    assert seqs(await take(first, 1)) == [3]


async def test_a_slow_follower_is_told_what_it_missed(log: EventLog) -> None:
    add(log, 1)
    slow = log.follow(0)
    await take(slow, 1)
    add(log, 10)
    gap, following = await take(slow, 2)
    assert gap.kind == "daemon" and gap.message.startswith("5 events are not shown")
    assert (gap.seq, following.seq) == (6, 7)
    assert seqs(await take(slow, 4)) == [8, 9, 10, 11]


async def test_the_end_ends_followers(log: EventLog) -> None:
    add(log, 1)

    async def all_of_them() -> list[Event]:
        return [event async for event in log.follow(0)]

    following = [asyncio.ensure_future(all_of_them()) for _ in range(3)]
    await asyncio.sleep(0)
    log.add("daemon", "", "stopped", 0.0)
    log.close()
    assert [seqs(events) for events in await asyncio.gather(*following)] == [[1, 2]] * 3


async def test_one_method_for_both(log: EventLog) -> None:
    add(log, 2)
    assert seqs([event async for event in log.stream(0, follow=False)]) == [1, 2]
    assert seqs(await take(log.stream(1, follow=True), 1)) == [2]


async def test_a_since_of_the_future_waits_for_what_comes(log: EventLog) -> None:
    """A client that was told numbers of a journal which is lost since."""
    add(log, 1)
    waiting = asyncio.ensure_future(take(log.follow(900), 1))
    await asyncio.sleep(0)
    add(log, 1)
    assert seqs(await waiting) == [2]


def test_a_journal_that_can_not_be_written_costs_only_history(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path, "dmz01", journal_limit_bytes=200)
    add(log, 1)
    path.with_name("events.jsonl.1").mkdir()  # the rotation fails
    (path.with_name("events.jsonl.1") / "x").touch()
    add(log, 10)
    assert seqs(log.since(0)) == list(range(1, 12))
    log.close()


def test_other_hosts_events_are_copied_once_and_in_order(log: EventLog) -> None:
    add(log, 1)
    theirs = [Event(n, 2.0, "dmz02", "claim", "vm2", f"theirs {n}", n) for n in (3, 4)]
    log.copy(theirs)
    log.copy(theirs)
    log.copy([Event(9, 2.0, "dmz01", "daemon", "", "our own, come back", 1)])
    assert [(e.seq, e.host, e.origin) for e in log.since(0)] == [
        (1, "dmz01", 1), (2, "dmz02", 3), (3, "dmz02", 4)
    ]  # fmt: skip
    assert (log.copied("dmz02"), log.copied("dmz03"), log.last_own) == (4, 0, 1)


def test_only_own_events_are_given_to_others(log: EventLog) -> None:
    add(log, 2)
    log.copy([Event(5, 2.0, "dmz02", "claim", "vm2", "theirs", 5)])
    add(log, 1)
    assert [e.origin for e in log.own_since(0)] == [1, 2, 3]
    assert [e.origin for e in log.own_since(2)] == [3]


def test_what_was_copied_is_known_after_a_restart(tmp_path: Path) -> None:
    first = EventLog(tmp_path / "events.jsonl", "dmz01")
    first.add("action", "vm1", "own", 1.0)
    first.copy([Event(5, 2.0, "dmz02", "claim", "vm2", "theirs", 5)])
    first.close()
    second = EventLog(tmp_path / "events.jsonl", "dmz01")
    assert (second.copied("dmz02"), second.last_own, second.last) == (5, 1, 2)
    assert second.add("action", "vm1", "own again", 3.0).origin == 2
    second.close()
