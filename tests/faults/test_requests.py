"""The same request many times at once, from two APIs; an API that ends or dies while it is asked."""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mintage._client.async_client import AsyncClient
from mintage.errors import AlreadyExists, from_rpc
from mintage.retries import Retries
from mintage.v1 import (
    generation_pb2,
    generation_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
)

from tests.faults.engine import Engine, wait_until
from tests.faults.outputs import samples
from tests.support.valkey import free_port

pytestmark = pytest.mark.e2e

PATIENT = Retries(attempts=100, max_pause_s=0.3)


def test_a_hundred_same_requests_at_once_to_two_apis_are_one_job(engine: Engine) -> None:
    addresses = [engine.settings.api_address, f"127.0.0.1:{free_port()}"]
    engine.start_api()
    second = engine.start("api", MINTAGE_API_ADDRESS=addresses[1])
    engine.start("dispatcher")  # which notes that all jobs are indexed, so that they are listed

    async def ask(client: AsyncClient, count: int) -> jobs_pb2.Job | AlreadyExists:
        try:
            return await client.create_sample_job("digits", count, shard_size=4, request_id="one")
        except AlreadyExists as refused:
            return refused

    async def ask_all() -> list[jobs_pb2.Job | AlreadyExists]:
        async with AsyncClient(addresses[0], retries=PATIENT) as one, AsyncClient(addresses[1], retries=PATIENT) as two:
            requests = ((client, count) for _ in range(50) for client in (one, two) for count in (12, 13))
            return list(await asyncio.gather(*(ask(client, count) for client, count in requests)))

    answers = asyncio.run(ask_all())
    jobs = [answer for answer in answers if isinstance(answer, jobs_pb2.Job)]
    assert len(answers) == 200 and len(jobs) == 100
    assert len({job.name for job in jobs}) == 1
    assert second.poll() is None
    with engine.client() as client:
        assert [job.name for job in client.jobs()] == [jobs[0].name]
    assert len(list(Path(engine.settings.outputs).rglob("plan.json"))) == 1


def test_an_api_that_is_killed_or_stopped_again_and_again_makes_each_request_one_job_and_loses_no_watcher(
    engine: Engine,
) -> None:
    seed = secrets.randbits(32)
    print("seed", seed)
    chance = random.Random(seed)
    engine.start_all(workers=2)
    api = engine.start_api()
    seen: list[jobs_pb2.Job] = []

    def create_and_ask_again(number: int) -> str:
        with engine.client(retries=PATIENT) as client:
            first = client.create_sample_job("digits", 8, shard_size=4, request_id=f"request-{number}")
            again = client.create_sample_job("digits", 8, shard_size=4, request_id=f"request-{number}")
        assert first.name == again.name
        return first.name

    def watch(name: str) -> None:
        with engine.client(retries=PATIENT) as client:
            seen.extend(client.watch(name))

    with engine.client(retries=PATIENT) as client, ThreadPoolExecutor(5) as callers:
        long = client.create_sample_job("digits", 160, shard_size=8, max_images_per_second=20)
        watcher = callers.submit(watch, long.name)
        created = [callers.submit(create_and_ask_again, number) for number in range(40)]
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            time.sleep(chance.uniform(0.05, 0.5))
            engine.kill(api, number)
            api = engine.start_api()
        names = [each.result(60) for each in created]
        watcher.result(60)
        assert len(set(names)) == 40
        assert {job.name for job in client.jobs()} == {*names, long.name}
        for name in (*names, long.name):
            assert engine.wait_for(name).state == jobs_pb2.Job.STATE_SUCCEEDED
    assert samples(engine.job(long.name)) == list(range(160))
    done = [job.progress.images_done for job in seen]
    assert done == sorted(done) and seen[-1].state == jobs_pb2.Job.STATE_SUCCEEDED


def test_signals_end_every_call_in_flight_with_unavailable_and_the_second_at_once(engine: Engine) -> None:
    """Never CANCELLED, which a caller takes for its own doing: single calls, streams, watchers, uploads."""
    engine.start("dispatcher")
    api = engine.start_api(MINTAGE_DRAIN_S="600")
    log = engine.logs / "api-1.log"
    engine.models.pass_gate.clear()
    job = engine.sample()
    upload = models_pb2.PushArchiveRequest.Announcement(name="new.mar", digest="0" * 64, size_bytes=9)
    hang_up = threading.Event()

    def begun() -> Iterator[models_pb2.PushArchiveRequest]:
        yield models_pb2.PushArchiveRequest(announcement=upload)
        hang_up.wait()

    with grpc.insecure_channel(engine.settings.api_address) as channel, ThreadPoolExecutor(8) as callers:
        generate = generation_pb2_grpc.GenerationServiceStub(channel)
        watched = jobs_pb2_grpc.JobServiceStub(channel).WatchJob(jobs_pb2.WatchJobRequest(name=job.name))
        healthy = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watched).job.name == job.name and next(healthy)
        streamed = [
            generate.StreamGenerate(generation_pb2.StreamGenerateRequest(model="models/digits", count=count))
            for count in (1, 2)
        ]
        single = [
            generate.Generate.future(generation_pb2.GenerateRequest(model="models/digits", count=1), timeout=timeout)
            for timeout in (None, 500)
        ]
        pushed = models_pb2_grpc.ModelServiceStub(channel).PushArchive.future(begun())
        wait_until(lambda: len(engine.models.requests) == 4, "the calls in flight")
        wait_until(lambda: list(engine.settings.archives.glob(".*/*")), "the upload")

        ended = [callers.submit(how_it_ended, call) for call in (watched, *streamed)]
        api.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in log.read_text(), "the first signal")
        for each in ended:
            assert each.result(60) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        assert next(answer.status for answer in healthy) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not any(call.done() for call in (*single, pushed))
        api.send_signal(signal.SIGTERM)
        assert api.wait(60) == 0
        for call in (*single, pushed):
            error = from_rpc(call.exception())
            assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        hang_up.set()


def how_it_ended(stream: Any) -> tuple[grpc.StatusCode, str]:
    """Read a stream to its end."""
    try:
        for _ in stream:
            pass
    except grpc.RpcError as failure:
        error = from_rpc(failure)
        return error.code, error.reason
    return grpc.StatusCode.OK, ""
