"""Generates images from latents in fixed micro-batches.

The number of rows in a forward pass, and an image's row, may change the last bits of its pixels. So sample i is always
row i mod B of micro-batch i div B: a request for samples 5 to 7 computes the whole micro-batch 0 and takes three rows.
A sample always has the same neighbours, and its bytes depend on (weights, seed, i) only. Sample i of a generator
conditioned on K classes shows class i mod K.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from handlers.compute.latents import latents
from handlers.compute.model import Model
from handlers.errors import NotFiniteError, RequestError
from handlers.operations import items
from handlers.protocol.images import to_pixels
from handlers.protocol.messages import Answer, Canary, Describe, Failure, Generate, Request

Pixels = NDArray[np.uint8]
HEADER_BYTES = 2**14  # ample for all of an answer except its images


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
            micro_batch(self.model, 0, 0)
            return Answer()
        return Answer(facts=self.model.description)


def generate(model: Model, requests: Sequence[Generate]) -> list[Pixels | Failure]:
    """Compute the samples of several requests, each micro-batch once even if several requests need it.

    Returns: each request's images uint8 [count, H, W, C], or the failure of one of its micro-batches.
    """
    results: list[Pixels | Failure] = [np.empty((r.count, *model.image_shape), np.uint8) for r in requests]
    for (seed, number), users in _micro_batches(requests, model.micro_batch).items():
        images = items.attempt(lambda key: micro_batch(model, *key), (seed, number))
        for user in users:
            result = results[user]
            if isinstance(images, Failure):
                results[user] = images
            elif not isinstance(result, Failure):
                _copy(images, number * model.micro_batch, result, requests[user].first_index)
    return results


@torch.inference_mode()
def micro_batch(model: Model, seed: int, number: int) -> Pixels:
    """Compute micro-batch `number` of a seed: images uint8 [B, H, W, C].

    Raises:
        NotFiniteError: if an image holds NaN or infinity.
    """
    size, distribution = model.config.latent_size, model.config.latent_distribution
    first = number * model.micro_batch
    rows = latents(seed, first, model.micro_batch, size, distribution)
    inputs = [torch.from_numpy(rows).to(model.device)]
    if classes := model.config.condition_classes:  # sample i shows class i mod K
        inputs.append((first % classes + torch.arange(model.micro_batch, device=model.device)) % classes)
    images = model.network(*inputs)
    if not bool(torch.isfinite(images).all()):
        raise NotFiniteError("the model made an image that is not finite")
    return to_pixels(images)


def _micro_batches(requests: Sequence[Generate], size: int) -> dict[tuple[int, int], list[int]]:
    """Return every needed (seed, micro-batch), with the positions of the requests that need it."""
    needed: dict[tuple[int, int], list[int]] = {}
    for position, request in enumerate(requests):
        last = request.first_index + request.count - 1
        for number in range(request.first_index // size, last // size + 1):
            needed.setdefault((request.seed, number), []).append(position)
    return needed


def _copy(images: Pixels, images_index: int, result: Pixels, result_index: int) -> None:
    """Copy the samples common to two ranges of samples, given their first indices."""
    first = max(images_index, result_index)
    last = min(images_index + len(images), result_index + len(result))
    result[first - result_index : last - result_index] = images[first - images_index : last - images_index]
