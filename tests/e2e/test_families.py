"""Every family that can be trained is served by a real TorchServe: the same bytes as in this process."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from handlers.archive import pack
from handlers.compute.model import load
from handlers.operations.direct import generate
from handlers.protocol.messages import Failure, Generate
from service.backend import messages
from service.backend.torchserve import TorchServe
from tests.e2e.torchserve import RunningTorchServe, running_torchserve
from tests.support.direct import classify
from tests.training.fakes import blobs, small_adversarial_recipe, small_dcgan_recipe
from training.loop.loop import train
from training.probe.run import probe_run
from training.recipes import Kind, ProbeRecipe, recipe_named

pytestmark = pytest.mark.e2e

CPU = torch.device("cpu")
SHAPE = (32, 32, 1)
MODELS: dict[str, Kind] = {"nets": "generator", "dcgan": "generator", "probe": "classifier"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adversarial nets of 2014, a DCGAN that knows classes, one that does not, and the probe of that one."""
    folder = tmp_path_factory.mktemp("runs")
    data = blobs(side=32)
    train(small_adversarial_recipe(), data, folder / "nets")
    train(small_dcgan_recipe(conditional="yes"), data, folder / "dcgan")
    train(small_dcgan_recipe(), data, folder / "plain")
    recipe = recipe_named("probe").overridden({"validation_share": 0.2})
    assert isinstance(recipe, ProbeRecipe)
    probe_run(folder / "plain", data, folder / "probe", recipe=recipe, test=None)
    return folder


@pytest.fixture(scope="module")
def server(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTorchServe]:
    """A TorchServe that holds all of them, a worker each."""
    with running_torchserve(tmp_path_factory.mktemp("ts")) as server:
        for name, kind in MODELS.items():
            pack(runs / name, kind, server.settings.archives / f"{name}.mar", micro_batch=8)

        async def load_all(client: TorchServe) -> None:
            for name in MODELS:
                await client.register(f"{name}.mar", name, 1, startup_timeout_s=60.0, response_timeout_s=30.0)
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
