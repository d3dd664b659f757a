"""Directions by gRPC: saved, listed, deleted, and found with real networks."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from mintage.formulas import parse
from mintage.v1 import generation_pb2, latents_pb2, latents_pb2_grpc
from mintage.v1.latents_pb2 import FindDirectionsRequest

from handlers.compute.latents import latents
from handlers.compute.model import Model, from_run
from service.images.resize import converted
from tests.support.direct import activations, classify
from tests.support.formula import GENERATOR
from tests.support.real_models import real_world
from tests.support.runs import CONCEPTS, tiny_autoencoder
from tests.support.world import World, failure_of, run, world
from tests.training.fakes import blobs, small_dcgan_recipe, small_recipe
from training.loop.loop import train

CPU = torch.device("cpu")
DIGITS = "models/digits"


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """A generator with its discriminator, a classifier of another size, and an autoencoder of a third."""
    folder = tmp_path_factory.mktemp("runs")
    train(small_dcgan_recipe(), blobs(side=32), folder / "dcgan")
    train(small_recipe(), blobs(side=8), folder / "ssgan")
    tiny_autoencoder(folder / "autoencoder")
    return {
        "faces": from_run(folder / "dcgan", "generator", CPU, micro_batch=4),
        "critic": from_run(folder / "dcgan", "discriminator", CPU, micro_batch=4),
        "judge": from_run(folder / "ssgan", "classifier", CPU, micro_batch=4),
        "eyes": dataclasses.replace(from_run(folder / "autoencoder", "neurons", CPU, micro_batch=4), concepts=CONCEPTS),
    }


@contextlib.asynccontextmanager
async def service_at(address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield latents_pb2_grpc.LatentServiceStub(channel)


def direction(name: str, value: float = 1.0, **fields: Any) -> latents_pb2.Direction:
    return latents_pb2.Direction(name=name, values=[value] * GENERATOR.latent_size, **fields)


def saving(name: str, value: float = 1.0, **fields: Any) -> latents_pb2.SaveDirectionRequest:
    return latents_pb2.SaveDirectionRequest(model=DIGITS, direction=direction(name, value), **fields)


def test_a_saved_direction_is_listed_drawn_replaced_and_deleted(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, service_at(at.address) as service:
            told = direction("turn", description="four against four", accuracy=0.9, strength=0.25)
            saved = await service.SaveDirection(latents_pb2.SaveDirectionRequest(model=DIGITS, direction=told))
            for number in range(4):
                await service.SaveDirection(saving(f"n{number}"))
            assert saved.direction.model_digest == at.api.registry.find("digits").digest
            assert saved.direction.create_time.seconds > 0
            assert (saved.direction.accuracy, saved.direction.strength) == (0.9, 0.25)

            pages = [await service.ListDirections(latents_pb2.ListDirectionsRequest(model=DIGITS, page_size=2))]
            while token := pages[-1].next_page_token:
                request = latents_pb2.ListDirectionsRequest(model=DIGITS, page_size=2, page_token=token)
                pages.append(await service.ListDirections(request))
            assert [[each.name for each in page.directions] for page in pages] == [["n0", "n1"], ["n2", "n3"], ["turn"]]
            assert pages[2].directions[0] == saved.direction and not pages[0].directions[0].HasField("accuracy")

            drawing = latents_pb2.DrawRequest(model=DIGITS, latents=parse("#1 + 2 * turn"))
            first = await service.Draw(drawing)
            assert (await failure_of(service.SaveDirection(saving("turn", 2)))).code is grpc.StatusCode.ALREADY_EXISTS
            await service.SaveDirection(saving("turn", 2, replace=True))
            assert (await service.Draw(drawing)).images != first.images

            deleting = latents_pb2.DeleteDirectionRequest(model=DIGITS, direction="turn")
            await service.DeleteDirection(deleting)
            assert (await failure_of(service.DeleteDirection(deleting))).code is grpc.StatusCode.NOT_FOUND
            assert (await failure_of(service.Draw(drawing))).fields == ["latents[0].sum.terms[1].latent.direction"]

    run(test())


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, service_at(at.address) as service:
            wrong = {
                "slerp": ["direction.name"],
                "": ["direction.name"],
                "Turn": ["direction.name"],
                "../turn": ["direction.name"],
                "x" * 64: ["direction.name"],
            }
            for name, fields in wrong.items():
                assert (await failure_of(service.SaveDirection(saving(name)))).fields == fields
            bad = direction("turn", float("nan"), accuracy=1.5)
            bad.values[1:] = [0.0] * (GENERATOR.latent_size - 1)
            failure = await failure_of(
                service.SaveDirection(latents_pb2.SaveDirectionRequest(model="x", direction=bad))
            )
            assert failure.fields == ["model", "direction.values[0]", "direction.accuracy"]
            short = latents_pb2.SaveDirectionRequest(
                model=DIGITS, direction=latents_pb2.Direction(name="turn", values=[1])
            )
            assert "16 numbers" in (await failure_of(service.SaveDirection(short))).message
            of_a_judge = latents_pb2.SaveDirectionRequest(model="models/judge", direction=direction("turn"))
            assert (await failure_of(service.SaveDirection(of_a_judge))).reason == "WRONG_MODEL_KIND"

    run(test())


def finding(**source: Any) -> FindDirectionsRequest:
    return FindDirectionsRequest(model="models/faces", **source)


def test_directions_are_found_between_sets_from_weights_and_from_answers(
    tmp_path: Path, networks: dict[str, Model]
) -> None:
    async def test() -> None:
        async with real_world(tmp_path, networks) as at, service_at(at.address) as service:
            between = FindDirectionsRequest.Between(
                **{"without": parse("7#0:3:4"), "with": [*parse("7#4"), *parse("7#5")]}
            )
            [turn] = (await service.FindDirections(finding(between=between))).directions
            numbers = latents(7, 0, 6, 5, "uniform11").astype(np.float64)
            assert turn.values == pytest.approx(numbers[4:].mean(axis=0) - numbers[:4].mean(axis=0), abs=1e-7)
            assert turn.name == "" and turn.description == "2 latents against 4"

            found = (await service.FindDirections(finding(weights=FindDirectionsRequest.Weights()))).directions
            assert len(found) == 5 and found[0].strength == 1.0  # as many as a latent has numbers
            vectors = np.array([each.values for each in found])
            assert vectors @ vectors.T == pytest.approx(np.eye(5) / 3, abs=1e-9)

            for other, answer in (("judge", {"class_name": "block-1"}), ("eyes", {"concept": "dots"})):
                answers = FindDirectionsRequest.Answers(model=f"models/{other}", samples=300, seed=5, **answer)
                [towards] = (await service.FindDirections(finding(answers=answers))).directions
                assert towards.accuracy > 0.6 and "60 held-out samples" in towards.description
                assert np.linalg.norm(towards.values) == pytest.approx(3**-0.5, rel=0.1)
                assert other in towards.description
                assert await grows(service, at, list(towards.values), other, answer, networks) > 0

    run(test())


async def grows(
    service: Any, at: World, values: list[float], other: str, answer: dict[str, str], networks: dict[str, Model]
) -> float:
    """How much more the other model answers, on average, about latents moved along a direction than against it."""
    means = []
    for sign in (-1, 1):
        written = f"[{', '.join(map(repr, values))}]"
        latents_ = [latent for index in range(100) for latent in parse(f"9#{index} + {sign} * {written}")]
        request = latents_pb2.DrawRequest(
            model="models/faces", latents=latents_, format=generation_pb2.IMAGE_FORMAT_RAW
        )
        images = (await service.Draw(request)).images
        pixels = np.stack([np.frombuffer(image, np.uint8).reshape(32, 32, 1) for image in images])
        model = networks[other]
        taken = converted(pixels, *model.image_shape)
        if other == "judge":
            probabilities, _ = classify(model, taken)
            means.append(probabilities[:, model.config.classes.index(answer["class_name"])].mean())
        else:
            means.append(activations(model, taken, 2, [7]).mean())
    return float(means[1] - means[0])


def test_what_cannot_be_found_is_named(tmp_path: Path, networks: dict[str, Model]) -> None:
    async def test() -> None:
        async with real_world(tmp_path, networks) as at, service_at(at.address) as service:
            cases: list[tuple[dict[str, Any], list[str]]] = [
                ({}, ["source"]),
                ({"weights": FindDirectionsRequest.Weights(count=65)}, ["weights.count"]),
                ({"between": FindDirectionsRequest.Between()}, ["between.without", "between.with"]),
                (
                    {"between": FindDirectionsRequest.Between(**{"without": parse("turn"), "with": parse("#1")})},
                    ["between.without[0].direction"],
                ),
                (
                    {"answers": FindDirectionsRequest.Answers(samples=63)},
                    ["answers.model", "answers.answer", "answers.samples"],
                ),
                (
                    {"answers": FindDirectionsRequest.Answers(model="models/judge", class_name="cat")},
                    ["answers.class_name"],
                ),
            ]
            for source, fields in cases:
                assert (await failure_of(service.FindDirections(finding(**source)))).fields == fields
            answers = FindDirectionsRequest.Answers(model="models/eyes", concept="cats")
            assert (
                await failure_of(service.FindDirections(finding(answers=answers)))
            ).code is grpc.StatusCode.NOT_FOUND
            wrong_kind = FindDirectionsRequest.Answers(model="models/eyes", class_name="block-1")
            assert (await failure_of(service.FindDirections(finding(answers=wrong_kind)))).reason == "WRONG_MODEL_KIND"

    run(test())
