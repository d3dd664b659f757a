"""Neurons, concepts and detections as messages of the contract."""

from __future__ import annotations

from collections.abc import Sequence

from mintage.v1 import neurons_pb2

from service.backend.protocol.neuron_messages import Detections
from service.backend.protocol.neurons import Concept, Neuron
from service.models.records import ModelRecord

DETECTION_BYTES = 24  # of one detection, besides the concept's name


def neuron(found: Neuron) -> neurons_pb2.Neuron:
    """Show a neuron."""
    return neurons_pb2.Neuron(stage=found.stage, unit=found.unit, sign=found.sign)


def concept(found: Concept) -> neurons_pb2.Concept:
    """Show a concept."""
    return neurons_pb2.Concept(
        name=found.name,
        neuron=neuron(found.neuron),
        threshold=found.threshold,
        accuracy=found.accuracy,
        accuracy_low=found.accuracy_low,
        accuracy_high=found.accuracy_high,
        auroc=found.auroc,
        positives=found.positives,
        distractors=found.distractors,
        confidence_slope=found.slope,
        confidence_intercept=found.intercept,
    )


def detections(record: ModelRecord, concepts: Sequence[Concept], found: Detections) -> neurons_pb2.DetectResponse:
    """Show the detections in every image."""
    answer = neurons_pb2.DetectResponse(model=f"models/{record.name}", model_digest=record.digest)
    for row in zip(found.activations, found.detected, found.confidences, strict=True):
        image = answer.images.add()
        for each, activation, detected, confidence in zip(concepts, *row, strict=True):
            image.detections.add(
                concept=each.name, activation=float(activation), detected=bool(detected), confidence=float(confidence)
            )
    return answer


def max_detection_bytes(concepts: Sequence[Concept]) -> int:
    """Upper bound of the bytes of one image's detections."""
    return sum(len(each.name) + DETECTION_BYTES for each in concepts) + DETECTION_BYTES
