"""A sample's bytes depend on the weights, the seed and its index alone."""

from __future__ import annotations

import dataclasses
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.compute.batch_sizes import BatchSizes, fixed
from handlers.compute.latents import latents
from handlers.compute.model import Model
from handlers.errors import RequestError
from handlers.operations.direct import answers, generate
from handlers.operations.generation import Pixels, Samples
from handlers.operations.sampler import Sampler
from handlers.operations.work import Piece
from handlers.protocol.requests import Answer, Canary, Classify, Describe, Failure, Generate


def made(model: Model, request: Generate) -> Pixels:
    """Return the samples of a request that must succeed."""
    [images] = generate(model, [request])
    assert not isinstance(images, Failure)
    return images


class Blinking(torch.nn.Module):
    """Makes blank images, but NaN for a latent whose first number is negative."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        blank = torch.zeros(len(latents), 2, 6, 5)
        blank[latents[:, 0] < 0] = torch.nan
        return blank


def test_slices_at_any_offset_are_the_bytes_of_the_whole(generator: Model) -> None:
    whole = made(generator, Generate(9, 0, 40))
    assert whole.shape == (40, 6, 5, 2) and whole.dtype == np.uint8

    @settings(max_examples=40)
    @given(first=st.integers(0, 39), count=st.integers(1, 40))
    def holds(first: int, count: int) -> None:
        count = min(count, 40 - first)
        assert np.array_equal(made(generator, Generate(9, first, count)), whole[first : first + count])

    holds()


def test_samples_differ_from_each_other_and_between_seeds(generator: Model) -> None:
    images = np.concatenate([made(generator, Generate(seed, 0, 20)) for seed in (1, 2)]).reshape(40, -1)
    assert len(np.unique(images, axis=0)) == 40


def test_the_last_index_of_all_can_be_made(generator: Model) -> None:
    assert len(made(generator, Generate(2**64 - 1, 2**63 - 1, 1))) == 1


def test_only_what_is_asked_for_is_computed_but_whole_micro_batches_where_rows_are_not_free(generator: Model) -> None:
    requests = [Generate(1, 3, 10), Generate(1, 12, 2), Generate(2, 0, 1), Generate(1, 40, 1)]
    free = dataclasses.replace(generator, sizes=BatchSizes(8, (1, 8), free=True))
    kept = dataclasses.replace(generator, sizes=fixed(8))
    for model, rows, alone in ((free, [10, 2, 1, 1], 0), (kept, [16, 8, 8, 8], 8)):
        works = [Sampler(model, 10**6).begin(request) for request in requests]
        assert [(work.rows, work.alone) for work in works if isinstance(work, Samples)] == [(n, alone) for n in rows]
        for request, together in zip(requests, generate(model, requests), strict=True):
            assert np.array_equal(made(generator, request), cast(Pixels, together))


def test_an_image_that_is_not_finite_fails_the_requests_that_ask_for_it_only(generator: Model) -> None:
    config = dataclasses.replace(generator.config, latent_distribution="normal", latent_size=1)
    model = dataclasses.replace(generator, network=Blinking(), config=config, sizes=fixed(1))
    signs = [latents(5, i, 1, 1, "normal").item() < 0 for i in range(30)]
    sampler = Sampler(model, 10**6)
    found = answers(sampler, [Generate(5, index, 1) for index in range(30)])
    assert [isinstance(answer, Failure) for answer in found] == signs
    failures = [answer for answer in found if isinstance(answer, Failure)]
    assert {failure.status for failure in failures} == {"error"}
    assert "not finite" in failures[0].message


def test_a_batch_without_samples_computes_nothing(generator: Model) -> None:
    unfit = dataclasses.replace(generator, network=torch.nn.Identity())
    assert generate(unfit, []) == []


def test_the_canary_is_a_real_forward_pass(generator: Model) -> None:
    assert answers(Sampler(generator, 10**6), [Canary()]) == [Answer()]
    broken = dataclasses.replace(generator, network=torch.nn.Identity())
    [answer] = answers(Sampler(broken, 10**6), [Canary()])
    assert answer == Failure("error", "the model failed on this request")


def test_answers_keep_the_order_of_the_requests(generator: Model) -> None:
    unfit = Classify(np.zeros((1, 6, 5, 2), np.uint8))
    sampler = Sampler(generator, 10**6)
    first, second, third, fourth = answers(sampler, [Generate(1, 0, 2), unfit, Describe(), Generate(1, 7, 3)])
    assert isinstance(first, Answer) and first.tensors["images"].shape == (2, 6, 5, 2)
    assert isinstance(second, Failure) and second.status == "invalid"
    assert isinstance(third, Answer) and third.facts["latent_size"] == 5
    assert isinstance(fourth, Answer) and fourth.tensors["images"].shape == (3, 6, 5, 2)


def test_an_answer_that_would_not_fit_a_message_is_refused_beforehand(generator: Model) -> None:
    sampler = Sampler(generator, 2**14 + 60 * 100)
    assert sampler.check(Generate(0, 0, 100)) == Generate(0, 0, 100)
    with pytest.raises(RequestError, match="count must be at most 100"):
        sampler.check(Generate(0, 0, 101))


def test_a_generator_does_not_classify(generator: Model) -> None:
    with pytest.raises(RequestError, match="cannot classify"):
        Sampler(generator, 10**6).check(Classify(np.zeros((1, 6, 5, 2), np.uint8)))


def test_parts_that_end_in_another_order_make_the_same_answer(generator: Model) -> None:
    free = dataclasses.replace(generator, sizes=BatchSizes(8, (8,), free=True))
    work = Sampler(free, 10**6).begin(Generate(9, 5, 16))
    assert isinstance(work, Samples)
    for rows in (range(8, 16), range(0, 8)):
        work.passes.compute([Piece(work, rows)], 8)
    found = work.answer()
    assert isinstance(found, Answer)
    assert np.array_equal(found.tensors["images"], made(free, Generate(9, 5, 16)))
