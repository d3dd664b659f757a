"""Running the Lua scripts in `lua/`, and translating Redis's errors."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

import redis.exceptions
from redis.asyncio import Redis

from service.errors import ResourceExhausted, Unavailable
from service.jobs.plan import VERSION

PREFIX = "mintage:"
_SCRIPTS = resources.files("service.jobs.ledger") / "lua"
_SHARED = f"local VERSION = {VERSION}\n" + "".join(
    (_SCRIPTS / f"{name}.lua").read_text() for name in ("prelude", "accounts", "turns", "transitions")
)
_STEPS = {"turn": ("lead", "incarnation", "expire", "dispatch", "ending")}  # scripts that another one calls


class Scripts:
    """The scripts of one connection."""

    def __init__(self, client: Redis) -> None:
        self._redis = client
        self._known: dict[str, Any] = {}

    async def run(self, name: str, *arguments: str | float, keys: Sequence[str] = ()) -> dict[str, Any]:
        """Run one script; its answer is one JSON object."""
        if name not in self._known:
            self._known[name] = self._redis.register_script(script(name))
        with translated():
            reply = await self._known[name](keys=[PREFIX, *keys], args=list(arguments))
        return dict(json.loads(reply))


def script(name: str) -> str:
    """Return the text of one Lua script, preceded by what all of them share and by those that it calls."""
    steps = (f"local function {step}(ARGV)\n{_text(step)}end\n" for step in _STEPS.get(name, ()))
    return "".join((_SHARED, *steps, _text(name)))


def _text(name: str) -> str:
    return (_SCRIPTS / f"{name}.lua").read_text()


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn Redis's errors into the service's, and make sure that a cancelled call ends.

    redis-py 8.1 returns normally from a call that was cancelled a moment before its answer came.
    """
    task = asyncio.current_task()
    cancels = task.cancelling() if task else 0
    try:
        yield
        if task and task.cancelling() > cancels:
            raise asyncio.CancelledError
    except redis.exceptions.OutOfMemoryError as error:
        raise ResourceExhausted("the job store is full", retry_after_s=10.0, reason="JOB_STORE_FULL") from error
    except redis.exceptions.ResponseError as error:
        if "OOM " in str(error):
            raise ResourceExhausted("the job store is full", retry_after_s=10.0, reason="JOB_STORE_FULL") from error
        if any(code in str(error) for code in ("MISCONF", "READONLY", "LOADING", "BUSY ")):
            raise Unavailable("the job store takes no writes now", reason="JOB_STORE_UNAVAILABLE") from error
        raise
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError) as error:
        raise Unavailable("the job store does not answer", reason="JOB_STORE_UNAVAILABLE") from error
