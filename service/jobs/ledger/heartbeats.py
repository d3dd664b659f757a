"""Heartbeats in Redis: the live workers, the leading dispatcher, and what is wrong without them."""

from __future__ import annotations

import os
import socket
from typing import Any

import redis
import redis.asyncio

from service.jobs.ledger.scripts import PREFIX, script
from service.settings import Settings

HEARTBEAT_S = 2.0  # between two heartbeats of a worker
DEAD_AFTER_S = 10.0  # without one: four may be late or lost


def worker_name(settings: Settings) -> str:
    """Name of this machine's worker, to be read by people."""
    return settings.worker_name or socket.gethostname()


class Heartbeat:
    """A worker's heartbeat, for Celery's blocking event loop."""

    def __init__(self, settings: Settings) -> None:
        url = settings.redis_url.get_secret_value()
        self._client = redis.Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=2.0)
        self._script = self._client.register_script(script("heartbeat"))
        self._name = f"{worker_name(settings)}#{os.getpid()}"

    def send(self, slots: int) -> None:
        """Report how many shards this worker runs at once; 0 means that it leaves."""
        self._script(keys=[PREFIX], args=[self._name, slots])

    def close(self) -> None:
        """Leave, and close the connection."""
        self.send(0)
        self._client.close()


async def problem(client: redis.asyncio.Redis, role: str, worker: str | None, pid: int | None = None) -> str | None:
    """Return why a `dispatcher` or a `worker` does not do its work, or None if it does.

    Args:
        client: connection to the ledger's Redis.
        role: which.
        worker: name of the worker; None is the one that this process's settings name.
        pid: process id that it must have; None is any.
    """
    if role == "dispatcher":
        leader = _text(await client.get(PREFIX + "leader") or b"")
        leads = leader.split("/")[1:2] == [str(pid)] if pid else bool(leader)
        return None if leads else "no dispatcher leads" if not leader else f"{leader} leads"
    name = worker or worker_name(Settings())
    seconds, _ = await client.time()
    alive: list[Any] = await client.zrangebyscore(PREFIX + "workers", (seconds - DEAD_AFTER_S) * 1000, "+inf")
    found = [_text(each).partition(" ")[2].rpartition("#") for each in alive]
    beats = any(each == name and (not pid or number == str(pid)) for each, _, number in found)
    return None if beats else f"no heartbeat of worker {name}"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
