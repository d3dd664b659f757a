"""Walk: the frames of formulas in whole passes, no more of them than are taken, each with its distance."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from mintage import latents
from mintage.formulas import parse, text_of
from mintage.v1 import generation_pb2, latents_pb2
from mintage.v1.latents_pb2 import WalkRequest

from service.api.requests.formulas import END_OF_LEG, FORMULA
from service.api.servicers.latents.walking import formulas_of, parts
from tests.service.api.servicers.latents.test_drawing import VALUES, latents_at, mean_of, nested
from tests.service.api.servicers.latents.test_drawing import request as draw_request
from tests.service.api.servicers.test_stream_generation import large
from tests.support.formula import pixels
from tests.support.world import World, failure_of, run, until

RAW = generation_pb2.IMAGE_FORMAT_RAW


def request(*texts: str, **fields: Any) -> WalkRequest:
    through = [latent for text in texts for latent in parse(text)]
    return WalkRequest(**{"model": "models/digits", "through": through, "format": RAW, **fields})


def drawn(at: World) -> int:
    """How many images the model was asked for."""
    return sum(len(each["latents"]) for each in at.models.operations("draw"))


@pytest.mark.parametrize(
    ("fields", "frames"),
    [
        ({"frames_per_leg": 2}, ["0#1", "slerp(0#1, 0#2, 0.5)", "0#2", "slerp(0#2, turn, 0.5)", "turn"]),
        ({"frames_per_leg": 1, "closed": True}, ["0#1", "0#2", "turn"]),
        (
            {"frames_per_leg": 2, "closed": True, "interpolation": WalkRequest.INTERPOLATION_LERP},
            ["0#1", "lerp(0#1, 0#2, 0.5)", "0#2", "lerp(0#2, turn, 0.5)", "turn", "lerp(turn, 0#1, 0.5)"],
        ),
    ],
)
def test_the_frames_are_the_images_of_their_formulas(tmp_path: Path, fields: dict[str, Any], frames: list[str]) -> None:
    async def test() -> None:
        async with latents_at(tmp_path) as (_, service):
            [answer] = [part async for part in service.Walk(request("#1", "#2", "turn", **fields))]
            same = await service.Draw(draw_request(*frames))
        assert [text_of(latent) for latent in answer.latents] == frames
        assert list(answer.images) == list(same.images)
        assert (answer.first_frame, answer.frames, answer.model, answer.format) == (
            0,
            len(frames),
            "models/digits",
            RAW,
        )
        assert (answer.model_digest, answer.device_class, answer.shape) == (
            same.model_digest,
            same.device_class,
            same.shape,
        )

    run(test())


def test_a_leg_has_sixteen_frames_unless_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with latents_at(tmp_path) as (_, service):
            [answer] = [part async for part in service.Walk(request("#1", "#2"))]
        assert answer.frames == len(answer.images) == len(answer.latents) == 17

    run(test())


def test_distances_are_those_of_neighbouring_frames_over_the_parts(tmp_path: Path) -> None:
    async def test() -> None:
        async with latents_at(tmp_path) as (at, service):
            answers = [part async for part in service.Walk(request("#1", "#2", "#3", frames_per_leg=80))]
            assert [len(part["latents"]) for part in at.models.operations("draw")] == [64, 64, 33]
        assert [part.first_frame for part in answers] == [0, 64, 128]
        images = [np.frombuffer(raw, np.uint8).astype(float) for part in answers for raw in part.images]
        expected = [0.0, *(np.sqrt(np.mean((b - a) ** 2)) for a, b in itertools.pairwise(images))]
        assert [value for part in answers for value in part.distances] == pytest.approx(expected)
        assert images[80].tolist() == pixels(0, 2).flatten().tolist(), "the walk meets its latents"

    run(test())


def test_the_class_is_that_of_the_first_latent_unless_it_is_given(tmp_path: Path) -> None:
    async def test() -> None:
        async with latents_at(tmp_path) as (at, service):
            for through in (["mean(#7, #3)", "#2"], [VALUES, "#2"]):
                async for _ in service.Walk(request(*through)):
                    pass
        sent = at.models.operations("draw")
        assert [each["class_sample"] for each in sent] == [7, 0] and not any("class" in each for each in sent)

    run(test())


def test_a_caller_that_leaves_has_no_more_drawn(tmp_path: Path) -> None:
    async def test() -> None:
        async with latents_at(tmp_path, prepare=large) as (at, service):
            stream = service.Walk(request("#0:100:101", frames_per_leg=500))
            assert len((await stream.read()).images) == 64
            stream.cancel()
            running = {"method": "/mintage.v1.LatentService/Walk"}
            count = at.api.metrics.collection.get_sample_value
            await until(lambda: count("mintage_api_calls_in_flight", running) == 0)
            made = drawn(at)
            assert made < 1500
            await service.Draw(draw_request("#1"))
            assert drawn(at) == made + 1

    run(test())


def test_a_caller_that_does_not_read_is_waited_for(tmp_path: Path) -> None:
    async def test() -> None:
        async with latents_at(tmp_path, prepare=large) as (at, service):
            stream = aiter(service.Walk(request("#0:6:7", frames_per_leg=500)))
            await anext(stream)
            before = -1
            while drawn(at) != before:  # until it stands still
                before = drawn(at)
                await asyncio.sleep(0.5)
            assert before < 1500
            taken = [64] + [len(part.images) async for part in stream]
            assert (sum(taken), drawn(at)) == (3001, 3001)

    run(test())


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"model": "digits"}, ["model"]),
        ({"through": [latents.sample(0, 1)]}, ["through"]),
        ({"through": [latents.sample(0, 1)] * 257}, ["through"]),
        ({"frames_per_leg": -1}, ["frames_per_leg"]),
        ({"frames_per_leg": 1025}, ["frames_per_leg"]),
        ({"frames_per_leg": 1000}, ["frames_per_leg"]),
        ({"interpolation": 7, "format": 9}, ["interpolation", "format"]),
        ({"class_index": 1}, ["class_index"]),
        ({"through": [latents.sample(0, -1), latents_pb2.Latent(direction="nobody")]},
         ["through[0].sample.index", "through[1].direction"]),
        ({"through": [nested(FORMULA.depth), mean_of(END_OF_LEG.parts)]},
         ["through[0]" + ".mean.latents[0]" * END_OF_LEG.depth, "through[1]"]),
    ],
)  # fmt: skip
def test_every_wrong_part_is_named(tmp_path: Path, fields: dict[str, Any], wrong: list[str]) -> None:
    async def test() -> None:
        async with latents_at(tmp_path, max_stream_images=900) as (at, service):
            failure = await failure_of(service.Walk(request("#1", "#2", **fields)).read())
            assert drawn(at) == 0
        assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, wrong)

    run(test())


def test_the_largest_ends_of_a_leg_make_formulas_within_the_limits(tmp_path: Path) -> None:
    async def test() -> None:
        async with latents_at(tmp_path) as (_, service):
            ends = [nested(END_OF_LEG.depth), mean_of(END_OF_LEG.parts - 1)]
            [walked] = [part async for part in service.Walk(request(through=ends, frames_per_leg=2))]
            again = await service.Draw(draw_request(latents=walked.latents))
        assert list(again.images) == list(walked.images)

    run(test())


def test_parts_are_full_passes_or_what_a_message_holds() -> None:
    through = parse("#1:3:3")
    path = latents.Path(through, 100)
    assert [list(map(len, parts(path, largest))) for largest in (1000, 50)] == [[64, 64, 64, 9], [50, 50, 50, 50, 1]]
    large = [latents_pb2.Latent(values=latents_pb2.LatentValues(values=[0.5] * 4096)) for _ in range(2)]
    assert list(map(len, parts(latents.Path(large, 200), 1000))) == [63, 63, 63, 12]


@pytest.mark.parametrize(("function", "closed"), [("slerp", True), ("lerp", False)])
def test_the_formula_of_a_frame_is_that_of_its_path(function: str, closed: bool) -> None:
    through = [*parse("7#1"), *parse("mean(#2, #3) - 0.5 * #4"), *parse("[0.5, -1]"), *parse("turn")]
    path = latents.Path(through, 5, function, closed)
    expected = [path.latent(frame).SerializeToString() for frame in range(path.frames)]
    assert list(formulas_of(path, range(path.frames))) == expected
    assert list(formulas_of(path, range(3, 9))) == expected[3:9]
