"""NeuronService over gRPC: what each call answers, and every wrong field by its name."""

import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from mintage.v1 import classification_pb2, generation_pb2, models_pb2, models_pb2_grpc, neurons_pb2, neurons_pb2_grpc
from PIL import Image

from tests.support.formula import pixels, put
from tests.support.world import World, failure_of, run, until, world

HEIGHT, WIDTH = 8, 6
MODEL = "models/mind"
Encoded, Raw, Neuron = classification_pb2.EncodedImages, classification_pb2.RawImages, neurons_pb2.Neuron
LEVELS = [200, 10, 120, 200]


@contextlib.asynccontextmanager
async def neurons_at(folder: Path, **settings: Any) -> AsyncIterator[tuple[World, Any]]:
    """A world with the autoencoder `mind`, and `blank`, which has no concepts."""
    archives = folder / "archives"
    put(archives, "mind", "neurons")
    put(archives, "blank", "blank")
    async with world(folder, **settings) as at, grpc.aio.insecure_channel(at.address) as channel:
        await until(lambda: all(entry.condition.state == "ready" for entry in at.api.registry.entries()))
        yield at, neurons_pb2_grpc.NeuronServiceStub(channel)


def raw(*levels: int, **fields: Any) -> classification_pb2.RawImages:
    block = b"".join(bytes([level]) * HEIGHT * WIDTH for level in levels)
    values = {"count": len(levels), "height": HEIGHT, "width": WIDTH, "channels": 1, "pixels": block}
    return Raw(**{**values, **fields})


def png(level: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    file = io.BytesIO()
    Image.new("L", size, level).save(file, "PNG")
    return file.getvalue()


def detect(**fields: Any) -> neurons_pb2.DetectRequest:
    return neurons_pb2.DetectRequest(**{"model": MODEL, "raw": raw(*LEVELS), **fields})


def test_concepts_are_listed_in_pages_and_shown_with_the_model(tmp_path: Path) -> None:
    async def test() -> None:
        async with neurons_at(tmp_path) as (at, stub), grpc.aio.insecure_channel(at.address) as channel:
            everything = await stub.ListConcepts(neurons_pb2.ListConceptsRequest(model=MODEL))
            first = await stub.ListConcepts(neurons_pb2.ListConceptsRequest(model=MODEL, page_size=1))
            second = await stub.ListConcepts(
                neurons_pb2.ListConceptsRequest(model=MODEL, page_size=1, page_token=first.next_page_token)
            )
            bad = await failure_of(
                stub.ListConcepts(neurons_pb2.ListConceptsRequest(model="x", page_size=-1, page_token="?"))
            )
            shown = await models_pb2_grpc.ModelServiceStub(channel).GetModel(models_pb2.GetModelRequest(name=MODEL))
        assert [each.name for each in everything.concepts] == ["dark", "light"]
        assert [*first.concepts, *second.concepts] == list(everything.concepts)
        assert (everything.next_page_token, second.next_page_token) == ("", "")
        dark = everything.concepts[0]
        assert (dark.neuron, dark.threshold, dark.auroc) == (Neuron(stage=1, unit=3, sign=-1), -100, 0.85)
        assert (dark.accuracy_low, dark.accuracy, dark.accuracy_high) == (0.7, 0.8, 0.9)
        assert (dark.positives, dark.distractors) == (40, 60)
        assert bad.fields == ["model", "page_size", "page_token"]
        assert shown.model.kind == models_pb2.Model.KIND_NEURONS
        assert list(shown.model.concepts) == ["dark", "light"]
        assert [(each.maps, each.height, each.width) for each in shown.model.stages] == [(2, 3, 4), (5, 1, 2)]

    run(test())


def test_files_and_raw_images_are_detected_alike(tmp_path: Path) -> None:
    async def test() -> None:
        async with neurons_at(tmp_path) as (at, stub):
            from_block = await stub.Detect(detect())
            from_files = await stub.Detect(detect(raw=None, encoded=Encoded(files=map(png, LEVELS))))
            one = await stub.Detect(detect(concepts=["light"]))
            counted = at.api.metrics.collection.get_sample_value(
                "mintage_images_total", {"model": "mind", "operation": "detect"}
            )
        assert from_block == from_files
        assert [[each.concept for each in image.detections] for image in from_block.images] == [["dark", "light"]] * 4
        assert [image.detections[0].activation for image in one.images] == LEVELS
        assert [image.detections[0].detected for image in one.images] == [True, False, True, True]
        assert one.images[1].detections[0].confidence == pytest.approx(10 / 255)
        assert (one.model, len(one.model_digest), counted) == (MODEL, 64, 12)

    run(test())


def test_the_strongest_images_come_first_by_the_neurons_sign(tmp_path: Path) -> None:
    async def test() -> None:
        async with neurons_at(tmp_path) as (_, stub):
            request = neurons_pb2.TopStimuliRequest(model=MODEL, concept="dark", raw=raw(*LEVELS), count=2)
            low = await stub.TopStimuli(request)
            request = neurons_pb2.TopStimuliRequest(model=MODEL, neuron=Neuron(stage=2, unit=0), raw=raw(*LEVELS))
            high = await stub.TopStimuli(request)
        assert [(each.index, each.activation) for each in low.stimuli] == [(1, 13), (2, 123)]
        assert low.neuron == Neuron(stage=1, unit=3, sign=-1)
        assert [each.index for each in high.stimuli] == [0, 3, 2, 1]
        assert high.neuron.sign == 1

    run(test())


def test_the_optimal_stimulus_comes_as_a_picture(tmp_path: Path) -> None:
    async def test() -> None:
        async with neurons_at(tmp_path) as (at, stub):
            request = neurons_pb2.OptimalStimulusRequest(model=MODEL, concept="light", seed=2**64 - 1)
            as_png = await stub.OptimalStimulus(request)
            request.format = generation_pb2.IMAGE_FORMAT_RAW
            request.steps = 7
            as_raw = await stub.OptimalStimulus(request)
            [asked, _] = at.models.operations("stimulate")
        expected = pixels(2**64 - 1, 9)
        assert (np.asarray(Image.open(io.BytesIO(as_png.image))) == expected[:, :, 0]).all()
        assert as_raw.image == expected.tobytes()
        assert (as_png.activation, as_raw.activation, as_raw.device_class) == (100, 7, "cpu")
        assert (asked["stage"], asked["unit"], asked["sign"], asked["steps"]) == (2, 9, 1, 100)

    run(test())


def test_activations_of_some_units_and_of_a_stage(tmp_path: Path) -> None:
    async def test() -> None:
        async with neurons_at(tmp_path) as (_, stub):
            request = neurons_pb2.ActivationsRequest(model=MODEL, stage=1, units=[5, 0], raw=raw(*LEVELS))
            some = await stub.Activations(request)
            whole = await stub.Activations(neurons_pb2.ActivationsRequest(model=MODEL, stage=1, raw=raw(*LEVELS)))
        assert (some.count, some.units, whole.units) == (4, 2, 24)
        values = np.frombuffer(some.activations, "<f4").reshape(4, 2)
        assert values.tolist() == [[level + 5, level] for level in LEVELS]
        assert np.frombuffer(whole.activations, "<f4").reshape(4, 24)[1].tolist() == [10 + unit for unit in range(24)]

    run(test())


def test_images_are_reconstructed(tmp_path: Path) -> None:
    async def test() -> None:
        async with neurons_at(tmp_path) as (_, stub):
            answer = await stub.Reconstruct(neurons_pb2.ReconstructRequest(model=MODEL, raw=raw(*LEVELS)))
        assert [np.asarray(Image.open(io.BytesIO(image))).max() for image in answer.images] == [55, 245, 135, 55]
        assert (answer.shape.height, answer.shape.width, answer.shape.channels) == (HEIGHT, WIDTH, 1)

    run(test())


OFFSIDE = Neuron(stage=2, unit=10)
BAD: dict[str, tuple[str, Message, list[str]]] = {
    "nothing": ("Detect", neurons_pb2.DetectRequest(), ["model", "images"]),
    "no files": ("Detect", detect(raw=None, encoded=Encoded()), ["encoded.files"]),
    "text": ("Detect", detect(raw=None, encoded=Encoded(files=[png(1), b"text"])), ["encoded.files[1]"]),
    "size": ("Detect", detect(raw=None, encoded=Encoded(files=[png(1, (9, 9))])), ["encoded.files[0]"]),
    "colour": ("Detect", detect(raw=raw(1, channels=3, pixels=bytes(144))), ["raw.channels"]),
    "names": ("Detect", detect(concepts=["dark", "dark", "A b"]), ["concepts[1]", "concepts[2]"]),
    "no target": (
        "TopStimuli",
        neurons_pb2.TopStimuliRequest(model=MODEL, count=-1),
        ["target", "count", "images"],
    ),
    "unit": ("TopStimuli", neurons_pb2.TopStimuliRequest(model=MODEL, neuron=OFFSIDE, raw=raw(1)), ["neuron.unit"]),
    "stage": ("OptimalStimulus", neurons_pb2.OptimalStimulusRequest(model=MODEL, neuron=Neuron()), ["neuron.stage"]),
    "steps": (
        "OptimalStimulus",
        neurons_pb2.OptimalStimulusRequest(model=MODEL, neuron=Neuron(stage=1, sign=2), steps=501, format=9),  # type: ignore[arg-type]
        ["neuron.sign", "steps", "format"],
    ),
    "units": (
        "Activations",
        neurons_pb2.ActivationsRequest(model=MODEL, stage=2, units=[0, -1, 10], raw=raw(1)),
        ["units[1]", "units[2]"],
    ),
    "no stage": ("Activations", neurons_pb2.ActivationsRequest(model=MODEL, raw=raw(1, height=4, width=12)), []),
    "format": ("Reconstruct", neurons_pb2.ReconstructRequest(model=MODEL, raw=raw(1), format=9), ["format"]),  # type: ignore[arg-type]
}
BAD["no stage"] = (*BAD["no stage"][:2], ["raw.height", "raw.width", "stage"])


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_and_never_reaches_the_model(tmp_path: Path, case: str) -> None:
    method, request, fields = BAD[case]

    async def test() -> None:
        async with neurons_at(tmp_path) as (at, stub):
            at.models.requests.clear()
            failure = await failure_of(getattr(stub, method)(request))
            asked = {request["op"] for _, request in at.models.requests} - {"canary", "describe"}
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")
        assert failure.fields == fields
        assert asked == set()

    run(test())


def test_concepts_and_models_that_are_not_there(tmp_path: Path) -> None:
    async def test() -> None:
        async with neurons_at(tmp_path) as (_, stub):
            unknown = await failure_of(stub.Detect(detect(concepts=["dark", "cat"])))
            top = await failure_of(
                stub.TopStimuli(neurons_pb2.TopStimuliRequest(model="models/blank", concept="cat", raw=raw(1)))
            )
            none = await failure_of(stub.Detect(detect(model="models/blank")))
            nobody = await failure_of(stub.Detect(detect(model="models/nobody")))
            kind = await failure_of(stub.Detect(detect(model="models/judge")))
        info = unknown.details["ErrorInfo"]
        assert isinstance(info, error_details_pb2.ErrorInfo)
        assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "CONCEPT_NOT_FOUND")
        assert dict(info.metadata)["concepts"] == "dark,light"
        assert "it has dark, light" in unknown.message
        assert (top.code, top.reason) == (grpc.StatusCode.NOT_FOUND, "CONCEPT_NOT_FOUND")
        assert (none.code, none.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_CONCEPTS")
        assert nobody.code is grpc.StatusCode.NOT_FOUND
        assert (kind.code, kind.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_MODEL_KIND")

    run(test())


def test_an_answer_that_does_not_fit_one_message_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with neurons_at(tmp_path, max_message_bytes=2**16) as (_, stub):
            failure = await failure_of(
                stub.Activations(
                    neurons_pb2.ActivationsRequest(model=MODEL, stage=1, raw=raw(*range(250), *LEVELS * 125))
                )
            )
            fits = await stub.Activations(neurons_pb2.ActivationsRequest(model=MODEL, stage=1, raw=raw(*range(250))))
        assert (failure.fields, fits.count) == (["raw.count"], 250)

    run(test())
