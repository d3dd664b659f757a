"""Finding directions with models: between latents, from weights, and towards what another model answers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from mintage.latents import sample
from mintage.v1 import latents_pb2
from mintage.v1.latents_pb2 import Latent
from numpy.typing import NDArray

from service.backend.protocol.direction_messages import read_weight_directions, weight_directions_request
from service.backend.protocol.drawing_messages import Directions, evaluate_request, read_numbers
from service.backend.protocol.neurons import Concept
from service.errors import FailedPrecondition
from service.images.encode import RAW
from service.images.resize import converted
from service.models.asking.admission import Caller
from service.models.asking.calls import CALL_IMAGES
from service.models.asking.detection import Detection
from service.models.asking.drawing import DrawnLatents
from service.models.asking.inference import Inference
from service.models.directions.fit import LinearFit, linear_fit, logits
from service.models.directions.store import Direction
from service.models.records import ModelRecord

Float64s = NDArray[np.float64]

EVEN_LOGIT = 0.0  # of a probability of 1/2
HELD_OUT_SHARE = 5  # for so many samples that are fitted, one is held out


@dataclass(frozen=True, slots=True)
class ClassAnswer:
    """How probable a classifier finds a class, by its position among the classes."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ConceptAnswer:
    """How much an autoencoder's neuron of a concept is activated."""

    concept: Concept


Answer = ClassAnswer | ConceptAnswer
ANSWERING: dict[type[Answer], Literal["classifier", "neurons"]] = {ClassAnswer: "classifier", ConceptAnswer: "neurons"}


class DirectionFinder:
    """Finds directions of a generator; saves none."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._detection = Detection(inference)

    async def between(
        self,
        record: ModelRecord,
        without: Sequence[Latent],
        having: Sequence[Latent],
        directions: Directions,
        *,
        caller: Caller,
    ) -> Direction:
        """Return the mean of latents that have a property minus the mean of those that lack it.

        Args:
            record: The generator.
            without: Valid formulas of latents that lack it.
            having: Those of latents that have it.
            directions: Those that the formulas name.
            caller: Who asks.

        Raises:
            FailedPrecondition: if both have the same mean.
        """
        term = latents_pb2.LatentSum.Term
        terms = [term(weight=1, latent=_mean(having)), term(weight=-1, latent=_mean(without))]
        difference = Latent(sum=latents_pb2.LatentSum(terms=terms))
        [values] = await self._numbers(record, [difference], directions, caller)
        if not values.any():
            raise FailedPrecondition("both sets have the same mean: there is no direction", reason="EQUAL_SETS")
        return Direction(_numbers(values), f"{len(having)} latents against {len(without)}")

    async def from_weights(self, record: ModelRecord, count: int, *, caller: Caller) -> list[Direction]:
        """Return the directions that change the outputs of the first layer most, `count` or all if there are fewer."""
        count = min(count, record.latent_size)
        request = weight_directions_request(count)
        answer = await self._inference.call(record, request, operation="weight_directions", caller=caller)
        found = read_weight_directions(answer, (count, record.latent_size))
        return [
            Direction(_numbers(values), f"number {rank} of the first layer's weights", strength=float(strength))
            for rank, (values, strength) in enumerate(zip(found.values, found.strengths, strict=True), 1)
        ]

    async def from_answers(
        self, record: ModelRecord, other: ModelRecord, answer: Answer, *, samples: int, seed: int, caller: Caller
    ) -> Direction:
        """Return the direction along which what another model answers about samples grows fastest.

        Args:
            record: The generator.
            other: The model that answers; it takes grey or RGB images.
            answer: What it answers.
            samples: To fit to; a fifth more measure the accuracy.
            seed: Of the samples.
            caller: Who asks.

        Raises:
            FailedPrecondition: if the answer is the same for every sample.
        """
        held_out = samples // HELD_OUT_SHARE
        latents, answers = [], []
        for start in range(0, samples + held_out, CALL_IMAGES):
            stop = min(start + CALL_IMAGES, samples + held_out)
            drawn = [sample(seed, index) for index in range(start, stop)]
            latents.append(await self._numbers(record, drawn, {}, caller))
            answers.append(await self._answers(record, other, answer, drawn, caller))
        points, targets = np.concatenate(latents), np.concatenate(answers)
        boundary = EVEN_LOGIT if isinstance(answer, ClassAnswer) else None
        classes = np.arange(len(points)) % len(record.classes) if record.classes else None
        fit = functools.partial(linear_fit, points, targets, held_out=held_out, boundary=boundary, classes=classes)
        found = await self._inference.in_pool(fit)
        what = _shown(answer, other)
        if found is None:
            text = f"{what} is the same for all {samples} samples of models/{record.name}: nothing can be fitted to it"
            raise FailedPrecondition(text, reason="EQUAL_ANSWERS")
        described = _described(what, found, samples) + guess_note(found, conditional=bool(record.classes))
        return Direction(_numbers(found.values), described, accuracy=found.accuracy)

    async def _numbers(
        self, record: ModelRecord, latents: Sequence[Latent], directions: Directions, caller: Caller
    ) -> Float64s:
        """Return the numbers [n, Z] of latents."""
        request = evaluate_request(latents, directions)
        answer = await self._inference.call(record, request, operation="evaluate", caller=caller)
        return read_numbers(answer, (len(latents), record.latent_size))

    async def _answers(
        self, record: ModelRecord, other: ModelRecord, answer: Answer, latents: Sequence[Latent], caller: Caller
    ) -> Float64s:
        """Return what the other model answers about the images of latents: float64 [n]."""
        drawn = await self._inference.draw(record, DrawnLatents(latents, {}), encoding=RAW, caller=caller)
        decode = functools.partial(converted, drawn.pixels, other.height, other.width, other.channels)
        size = drawn.pixels.nbytes
        if isinstance(answer, ClassAnswer):
            said = await self._inference.classify(other, decode, size_bytes=size, caller=caller)
            return logits(said.probabilities[:, answer.index])
        seen = await self._detection.detect(other, [answer.concept], decode, size_bytes=size, caller=caller)
        return answer.concept.sign * seen.activations[:, 0].astype(np.float64)


def guess_note(found: LinearFit, *, conditional: bool) -> str:
    """Say so if a fit only guesses, and why if the generator is conditional; else say nothing."""
    if not found.guesses:
        return ""
    label = ": the class of a sample decides this, not its latent, so choose the class instead"
    return "; no better than guessing" + (label if conditional else "")


def _mean(latents: Sequence[Latent]) -> Latent:
    return Latent(mean=latents_pb2.LatentList(latents=latents))


def _numbers(values: Float64s) -> tuple[float, ...]:
    return tuple(values.tolist())


def _shown(answer: Answer, other: ModelRecord) -> str:
    if isinstance(answer, ClassAnswer):
        return f"the probability of class {answer.name} by models/{other.name}"
    return f"the neuron {answer.concept.name} of models/{other.name}"


def _described(what: str, found: LinearFit, samples: int) -> str:
    measures = {"accuracy": found.accuracy, "AUROC": found.auroc}
    measured = ", ".join(f"{name} {value:.3f}" for name, value in measures.items() if value is not None)
    held_out = f"{found.held_out} held-out samples, {found.above} of them above the boundary"
    return f"towards {what}, fitted to {samples} samples: {measured or 'nothing to measure'} on {held_out}"
