"""The search for a latent finds the one that an image was drawn from, and goes on where it was as if never cut."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from handlers.compute.inversion import CANDIDATES, SHELL, Inversion, Opponents, within
from handlers.compute.latents import DEVIATIONS, Distribution, latents

Z = 6


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small products take longer in several threads where other tests run beside."""
    torch.set_num_threads(1)


class Drawing(nn.Module):
    """A smooth generator of grey 5 x 4 images; labels move all pixels."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(Z, 20, generator=generator) / 3, requires_grad=False)
        self.shift = nn.Parameter(torch.randn(3, 20, generator=generator) / 3, requires_grad=False)

    def forward(self, place: Tensor, labels: Tensor | None = None) -> Tensor:
        units = place @ self.weight + (0 if labels is None else self.shift[labels])
        return torch.tanh(units).view(-1, 1, 5, 4)


class Looking(nn.Module):
    """A discriminator with two hidden layers, one written as a module, one as a function."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(2)
            self.hidden = nn.ModuleList([nn.Linear(20, 12), nn.Linear(12, 8)])
            self.output = nn.Linear(8, 1)
        self.activation = nn.LeakyReLU(0.2)
        self.requires_grad_(False)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        units = self.activation(self.hidden[0](images.flatten(1)))
        logits: Tensor = self.output(torch.relu(self.hidden[1](units)))
        return logits[:, 0]


def opponents(distribution: Distribution, *, seeing: bool, classes: int = 0) -> Opponents:
    return Opponents(Drawing(), Looking() if seeing else None, distribution, Z, classes)


def found(inversion: Inversion, *, starts: int = 4, steps: int = 200) -> tuple[np.ndarray, float]:
    search, best, least = inversion.start(7, 0, starts), None, math.inf
    while search.step < steps:
        search, some = inversion.advance(search, 10, steps)
        if some.losses.min() < least:
            best, least = some.latents[some.losses.argmin()], float(some.losses.min())
    assert best is not None
    return best, least


@pytest.mark.parametrize("distribution", ["uniform01", "uniform11", "normal"])
@pytest.mark.parametrize("seeing", [False, True])
def test_the_latent_of_a_drawn_image_is_found(distribution: Distribution, seeing: bool) -> None:
    planted = latents(3, 5, 1, Z, distribution)
    pair = opponents(distribution, seeing=seeing)
    best, loss = found(Inversion(pair, pair.generator(torch.from_numpy(planted))))
    assert best == pytest.approx(planted[0], abs=0.01 * DEVIATIONS[distribution])
    assert loss < 1e-5


def test_the_class_is_that_of_the_image() -> None:
    pair = opponents("normal", seeing=True, classes=3)
    planted = latents(3, 5, 1, Z, "normal")
    image = pair.generator(torch.from_numpy(planted), torch.tensor([2]))
    best, _ = found(Inversion(pair, image, label=2))
    assert best == pytest.approx(planted[0], abs=0.01)
    assert found(Inversion(pair, image, label=0))[1] > 1e-3


def test_a_search_that_is_cut_goes_on_to_the_same_bits() -> None:
    pair = opponents("uniform11", seeing=True)
    inversion = Inversion(pair, pair.generator(torch.from_numpy(latents(3, 5, 1, Z, "uniform11"))))
    whole, at_once = inversion.advance(inversion.start(7, 0, 3), 12, 30)
    search, parts = inversion.start(7, 0, 3), []
    for count in (1, 4, 7):
        search, best = Inversion(pair, inversion._image).advance(search, count, 30)
        parts.append(best)
    assert (search.latents == whole.latents).all() and search.step == whole.step == 12
    assert (np.min([part.losses for part in parts], axis=0) == at_once.losses).all()


def test_starts_are_the_nearest_of_their_own_samples_however_many_are_asked_for() -> None:
    pair = opponents("uniform11", seeing=False)
    inversion = Inversion(pair, pair.generator(torch.from_numpy(latents(3, 5, 1, Z, "uniform11"))))
    all_starts = inversion.start(7, 0, 4).latents
    assert (inversion.start(7, 2, 2).latents == all_starts[2:]).all()
    samples = latents(7, CANDIDATES, CANDIDATES, Z, "uniform11")
    distances = ((pair.generator(torch.from_numpy(samples)) - inversion._image) ** 2).flatten(1).mean(1)
    assert (all_starts[1] == samples[int(distances.argmin())]).all()


def test_latents_return_to_where_their_distribution_has_its_mass() -> None:
    far = torch.tensor([[3.0, -2.0, 0.5, 0.0, 0.0, 0.0]])
    assert within(far, "uniform11").tolist() == [[1.0, -1.0, 0.5, 0.0, 0.0, 0.0]]
    assert within(far, "uniform01").tolist() == [[1.0, 0.0, 0.5, 0.0, 0.0, 0.0]]
    assert torch.equal(within(far, "normal"), far)
    longest = math.sqrt(Z) + SHELL * math.sqrt(0.5)
    assert within(10 * far, "normal").norm().item() == pytest.approx(longest, rel=1e-6)


class Guessing(nn.Module):
    """An encoder that is right but for a fixed error."""

    def __init__(self, planted: np.ndarray, error: float) -> None:
        super().__init__()
        self.guess = torch.from_numpy(planted) + error

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.guess.expand(len(images), -1)


def test_a_guess_that_is_near_is_the_first_start_and_leads_further_in_few_steps() -> None:
    planted = latents(3, 5, 1, Z, "uniform11")
    pair = opponents("uniform11", seeing=True)
    image = pair.generator(torch.from_numpy(planted))
    led = Inversion(replace(pair, encoder=Guessing(planted, 0.02)), image)
    begun, plain = led.start(7, 0, 3), Inversion(pair, image).start(7, 0, 3)
    assert begun.latents[0] == pytest.approx(within(torch.from_numpy(planted) + 0.02, "uniform11")[0].numpy())
    assert np.array_equal(begun.latents[1:], plain.latents[1:])  # the others are as without
    assert found(led, steps=10)[1] < found(Inversion(pair, image), steps=10)[1] / 4


def test_a_guess_that_is_far_off_is_no_start() -> None:
    planted = latents(3, 5, 1, Z, "normal")
    pair = opponents("normal", seeing=True)
    image = pair.generator(torch.from_numpy(planted))
    misled = Inversion(replace(pair, encoder=Guessing(-3 * planted, 0.0)), image)
    assert np.array_equal(misled.start(7, 0, 2).latents, Inversion(pair, image).start(7, 0, 2).latents)
