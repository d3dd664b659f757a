"""The results of a probe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOutcome:
    """The results of a probe, also the line of metrics.jsonl. Accuracies lie in [0, 1], log losses are in nats.

    With few labels, accuracies are means over the draws; log losses and `served_accuracy` are those of the classifier
    that is written, from the first draw.
    """

    images_seen: int  # in the discriminator's training
    seconds: float
    features: int
    labels: int  # labelled images per machine
    draws: int
    validation_images: int
    standardised: bool
    cost: float
    temperature: float
    validation_accuracy: float
    validation_log_loss: float
    validation_log_loss_uncalibrated: float  # with temperature 1
    test_images: int
    test_accuracy: float | None  # None without test images, like all below
    test_deviation: float | None  # standard deviation over draws; None for a single draw
    served_accuracy: float | None
    test_log_loss: float | None
    test_log_loss_uncalibrated: float | None
