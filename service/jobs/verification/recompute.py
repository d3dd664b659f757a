"""Recomputes samples of a finished job and compares them with the images in its shards."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np
from numpy.typing import NDArray

from service.errors import FailedPrecondition, NotFound
from service.images.encode import RAW, File
from service.jobs.devices import check_device
from service.jobs.formulas import drawn_latents
from service.jobs.plan import Plan
from service.jobs.retries import retry_transient
from service.jobs.shards.formats.choice import open_images
from service.jobs.storage.output import Output, OutputError
from service.jobs.verification.findings import Finding
from service.models.asking.admission import Caller, Deadline
from service.models.asking.drawing import DrawnFiles
from service.models.asking.inference import GeneratedFiles, ImageGenerator
from service.models.records import ModelRecord
from service.models.registry import Registry


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples of one shard that one micro-batch makes, in order."""

    shard: int
    indices: tuple[int, ...]

    @property
    def span(self) -> range:
        """From the first to the last, with those between."""
        return range(self.indices[0], self.indices[-1] + 1)


@dataclass(frozen=True, slots=True)
class Recomputation:
    """Recomputes `count` samples of a plan, drawn by a seed.

    `timeout_s` bounds one call to the model; `retry_budget_s` is how long a model that does not answer is asked again.
    """

    plan: Plan
    record: ModelRecord
    generator: ImageGenerator
    count: int
    seed: int
    timeout_s: float
    retry_budget_s: float

    def draw(self, shards: Sequence[int]) -> list[Piece]:
        """Choose samples of these shards, or all if there are no more; those of one micro-batch are one piece."""
        ends = list(accumulate(len(self.plan.span(shard)) for shard in shards))
        total = ends[-1] if ends else 0
        chosen = random.Random(self.seed).sample(range(total), min(self.count, total))  # noqa: S311 - a fair draw
        samples = (self._sample(shards, ends, number) for number in sorted(chosen))
        batches = groupby(samples, lambda sample: (sample[0], sample[1] // self.plan.micro_batch))
        return [Piece(shard, tuple(index for _, index in group)) for (shard, _), group in batches]

    async def recompute(self, output: Output, piece: Piece) -> list[Finding]:
        """Recompute the samples of a piece; returns those that differ in any byte.

        Raises:
            FailedPrecondition: if the model now runs on another kind of device.
            Unavailable: if it does not answer for too long.
        """
        made = await retry_transient(lambda: self._made(piece.span), self.retry_budget_s)
        check_device(self.plan, dataclasses.replace(self.record, device_class=made.device_class))
        return await asyncio.to_thread(self._compare, output, piece, made.files)

    async def _made(self, indices: range) -> GeneratedFiles | DrawnFiles:
        assert self.plan.sampling is not None  # noqa: S101 - only sample jobs are recomputed
        caller = Caller(Deadline.after(self.timeout_s), self.plan.client, "bulk")
        drawn = drawn_latents(self.plan, indices)
        if drawn is not None:
            return await self.generator.draw(self.record, drawn, encoding=RAW, caller=caller)
        return await self.generator.generate(
            self.record,
            seed=self.plan.sampling.seed,
            first_index=indices.start,
            count=len(indices),
            encoding=RAW,
            caller=caller,
        )

    def _compare(self, output: Output, piece: Piece, made: list[File]) -> list[Finding]:
        try:
            stored = RAW.encode(self._stored(output, piece))
        except (OSError, OutputError) as error:
            detail = f"{len(piece.indices)} drawn images from here on cannot be read: {error}"
            return [Finding("WRONG_IMAGE", piece.shard, detail=detail, index=piece.indices[0])]
        pairs = dict(zip(piece.span, zip(made, stored, strict=True), strict=True))
        return [
            Finding("WRONG_IMAGE", piece.shard, _digest(new), _digest(old), "the model makes another image", index)
            for index in piece.indices
            for new, old in [pairs[index]]
            if new != old
        ]

    def _stored(self, output: Output, piece: Piece) -> NDArray[np.uint8]:
        """Read the images of a piece's span from their shard: uint8 [n, H, W, C]."""
        with open_images(output, self.plan, piece.shard) as images:
            return images.read(piece.span)

    def _sample(self, shards: Sequence[int], ends: Sequence[int], number: int) -> tuple[int, int]:
        """The shard and index of the sample of this number, counted over the shards in order."""
        place = bisect_right(ends, number)
        return shards[place], self.plan.span(shards[place]).start + number - (ends[place - 1] if place else 0)


def find_model(registry: Registry, plan: Plan) -> ModelRecord:
    """Return the model that made a sample job's images.

    Raises:
        FailedPrecondition: if the job is no sample job, or exactly this model is not loaded on the same kind of device.
    """
    if plan.sampling is None:
        raise FailedPrecondition(
            f"jobs/{plan.job} is no sample job: it has no images to recompute", reason="WRONG_JOB_KIND"
        )
    return planned_model(registry, plan)


def planned_model(registry: Registry, plan: Plan) -> ModelRecord:
    """Return the model of a job's plan.

    Raises:
        FailedPrecondition: if exactly this model is not loaded on the same kind of device.
    """
    name, wanted = f"models/{plan.model}", plan.model_digest
    try:
        record = registry.find(plan.model)
    except NotFound:
        text = f"{name} is not loaded; load the archive {wanted}, without which nothing is computed again"
        raise FailedPrecondition(text, reason="MODEL_NOT_LOADED") from None
    if record.digest != wanted:
        text = f"{name} is now {record.digest}, but the job was made with {wanted}; load that archive"
        raise FailedPrecondition(text, reason="MODEL_DIGEST_DIFFERS", metadata={"expected": wanted})
    check_device(plan, record)
    return record


def _digest(data: File) -> str:
    return hashlib.sha256(data).hexdigest()
