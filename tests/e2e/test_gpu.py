"""The shipped models on a GPU in a real TorchServe: each computes there, the same alone and in company.

Written without a GPU at hand. `python benchmarks/gpu.py` runs these tests and measures in one go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handlers.archive import pack
from service.backend.protocol import messages, neuron_messages
from service.backend.protocol.description import ModelDescription
from service.backend.torchserve import TorchServe
from service.cli.stack.shipped import MODELS, shipped
from tests.e2e.torchserve import RunningTorchServe, running_torchserve

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, and torch finds none"),
]
LIMITS = {"startup_timeout_s": 120.0, "response_timeout_s": 60.0}
GENERATORS = [name for name, _, kind in shipped() if kind == "generator"]
COUNT = 100  # samples and images of a test: more than one pass, and not a multiple of its size


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTorchServe]:
    """A TorchServe that holds the shipped models."""
    with running_torchserve(tmp_path_factory.mktemp("ts")) as server:
        for name, run, kind in shipped():
            pack(MODELS / run, kind, server.settings.archives / f"{name}.mar")
            server.call(partial(registered, name))
        yield server


async def registered(name: str, client: TorchServe) -> None:
    await client.register(f"{name}.mar", name, 1, **LIMITS)


async def ready(name: str, client: TorchServe) -> ModelDescription:
    return await client.wait_until_ready(name, 120)


@pytest.fixture(scope="module")
def described(server: RunningTorchServe) -> Mapping[str, ModelDescription]:
    """What each model says about itself."""
    return {name: server.call(partial(ready, name)) for name, _, _ in shipped()}


def asked(server: RunningTorchServe, name: str, request: Mapping[str, bytes]) -> bytes:
    return server.call(lambda client: client.predict(name, request, timeout_s=60))


def generated(
    server: RunningTorchServe, model: ModelDescription, name: str, *, seed: int, first: int, count: int
) -> NDArray[np.uint8]:
    answer = asked(server, name, messages.generate_request(seed, first, count))
    return messages.read_images(answer, (count, model.height, model.width, model.channels)).images


def images_of(model: ModelDescription) -> NDArray[np.uint8]:
    shape = COUNT, model.height, model.width, model.channels
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("name", [name for name, _, _ in shipped()])
def test_a_model_computes_on_the_gpu_and_says_so(described: Mapping[str, ModelDescription], name: str) -> None:
    model = described[name]
    assert model.device_class.startswith("cuda-") and model.device_class.endswith(model.precision)
    bfloat16 = model.kind != "neurons" and torch.cuda.get_device_capability() >= (8, 0)
    assert model.precision == ("bfloat16" if bfloat16 else "float32")


@pytest.mark.parametrize("name", GENERATORS)
def test_a_sample_is_the_same_alone_and_in_company(
    server: RunningTorchServe, described: Mapping[str, ModelDescription], name: str
) -> None:
    model = described[name]
    whole = generated(server, model, name, seed=3, first=0, count=COUNT)
    assert whole.std() > 10  # it shows something
    for first, count in ((0, 1), (7, 1), (40, 33), (COUNT - 1, 1)):
        part = generated(server, model, name, seed=3, first=first, count=count)
        assert np.array_equal(part, whole[first : first + count])


def test_an_image_is_classified_the_same_alone_and_in_company(
    server: RunningTorchServe, described: Mapping[str, ModelDescription]
) -> None:
    model = described["digits-classifier"]
    images = images_of(model)

    def classified(some: NDArray[np.uint8]) -> messages.Classifications:
        answer = asked(server, "digits-classifier", messages.classify_request(some))
        return messages.read_classifications(answer, (len(some), len(model.classes)))

    whole = classified(images)
    np.testing.assert_allclose(whole.probabilities.sum(axis=1), 1, atol=1e-5)
    if model.batch_sizes:
        for index in (0, 31, COUNT - 1):
            alone = classified(images[index : index + 1])
            assert np.array_equal(alone.probabilities, whole.probabilities[index : index + 1])


def test_a_face_is_detected_the_same_alone_and_in_company(
    server: RunningTorchServe, described: Mapping[str, ModelDescription]
) -> None:
    model = described["face-neuron"]
    images, concepts = images_of(model), [concept.name for concept in model.concepts]

    def detected(some: NDArray[np.uint8]) -> neuron_messages.Detections:
        answer = asked(server, "face-neuron", neuron_messages.detect_request(some, concepts))
        return neuron_messages.read_detections(answer, (len(some), len(concepts)))

    whole = detected(images)
    assert np.isfinite(whole.activations).all()
    if model.batch_sizes:
        for index in (0, 31, COUNT - 1):
            alone = detected(images[index : index + 1])
            assert np.array_equal(alone.activations, whole.activations[index : index + 1])
