"""What a probe found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOutcome:
    """What a probe found; also the line of metrics.jsonl. Accuracies lie in [0, 1], log losses are nats.

    Accuracies of few labels are means over the draws; log losses and `served_accuracy` are those of the classifier that
    was written, which is the first draw's.
    """

    images_seen: int  # by the discriminator, in its training
    seconds: float
    features: int
    labels: int  # labelled images that a machine was fitted to
    draws: int
    validation_images: int
    standardised: bool
    cost: float
    temperature: float
    validation_accuracy: float
    validation_log_loss: float
    validation_log_loss_uncalibrated: float  # with temperature 1
    test_images: int
    test_accuracy: float | None  # None without test images, like all that follow
    test_deviation: float | None  # of the accuracy from draw to draw; None also where there is one
    served_accuracy: float | None
    test_log_loss: float | None
    test_log_loss_uncalibrated: float | None
