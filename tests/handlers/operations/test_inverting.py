"""Inverting by requests: each carries where the search is, takes few steps, and any worker can go on."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handlers.archive import pack
from handlers.compute.inversion import Inversion, Opponents
from handlers.compute.model import Model, from_run, load
from handlers.errors import ArchiveError, RequestError
from handlers.operations.direct import MAX_BYTES, answers
from handlers.operations.inverting import STEP_ROWS
from handlers.operations.judging import Judge
from handlers.operations.sampler import Sampler
from handlers.protocol.messages import read_request
from handlers.protocol.requests import Answer, Generate, Invert, Request, WeightDirections
from service.backend.protocol import direction_messages
from tests.support.direct import tensors
from tests.training.fakes import blobs, small_dcgan_recipe, small_encoder_recipe
from training.encoding import of_generator
from training.loop.loop import train
from training.networks.pair import Pair

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small products take longer in several threads where other tests run beside."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DCGAN's run, hardly trained."""
    folder = tmp_path_factory.mktemp("runs") / "dcgan"
    train(small_dcgan_recipe(), blobs(side=32), folder)
    return folder


@pytest.fixture(scope="module")
def generator(run: Path) -> Model:
    return from_run(run, "generator", CPU, micro_batch=4)


@pytest.fixture(scope="module")
def discriminator(run: Path) -> Model:
    return from_run(run, "discriminator", CPU, micro_batch=4)


def asked(operations: Any, inputs: dict[str, bytes]) -> direction_messages.Search:
    request = read_request(inputs)
    assert isinstance(request, Invert)
    [answer] = answers(operations, [operations.check(request)])
    assert isinstance(answer, Answer), answer
    found = answer.tensors
    return direction_messages.Search(found["state"], found["latents"], found["losses"])


def inverted(operations: Any, image: NDArray[np.uint8], *, pixels_only: bool, steps: int = 200) -> NDArray[np.float32]:
    """Invert as the API does, with two starts."""
    options: dict[str, Any] = {"class_index": 0, "pixels_only": pixels_only}
    search = asked(
        operations, direction_messages.begin_search_request(image, seed=3, first_start=0, starts=2, **options)
    )
    best, least = search.latents[0], float("inf")
    for step in range(0, steps, 2):
        request = direction_messages.search_request(image, search.state, step=step, count=2, steps=steps, **options)
        search = asked(operations, request)
        if search.losses.min() < least:
            best, least = search.latents[int(search.losses.argmin())], float(search.losses.min())
    found: NDArray[np.float32] = best
    return found


def sampled(generator: Model) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = tensors(Sampler(generator, MAX_BYTES), Generate(11, 4, 1))["images"][0]
    return image


@pytest.mark.parametrize("pixels_only", [False, True])
def test_a_sample_is_found_again_by_its_image(generator: Model, discriminator: Model, pixels_only: bool) -> None:
    image = sampled(generator)
    operations: Any = Sampler(generator, MAX_BYTES) if pixels_only else Judge(discriminator, MAX_BYTES)
    best = inverted(operations, image, pixels_only=pixels_only)
    with torch.no_grad():
        drawn = generator.plain.network(torch.from_numpy(best[None]))[0].permute(1, 2, 0)
    error = ((drawn.numpy() + 1) * 127.5 - image).astype(np.float64)
    assert np.sqrt((error**2).mean()) < 1.0  # levels of 255


def test_an_answer_does_not_depend_on_what_was_asked_before(discriminator: Model) -> None:
    image = np.full((32, 32, 1), 90, np.uint8)
    one, other = Judge(discriminator, MAX_BYTES), Judge(discriminator, MAX_BYTES)
    assert (
        inverted(one, image, pixels_only=False, steps=8) == inverted(other, image, pixels_only=False, steps=8)
    ).all()


def invert(**fields: Any) -> Invert:
    values: dict[str, Any] = {"starts": 2, "class_index": 0, "pixels_only": True}
    return Invert(**{"images": np.zeros((1, 32, 32, 1), np.uint8), **values, **fields})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"images": np.zeros((1, 32, 31, 1), np.uint8)}, "images must be"),
        ({"images": np.zeros((2, 32, 32, 1), np.uint8)}, "one image"),
        ({"starts": STEP_ROWS + 1}, f"at most {STEP_ROWS}"),
        ({"state": np.zeros((3, 2, 5), np.float32), "count": 5, "steps": 9}, f"at most {STEP_ROWS}"),
        ({"state": np.zeros((3, 2, 4), np.float32), "count": 1, "steps": 9}, "state must be"),
        ({"class_index": 1}, "class must be below 1"),
        ({"pixels_only": False}, "ask its discriminator"),
    ],
)
def test_a_wrong_request_is_refused(generator: Model, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        Sampler(generator, MAX_BYTES).check(invert(**wrong))


def test_a_state_that_is_no_latents_is_refused() -> None:
    image = np.zeros((2, 2, 1), np.uint8)
    state = np.zeros((3, 2, 5), np.float32)
    good = direction_messages.search_request(image, state, step=3, count=2, steps=9, class_index=0, pixels_only=False)
    request = read_request(good)
    assert isinstance(request, Invert) and request.state is not None
    assert (request.state.shape, request.step, request.count, request.steps) == ((3, 2, 5), 3, 2, 9)
    with pytest.raises(RequestError, match="state must be"):
        read_request({**good, "pixels": good["pixels"][:-4]})
    with pytest.raises(RequestError, match="count must be"):
        read_request(
            direction_messages.search_request(image, state, step=8, count=2, steps=9, class_index=0, pixels_only=False)
        )


def test_directions_of_the_weights_are_answered(generator: Model) -> None:
    operations = Sampler(generator, MAX_BYTES)
    request: Request = read_request(direction_messages.weight_directions_request(3))
    assert request == WeightDirections(3)
    found = tensors(operations, request)
    assert found["vectors"].shape == (3, 5) and found["strengths"][0] == 1.0
    with pytest.raises(RequestError, match="at most 5"):
        operations.check(WeightDirections(6))


def test_an_encoder_that_is_packed_beside_the_pair_is_one_of_the_first_starts(run: Path, tmp_path: Path) -> None:
    recipe, data = of_generator(small_encoder_recipe(), run)
    train(recipe, data, tmp_path / "encoder")
    archive = pack(run, "discriminator", tmp_path / "critic.mar", micro_batch=4, encoder=tmp_path / "encoder")
    plain = pack(run, "discriminator", tmp_path / "plain.mar", micro_batch=4)
    assert archive.digest != plain.digest
    with zipfile.ZipFile(archive.path) as file:
        file.extractall(tmp_path / "critic")
    model = load(tmp_path / "critic", "discriminator", CPU)
    assert model.encoder is not None
    planted = data.images[0]
    request = direction_messages.begin_search_request(
        planted, seed=3, first_start=0, starts=1, class_index=0, pixels_only=False
    )
    begun = asked(Judge(model, MAX_BYTES), request)
    pair = model.plain.network
    assert isinstance(pair, Pair)
    opened = Opponents(pair.generator, pair.discriminator, "uniform11", 5, encoder=model.encoder)
    expected = Inversion(opened, torch.from_numpy(planted[None]).permute(0, 3, 1, 2) / 127.5 - 1).start(3, 0, 1)
    assert begun.state[0] == pytest.approx(expected.latents, abs=1e-6)

    with pytest.raises(ArchiveError, match="beside a discriminator"):
        pack(run, "generator", tmp_path / "faces.mar", encoder=tmp_path / "encoder")
    train(small_dcgan_recipe(seed=2), blobs(side=32), tmp_path / "other")
    with pytest.raises(ArchiveError, match="not of this run"):
        pack(tmp_path / "other", "discriminator", tmp_path / "x.mar", encoder=tmp_path / "encoder")
