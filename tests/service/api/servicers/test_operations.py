"""google.longrunning.Operations over a real gRPC server and a real Valkey, as a client sees it that knows only that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2
from mintage.v1 import jobs_pb2

from service.api.interceptors import CallInterceptor
from service.api.servicers.operations import OperationsServicer
from service.jobs.ledger.connection import connect
from service.jobs.ledger.ledger import Ledger
from service.metrics import Metrics
from service.settings import Settings
from tests.support.job_api import refused, wrong_fields
from tests.support.plans import sample_plan
from tests.support.valkey import Valkey
from tests.support.world import run

Code = grpc.StatusCode
JOBS = [f"01job{number}" for number in range(4)]


@contextlib.asynccontextmanager
async def serving(folder: Path, valkey: Valkey) -> AsyncIterator[tuple[Any, Ledger]]:
    settings = Settings.model_validate({"state_dir": folder, "redis_url": valkey.url})
    client = connect(settings)
    server = grpc.aio.server(interceptors=[CallInterceptor(Metrics(), max_deadline_s=30)])
    operations_pb2_grpc.add_OperationsServicer_to_server(OperationsServicer(settings, client), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            ledger = Ledger(client)
            for job in JOBS:
                await ledger.create(sample_plan(job=job, prefix=f"jobs/{job}"))
            yield operations_pb2_grpc.OperationsStub(channel), ledger
    finally:
        await server.stop(None)
        await client.aclose()


async def end(ledger: Ledger, job: str, state: Any, error: str = "") -> None:
    """Bring a job to its end."""
    await ledger.cancel(job)
    assert await ledger.finish(job, "CANCELLING", state, error=error)


def test_a_job_is_an_operation_whose_metadata_is_the_job(tmp_path: Path, valkey: Valkey) -> None:
    async def test() -> None:
        async with serving(tmp_path, valkey) as (stub, _):
            found = await stub.GetOperation(operations_pb2.GetOperationRequest(name=f"operations/{JOBS[0]}"))
            job = jobs_pb2.Job()
            assert found.metadata.Unpack(job) and job.name == f"jobs/{JOBS[0]}"
            assert not found.done and found.WhichOneof("result") is None

    run(test())


@pytest.mark.parametrize(
    ("state", "error", "code"),
    [
        ("SUCCEEDED", "", None),
        ("PARTIALLY_SUCCEEDED", "1 of 3 shards failed", None),
        ("CANCELLED", "", code_pb2.CANCELLED),
        ("FAILED", "NO_SPACE: the output folder's disk is full", code_pb2.RESOURCE_EXHAUSTED),
        ("FAILED", "OUTPUT_DAMAGED: x", code_pb2.ABORTED),
    ],
)
def test_an_operation_ends_with_the_job_or_an_error(
    tmp_path: Path, valkey: Valkey, state: str, error: str, code: int | None
) -> None:
    async def test() -> None:
        async with serving(tmp_path, valkey) as (stub, ledger):
            await end(ledger, JOBS[0], state, error)
            request = operations_pb2.WaitOperationRequest(name=f"operations/{JOBS[0]}")
            found = await stub.WaitOperation(request)
            assert found.done
            if code is None:
                job = jobs_pb2.Job()
                assert found.response.Unpack(job)
                assert jobs_pb2.Job.State.Name(job.state) == f"STATE_{state}"
            else:
                assert found.error.code == code
                assert not error or found.error.message == error

    run(test())


async def answered_before_the_deadline(stub: operations_pb2_grpc.OperationsStub, name: str) -> bool:
    """Wait until the deadline is near; returns whether it is done. A busy machine may be late, but not every time."""
    for _ in range(20):
        with contextlib.suppress(grpc.aio.AioRpcError):
            return bool((await stub.WaitOperation(operations_pb2.WaitOperationRequest(name=name), timeout=1.5)).done)
    raise AssertionError("the answer comes after the caller's deadline, not before it")


def test_waiting_ends_with_the_job_or_the_timeout(tmp_path: Path, valkey: Valkey) -> None:
    async def test() -> None:
        async with serving(tmp_path, valkey) as (stub, ledger):
            name = f"operations/{JOBS[0]}"
            request = operations_pb2.WaitOperationRequest(name=name, timeout=Duration(nanos=300_000_000))
            assert not (await stub.WaitOperation(request)).done
            assert not await answered_before_the_deadline(stub, name)
            waiting = asyncio.ensure_future(stub.WaitOperation(operations_pb2.WaitOperationRequest(name=name)))
            await asyncio.sleep(0.3)
            await end(ledger, JOBS[0], "CANCELLED")
            assert (await asyncio.wait_for(waiting, 60)).done

    run(test())


@pytest.mark.parametrize("timeout", [Duration(seconds=-1), Duration(seconds=-(2**62)), Duration(seconds=1, nanos=-5)])
def test_a_wait_of_less_than_nothing_or_of_no_duration_at_all_ends(
    tmp_path: Path, valkey: Valkey, timeout: Duration
) -> None:
    async def test() -> None:
        async with serving(tmp_path, valkey) as (stub, _):
            request = operations_pb2.WaitOperationRequest(name=f"operations/{JOBS[0]}", timeout=timeout)
            assert await wrong_fields(stub.WaitOperation(request)) == ["timeout"]

    run(test())


def test_a_wait_for_ages_ends_with_the_job(tmp_path: Path, valkey: Valkey) -> None:
    async def test() -> None:
        async with serving(tmp_path, valkey) as (stub, ledger):
            await end(ledger, JOBS[0], "CANCELLED")
            for seconds in (10_000 * 365 * 86_400, 2**62):
                timeout = Duration(seconds=seconds)
                request = operations_pb2.WaitOperationRequest(name=f"operations/{JOBS[0]}", timeout=timeout)
                assert (await stub.WaitOperation(request)).done

    run(test())


def test_operations_are_listed_in_pages_the_newest_first_and_filtered(tmp_path: Path, valkey: Valkey) -> None:
    async def test() -> None:
        async with serving(tmp_path, valkey) as (stub, ledger):
            await end(ledger, JOBS[1], "CANCELLED")

            async def names(**fields: Any) -> list[str]:
                found: list[str] = []
                while True:
                    page = await stub.ListOperations(operations_pb2.ListOperationsRequest(page_size=2, **fields))
                    found += [operation.name.removeprefix("operations/") for operation in page.operations]
                    fields["page_token"] = page.next_page_token
                    if not page.next_page_token:
                        return found

            assert await names(name="operations") == JOBS[::-1]
            assert await names(filter="done = true") == [JOBS[1]]
            assert await names(filter="done=false") == [JOBS[3], JOBS[2], JOBS[0]]
            wrong = operations_pb2.ListOperationsRequest(name="x", filter="age > 3", page_size=-1, page_token="?")
            fields = ["filter", "name", "page_size", "page_token"]
            assert await wrong_fields(stub.ListOperations(wrong)) == fields

    run(test())


def test_an_operation_is_cancelled_but_never_deleted(tmp_path: Path, valkey: Valkey) -> None:
    async def test() -> None:
        async with serving(tmp_path, valkey) as (stub, ledger):
            name = f"operations/{JOBS[0]}"
            folder = tmp_path / "outputs/jobs" / JOBS[0]
            folder.mkdir(parents=True)
            await stub.CancelOperation(operations_pb2.CancelOperationRequest(name=name))
            assert (await ledger.job(JOBS[0])).state == "CANCELLING"
            assert (folder / "intent").read_bytes() == b"cancelled\n", "a Redis that was emptied can be told"
            said = await refused(
                stub.DeleteOperation(operations_pb2.DeleteOperationRequest(name=name)), Code.UNIMPLEMENTED
            )
            assert "DeleteJob" in said
            for bad, code in (("operations/nosuch", Code.NOT_FOUND), ("jobs/x", Code.INVALID_ARGUMENT)):
                await refused(stub.GetOperation(operations_pb2.GetOperationRequest(name=bad)), code)
                await refused(stub.CancelOperation(operations_pb2.CancelOperationRequest(name=bad)), code)

    run(test())
