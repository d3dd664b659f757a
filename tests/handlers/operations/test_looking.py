"""Images without some feature maps: nothing but what those maps draw is gone; an empty set changes no bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from handlers.compute.model import Model
from handlers.errors import RequestError
from handlers.operations.direct import answers
from handlers.operations.sampler import Sampler
from handlers.protocol.formulas import Formulas, SampleLatent
from handlers.protocol.requests import Answer, Draw, Failure, Generate, Tap
from training.scores.logistic import fit_logistic

OBJECTS = 3  # each of which has a map of its own, and a corner of the image
CORNERS = ((0, 0), (0, 4), (4, 0))
GREY = 128


class OneMapEach(nn.Module):
    """Draws an object of 4 x 4 pixels in each of three corners: map m draws object m, as bright as latent m says."""

    def forward(self, latents: Tensor) -> Tensor:
        maps = torch.zeros(len(latents), OBJECTS, 8, 8)
        for number, (row, column) in enumerate(CORNERS):
            maps[:, number, row : row + 4, column : column + 4] = latents[:, number, None, None].abs() + 0.1
        hidden = torch.relu(maps)
        return hidden.sum(dim=1, keepdim=True).clamp(max=1)


@pytest.fixture
def drawer(generator: Model) -> Model:
    """A generator with one map per object; the plain network is the served one."""
    config = dataclasses.replace(generator.config, height=8, width=8, channels=1, latent_distribution="uniform11")
    network = OneMapEach()
    plain = dataclasses.replace(generator).plain
    vars(plain)["network"] = network
    return dataclasses.replace(
        generator, config=config, network=network, plain=plain, layers=((OBJECTS, 8, 8),), precision="float32"
    )


def formulas(count: int) -> Formulas:
    return Formulas(tuple(SampleLatent(7, index) for index in range(count)), tuple(range(count)))


def ask(model: Model, *requests: Any) -> list[NDArray[Any]]:
    sampler = Sampler(model, 10**6)
    found = answers(sampler, [sampler.check(request) for request in requests])
    assert all(isinstance(each, Answer) for each in found), found
    return [next(iter(each.tensors.values())) for each in found if isinstance(each, Answer)]


def test_forgetting_an_object_removes_exactly_it(drawer: Model) -> None:
    latents, forgotten = formulas(20), 1
    places = np.argwhere(np.ones((20, 8, 8), np.bool_))
    row, column = CORNERS[forgotten]
    within = (places[:, 1:] >= [row, column]) & (places[:, 1:] < [row + 4, column + 4])
    inside: NDArray[np.bool_] = np.asarray(within.all(axis=1))

    [before, activations] = ask(drawer, Draw(latents), Tap(latents, 1, places))
    found = np.flatnonzero(fit_logistic(activations, inside).weights > 0)
    [after] = ask(drawer, Draw(latents, drop={1: tuple(found.tolist())}))

    assert found.tolist() == [forgotten]
    expected = before.copy()
    expected[:, row : row + 4, column : column + 4] = GREY
    assert np.array_equal(after, expected)
    assert not np.array_equal(after, before)


def test_keeping_an_object_removes_all_others(drawer: Model) -> None:
    [kept, dropped] = ask(drawer, Draw(formulas(4), keep={1: (2,)}), Draw(formulas(4), drop={1: (0, 1)}))

    assert np.array_equal(kept, dropped)


def test_an_empty_set_has_the_bits_of_generate_and_shares_its_passes(generator: Model) -> None:
    [images, drawn] = ask(generator, Generate(7, 0, 9), Draw(formulas(9), drop={}, keep={}))
    sampler = Sampler(generator, 10**6)
    empty, other = sampler.begin(Draw(formulas(2))), sampler.begin(Draw(formulas(3)))

    assert np.array_equal(images, drawn)
    assert not isinstance(empty, Answer) and not isinstance(other, Answer)
    assert empty.passes is other.passes


def test_requests_with_different_sets_share_no_pass(generator: Model) -> None:
    sampler = Sampler(generator, 10**6)
    works = [sampler.begin(Draw(formulas(2), drop={1: (number,)})) for number in (0, 1, 1)]

    assert all(not isinstance(work, Answer) and work.alone == generator.micro_batch for work in works)
    assert len({work.passes for work in works if not isinstance(work, Answer)}) == 3


def test_all_maps_that_are_kept_change_nothing_but_rounding(generator: Model) -> None:
    every = tuple(range(generator.layers[0][0]))

    [images, kept, again] = ask(
        generator, Draw(formulas(12)), Draw(formulas(12), keep={1: every}), Draw(formulas(12), keep={1: every})
    )

    assert int(np.abs(images.astype(int) - kept).max()) <= 3
    assert np.array_equal(kept, again)


@pytest.mark.parametrize(
    "request_",
    [
        Draw(formulas(1), drop={3: (0,)}),
        Draw(formulas(1), keep={1: (7,)}),
    ],
)
def test_maps_that_are_not_there_are_refused(generator: Model, request_: Draw) -> None:
    with pytest.raises(RequestError, match=r"layer must be from 1 to 2|layer 1 has 7 maps: 7 is none of them"):
        Sampler(generator, 10**6).check(request_)


@pytest.mark.parametrize("place", [[2, 0, 0], [0, 8, 0], [0, 0, 8]])
def test_places_that_are_not_there_are_refused(drawer: Model, place: list[int]) -> None:
    [failure] = answers(Sampler(drawer, 10**6), [Tap(formulas(2), 1, np.array([place]))])

    assert isinstance(failure, Failure) and "places must lie below [2, 8, 8]" in failure.message
