"""Every family that can be trained is served by a real TorchServe: the same bytes as in this process."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mintage.formulas import parse

from handlers.archive import pack
from handlers.compute.model import load
from handlers.operations.direct import MAX_BYTES, generate
from handlers.operations.judging import Judge
from handlers.protocol.messages import read_request
from handlers.protocol.requests import Failure, Generate
from service.backend.protocol import (
    direction_messages,
    drawing_messages,
    explanation_messages,
    messages,
    neuron_messages,
)
from service.backend.protocol.decoding import opened
from service.backend.protocol.explanation_messages import MapUnit
from service.backend.torchserve import TorchServe
from service.backend.workers import Priority
from tests.e2e.families import SAMPLES, write_generators, write_readers
from tests.e2e.torchserve import RunningTorchServe, running_torchserve
from tests.support.direct import classify, tensors
from tests.training.fakes import blobs
from training.recipes import Kind

pytestmark = pytest.mark.e2e

CPU = torch.device("cpu")
SHAPE = (32, 32, 1)
MODELS: dict[str, Kind] = {
    "nets": "generator",
    "dcgan": "generator",
    "digits": "generator",
    "probe": "classifier",
    "judge": "classifier",
    "eyes": "neurons",
    "critic": "discriminator",
}
RUNS = {"critic": "plain"}  # of models that are not called as their run
LIMITS = {"startup_timeout_s": 60.0, "response_timeout_s": 30.0}
CALLERS = 16


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of every family."""
    return write_readers(write_generators(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def server(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTorchServe]:
    """A TorchServe that holds all of them, a worker each."""
    with running_torchserve(tmp_path_factory.mktemp("ts")) as server:
        for name, kind in MODELS.items():
            pack(runs / RUNS.get(name, name), kind, server.settings.archives / f"{name}.mar", micro_batch=8)

        async def load_all(client: TorchServe) -> None:
            for name in MODELS:
                await client.register(f"{name}.mar", name, 1, **LIMITS)
                await client.wait_until_ready(name, 60)

        server.call(load_all)
        yield server


def unpacked(server: RunningTorchServe, name: str, folder: Path) -> Path:
    with zipfile.ZipFile(server.settings.archives / f"{name}.mar") as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize("name", ["nets", "dcgan"])
def test_a_served_generator_makes_the_bytes_that_it_makes_here(
    server: RunningTorchServe, name: str, tmp_path: Path
) -> None:
    [expected] = generate(load(unpacked(server, name, tmp_path), "generator", CPU), [Generate(3, 5, 20)])

    request = messages.generate_request(3, 5, 20)
    answer = server.call(lambda client: client.predict(name, request, timeout_s=30))

    assert not isinstance(expected, Failure)
    assert np.array_equal(messages.read_images(answer, (20, *SHAPE)).images, expected)


def test_a_served_probe_answers_as_it_does_here(server: RunningTorchServe, tmp_path: Path) -> None:
    images = blobs(30, side=32, seed=5)
    probabilities, generated = classify(load(unpacked(server, "probe", tmp_path), "classifier", CPU), images.images)

    request = messages.classify_request(images.images)
    answer = server.call(lambda client: client.predict("probe", request, timeout_s=30))
    served = messages.read_classifications(answer, (30, 3))

    assert np.array_equal(served.probabilities, probabilities)
    assert served.generated is not None
    assert np.array_equal(served.generated, generated)
    assert (served.probabilities.argmax(1) == images.labels).mean() > 0.8


def test_a_served_discriminator_explains_and_inverts_as_it_does_here(server: RunningTorchServe, tmp_path: Path) -> None:
    operations = Judge(load(unpacked(server, "critic", tmp_path), "discriminator", CPU), MAX_BYTES)
    images = blobs(5, side=32, seed=5).images
    where: dict[str, Any] = {"class_index": 0, "pixels_only": False}
    begin = direction_messages.begin_search_request(images[0], seed=3, first_start=0, starts=2, **where)
    state = tensors(operations, read_request(begin))["state"]
    for request in (
        explanation_messages.explain_request(images, None, random=False),
        explanation_messages.explain_request(images, MapUnit(2, 1), random=True),
        explanation_messages.peaks_request(images, 1),
        begin,
        direction_messages.search_request(images[0], state, step=0, count=2, steps=9, **where),
    ):
        expected = tensors(operations, read_request(request))
        [served] = asked_by_many(server, "critic", [request])
        assert served.keys() - {"header"} == expected.keys()
        for name, values in expected.items():
            assert np.array_equal(served[name], values)


def shuffled_spans(total: int) -> list[tuple[int, int]]:
    """Every index alone, and a few random spans, in any order: (first, count)."""
    draw = np.random.default_rng(1)
    spans = [(index, 1) for index in range(total)]
    spans += [(int(first), int(draw.integers(1, total + 1 - first))) for first in draw.integers(0, total, total // 5)]
    return [spans[place] for place in draw.permutation(len(spans))]


def asked_by_many(
    server: RunningTorchServe, name: str, requests: Sequence[Mapping[str, bytes]]
) -> list[Mapping[str, np.ndarray]]:
    """Ask everything by so many callers at once, some as jobs do; returns the tensors of the answers."""

    async def asked(client: TorchServe) -> list[bytes]:
        turn = asyncio.Semaphore(CALLERS)

        async def one(number: int, request: Mapping[str, bytes]) -> bytes:
            priority: Priority = "bulk" if number % 3 == 0 else "interactive"
            async with turn:
                return await client.predict(
                    name, request, timeout_s=120, client=f"caller-{number % CALLERS}", priority=priority
                )

        return list(await asyncio.gather(*(one(number, request) for number, request in enumerate(requests))))

    return [opened(answer)[1] for answer in server.call(asked)]


@pytest.mark.parametrize("name", ["nets", "dcgan", "digits"])
def test_a_sample_is_the_same_alone_in_company_in_a_job_and_after_a_restart(
    server: RunningTorchServe, name: str
) -> None:
    spans = shuffled_spans(SAMPLES)
    [whole] = asked_by_many(server, name, [messages.generate_request(7, 0, SAMPLES)])
    requests = [messages.generate_request(7, first, count) for first, count in spans]
    for (first, count), found in zip(spans, asked_by_many(server, name, requests), strict=True):
        assert np.array_equal(found["images"], whole["images"][first : first + count])

    async def restart(client: TorchServe) -> None:
        await client.unregister(name)
        await client.register(f"{name}.mar", name, 1, **LIMITS)
        await client.wait_until_ready(name, 60)

    server.call(restart)
    for (first, count), found in zip(spans, asked_by_many(server, name, requests[:20]), strict=False):
        assert np.array_equal(found["images"], whole["images"][first : first + count])


@pytest.mark.parametrize("name", ["nets", "dcgan", "digits"])
def test_a_formula_is_the_same_image_alone_and_in_company_and_a_sample_is_that_of_generate(
    server: RunningTorchServe, name: str
) -> None:
    texts = ["7#3:66:64", "slerp(7#1, 7#2, 0:1:33)", "jitter(mean(7#1, 7#2, 7#3), 0:8:9, 0.25)", "-1:1:9 * 7#4"]
    latents = [latent for text in texts for latent in parse(text)]
    [samples] = asked_by_many(server, name, [messages.generate_request(7, 3, 64)])
    [whole] = asked_by_many(server, name, [drawing_messages.draw_request(latents, {})])
    assert np.array_equal(whole["images"][:64], samples["images"])
    requests = [drawing_messages.draw_request(latents[first : first + 3], {}) for first in range(0, len(latents), 3)]
    alone = [found["images"] for found in asked_by_many(server, name, requests)]
    assert np.array_equal(np.concatenate(alone), whole["images"])


def about(images: np.ndarray) -> dict[str, list[dict[str, bytes]]]:
    """What each model is asked about images."""
    detect = neuron_messages.detect_request
    return {
        "probe": [messages.classify_request(images), messages.classify_request(images, features=True)],
        "judge": [messages.classify_request(images), messages.classify_request(images, features=True)],
        "eyes": [
            detect(images, ["dots", "bars"]),
            detect(images, ["bars"], features=True),
            neuron_messages.activate_request(images, 2, (3, 1)),
            neuron_messages.reconstruct_request(images),
        ],
    }


@pytest.mark.parametrize("name", ["probe", "judge", "eyes"])
def test_an_image_gets_the_same_answer_alone_and_in_company(server: RunningTorchServe, name: str) -> None:
    description = server.call(lambda client: client.wait_until_ready(name, 60))
    shape = (description.height, description.width, description.channels)
    images = np.random.default_rng(3).integers(0, 256, (40, *shape), dtype=np.uint8)
    spans = shuffled_spans(40) if description.batch_sizes else [(0, 40)] * CALLERS
    for kind, request in enumerate(about(images)[name]):
        [whole] = asked_by_many(server, name, [request])
        requests = [about(images[first : first + count])[name][kind] for first, count in spans]
        for (first, count), found in zip(spans, asked_by_many(server, name, requests), strict=True):
            assert found.keys() == whole.keys()
            for tensor in found.keys() - {"header"}:
                assert np.array_equal(found[tensor], whole[tensor][first : first + count])
