"""Idle clients may ping as often as the server says: gRPC takes an option of a wrong name in silence."""

from __future__ import annotations

import asyncio
import struct
import time

import grpc
import pytest

from service.api.server import server_options
from service.settings import Settings
from tests.support.world import run

OPTION = "grpc.http2.min_ping_interval_without_data_ms"
INTERVAL_S = 0.1
PINGS = 6  # gRPC forgives two that come too early
GOAWAY, PING = 7, 6


def frame(kind: int, flags: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 on the connection itself."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + bytes(4) + payload


async def goaway_after(pause_s: float) -> bool:
    """Ping a server that has our options, with a short interval, in an idle connection; returns whether it hung up."""
    options = dict(server_options(Settings()))
    assert options[OPTION] == 10_000  # well below the 30 s of our clients
    server = grpc.aio.server(options=list({**options, OPTION: int(INTERVAL_S * 1000)}.items()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, b""))
        for _ in range(PINGS):
            writer.write(frame(PING, 0, bytes(8)))
            begin = time.monotonic()
            kind, flags = -1, 0
            while (kind, flags) != (PING, 1):
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3]))
                kind, flags = head[3], head[4]
                if kind == GOAWAY:
                    assert b"too_many_pings" in payload
                    return True
            await asyncio.sleep(max(0.0, pause_s - (time.monotonic() - begin)))
        return False
    finally:
        writer.close()
        await server.stop(None)


@pytest.mark.parametrize(("pause_s", "hangs_up"), [(2 * INTERVAL_S, False), (0.0, True)])
def test_pings_that_come_as_often_as_allowed_are_answered(pause_s: float, *, hangs_up: bool) -> None:
    async def test() -> None:
        assert await goaway_after(pause_s) == hangs_up

    run(test())
