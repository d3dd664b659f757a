"""Reading a job's files: its shards, and the files beside them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import BinaryIO

from mintage.v1 import jobs_pb2

from service.api.servicers.jobs.requests import checked_name
from service.errors import FailedPrecondition, NotFound
from service.jobs.dispatch.contact_sheet import CONTACT_SHEET
from service.jobs.ledger.ledger import Ledger
from service.jobs.plan import Plan
from service.jobs.shards.formats.choice import layout_of
from service.jobs.shards.formats.folder import METADATA_FILE
from service.jobs.shards.marker import read_marker
from service.jobs.storage.output import Output, OutputError
from service.jobs.storage.store import Store
from service.validation import JOB_FILE, Violations

READ_BYTES = 1 << 20  # of one message: far below gRPC's limit, large enough that threads and messages cost little


class JobFiles:
    """Lists and reads the files of jobs."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger = ledger
        self._store = store

    async def read_shard(self, request: jobs_pb2.ReadShardRequest) -> AsyncIterator[jobs_pb2.ReadShardResponse]:
        """Stream the file of a finished shard."""
        plan = (await self._ledger.job(checked_name(request.name))).plan
        await self._check_done(plan, request.index)
        try:
            async for part in _parts(self._store.output(plan.prefix), plan, request.index):
                yield part
        except (OutputError, OSError) as error:
            raise FailedPrecondition(f"the shard cannot be read: {error}", reason="OUTPUT_DAMAGED") from error

    async def list_files(self, request: jobs_pb2.ListJobFilesRequest) -> jobs_pb2.ListJobFilesResponse:
        """List the files beside the shards."""
        plan = (await self._ledger.job(checked_name(request.name))).plan
        try:
            files = await asyncio.to_thread(_files, self._store.output(plan.prefix))
        except (OutputError, OSError) as error:
            raise FailedPrecondition(f"the folder cannot be read: {error}", reason="OUTPUT_DAMAGED") from error
        return jobs_pb2.ListJobFilesResponse(files=files)

    async def read_file(self, request: jobs_pb2.ReadJobFileRequest) -> AsyncIterator[jobs_pb2.ReadJobFileResponse]:
        """Stream a file beside the shards."""
        violations = Violations()
        job = violations.job_name("name", request.name)
        expected = "the name of a file beside the shards, such as manifest.json, without a folder"
        name = violations.matches("file_name", request.file_name, JOB_FILE, expected)
        violations.check()
        plan = (await self._ledger.job(job)).plan
        output = self._store.output(plan.prefix)
        size = await asyncio.to_thread(_size, output, name)
        if size is None:
            raise NotFound(f"jobs/{job} has no file {name}; ListJobFiles names what it has", reason="NO_SUCH_FILE")
        yield jobs_pb2.ReadJobFileResponse(file=jobs_pb2.JobFile(name=name, size_bytes=size))
        try:
            async for part in _bytes_of(output, name):
                yield part
        except (OutputError, OSError) as error:
            raise FailedPrecondition(f"{name} cannot be read: {error}", reason="OUTPUT_DAMAGED") from error

    async def _check_done(self, plan: Plan, shard: int) -> None:
        """Refuse a shard that does not exist or is not finished."""
        inside = 0 <= shard < plan.shards
        views = await self._ledger.shards(plan.job, first=shard, limit=1) if inside else []
        if not views or views[0].state != "DONE":
            why = f"is {views[0].state}, not finished" if views else f"does not exist: there are {plan.shards:,}"
            raise NotFound(f"shard {shard} of jobs/{plan.job} {why}", reason="SHARD_NOT_FINISHED")


async def _parts(output: Output, plan: Plan, shard: int) -> AsyncIterator[jobs_pb2.ReadShardResponse]:
    """Read a shard's file piece by piece in threads, after a header with what its marker says."""
    layout = layout_of(plan)
    marker = await asyncio.to_thread(read_marker, output, shard)
    if marker is None:
        raise OutputError(f"the marker of {layout.name(shard)} is missing")
    digest, size = await asyncio.to_thread(layout.as_file, output, marker)
    header = jobs_pb2.ShardHeader(digest=digest, size_bytes=size, file_name=layout.file_name(shard))
    yield jobs_pb2.ReadShardResponse(header=header)
    with contextlib.ExitStack() as stack:
        file = await asyncio.to_thread(stack.enter_context, layout.open(output, shard))
        while data := await asyncio.to_thread(_read, file):
            yield jobs_pb2.ReadShardResponse(data=data)


async def _bytes_of(output: Output, name: str) -> AsyncIterator[jobs_pb2.ReadJobFileResponse]:
    """Read a file piece by piece in threads, then give its digest."""
    digest = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        file = await asyncio.to_thread(stack.enter_context, output.open(name))
        while data := await asyncio.to_thread(_read, file):
            digest.update(data)
            yield jobs_pb2.ReadJobFileResponse(data=data)
    yield jobs_pb2.ReadJobFileResponse(digest=digest.hexdigest())


def _files(output: Output) -> list[jobs_pb2.JobFile]:
    """Every plain file of the job's folder itself, and what else is no shard and no marker."""
    names = sorted({*output.names(), CONTACT_SHEET, METADATA_FILE})
    sizes = {name: _size(output, name) for name in names if JOB_FILE.fullmatch(name)}
    return [jobs_pb2.JobFile(name=name, size_bytes=size) for name, size in sizes.items() if size is not None]


def _size(output: Output, name: str) -> int | None:
    """A file's size in bytes; None for anything else, such as a folder."""
    try:
        return output.size(name)
    except (OutputError, IsADirectoryError):
        return None


def _read(file: BinaryIO) -> bytes:
    return file.read(READ_BYTES)
