"""NeuronService: the concepts, activations and stimuli of an autoencoder's neurons."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from mintage.v1 import neurons_pb2, neurons_pb2_grpc
from numpy.typing import NDArray

from service.api.answers import serialized
from service.api.requests import encodings, uploads
from service.api.requests.clients import caller_of
from service.api.requests.encodings import ENCODINGS
from service.api.requests.pagination import first_page, page_size, page_start
from service.api.servicers.neurons import messages
from service.api.servicers.neurons.targets import check_concepts, check_target, concepts_of, neuron_of, units_of
from service.models.asking.detection import NUMBER_BYTES, Detection
from service.models.asking.inference import Inference
from service.models.records import ModelRecord
from service.models.registry import Registry
from service.settings import Settings
from service.validation import CONCEPT_NAME, Violations

DEFAULT_STIMULI = 48  # as many as Le et al. 2012 show
DEFAULT_STEPS, MAX_STEPS = 100, 500  # of gradient ascent; the bound keeps a call within its deadline


class _ImageRequest(uploads.Upload, Protocol):
    """A request about images to a model."""

    @property
    def model(self) -> str:
        """Resource name of the model."""

    def ByteSize(self) -> int:
        """How large the request is."""


class NeuronServicer(neurons_pb2_grpc.NeuronServiceServicer):
    """Answers NeuronService."""

    def __init__(self, settings: Settings, registry: Registry, inference: Inference) -> None:
        self._settings = settings
        self._registry = registry
        self._inference = inference
        self._detection = Detection(inference)

    async def ListConcepts(
        self, request: neurons_pb2.ListConceptsRequest, context: Any
    ) -> neurons_pb2.ListConceptsResponse:
        """List what a model's neurons know."""
        violations = Violations()
        name = violations.model_name("model", request.model)
        size = page_size(request.page_size, violations)
        after = page_start(request.page_token, CONCEPT_NAME, violations)
        violations.check()
        record = self._registry.find(name, "neurons")
        rest = [concept for concept in record.concepts if concept.name > after]
        page, token = first_page(rest, size, lambda concept: f"concepts/{concept.name}")
        return neurons_pb2.ListConceptsResponse(
            model=f"models/{record.name}",
            model_digest=record.digest,
            concepts=map(messages.concept, page),
            next_page_token=token,
        )

    async def Detect(self, request: neurons_pb2.DetectRequest, context: Any) -> neurons_pb2.DetectResponse:
        """Look for concepts in images."""
        caller = caller_of(context, self._settings.max_deadline_s)
        violations = Violations()
        check_concepts(request.concepts, violations)
        record = self._ready(request, violations)
        violations.check()
        concepts = concepts_of(request.concepts, record)
        self._check_answer(request, messages.max_detection_bytes(concepts), violations)
        found = await self._detection.detect(
            record, concepts, self._decode(request, record), size_bytes=request.ByteSize(), caller=caller
        )
        return messages.detections(record, concepts, found)

    async def TopStimuli(self, request: neurons_pb2.TopStimuliRequest, context: Any) -> neurons_pb2.TopStimuliResponse:
        """Find the images that stimulate a neuron most."""
        caller = caller_of(context, self._settings.max_deadline_s)
        violations = Violations()
        check_target(request, violations)
        if request.count < 0:
            violations.add("count", f"must not be negative, as {request.count:,} is")
        record = self._ready(request, violations)
        neuron = neuron_of(request, record, violations)
        violations.check()
        found = await self._detection.activations(
            record,
            neuron.stage,
            [neuron.unit],
            self._decode(request, record),
            operation="top_stimuli",
            size_bytes=request.ByteSize(),
            caller=caller,
        )
        activations = found.values[:, 0]  # [N]
        best = np.argsort(-neuron.sign * activations, kind="stable")[: request.count or DEFAULT_STIMULI]
        return neurons_pb2.TopStimuliResponse(
            model=f"models/{record.name}",
            model_digest=record.digest,
            neuron=messages.neuron(neuron),
            stimuli=(neurons_pb2.Stimulus(index=int(index), activation=float(activations[index])) for index in best),
        )

    async def OptimalStimulus(
        self, request: neurons_pb2.OptimalStimulusRequest, context: Any
    ) -> neurons_pb2.OptimalStimulusResponse:
        """Make the image that stimulates a neuron most."""
        caller = caller_of(context, self._settings.max_deadline_s)
        violations = Violations()
        name = violations.model_name("model", request.model)
        check_target(request, violations)
        violations.in_range("steps", request.steps, 0, MAX_STEPS)
        encodings.check_known(request.format, violations)
        violations.check()
        record = self._registry.ready(name, "neurons")
        neuron = neuron_of(request, record, violations)
        chosen = encodings.chosen(request.format, record, violations)
        violations.check()
        found = await self._detection.optimal_stimulus(
            record, neuron, seed=request.seed, steps=request.steps or DEFAULT_STEPS, caller=caller
        )
        [image] = await self._inference.encoders.call(ENCODINGS[chosen]).encode(found.image[np.newaxis])
        return neurons_pb2.OptimalStimulusResponse(
            model=f"models/{record.name}",
            model_digest=record.digest,
            neuron=messages.neuron(neuron),
            shape=encodings.shape_of(record),
            format=chosen,
            image=bytes(image),
            activation=found.activation,
            device_class=found.device_class,
        )

    async def Activations(
        self, request: neurons_pb2.ActivationsRequest, context: Any
    ) -> neurons_pb2.ActivationsResponse:
        """Give the activations of units."""
        caller = caller_of(context, self._settings.max_deadline_s)
        violations = Violations()
        record = self._ready(request, violations)
        units = units_of(request, record, violations)
        violations.check()
        self._check_answer(request, NUMBER_BYTES * units, violations)
        found = await self._detection.activations(
            record,
            request.stage,
            list(request.units),
            self._decode(request, record),
            operation="activations",
            size_bytes=request.ByteSize(),
            caller=caller,
        )
        return neurons_pb2.ActivationsResponse(
            model=f"models/{record.name}",
            model_digest=record.digest,
            count=len(found.values),
            units=units,
            activations=found.values.astype("<f4").tobytes(),
            device_class=found.device_class,
        )

    async def Reconstruct(self, request: neurons_pb2.ReconstructRequest, context: Any) -> Any:
        """Reconstruct images; the answer is serialised already."""
        caller = caller_of(context, self._settings.max_deadline_s)
        violations = Violations()
        encodings.check_known(request.format, violations)
        record = self._ready(request, violations)
        chosen = encodings.chosen(request.format, record, violations)
        violations.check()
        self._check_answer(request, encodings.max_bytes(ENCODINGS[chosen], record), violations)
        files = await self._detection.reconstruct(
            record,
            self._decode(request, record),
            encoding=ENCODINGS[chosen],
            size_bytes=request.ByteSize(),
            caller=caller,
        )
        answer = neurons_pb2.ReconstructResponse(
            model=f"models/{record.name}",
            model_digest=record.digest,
            shape=encodings.shape_of(record),
            format=chosen,
        )
        return serialized(answer, images=files)

    def _ready(self, request: _ImageRequest, violations: Violations) -> ModelRecord:
        """Return the model of a request; the caller checks the violations again, since some need the model."""
        name = violations.model_name("model", request.model)
        uploads.check(request, self._settings.max_images, violations)
        violations.check()
        record = self._registry.ready(name, "neurons")
        uploads.check_fits(request, record, violations)
        return record

    def _check_answer(self, request: _ImageRequest, image_bytes: int, violations: Violations) -> None:
        uploads.check_answer(request, image_bytes, self._settings.max_message_bytes, violations)
        violations.check()

    def _decode(self, request: _ImageRequest, record: ModelRecord) -> Callable[[], NDArray[np.uint8]]:
        return functools.partial(uploads.pixels, request, record, self._settings.max_image_pixels)
