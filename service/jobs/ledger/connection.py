"""Connecting to the Redis of the ledger: commands have a deadline, and a connection that broke says so."""

from __future__ import annotations

from typing import Any

import redis.exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from service.settings import Settings

MAX_CONNECTIONS = 64  # of one process; with all of them in use, commands wait for one


def connect(settings: Settings) -> Redis:
    """Open a connection pool to the ledger. Commands have a deadline; one lost with its connection is repeated.

    The library's own pool refuses the command that would need a connection too many, as if Redis did not answer.
    """
    pool = BlockingConnectionPool.from_url(
        settings.redis_url.get_secret_value(),
        max_connections=MAX_CONNECTIONS,
        timeout=5.0,
        retry=Retry(ConstantBackoff(0.05), 1),
        retry_on_error=[redis.exceptions.ConnectionError],
        socket_timeout=5.0,
        socket_connect_timeout=2.0,
        socket_keepalive=True,
        health_check_interval=25,
    )
    pool.connection_class = _telling_when_it_is_closed(pool.connection_class)
    return Redis.from_pool(pool)


def _telling_when_it_is_closed(kind: type[Any]) -> type[Any]:
    """Return a kind of connection whose writes fail with redis's own error where uvloop's fail with a RuntimeError."""

    class Connection(kind):  # type: ignore[misc]
        async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            try:
                await super().send_packed_command(command, check_health)
            except RuntimeError as error:
                raise redis.exceptions.ConnectionError(f"the connection is closed: {error}") from error

    return Connection
