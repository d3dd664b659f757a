"""The connections to Redis: as many calls as may come, over a bounded number of them."""

from __future__ import annotations

import asyncio

from service.jobs.ledger.connection import MAX_CONNECTIONS, connect
from service.settings import Settings
from tests.support.valkey import Valkey


def test_more_commands_at_once_than_connections_wait_for_one(valkey: Valkey) -> None:
    async def asked() -> list[object]:
        client = connect(Settings(redis_url=valkey.url))
        try:
            waiting = (client.blpop(["nothing"], timeout=0.1) for _ in range(5 * MAX_CONNECTIONS))
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            connected = [each for each in await client.client_list() if each["cmd"] != "ping"]
        finally:
            await client.aclose()
        assert len(connected) <= MAX_CONNECTIONS + 1
        return list(answers)

    assert asyncio.run(asked()) == [None] * (5 * MAX_CONNECTIONS)
