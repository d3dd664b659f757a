"""Health: SERVING if and only if a real call would succeed."""

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.support.world import World, failure_of, run, until, world

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
GENERATION, LATENTS, CLASSIFICATION, NEURONS, EXPLANATION, MODELS, JOBS = (
    f"mintage.v1.{name}Service"
    for name in ("Generation", "Latent", "Classification", "Neuron", "Explanation", "Model", "Job")
)
OPERATIONS = "google.longrunning.Operations"
EVERYTHING = {
    "",
    GENERATION,
    LATENTS,
    CLASSIFICATION,
    NEURONS,
    EXPLANATION,
    MODELS,
    JOBS,
    OPERATIONS,
    "models/digits",
    "models/judge",
}


async def serving(channel: grpc.aio.Channel) -> set[str]:
    check = health_pb2_grpc.HealthStub(channel).Check
    answers = {name: await check(health_pb2.HealthCheckRequest(service=name)) for name in EVERYTHING}
    return {name for name, each in answers.items() if each.status == SERVING}


async def looked(at: World) -> None:
    await at.api.reconciler.reconcile_once()
    await at.api.reconciler.join()
    await at.api.health.poll()


def test_health_follows_redis_storage_and_the_model_server(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, grpc.aio.insecure_channel(at.address) as channel:
            await looked(at)
            assert await serving(channel) == EVERYTHING
            at.redis.dead = True
            await looked(at)
            assert await serving(channel) == EVERYTHING - {"", JOBS, OPERATIONS}
            at.redis.dead, at.redis.storage_refuses = False, True
            await looked(at)
            assert await serving(channel) == EVERYTHING - {"", JOBS}
            at.redis.storage_refuses, at.models.dead = False, True
            await looked(at)
            assert await serving(channel) == {JOBS, OPERATIONS}
            at.models.restart()
            await looked(at)
            at.models.hangs = True
            await looked(at)
            assert await serving(channel) == EVERYTHING - {"", MODELS, NEURONS}  # no autoencoder is loaded
            at.models.hangs = False
            await looked(at)
            assert await serving(channel) == EVERYTHING

    run(test())


def test_health_follows_each_model(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, grpc.aio.insecure_channel(at.address) as channel:
            await looked(at)
            at.api.registry.mark(at.api.registry.find("digits"), "failed", "for this test")
            assert await serving(channel) == EVERYTHING - {"", GENERATION, LATENTS, "models/digits"}

    run(test())


def test_an_unknown_name_is_not_found(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, grpc.aio.insecure_channel(at.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            failure = await failure_of(stub.Check(health_pb2.HealthCheckRequest(service="models/nobody")))
            assert failure.code is grpc.StatusCode.NOT_FOUND

    run(test())


def test_a_wanted_model_that_cannot_be_loaded_shows_in_the_whole(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            world(tmp_path, load_models="other=missing.mar") as at,
            grpc.aio.insecure_channel(at.address) as channel,
        ):
            await looked(at)
            assert await serving(channel) == EVERYTHING - {""}

    run(test())


def test_a_watcher_hears_of_each_change_and_of_the_end(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, grpc.aio.insecure_channel(at.address) as channel:
            await looked(at)
            stub = health_pb2_grpc.HealthStub(channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest(service="models/digits"))
            unknown = stub.Watch(health_pb2.HealthCheckRequest(service="models/later"))
            assert (await watch.read()).status == SERVING
            assert (await unknown.read()).status == SERVICE_UNKNOWN
            at.models.dead = True
            await looked(at)
            assert (await watch.read()).status == NOT_SERVING
            at.models.restart()
            await looked(at)
            assert (await watch.read()).status == SERVING
            draining = asyncio.create_task(at.api.drain(5.0))
            assert (await watch.read()).status == NOT_SERVING
            assert await watch.read() is grpc.aio.EOF
            await draining

    run(test())


def test_draining_says_so_before_it_refuses(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, grpc.aio.insecure_channel(at.address) as channel:
            await looked(at)
            at.api.health.stop()
            assert await serving(channel) == set()
            await looked(at)
            assert await serving(channel) == set()

    run(test())


@pytest.mark.parametrize("name", [GENERATION, CLASSIFICATION, MODELS, JOBS, "grpc.health.v1.Health"])
def test_reflection_knows_every_service(tmp_path: Path, name: str) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, grpc.aio.insecure_channel(at.address) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            stream = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
            answer = await stream.read()
            assert name in {service.name for service in answer.list_services_response.service}

    run(test())


def test_the_world_settles_by_itself(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at:
            await until(lambda: all(at.api.health.statuses().values()))

    run(test())
