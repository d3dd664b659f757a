"""Drawn latents: the bytes of samples, arithmetic on a linear generator, one image for one formula in any company."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handlers.compute.batch_sizes import BatchSizes, fixed
from handlers.compute.model import Model
from handlers.errors import RequestError
from handlers.operations.direct import answers
from handlers.operations.drawing import Drawing
from handlers.operations.sampler import Sampler
from handlers.protocol.formulas import Formulas, Jitter, Lerp, Mean, Part, SampleLatent, Slerp, Sum, Vector
from handlers.protocol.requests import Answer, Draw, Evaluate, Failure, Generate
from handlers.serving.queue import Entry, FairQueue
from handlers.serving.times import PassTimes


def drawn(model: Model, *parts: Part, latents: tuple[int, ...] = (), **classes: Any) -> NDArray[np.uint8]:
    """The images of parts, or of the last one."""
    request = Draw(Formulas(parts, latents or (len(parts) - 1,)), **classes)
    [answer] = answers(Sampler(model, 10**6), [request])
    assert isinstance(answer, Answer), answer
    return answer.tensors["images"]


def made(model: Model, seed: int, first: int, count: int) -> NDArray[np.uint8]:
    [answer] = answers(Sampler(model, 10**6), [Generate(seed, first, count)])
    assert isinstance(answer, Answer)
    return answer.tensors["images"]


def both(generator: Model) -> list[Model]:
    """A generator whose rows are free, and one whose rows are not."""
    return [
        dataclasses.replace(generator, sizes=BatchSizes(8, (1, 2, 8), free=True)),
        dataclasses.replace(generator, sizes=fixed(8)),
    ]


class Leaky(torch.nn.Module):
    """A linear generator, each of whose rows also depends on its place and on the rows around it, if it is leaky."""

    def __init__(self, leak: float = 0.0) -> None:
        super().__init__()
        weights = torch.Generator().manual_seed(3)
        self.weight = torch.rand(5, 60, generator=weights, dtype=torch.float64) / 10
        self.leak = leak

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        rows = latents.double() @ self.weight
        if self.leak:
            place = torch.arange(len(rows))[:, None] + 1
            rows = rows + self.leak * (rows.sum(0, keepdim=True) + place)
        return rows.reshape(-1, 2, 6, 5).float()


def test_drawn_samples_are_those_of_generate(generator: Model) -> None:
    samples = [(9, 3), (9, 4), (8, 17), (9, 3), (2**64 - 1, 2**63 - 1)]
    parts = tuple(SampleLatent(*sample) for sample in samples)
    for model in both(generator):
        found = drawn(model, *parts, latents=(0, 1, 2, 3, 4))
        assert np.array_equal(found, np.concatenate([made(model, seed, index, 1) for seed, index in samples]))


def test_samples_keep_their_neighbours_where_rows_are_not_free(generator: Model) -> None:
    model = dataclasses.replace(generator, network=Leaky(0.01), sizes=fixed(8))
    alone = [drawn(model, SampleLatent(9, index))[0] for index in range(20)]
    assert np.array_equal(alone, made(model, 9, 0, 20))
    assert not np.array_equal(alone, made(dataclasses.replace(model, network=Leaky()), 9, 0, 20))


def test_a_formula_is_one_image_alone_and_in_company_even_where_rows_are_not_free(generator: Model) -> None:
    parts = (SampleLatent(1, 5), SampleLatent(1, 6), Mean((0, 1)), Slerp((0, 1), 0.3), Jitter((0,), 4, 0.25))
    for network in (generator.network, Leaky(0.01)):
        for model in both(dataclasses.replace(generator, network=network)):
            if model.sizes.free and network is not generator.network:
                continue
            whole = drawn(model, *parts, latents=(4, 3, 0, 2, 1))
            alone = [drawn(model, *parts[: latent + 1])[0] for latent in (4, 3, 0, 2, 1)]
            assert np.array_equal(whole, alone)


def test_equal_samples_share_a_micro_batch_and_formulas_have_their_own(generator: Model) -> None:
    parts = (SampleLatent(1, 5), SampleLatent(1, 6), SampleLatent(1, 8), Mean((0, 1)))
    request = Draw(Formulas(parts, (0, 1, 2, 3, 3)))
    free, kept = (Sampler(model, 10**6).begin(request) for model in both(generator))
    assert isinstance(free, Drawing) and isinstance(kept, Drawing)
    assert [(work.rows, work.alone) for work in (free, kept)] == [(5, 0), (24, 8)]


def test_arithmetic_on_a_linear_generator_is_arithmetic_on_pixels(generator: Model) -> None:
    model = dataclasses.replace(generator, network=Leaky(), sizes=BatchSizes(8, (1, 8), free=True))
    parts = tuple(SampleLatent(2, index) for index in range(9))
    means = Mean((0, 1, 2)), Mean((3, 4, 5)), Mean((6, 7, 8))
    arithmetic = Sum((1.0, -1.0, 1.0), (9, 10, 11))
    images = drawn(model, *parts, *means, arithmetic, latents=tuple(range(13))).astype(float)
    expected = images[:3].mean(0) - images[3:6].mean(0) + images[6:9].mean(0)
    assert np.abs(images[12] - expected).max() <= 2, "each of the ten images is rounded to whole levels"
    walk = drawn(model, *parts, *(Lerp((0, 8), t / 10) for t in range(11)), latents=tuple(range(9, 20))).astype(float)
    steps = np.linspace(images[0], images[8], 11)
    assert np.abs(walk - steps).max() <= 1


def test_drawing_shares_passes_with_generate(generator: Model) -> None:
    model = dataclasses.replace(generator, sizes=BatchSizes(8, (8,), free=True))
    sampler = Sampler(model, 10**6)
    requests: list[Any] = [Generate(1, 0, 3), Draw(Formulas((Vector((0.1,) * 5), SampleLatent(1, 7)), (0, 1, 0)))]
    queue = FairQueue(PassTimes(model.sizes.proven), max_rows=100, max_bytes=100)
    for name, request in enumerate(requests):
        work = sampler.begin(request)
        assert not isinstance(work, Answer)
        queue.add(Entry(work, str(name), False, 1e9, 0, lambda _: None), 0.0)
    chosen = queue.next(0.0)
    assert chosen is not None and sorted(len(rows) for _, rows in chosen.parts) == [3, 3]
    together = answers(sampler, requests)
    alone = [answers(sampler, [request])[0] for request in requests]
    for one, other in zip(together, alone, strict=True):
        assert isinstance(one, Answer) and isinstance(other, Answer)
        assert np.array_equal(one.tensors["images"], other.tensors["images"])


def test_a_class_is_refused_by_a_generator_that_takes_none(generator: Model) -> None:
    with pytest.raises(RequestError, match="this generator takes no class"):
        Sampler(generator, 10**6).begin(Draw(Formulas((SampleLatent(0, 0),), (0,)), class_index=0))


def test_a_vector_of_another_length_fails_its_request_alone(generator: Model) -> None:
    requests = [Draw(Formulas((Vector((0.0,) * size),), (0,))) for size in (5, 4)]
    good, bad = answers(Sampler(generator, 10**6), requests)
    assert isinstance(good, Answer) and isinstance(bad, Failure) and bad.status == "invalid"


def test_more_images_than_an_answer_holds_are_refused(generator: Model) -> None:
    sampler = Sampler(generator, 2**14 + 60 * 2)
    with pytest.raises(RequestError, match="count must be at most 2"):
        sampler.check(Draw(Formulas((SampleLatent(0, 0),), (0, 0, 0))))


def test_the_numbers_of_latents_are_told(generator: Model) -> None:
    [found] = answers(Sampler(generator, 10**6), [Evaluate(Formulas((Vector((0.1,) * 5), Sum((3.0,), (0,))), (1, 0)))])
    assert isinstance(found, Answer)
    assert found.tensors["latents"].tolist() == [[3.0 * 0.1] * 5, [0.1] * 5]
