"""Generates images from latents in forward passes of proven sizes.

A sample's bytes depend on (weights, seed, index) alone. Where a row's bits depend on nothing but the row
(`BatchSizes.free`), the samples of all requests of a batch share passes, whatever their seeds, and only what is asked
for is computed. Where they do not, sample i keeps its place for ever: row i mod B of micro-batch i div B, among its own
neighbours; a request for samples 5 to 7 then computes micro-batch 0 whole and takes three rows. Sample i of a generator
that was trained on K classes with labels shows class i mod K.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from handlers.compute.latents import latents
from handlers.compute.model import Model
from handlers.errors import RequestError
from handlers.operations import items
from handlers.protocol.images import to_pixels
from handlers.protocol.messages import Answer, Canary, Describe, Failure, Generate, Request

Pixels = NDArray[np.uint8]
HEADER_BYTES = 2**14  # ample for all of an answer except its images
NOT_FINITE = Failure("error", "the model made an image that is not finite")


class Sampler:
    """Answers the requests to a generator."""

    def __init__(self, model: Model, max_bytes: int) -> None:
        """Serve a model with answers of at most `max_bytes` each: TorchServe kills a worker that sends more."""
        self.model = model
        self.facts = model.facts
        self.max_images = (max_bytes - HEADER_BYTES) // math.prod(model.image_shape)

    def check(self, request: Request) -> Request:
        """Return a request if it can be answered.

        Raises:
            RequestError: if it is not for a generator, or requests more images than fit an answer.
        """
        if not isinstance(request, Describe | Canary | Generate):
            raise RequestError(f"this model is a generator: it cannot {request.op}")
        if isinstance(request, Generate) and request.count > self.max_images:
            raise RequestError(f"count must be at most {self.max_images} for images of this size, not {request.count}")
        return request

    def answers(self, requests: Sequence[Request | Failure]) -> list[Answer | Failure]:
        """Answer every request that has not failed yet."""
        samples = iter(generate(self.model, [request for request in requests if isinstance(request, Generate)]))
        return items.answer(lambda request: self._answer(request, samples), requests, self.model.device)

    def _answer(self, request: Request, samples: Iterator[Pixels | Failure]) -> Answer | Failure:
        if isinstance(request, Generate):
            images = next(samples)
            return images if isinstance(images, Failure) else Answer(tensors={"images": images})
        if isinstance(request, Canary):
            [found] = generate(self.model, [Generate(0, 0, 1)])
            return found if isinstance(found, Failure) else Answer()
        return Answer(facts=self.model.description)


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive samples of a seed."""

    seed: int
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1


def generate(model: Model, requests: Sequence[Generate]) -> list[Pixels | Failure]:
    """Compute the samples of several requests, each once however many requests ask for it.

    Returns: for each request its images uint8 [count, H, W, C], or the failure of one of them.
    """
    if not requests:
        return []
    spans = needed_spans(model, requests)
    starts = dict(zip(spans, accumulate(map(len, spans), initial=0), strict=False))
    inputs = items.attempt(lambda found: _inputs(model, found), spans)
    if isinstance(inputs, Failure):
        return [inputs] * len(requests)
    images = np.empty((len(inputs[0]), *model.image_shape), np.uint8)
    failures: dict[int, Failure] = {}  # row -> why there is no image
    for rows, size in model.sizes.passes(len(images)):
        made = items.attempt(lambda key: _pass(model, inputs, *key), (rows, size))
        if isinstance(made, Failure):
            failures |= dict.fromkeys(rows, made)
            continue
        pixels, finite = made
        images[rows.start : rows.stop] = pixels
        failures |= {rows[place]: NOT_FINITE for place in np.flatnonzero(~finite)}
    return [_taken(images, failures, _rows_of(request, starts)) for request in requests]


def needed_spans(model: Model, requests: Sequence[Generate]) -> list[Span]:
    """Return what must be computed for the requests, without overlaps: whole micro-batches where rows are not free."""
    step = 1 if model.sizes.free else model.micro_batch
    asked = (
        (request.seed, request.first_index // step * step, -(-(request.first_index + request.count) // step) * step - 1)
        for request in requests
    )
    spans: list[Span] = []
    for seed, first, last in sorted(asked):
        before = spans[-1] if spans else None
        if before is not None and before.seed == seed and first <= before.last + 1:
            spans[-1] = Span(seed, before.first, max(before.last, last))
        else:
            spans.append(Span(seed, first, last))
    return spans


def _inputs(model: Model, spans: Sequence[Span]) -> list[NDArray[Any]]:
    """Return the rows of all spans in order: latents float32 [N, Z], and if it is conditional classes int64 [N]."""
    size, distribution = model.config.latent_size, model.config.latent_distribution
    rows = [latents(span.seed, span.first, len(span), size, distribution) for span in spans]
    inputs: list[NDArray[Any]] = [np.concatenate(rows)]
    if classes := model.config.condition_classes:  # sample i shows class i mod K
        inputs.append(np.concatenate([(span.first % classes + np.arange(len(span))) % classes for span in spans]))
    return inputs


@torch.inference_mode()
def _pass(model: Model, inputs: Sequence[NDArray[Any]], rows: range, size: int) -> tuple[Pixels, NDArray[np.bool_]]:
    """Compute rows in one forward pass of a size, filled up with zeros.

    Returns: images uint8 [n, H, W, C], and whether each is finite, bool [n].
    """
    filled = []
    for values in inputs:
        row = np.zeros((size, *values.shape[1:]), values.dtype)
        row[: len(rows)] = values[rows.start : rows.stop]
        filled.append(torch.from_numpy(row).to(model.device))
    images = model.network(*filled)[: len(rows)]  # [n, C, H, W]
    finite = torch.isfinite(images).flatten(1).all(dim=1)
    return to_pixels(torch.nan_to_num(images)), finite.cpu().numpy()


def _rows_of(request: Generate, starts: Mapping[Span, int]) -> range:
    """Return the rows of a request among those of all spans."""
    for span, start in starts.items():
        if span.seed == request.seed and span.first <= request.first_index <= span.last:
            first = start + request.first_index - span.first
            return range(first, first + request.count)
    raise AssertionError("every request lies in a span")


def _taken(images: Pixels, failures: Mapping[int, Failure], rows: range) -> Pixels | Failure:
    """Return a request's images, or the first failure among them."""
    failed = next((failures[row] for row in rows if row in failures), None) if failures else None
    return images[rows.start : rows.stop] if failed is None else failed
