"""The face neuron that ships with the project, on photographs that may be shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mintage.pictures import fitted

from training.batches import to_tensor
from training.families import family_of
from training.neurons.concepts import Concept, read_concepts
from training.runs.checkpoint import load_run, served_weights

REPOSITORY = Path(__file__).resolve().parents[3]
MODEL = REPOSITORY / "models/face-neuron"


def confidence(concept: Concept, picture: str) -> float:
    """Return how sure the neuron is that a photograph shows the concept."""
    run = load_run(MODEL)
    network = family_of(run.config).autoencoder()
    network.load_state_dict(served_weights(run, "neurons"))
    pixels = np.asarray(fitted(REPOSITORY / "docs/pictures/photographs" / picture, 32, 32))
    activation = network(to_tensor(pixels[None]))[concept.stage - 1].flatten(1)[:, concept.unit]
    return float(concept.confidence(activation.detach().numpy())[0])


@pytest.fixture(scope="module")
def face() -> Concept:
    return next(concept for concept in read_concepts(MODEL) if concept.name == "face")


def test_a_face_is_seen(face: Concept) -> None:
    assert confidence(face, "astronaut.jpg") > 0.9


def test_a_cat_and_a_cup_are_no_faces(face: Concept) -> None:
    assert confidence(face, "chelsea.jpg") < 0.5
    assert confidence(face, "coffee.jpg") < 0.1


def test_the_model_is_small_enough_to_ship_and_shows_no_one() -> None:
    files = [path for path in MODEL.rglob("*") if path.is_file()]

    assert sum(path.stat().st_size for path in files) < 10_000_000
    assert not [path for path in files if path.name == "top.png"], "the images that a neuron likes best are the data's"
