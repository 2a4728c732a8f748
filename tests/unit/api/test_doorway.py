"""Who may have a connection when there are more than places."""

import asyncio
import logging

import pytest
from running_server import Running

from xsm.api.connection import Complaints
from xsm.api.doorway import Guest, Places


def places() -> Places:
    return Places(known_limit=8, people_limit=4, strangers_limit=6, address_limit=4, name_limit=3)


def test_a_flood_from_one_address_crowds_out_itself() -> None:
    here = places()
    quiet = Guest("192.0.2.9")
    assert here.come(quiet) is None
    flood = [Guest("192.0.2.1") for _ in range(30)]
    for number, guest in enumerate(flood):
        leaves = here.come(guest)
        assert leaves is (flood[number - 4] if number >= 4 else None)
        if leaves is not None:
            here.go(leaves)
    assert quiet in here.strangers


def test_a_flood_from_many_addresses_leaves_room_for_the_next() -> None:
    here = places()
    left = []
    for number in range(40):
        leaves = here.come(Guest(f"192.0.2.{number % 20}"))
        if leaves is not None:
            here.go(leaves)
            left.append(leaves)
    assert len(here.strangers) == 6 and len(left) == 34


def test_who_has_a_certificate_is_safe_from_strangers() -> None:
    here = places()
    member = Guest("192.0.2.1")
    here.come(member)
    assert here.know(member, "dmz02", member=True)
    for _ in range(30):
        leaves = here.come(Guest("192.0.2.1"))
        if leaves is not None:
            here.go(leaves)
    assert member in here.known


def test_people_never_take_the_members_places() -> None:
    here = places()
    people = [Guest("192.0.2.1") for _ in range(9)]
    came = [here.know(guest, f"jo{n}", member=False) for n, guest in enumerate(people)]
    assert came == [True] * 4 + [False] * 5
    members = [here.know(Guest("192.0.2.2"), f"dmz{n}", member=True) for n in range(5)]
    assert members == [True] * 4 + [False]


def test_nobody_has_more_than_a_name_s_share() -> None:
    here = places()
    assert [here.know(Guest("a"), "jo", member=False) for _ in range(4)] == [True] * 3 + [False]


def test_who_goes_makes_room() -> None:
    here = places()
    guests = [Guest("a") for _ in range(3)]
    for guest in guests:
        here.know(guest, "jo", member=False)
    here.go(guests[1])
    here.go(guests[1])
    assert here.know(Guest("a"), "jo", member=False)


async def test_places_are_free_again_when_clients_are_gone(running: Running) -> None:
    here = running.server._places
    port = running.settings.listen_port
    writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(10)]
    tls = running.tls("jo", "viewer")
    for _ in range(10):
        opened = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname="dmz01.xsm"
        )
        writers.append(opened[1])
    async with asyncio.timeout(5):
        while (len(here.strangers), len(here.known)) != (10, 10):
            await asyncio.sleep(0.01)
    for writer in writers:
        writer.close()
    async with asyncio.timeout(5):
        while here.strangers or here.known:
            await asyncio.sleep(0.01)


def test_complaints_are_gathered(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    complaints = Complaints(lambda: now, every_s=60.0)
    with caplog.at_level(logging.WARNING):
        for second in range(0, 180, 10):
            now = float(second)
            complaints.add("no TLS: x", "192.0.2.1")
    assert [r.getMessage() for r in caplog.records] == [
        "refused from 192.0.2.1: no TLS: x",
        "refused from 192.0.2.1: no TLS: x (and 5 more since the last of these lines)",
        "refused from 192.0.2.1: no TLS: x (and 5 more since the last of these lines)",
    ]
