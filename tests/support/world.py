"""A model server of this process, a Redis that only answers pings, and an API over both on a free port."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from service.api.server import Api, running
from service.settings import Settings
from tests.support.formula import put
from tests.support.model_server import FakeModelServer

T = TypeVar("T")


@dataclass
class FakeRedis:
    """Answers, and says whether jobs can be written."""

    dead: bool = False
    storage_refuses: bool = False

    async def ping(self) -> bool:
        """Answer, or not."""
        if self.dead:
            raise RedisConnectionError("secret address")
        return True

    async def exists(self, _: str) -> int:
        """Know whether a key exists: the one about storage."""
        await self.ping()
        return int(self.storage_refuses)

    def register_script(self, _: str) -> Callable[..., Coroutine[Any, Any, str]]:
        """Know a script: the one that names the models which jobs need."""

        async def run(**_: Any) -> str:
            await self.ping()
            return '{"known": true, "backends": []}'

        return run


@dataclass(frozen=True)
class World:
    """An API and what is behind it."""

    api: Api
    models: FakeModelServer
    redis: FakeRedis
    settings: Settings

    @property
    def address(self) -> str:
        """host:port of the API."""
        return self.api.address


@contextlib.asynccontextmanager
async def world(
    folder: Path, *, prepare: Callable[[FakeModelServer], None] = lambda _: None, **settings: Any
) -> AsyncIterator[World]:
    """An API on a free port with the models `digits` (a generator) and `judge` (a classifier), both ready."""
    chosen = Settings(state_dir=folder, api_address="127.0.0.1:0", **settings)
    models, redis = FakeModelServer(chosen.archives), FakeRedis()
    put(chosen.archives, "digits", "generator")
    put(chosen.archives, "judge", "classifier")
    prepare(models)
    async with running(chosen, models=models, redis=cast(Redis, redis)) as api:
        await until(lambda: all(entry.condition.state == "ready" for entry in api.registry.entries()))
        models.requests.clear()
        yield World(api, models, redis, chosen)


async def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run one asynchronous test with a limit."""

    async def limited() -> T:
        async with asyncio.timeout(120):
            return await test

    return asyncio.run(limited())


@dataclass(frozen=True)
class Failure:
    """How a call failed: its status, text, details by type, and trailing metadata."""

    code: grpc.StatusCode
    message: str
    details: Mapping[str, Message]
    trailers: Mapping[str, Any]

    @property
    def reason(self) -> str:
        """Reason of the ErrorInfo, which every failure has."""
        info = self.details["ErrorInfo"]
        assert isinstance(info, error_details_pb2.ErrorInfo)
        assert info.domain == "mintage"
        return str(info.reason)

    @property
    def fields(self) -> list[str]:
        """Every wrong field."""
        bad = self.details["BadRequest"]
        assert isinstance(bad, error_details_pb2.BadRequest)
        return [violation.field for violation in bad.field_violations]

    @property
    def retry_after_s(self) -> float:
        """When to try again."""
        retry = self.details["RetryInfo"]
        assert isinstance(retry, error_details_pb2.RetryInfo)
        return float(retry.retry_delay.ToTimedelta().total_seconds())


async def failure_of(call: Any) -> Failure:
    """Await a call of a stub that must fail."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        status = rpc_status.from_call(_Sync(error))
        details = {}
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            for packed in status.details if status is not None else ():
                message = kind()
                if packed.Unpack(message):
                    details[kind.__name__] = message
        return Failure(error.code(), error.details() or "", details, dict(error.trailing_metadata()))
    raise AssertionError(f"did not fail: {answer!r:.200}")


class _Sync:
    """An asynchronous error as `grpc_status` wants it."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code
        self.details = error.details
        self.trailing_metadata = error.trailing_metadata
