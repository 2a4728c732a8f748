"""Serf's RPC as bytes: what is written, what is read, and what of it comes in pieces or is no value at all."""

import asyncio
import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsm.edge.serf_rpc import (
    LIMIT_BYTES,
    RpcClient,
    RpcError,
    SerfMember,
    Truncated,
    Unpacker,
    packed,
    unpacked,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=20) | st.dictionaries(st.binary(max_size=5), inner, max_size=20)
    ),
    max_leaves=30,
)


@given(VALUES)
def test_what_is_written_is_read_back(value: Any) -> None:
    content = packed(value)
    assert unpacked(content) == (value, len(content))


@given(VALUES, VALUES, st.data())
def test_values_that_come_in_pieces(one: Any, other: Any, data: st.DataObject) -> None:
    content = packed(one) + packed(other)
    cut = data.draw(st.integers(0, len(content)))
    unpacker = Unpacker()
    assert unpacker.feed(content[:cut]) + unpacker.feed(content[cut:]) == [one, other]


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_value_or_refused(content: bytes) -> None:
    with contextlib.suppress(RpcError, Truncated):
        unpacked(content)


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ({"Seq": 1}, b"\x81\xa3Seq\x01"),
        ("a" * 40, b"\xda\x00\x28" + b"a" * 40),  # not 0xd9, which old readers don't know
        (b"\xff", b"\xa1\xff"),  # nor 0xc4
        ([True, None], b"\x92\xc3\xc0"),
    ],
)
def test_only_the_old_kinds_are_written(value: object, content: bytes) -> None:
    assert packed(value) == content


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"\xd9\x03abc", b"abc"),
        (b"\xc4\x01\xff", b"\xff"),
        (b"\xff", -1),
        (b"\xcd\x1e\xd2", 7890),
        (b"\xcb" + struct.pack(">d", 0.5), 0.5),
        (b"\xdc\x00\x01\xc2", [False]),
    ],
)
def test_the_newer_kinds_are_read(content: bytes, value: object) -> None:
    assert unpacked(content) == (value, len(content))


@pytest.mark.parametrize(
    "content", [b"\xc1", b"\x91" * 40, b"\x81\x90\x01", struct.pack(">BI", 0xDB, LIMIT_BYTES + 1)]
)
def test_what_no_agent_says_is_refused(content: bytes) -> None:
    with pytest.raises(RpcError):
        unpacked(content)


class Agent:
    """Answers as an agent does, from a list of (command, header's error, body)."""

    def __init__(self, *answers: tuple[str, str, Any]) -> None:
        self.answers = {name: (error, body) for name, error, body in answers}
        self.asked: list[Any] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        unpacker, header = Unpacker(), None
        while content := await reader.read(1000):
            for value in unpacker.feed(content):
                if header is None and b"Command" in value:
                    self.asked.append(value)
                    if value[b"Command"] in (b"handshake", b"auth", b"join", b"event"):
                        header = value
                        continue
                    header = value
                error, body = self.answers.get(header[b"Command"].decode(), ("", None))
                writer.write(packed({"Seq": header[b"Seq"], "Error": error}))
                if body is not None:
                    writer.write(packed(body))
                header = None
        writer.close()


async def ask(agent: Agent, *calls: str) -> list[Any]:
    server = await asyncio.start_server(agent.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        client = await RpcClient.connect("127.0.0.1", port, "sesame")
        try:
            said = []
            for call in calls:
                try:
                    said.append(
                        await (client.join(("192.168.5.102:8702",)) if call == "join" else client.members())
                    )  # fmt: skip
                except RpcError as error:
                    said.append(str(error))
            return said
        finally:
            await client.close()
    finally:
        server.close()
        await server.wait_closed()


async def test_a_join_that_fails_has_a_body_all_the_same_and_the_next_answer_is_understood() -> (
    None
):
    members = {"Members": [{"Name": "dmz01", "Addr": b"\xc0\xa8\x05\x65", "Status": "alive"}]}
    agent = Agent(("join", "no route to host", {"Num": 0}), ("members", "", members))
    assert await ask(agent, "join", "members") == [
        "join: no route to host",
        (SerfMember("dmz01", "alive"),),
    ]


async def test_a_wrong_key_is_told() -> None:
    with pytest.raises(RpcError, match="auth: Invalid authentication token"):
        await ask(Agent(("auth", "Invalid authentication token", None)))
