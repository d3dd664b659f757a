"""An autoencoder, trained here in seconds, is asked through the API and a real TorchServe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mintage.client import Client, Neuron
from mintage.errors import InvalidRequest, NotFound, NotPossible
from mintage.v1.jobs_pb2 import Job
from PIL import Image
from safetensors.numpy import load_file

from handlers.archive import pack
from service.processes.stack import Stack
from tests.support.runs import concept
from tests.training.fakes import blobs, small_autoencoder_recipe
from training.families import family_of
from training.loop.loop import train
from training.neurons.concepts import write_concepts
from training.runs.checkpoint import load_run, served_weights

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

DATA = blobs(24, side=12)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mind"
    train(small_autoencoder_recipe(), blobs(60, side=12), folder)
    return folder


@pytest.fixture(scope="module")
def client(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a stack that holds the autoencoder with a concept, and once more without."""
    with Stack(tmp_path_factory.mktemp("stack"), workers=1) as stack:
        stack.start()
        photographs = stack.settings.inputs / "set"
        photographs.mkdir(parents=True)
        for number, image in enumerate(DATA.images):
            Image.fromarray(image[:, :, 0]).save(photographs / f"{number:02d}.png")
        pack(run, "neurons", stack.settings.archives / "blank.mar", micro_batch=8)
        write_concepts(run, [concept("block", stage=2, unit=3, threshold=0.05)])
        pack(run, "neurons", stack.settings.archives / "mind.mar", micro_batch=8)
        with Client(stack.api_address) as client:
            client.load_model("mind", "mind.mar")
            client.load_model("blank", "blank.mar")
            yield client


@pytest.fixture(scope="module")
def expected(run: Path) -> list[np.ndarray]:
    """What the network of the run folder, called by hand, makes of the images: every stage's [N, U]."""
    opened = load_run(run)
    network = family_of(opened.config).autoencoder()
    network.load_state_dict(served_weights(opened, "neurons"))
    images = torch.from_numpy(DATA.images).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        return [units.flatten(1).numpy() for units in network.eval()(images)]


def test_the_served_neurons_are_those_of_the_run(client: Client, expected: list[np.ndarray]) -> None:
    for stage, units in enumerate(expected, start=1):
        np.testing.assert_allclose(client.activations("mind", DATA.images, stage=stage), units, atol=1e-4)
    said = client.detect("mind", DATA.images)
    values = expected[1][:, 3]
    assert said.concepts == ("block",)
    np.testing.assert_allclose(said.activations[:, 0], values, atol=1e-4)
    assert np.array_equal(said.detected[:, 0], said.activations[:, 0].astype(np.float64) > 0.05)
    assert ((said.confidences > 0) & (said.confidences < 1)).all()
    top = client.top_stimuli("mind", "block", DATA.images, count=5)
    assert top.activations.tolist() == np.sort(said.activations[:, 0])[::-1][:5].tolist()


def test_what_the_model_is_and_knows_is_told(client: Client) -> None:
    [known] = client.list_concepts("mind")
    assert (known.name, known.neuron.stage, known.neuron.unit, known.accuracy) == ("block", 2, 3, 0.8)
    model = client.model("mind")
    assert (list(model.concepts), len(model.stages)) == (["block"], 3)
    assert client.health("mintage.v1.NeuronService")
    assert client.list_concepts("blank") == []


def test_the_optimal_stimulus_is_repeatable_and_beats_the_images(client: Client) -> None:
    first, second = (client.optimal_stimulus("mind", "block", seed=5, steps=30) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert first.image.shape == (12, 12, 1)
    assert first.activation > client.top_stimuli("mind", "block", DATA.images).activations[0]


def test_reconstructions_have_the_form_of_the_images(client: Client) -> None:
    assert client.reconstruct("mind", DATA.images).shape == DATA.images.shape


def test_a_folder_is_scored_by_what_the_neurons_see(client: Client, expected: list[np.ndarray]) -> None:
    def scored(reference: str = "") -> Job:
        created = client.create_score_job("mind", source_folder="set", shard_size=10, reference_job=reference)
        *_, job = client.watch(created.name)
        assert job.state == Job.STATE_SUCCEEDED, job.error
        return job

    reference = scored()
    job = scored(reference.name)
    [block] = job.concept_scores
    said = client.detect("mind", DATA.images)
    assert (block.concept, block.detected) == ("block", said.detected.sum())
    assert block.mean_activation == pytest.approx(expected[1][:, 3].mean(), abs=1e-4)
    assert job.concept_scores == reference.concept_scores and job.root_digest == reference.root_digest
    assert job.comparison.features == client.model("mind").stages[-1].maps
    assert (job.comparison.images, job.comparison.precision) == (24, 1)
    folder = Path(job.output_uri.removeprefix("file://"))
    features = np.concatenate([load_file(path)["features"] for path in sorted(folder.glob("data/*.safetensors"))])
    maps = job.comparison.features
    np.testing.assert_allclose(features, expected[2].reshape(24, maps, -1).mean(axis=2), atol=1e-4)
    assert (folder / "report.html").exists()


def test_bad_input_is_named(client: Client) -> None:
    with pytest.raises(NotFound, match="it has block"):
        client.detect("mind", DATA.images, concepts=["cat"])
    with pytest.raises(InvalidRequest, match=r"neuron\.stage: must be from 1 to 3, not 4"):
        client.optimal_stimulus("mind", Neuron(4, 0))
    with pytest.raises(InvalidRequest, match=r"raw\.height"):
        client.detect("mind", np.zeros((1, 6, 6, 1), np.uint8))
    with pytest.raises(NotPossible, match="has no concepts yet"):
        client.detect("blank", DATA.images)
    assert client.activations("blank", DATA.images, stage=1, units=[0]).shape == (24, 1)
