"""The files of jobs are read piece by piece, and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from mintage.client import AsyncClient, Client
from mintage.errors import Damaged, NotFound
from mintage.v1 import jobs_pb2

from tests.client.answers import answers, fails
from tests.client.fakes import Script, Step
from tests.support.world import run


def shard_of(*data: bytes) -> Step:
    """Answer with a header for b"abcde", then with these parts."""

    def step(request: Any, context: grpc.ServicerContext) -> Iterator[jobs_pb2.ReadShardResponse]:
        digest = hashlib.sha256(b"abcde").hexdigest()
        yield jobs_pb2.ReadShardResponse(header=jobs_pb2.ShardHeader(digest=digest, size_bytes=5))
        for part in data:
            yield jobs_pb2.ReadShardResponse(data=part)

    return step


def test_a_shard_is_read_piece_by_piece_and_checked(script: Script, client: Client) -> None:
    script.then(shard_of(b"abc", b"de"), shard_of(b"abc"), shard_of(b"abcdx"), fails(grpc.StatusCode.NOT_FOUND))
    assert b"".join(client.read_shard("a", 3)) == b"abcde"
    assert (script.requests[0].name, script.requests[0].index) == ("jobs/a", 3)
    for _ in range(2):
        with pytest.raises(Damaged):
            list(client.read_shard("a", 3))
    with pytest.raises(NotFound):
        list(client.read_shard("a", 3))


def test_a_shard_is_read_with_asyncio_too(script: Script) -> None:
    async def test() -> None:
        script.then(shard_of(b"abc", b"de"), shard_of(b"x"))
        async with AsyncClient(script.address) as client:
            assert b"".join([part async for part in client.read_shard("a", 3)]) == b"abcde"
            with pytest.raises(Damaged):
                _ = [part async for part in client.read_shard("a", 3)]

    run(test())


def file_of(*data: bytes, digest: bool = True) -> Step:
    """Answer with a size, these parts, and the digest of b"abcde"."""

    def step(request: Any, context: grpc.ServicerContext) -> Iterator[jobs_pb2.ReadJobFileResponse]:
        yield jobs_pb2.ReadJobFileResponse(file=jobs_pb2.JobFile(name="a.json", size_bytes=5))
        for part in data:
            yield jobs_pb2.ReadJobFileResponse(data=part)
        if digest:
            yield jobs_pb2.ReadJobFileResponse(digest=hashlib.sha256(b"abcde").hexdigest())

    return step


def test_another_file_is_read_and_checked_too(script: Script, client: Client) -> None:
    listed = jobs_pb2.ListJobFilesResponse(files=[jobs_pb2.JobFile(name="a.json", size_bytes=5)])
    script.then(answers(listed), file_of(b"abc", b"de"), file_of(b"abc", b"dx"), file_of(b"abcde", digest=False))
    assert client.files("a") == list(listed.files)
    assert b"".join(client.read_file("a", "a.json")) == b"abcde"
    assert (script.requests[1].name, script.requests[1].file_name) == ("jobs/a", "a.json")
    for _ in range(2):
        with pytest.raises(Damaged):
            list(client.read_file("a", "a.json"))


def test_another_file_is_read_with_asyncio_too(script: Script) -> None:
    async def test() -> None:
        script.then(answers(jobs_pb2.ListJobFilesResponse()), file_of(b"abcde"), file_of())
        async with AsyncClient(script.address) as client:
            assert await client.files("a") == []
            assert b"".join([part async for part in client.read_file("a", "a.json")]) == b"abcde"
            with pytest.raises(Damaged):
                _ = [part async for part in client.read_file("a", "a.json")]

    run(test())
