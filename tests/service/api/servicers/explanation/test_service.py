"""ExplanationService over gRPC: what each call answers, and every wrong field by its name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from mintage.formulas import parse
from mintage.v1 import (
    classification_pb2,
    explanation_pb2,
    explanation_pb2_grpc,
    generation_pb2,
    latents_pb2,
    latents_pb2_grpc,
)
from mintage.v1.neurons_pb2 import Neuron

from tests.support.formula import pixels, put
from tests.support.world import World, failure_of, run, until, world

HEIGHT, WIDTH = 8, 6
RAW = generation_pb2.IMAGE_FORMAT_RAW
LEVELS = [200, 10, 120]
Box, FeatureMap = explanation_pb2.Box, explanation_pb2.FeatureMap


@contextlib.asynccontextmanager
async def explaining(folder: Path, **settings: Any) -> AsyncIterator[tuple[World, Any]]:
    """A world with the autoencoder `mind` and the discriminator `critic`."""
    put(folder / "archives", "mind", "neurons")
    put(folder / "archives", "critic", "discriminator")
    async with world(folder, **settings) as at, grpc.aio.insecure_channel(at.address) as channel:
        await until(lambda: all(entry.condition.state == "ready" for entry in at.api.registry.entries()))
        yield at, explanation_pb2_grpc.ExplanationServiceStub(channel)


def raw(*levels: int) -> classification_pb2.RawImages:
    block = b"".join(bytes([level]) * HEIGHT * WIDTH for level in levels)
    return classification_pb2.RawImages(count=len(levels), height=HEIGHT, width=WIDTH, channels=1, pixels=block)


def guided(model: str, **fields: Any) -> explanation_pb2.GuidedBackpropRequest:
    return explanation_pb2.GuidedBackpropRequest(**{"model": f"models/{model}", "raw": raw(*LEVELS), **fields})


def patches(model: str = "critic", **fields: Any) -> explanation_pb2.TopPatchesRequest:
    return explanation_pb2.TopPatchesRequest(**{"model": f"models/{model}", "raw": raw(*LEVELS), **fields})


def search(*boxes: Any, text: str = "#0:9:10", **fields: Any) -> explanation_pb2.FindFeatureMapsRequest:
    made = [Box(index=i, left=left, top=top, width=width, height=height) for i, left, top, width, height in boxes]
    values = {"model": "models/digits", "latents": parse(text), "boxes": made, "layer": 2}
    return explanation_pb2.FindFeatureMapsRequest(**{**values, **fields})


@pytest.mark.parametrize(
    ("model", "fields", "target"),
    [
        ("critic", {}, {}),
        ("critic", {"feature_map": FeatureMap(layer=2, map=3)}, {"map": [2, 3]}),
        ("judge", {}, {}),
        ("judge", {"class_name": "two"}, {"class": 2}),
        ("mind", {"concept": "dark"}, {"unit": [1, 3, -1]}),
        ("mind", {"neuron": Neuron(stage=2, unit=9)}, {"unit": [2, 9, 1]}),
    ],
)
def test_guided_gradients_of_any_unit_are_answered(
    tmp_path: Path, model: str, fields: dict[str, Any], target: dict[str, Any]
) -> None:
    async def test() -> None:
        async with explaining(tmp_path) as (at, stub):
            answer = await stub.GuidedBackprop(guided(model, **fields))
            other = await stub.GuidedBackprop(guided(model, random_weights=True, **fields))
        assert [sent["target"] for sent in at.models.operations("explain")] == [target, target]
        gradients = [np.frombuffer(gradient, "<f4") for gradient in answer.gradients]
        assert [gradient.tolist() for gradient in gradients] == [[level] * HEIGHT * WIDTH for level in LEVELS]
        assert np.frombuffer(other.gradients[0], "<f4")[0] == -200
        assert list(answer.activations) == LEVELS
        assert (answer.model, answer.shape.height, answer.shape.width) == (f"models/{model}", HEIGHT, WIDTH)

    run(test())


@pytest.mark.parametrize(
    ("model", "fields", "wrong"),
    [
        ("critic", {"concept": "dark"}, ["target"]),
        ("mind", {"class_name": "two"}, ["target"]),
        ("mind", {}, ["target"]),
        ("judge", {"class_name": "ten"}, ["class_name"]),
        ("critic", {"class_name": "two"}, ["class_name"]),
        ("critic", {"feature_map": FeatureMap(layer=3)}, ["feature_map.layer"]),
        ("critic", {"feature_map": FeatureMap(layer=1, map=3)}, ["feature_map.map"]),
        ("mind", {"neuron": Neuron(stage=3)}, ["neuron.stage"]),
        ("critic", {"raw": classification_pb2.RawImages()}, None),
    ],
)
def test_units_that_a_model_does_not_have_are_named(
    tmp_path: Path, model: str, fields: dict[str, Any], wrong: list[str] | None
) -> None:
    async def test() -> None:
        async with explaining(tmp_path) as (_, stub):
            failure = await failure_of(stub.GuidedBackprop(guided(model, **fields)))
        assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
        assert wrong is None or failure.fields == wrong

    run(test())


def test_models_of_other_kinds_are_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with explaining(tmp_path) as (_, stub):
            failures = [
                await failure_of(stub.GuidedBackprop(guided("digits"))),
                await failure_of(stub.TopPatches(patches("mind"))),
                await failure_of(stub.FindFeatureMaps(search((0, 0, 0, 2, 2), model="models/critic"))),
            ]
        assert {(failure.code, failure.reason) for failure in failures} == {
            (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_MODEL_KIND")
        }
        assert failures[0].message == (
            "models/digits is of kind generator, not discriminator or classifier or neurons; "
            "ask models/critic, of the same run"
        )

    run(test())


def test_the_strongest_patches_of_each_map_are_of_different_images(tmp_path: Path) -> None:
    async def test() -> None:
        async with explaining(tmp_path) as (_, stub):
            answer = await stub.TopPatches(patches(maps=[3, 1], layer=2, count=2))
            every = await stub.TopPatches(patches())
        assert [(each.feature_map.layer, each.feature_map.map) for each in answer.maps] == [(2, 3), (2, 1)]
        assert [(each.box.index, each.activation) for each in answer.maps[0].patches] == [(0, 600), (2, 360)]
        box = answer.maps[0].patches[0].box
        assert (box.left, box.top, box.width, box.height) == (3, 0, 2, HEIGHT)
        assert [each.feature_map.map for each in every.maps] == [0, 1, 2, 3], "the last layer, all of its four maps"
        assert len(every.maps[0].patches) == 3

    run(test())


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"layer": 3}, ["layer"]),
        ({"maps": [4]}, ["maps[0]"]),
        ({"maps": [1, 1]}, ["maps[1]"]),
        ({"count": 65}, ["count"]),
    ],
)
def test_patches_that_cannot_be_are_named(tmp_path: Path, fields: dict[str, Any], wrong: list[str]) -> None:
    async def test() -> None:
        async with explaining(tmp_path) as (_, stub):
            assert (await failure_of(stub.TopPatches(patches(**fields)))).fields == wrong

    run(test())


def test_a_fully_connected_layer_has_no_patches(tmp_path: Path) -> None:
    async def test() -> None:
        async with explaining(tmp_path) as (_, stub):
            assert (await failure_of(stub.TopPatches(patches("judge", layer=2)))).fields == ["layer"]

    run(test())


def test_the_map_that_draws_an_object_is_found(tmp_path: Path) -> None:
    async def test() -> None:
        async with explaining(tmp_path) as (at, stub):
            # Of six columns of pixels, two belong to each of three places; map 1 is active in the second.
            answer = await stub.FindFeatureMaps(search(*((i, 2, 0, 2, 8) for i in range(10))))
        weights = {each.map: each.weight for each in answer.maps}
        assert next(iter(weights)) == 1 and weights[1] > 0
        assert weights[0] < 0 and weights[2] < 0
        assert answer.layer == 2 and answer.accuracy == 1.0
        assert all(len(sent["latents"]) <= 64 for sent in at.models.operations("tap"))

    run(test())


def test_many_latents_are_asked_about_in_short_calls(tmp_path: Path) -> None:
    async def test() -> None:
        async with explaining(tmp_path) as (at, stub):
            boxes = [(i, 0, 0, 2, 8) for i in range(150)]
            answer = await stub.FindFeatureMaps(search(*boxes, text="#0:149:150", layer=0))
        assert answer.layer == 2, "the second-highest of three"
        assert [len(sent["latents"]) for sent in at.models.operations("tap")] == [64, 64, 22]
        assert answer.maps[0].map == 0 and answer.accuracy == 1.0

    run(test())


@pytest.mark.parametrize(
    ("boxes", "fields", "wrong"),
    [
        ([], {}, ["boxes"]),
        ([(10, 0, 0, 2, 2)], {}, ["boxes[0].index"]),
        ([(0, 6, 0, 1, 1)], {}, ["boxes[0].left", "boxes[0].width"]),
        ([(0, 0, 5, 1, 4)], {}, ["boxes[0].height"]),
        ([(0, 0, 0, 0, 1)], {}, ["boxes[0].width"]),
        ([(0, 0, 0, 1, 1)], {"layer": 4}, ["layer"]),
        ([(0, 0, 0, 1, 1)], {"class_index": 1}, ["class_index"]),
        ([(i, 0, 0, 6, 8) for i in range(10)], {}, ["boxes"]),
    ],
)
def test_boxes_that_cannot_be_are_named(
    tmp_path: Path, boxes: list[tuple[int, ...]], fields: dict[str, Any], wrong: list[str]
) -> None:
    async def test() -> None:
        async with explaining(tmp_path) as (_, stub):
            assert (await failure_of(stub.FindFeatureMaps(search(*boxes, **fields)))).fields == wrong

    run(test())


def test_maps_are_dropped_and_kept_in_a_drawing(tmp_path: Path) -> None:
    maps = latents_pb2.FeatureMaps

    async def test() -> None:
        async with explaining(tmp_path) as (at, _), grpc.aio.insecure_channel(at.address) as channel:
            draw = latents_pb2_grpc.LatentServiceStub(channel).Draw

            def request(**fields: Any) -> latents_pb2.DrawRequest:
                return latents_pb2.DrawRequest(model="models/digits", latents=parse("7#3"), format=RAW, **fields)

            changed = await draw(request(drop=[maps(layer=1, maps=[4])], keep=[maps(layer=3, maps=[0])]))
            nothing = await draw(request(drop=[maps(layer=1)]))
            failure = await failure_of(
                draw(
                    request(
                        drop=[maps(layer=1, maps=[5, 0, 0]), maps(layer=1), maps(layer=4)],
                        keep=[maps(layer=1, maps=[0])],
                    )
                )
            )
        sent = at.models.operations("draw")
        assert (sent[0]["drop"], sent[0]["keep"]) == ([[1, [4]]], [[3, [0]]])
        assert "drop" not in sent[1] and "keep" not in sent[1]
        image = pixels(7, 3).flatten()
        assert np.frombuffer(changed.images[0], np.uint8).tolist() == (255 - image).tolist()
        assert np.frombuffer(nothing.images[0], np.uint8).tolist() == image.tolist()
        assert failure.fields == [
            "drop[0].maps[0]",
            "drop[0].maps[2]",
            "drop[1].layer",
            "drop[2].layer",
            "keep[0].layer",
        ]

    run(test())
