"""Invert by gRPC, with real networks: progress, the same answer again, and no work for a caller who has left."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from mintage.v1 import classification_pb2, generation_pb2, generation_pb2_grpc, latents_pb2, latents_pb2_grpc
from mintage.v1.latents_pb2 import InvertRequest, Latent
from PIL import Image

from handlers.compute.model import Model, from_run
from service.api.servicers.latents.inverting import CALL_ROWS
from tests.support.real_models import real_world
from tests.support.world import World, failure_of, run, until
from tests.training.fakes import blobs, small_dcgan_recipe
from training.loop.loop import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """A generator and its discriminator."""
    folder = tmp_path_factory.mktemp("runs") / "dcgan"
    train(small_dcgan_recipe(), blobs(side=32), folder)
    kinds = (("faces", "generator"), ("critic", "discriminator"))
    return {name: from_run(folder, kind, CPU, micro_batch=4) for name, kind in kinds}  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def inverting(folder: Path, networks: dict[str, Model]) -> AsyncIterator[tuple[World, Any, bytes]]:
    """A world, its LatentService, and the PNG file of a sample."""
    torch.set_num_threads(1)
    async with real_world(folder, networks) as at, grpc.aio.insecure_channel(at.address) as channel:
        generate = generation_pb2_grpc.GenerationServiceStub(channel).Generate
        made = await generate(generation_pb2.GenerateRequest(model="models/faces", count=1, seed=11, first_index=4))
        at.models.requests.clear()
        yield at, latents_pb2_grpc.LatentServiceStub(channel), made.images[0]


def asking(image: bytes, **fields: Any) -> InvertRequest:
    encoded = classification_pb2.EncodedImages(files=[image])
    return InvertRequest(**{"model": "models/faces", "encoded": encoded, "starts": 2, "steps": 160, **fields})


async def last_of(stream: Any) -> latents_pb2.InvertResponse:
    parts: list[latents_pb2.InvertResponse] = [part async for part in stream]
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    steps = [part.step for part in parts]
    assert steps == sorted(set(steps)) and steps[-1] == parts[-1].steps
    return parts[-1]


@pytest.mark.parametrize("pixels_only", [False, True])
def test_a_sample_is_found_again_and_its_picture_is_that_of_draw(
    tmp_path: Path, networks: dict[str, Model], pixels_only: bool
) -> None:
    async def test() -> None:
        async with inverting(tmp_path, networks) as (at, service, image):
            found = await last_of(service.Invert(asking(image, pixels_only=pixels_only)))
            assert found.pixel_error < 2 and found.loss < 0.01
            assert {name.rpartition("-")[0] for name, sent in at.models.requests if sent["op"] == "invert"} == {
                "faces" if pixels_only else "critic"
            }
            latent = Latent(values=latents_pb2.LatentValues(values=found.values))
            drawn = await service.Draw(latents_pb2.DrawRequest(model="models/faces", latents=[latent]))
            assert drawn.images[0] == found.image
            given, made = (np.asarray(Image.open(io.BytesIO(file)), np.float64) for file in (image, found.image))
            assert found.pixel_error == pytest.approx(np.sqrt(((given - made) ** 2).mean()), rel=1e-5)
            again = await last_of(service.Invert(asking(image, pixels_only=pixels_only)))
            assert again == found

    run(test())


def test_calls_are_short_and_cover_every_start_and_step(tmp_path: Path, networks: dict[str, Model]) -> None:
    async def test() -> None:
        async with inverting(tmp_path, networks) as (at, service, image):
            await last_of(service.Invert(asking(image, starts=11, steps=3)))
            sent = at.models.operations("invert")
            assert [(each["first_start"], each["starts"]) for each in sent[:11]] == [(start, 1) for start in range(11)]
            assert [(each["step"], each["count"], each["starts"]) for each in sent[11:]] == [
                (step, 1, starts) for step in range(3) for starts in (4, 4, 3)
            ]
            at.models.requests.clear()
            await last_of(service.Invert(asking(image, starts=1, steps=CALL_ROWS + 1)))
            assert [each.get("count") for each in at.models.operations("invert")] == [None, CALL_ROWS, 1]

    run(test())


def test_nothing_is_computed_for_a_caller_who_has_left(tmp_path: Path, networks: dict[str, Model]) -> None:
    async def test() -> None:
        async with inverting(tmp_path, networks) as (at, service, image):
            stream = service.Invert(asking(image, starts=8, steps=2000))
            await until(lambda: len(at.models.operations("invert")) > 2)
            stream.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stream.read()
            await until(lambda: not any(at.api.admissions.counts().values()))
            before = len(at.models.operations("invert"))
            await service.ListDirections(latents_pb2.ListDirectionsRequest(model="models/faces"))
            assert len(at.models.operations("invert")) == before < 2000

    run(test())


def test_what_cannot_be_inverted_is_named(tmp_path: Path, networks: dict[str, Model]) -> None:
    async def test() -> None:
        async with inverting(tmp_path, {"faces": networks["faces"]}) as (_, service, image):
            wrong = asking(image, starts=65, steps=2001)
            wrong.encoded.files.append(image)
            assert (await failure_of(service.Invert(wrong).read())).fields == ["encoded.files", "starts", "steps"]
            assert (await failure_of(service.Invert(asking(image, class_index=3)).read())).fields == ["class_index"]
            alone = await failure_of(service.Invert(asking(image)).read())
            assert alone.reason == "NO_DISCRIMINATOR" and "models/faces" in alone.message
            assert (await failure_of(service.Invert(asking(b"GIF89a", pixels_only=True)).read())).fields == [
                "encoded.files[0]"
            ]

    run(test())


def test_a_number_that_is_too_large_is_named_by_its_place_in_the_request(
    tmp_path: Path, networks: dict[str, Model]
) -> None:
    good = Latent(sample=latents_pb2.SampleLatent(index=1))
    term = latents_pb2.LatentSum.Term(weight=1e300, latent=good)
    large = Latent(sum=latents_pb2.LatentSum(terms=[term]))

    async def test() -> None:
        async with inverting(tmp_path, networks) as (at, service, _):
            draw = latents_pb2.DrawRequest(model="models/faces", latents=[*[good] * 300, large])
            failure = await failure_of(service.Draw(draw))
            assert len(at.models.operations("draw")) > 1, "it is in a later call than the first"
            walk = latents_pb2.WalkRequest(model="models/faces", through=[good, large])
            assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["latents[300]"])
            assert (await failure_of(last_part_of(service.Walk(walk)))).fields == ["through"]

    run(test())


async def last_part_of(stream: Any) -> Any:
    return [part async for part in stream][-1]
