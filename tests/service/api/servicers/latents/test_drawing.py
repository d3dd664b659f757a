"""Draw: formulas become images, whatever the request, and every wrong part of one is named by its place."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from mintage import latents
from mintage.formulas import parse
from mintage.v1 import generation_pb2, generation_pb2_grpc, latents_pb2, latents_pb2_grpc
from mintage.v1.latents_pb2 import Latent

from service.api.requests.formulas import FORMULA
from service.models.asking.calls import CALL_PARTS
from service.models.directions.store import Direction, SavedDirections
from tests.support.formula import GENERATOR, pixels, stands_for
from tests.support.world import World, failure_of, run, world

RAW = generation_pb2.IMAGE_FORMAT_RAW
VALUES = f"[{', '.join(['0.5'] * GENERATOR.latent_size)}]"
TURN = Direction(name="turn", values=tuple(map(float, range(GENERATOR.latent_size))))


@contextlib.asynccontextmanager
async def latents_at(folder: Path, **options: Any) -> AsyncIterator[tuple[World, Any]]:
    """A world with a saved direction, and its LatentService."""
    async with (
        world(folder, **options) as at,
        grpc.aio.insecure_channel(at.address, options=[("grpc.max_receive_message_length", -1)]) as channel,
    ):
        record = at.api.registry.ready("digits", "generator")
        SavedDirections(at.settings.archives).save(record, TURN, replace_existing=False)
        yield at, latents_pb2_grpc.LatentServiceStub(channel)


def request(*texts: str, **fields: Any) -> latents_pb2.DrawRequest:
    drawn = [latent for text in texts for latent in parse(text)]
    return latents_pb2.DrawRequest(**{"model": "models/digits", "latents": drawn, "format": RAW, **fields})


def test_samples_are_those_of_generate(tmp_path: Path) -> None:
    async def test() -> None:
        async with latents_at(tmp_path) as (at, service):
            answer = await service.Draw(request("7#3", "8#3", "7#3", "7#9223372036854775807"))
        assert [np.frombuffer(raw, np.uint8).tolist() for raw in answer.images] == [
            pixels(seed, index).flatten().tolist() for seed, index in ((7, 3), (8, 3), (7, 3), (7, 2**63 - 1))
        ]
        assert (answer.model, answer.device_class, answer.format) == ("models/digits", "cpu", RAW)
        assert (answer.shape.height, answer.shape.width, answer.shape.channels) == (8, 6, 1)
        assert len(answer.model_digest) == 64
        assert at.models.operations("draw")[0]["latents"] == [0, 1, 0, 2], "equal formulas are sent once"

    run(test())


def test_pictures_are_the_files_of_generate(tmp_path: Path) -> None:
    async def test() -> None:
        async with latents_at(tmp_path) as (at, service), grpc.aio.insecure_channel(at.address) as channel:
            generate = generation_pb2_grpc.GenerationServiceStub(channel).Generate
            same = await generate(generation_pb2.GenerateRequest(model="models/digits", count=3, seed=5))
            answer = await service.Draw(request("5#0:2:3", format=generation_pb2.IMAGE_FORMAT_UNSPECIFIED))
        assert list(answer.images) == list(same.images) and answer.format == same.format

    run(test())


def test_a_formula_is_sent_in_parts_that_are_made_of_earlier_ones(tmp_path: Path) -> None:
    async def test() -> None:
        async with latents_at(tmp_path) as (at, service):
            text = "mean(#1, #2) - slerp(#1, #2, 0.5) + 2 * turn + jitter(lerp(#1, #2, 1), 9, 0.25)"
            await service.Draw(request(text, f"truncate({VALUES}, 0.5)"))
        [sent] = at.models.operations("draw")
        assert sent["parts"] == [
            ["sample", 0, 1],
            ["sample", 0, 2],
            ["mean", [0, 1]],
            ["slerp", 0, 1, 0.5],
            ["vector", list(TURN.values)],
            ["lerp", 0, 1, 1.0],
            ["jitter", 5, 9, 0.25],
            ["sum", [1.0, -1.0, 2.0, 1.0], [2, 3, 4, 6]],
            ["vector", [0.5] * GENERATOR.latent_size],
            ["truncate", 8, 0.5],
        ]
        assert sent["latents"] == [7, 9] and "class" not in sent

    run(test())


def test_many_latents_are_cut_into_calls_by_images_and_by_parts(tmp_path: Path) -> None:
    async def test() -> None:
        async with latents_at(tmp_path) as (at, service):
            samples = await service.Draw(request("#0:1023:1024"))
            assert [len(each["latents"]) for each in at.models.operations("draw")] == [256] * 4
            at.models.requests.clear()
            long = "mean(" + ", ".join(f"#{index}" for index in range(1000)) + ")"
            await service.Draw(request(*[long] * 5))
            assert [len(each["latents"]) for each in at.models.operations("draw")] == [2, 2, 1]
            assert CALL_PARTS == 2048
        assert [np.frombuffer(raw, np.uint8).tolist() for raw in samples.images] == [
            pixels(0, index).flatten().tolist() for index in range(1024)
        ]

    run(test())


def test_a_formula_is_the_same_image_alone_and_in_company(tmp_path: Path) -> None:
    async def test() -> None:
        async with latents_at(tmp_path) as (at, service):
            texts = ["#1 + #2", "#2 + #1", "mean(#1, #2)", "#1 + turn", f"lerp(#1, {VALUES}, 0.5)"]
            whole = await service.Draw(request(*texts))
            alone = [(await service.Draw(request(text))).images[0] for text in texts]
        assert list(whole.images) == alone and len(set(alone)) == len(alone)
        sent = at.models.operations("draw")[0]
        assert len({stands_for(sent["parts"], latent) for latent in sent["latents"]}) == len(texts)

    run(test())


def nested(depth: int) -> Latent:
    inner = latents.sample(0, 1)
    for _ in range(depth - 1):
        inner = Latent(mean=latents_pb2.LatentList(latents=[inner]))
    return inner


def mean_of(count: int) -> Latent:
    return Latent(mean=latents_pb2.LatentList(latents=[latents.sample(0, 1)] * count))


def summed(weight: float, latent: Latent) -> Latent:
    return Latent(sum=latents_pb2.LatentSum(terms=[latents_pb2.LatentSum.Term(weight=weight, latent=latent)]))


def test_every_wrong_part_is_named_by_its_path(tmp_path: Path) -> None:
    wrong = [
        Latent(),
        latents.sample(0, -1),
        Latent(values=latents_pb2.LatentValues(values=[0.5, math.nan])),
        mean_of(0),
        summed(math.inf, Latent(direction="nobody")),
        latents.interpolation("slerp", Latent(), latents.sample(0, 1), math.nan),
        Latent(jitter=latents_pb2.LatentJitter(latent=latents.sample(0, 1), half_width=-math.inf)),
        Latent(truncate=latents_pb2.LatentTruncation(latent=latents.sample(0, 1), share=1.5)),
        Latent(sum=latents_pb2.LatentSum()),
        nested(FORMULA.depth + 1),
        mean_of(FORMULA.parts),
        nested(FORMULA.depth),
        mean_of(FORMULA.parts - 1),
        Latent(lerp=latents_pb2.LatentInterpolation()),
    ]

    async def test() -> None:
        async with latents_at(tmp_path) as (at, service):
            failure = await failure_of(service.Draw(request(latents=wrong)))
            assert at.models.requests == []
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
        assert failure.fields == [
            "latents[0]",
            "latents[1].sample.index",
            "latents[2].values.values",
            "latents[2].values.values[1]",
            "latents[3].mean.latents",
            "latents[4].sum.terms[0].weight",
            "latents[4].sum.terms[0].latent.direction",
            "latents[5].slerp.t",
            "latents[5].slerp.from",
            "latents[6].jitter.half_width",
            "latents[7].truncate.share",
            "latents[8].sum.terms",
            "latents[9]" + ".mean.latents[0]" * FORMULA.depth,
            "latents[10]",
            "latents[13].lerp.from",
            "latents[13].lerp.to",
        ]
        assert "the model has no direction 'nobody'" in failure.message
        assert f"must be {GENERATOR.latent_size} numbers" in failure.message

    run(test())


def test_a_request_far_too_deep_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with latents_at(tmp_path) as (_, service):
            failure = await failure_of(service.Draw(request(latents=[nested(40)])))
        assert failure.fields == ["latents[0]" + ".mean.latents[0]" * FORMULA.depth]

    run(test())


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"model": "digits"}, ["model"]),
        ({"latents": []}, ["latents"]),
        ({"latents": [latents.sample(0, 0)] * 1025}, ["latents"]),
        ({"format": 9}, ["format"]),
        ({"class_index": 0}, ["class_index"]),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, fields: dict[str, Any], wrong: list[str]) -> None:
    async def test() -> None:
        async with latents_at(tmp_path) as (_, service):
            failure = await failure_of(service.Draw(request("#1", **fields)))
        assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, wrong)

    run(test())


def test_a_classifier_cannot_draw_and_an_unknown_model_is_not_found(tmp_path: Path) -> None:
    async def test() -> None:
        async with latents_at(tmp_path) as (_, service):
            codes = [
                (await failure_of(service.Draw(request("#1", model=model)))).code
                for model in ("models/judge", "models/nobody")
            ]
        assert codes == [grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND]

    run(test())
