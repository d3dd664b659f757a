"""The API process: start, drain, signals, a taken port, metrics."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mintage.v1 import generation_pb2, generation_pb2_grpc, jobs_pb2, jobs_pb2_grpc
from redis.asyncio import Redis

from service.addresses import free_port
from service.api import interceptors
from service.api.server import CannotListenError, running
from service.settings import Settings
from tests.support.model_server import FakeModelServer
from tests.support.world import failure_of, run, until, world

REQUEST = generation_pb2.GenerateRequest(model="models/digits", count=1)


def test_draining_lets_calls_in_flight_finish_and_refuses_new_ones(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, grpc.aio.insecure_channel(at.address) as channel:
            generate = generation_pb2_grpc.GenerationServiceStub(channel).Generate
            at.models.answers.clear()
            call = asyncio.ensure_future(generate(REQUEST))
            await until(lambda: at.models.operations("generate"))
            draining = asyncio.create_task(at.api.drain(10.0))
            await until(lambda: not listens(at.address))
            async with grpc.aio.insecure_channel(at.address) as other:
                refused = await failure_of(generation_pb2_grpc.GenerationServiceStub(other).Generate(REQUEST))
            assert refused.code is grpc.StatusCode.UNAVAILABLE
            at.models.answers.set()
            assert len((await call).images) == 1
            await draining

    run(test())


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_calls_that_arrive_as_the_server_stops_are_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(interceptors, "QUIET_S", 0.5)
    monkeypatch.setattr(interceptors, "LONGEST_QUIET_S", 30.0)  # sixty calls take more than a second on a busy machine

    async def test() -> None:
        async with world(tmp_path) as at, grpc.aio.insecure_channel(at.address) as channel:
            stub = generation_pb2_grpc.GenerationServiceStub(channel)
            at.models.answers.clear()
            calls = [asyncio.ensure_future(failure_of(stub.Generate(REQUEST))) for _ in range(60)]
            draining = asyncio.create_task(at.api.drain(seconds))
            await until(lambda: at.models.operations("generate"))
            await at.api.end()
            told = {(failure.code, failure.reason) for failure in await asyncio.gather(*calls)}
            assert told == {(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")}
            await draining

    run(test())


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_a_drain_that_takes_too_long_ends_the_calls(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, grpc.aio.insecure_channel(at.address) as channel:
            at.models.answers.clear()
            call = generation_pb2_grpc.GenerationServiceStub(channel).Generate(REQUEST)
            await until(lambda: at.models.operations("generate"))
            await at.api.drain(0.05)
            failure = await failure_of(call)
            assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
            at.models.answers.set()

    run(test())


def test_a_taken_port_is_an_error_that_says_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at:
            settings = Settings(state_dir=tmp_path, api_address=at.address)
            with pytest.raises(CannotListenError, match="port is taken") as error:
                async with running(settings, models=at.models, redis=cast(Redis, at.redis)):
                    pass
            assert error.value.filename == at.address

    run(test())


def test_metrics_tell_of_calls_images_and_models(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def test() -> None:
        async with world(tmp_path, metrics_port=port) as at, grpc.aio.insecure_channel(at.address) as channel:
            generate = generation_pb2_grpc.GenerationServiceStub(channel).Generate
            await generate(generation_pb2.GenerateRequest(model="models/digits", count=3))
            await failure_of(generate(generation_pb2.GenerateRequest(model="models/digits")))
            text = await asyncio.to_thread(_read, f"http://127.0.0.1:{port}/metrics")
            method = 'method="/mintage.v1.GenerationService/Generate"'
            assert f'mintage_api_calls_total{{code="OK",{method}}} 1.0' in text
            assert f'mintage_api_calls_total{{code="INVALID_ARGUMENT",{method}}} 1.0' in text
            assert f"mintage_api_call_seconds_count{{{method}}} 2.0" in text
            assert f"mintage_api_calls_in_flight{{{method}}} 0.0" in text
            assert 'mintage_images_total{model="digits",operation="generate"} 3.0' in text
            assert 'mintage_model_ready{model="judge"} 1.0' in text
            assert 'mintage_model_withdrawn_batch_sizes{model="judge"} 0.0' in text
            backend = at.api.registry.find("digits").backend_name
            assert f'mintage_model_calls{{backend="{backend}"}} 0.0' in text

    run(test())


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read().decode())


def test_a_dead_job_store_is_unavailable_and_says_nothing_of_its_address(tmp_path: Path) -> None:
    dead = Redis.from_url("redis://:secret@127.0.0.1:1/0", socket_connect_timeout=0.2)

    async def test() -> None:
        settings = Settings(state_dir=tmp_path, api_address="127.0.0.1:0")
        async with (
            running(settings, models=FakeModelServer(settings.archives), redis=dead) as api,
            grpc.aio.insecure_channel(api.address) as channel,
        ):
            stub = jobs_pb2_grpc.JobServiceStub(channel)
            failure = await failure_of(stub.GetJob(jobs_pb2.GetJobRequest(name="jobs/abc")))
            assert failure.code is grpc.StatusCode.UNAVAILABLE
            assert failure.retry_after_s > 0
            assert "127.0.0.1:1" not in failure.message
            assert "secret" not in repr(failure)
            assert api.health.statuses()["mintage.v1.JobService"] is False
        await dead.aclose()

    run(test())


@contextlib.contextmanager
def api_process(folder: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A real API process whose Redis and TorchServe are not there."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MINTAGE_")},
        "MINTAGE_STATE_DIR": str(folder),
        "MINTAGE_API_ADDRESS": "127.0.0.1:0",
        "MINTAGE_REDIS_URL": "redis://127.0.0.1:1/0",
        "MINTAGE_TORCHSERVE_INFERENCE": "127.0.0.1:1",
        "MINTAGE_TORCHSERVE_MANAGEMENT": "127.0.0.1:1",
        **variables,
    }
    command = [sys.executable, "-m", "service", "serve", "api"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def next_event(process: subprocess.Popen[str], event: str) -> dict[str, str]:
    """Read the log up to an event."""
    for line in cast(IO[str], process.stderr):
        if line.startswith("{") and (found := json.loads(line))["event"] == event:
            return dict(found)
    raise AssertionError(f"the process ended without {event}")


def test_sigterm_drains_and_ends_with_0(tmp_path: Path) -> None:
    with api_process(tmp_path) as process:
        address = next_event(process, "listening")["address"]
        with grpc.insecure_channel(address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            process.send_signal(signal.SIGTERM)
            assert list(watch) == []
        assert next_event(process, "draining")["signal"] == "SIGTERM"
        assert next_event(process, "stopped")
        assert process.wait(60) == 0


def test_a_taken_port_ends_the_process_with_one_line_and_2(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        with api_process(tmp_path, MINTAGE_API_ADDRESS=address) as process:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 2
            assert f"mintage: {address}: cannot listen (MINTAGE_API_ADDRESS): the port is taken" in errors
            assert "Traceback" not in errors


def test_a_taken_metrics_port_is_said_with_its_setting(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        with api_process(tmp_path, MINTAGE_METRICS_PORT=port) as process:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 2
            assert f"127.0.0.1:{port}: cannot listen (MINTAGE_METRICS_PORT): the port is taken" in errors
            assert "Traceback" not in errors


def test_the_api_and_its_metrics_listen_on_an_ipv6_host(tmp_path: Path) -> None:
    port = free_port("::1")
    with api_process(tmp_path, MINTAGE_API_ADDRESS="[::1]:0", MINTAGE_METRICS_PORT=str(port)) as process:
        assert next_event(process, "listening")["address"].startswith("[::1]:")
        with urllib.request.urlopen(f"http://[::1]:{port}/metrics") as answer:
            assert answer.status == 200


def test_a_wrong_setting_ends_the_process_with_one_line_and_2(tmp_path: Path) -> None:
    for variables in (
        {"MINTAGE_LOAD_MODELS": "A=b"},
        {"MINTAGE_MAX_IMAGES": "many"},
        {"MINTAGE_API_ADDRESS": "127.0.0.1:99999"},
        {"MINTAGE_MAX_DEADLINE_S": "inf"},
    ):
        with api_process(tmp_path, **variables) as process:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 2
            assert next(iter(variables)).removeprefix("MINTAGE_").lower() in errors.lower()
            assert "Traceback" not in errors
