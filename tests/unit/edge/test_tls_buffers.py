"""What a TLS connection keeps in memory while nothing comes."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto

from xsm.edge.tls import READ_BUFFER_BYTES, bound_buffers


def test_a_connection_takes_the_bounded_buffer() -> None:
    """asyncio documents no way to set it: this fails where a version takes the size from somewhere else."""

    async def buffer_bytes() -> int:
        context, loop = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), asyncio.get_running_loop()
        opened = loop.create_future()
        connection = sslproto.SSLProtocol(
            loop, asyncio.Protocol(), context, opened, server_hostname="dmz01.xsm"
        )
        opened.cancel()
        return len(connection.get_buffer(-1))

    bound_buffers()
    assert asyncio.run(buffer_bytes()) == READ_BUFFER_BYTES
