"""What a training reports on its way."""

from __future__ import annotations

from dataclasses import dataclass

from training.steps.step import Losses


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a run; also a line of metrics.jsonl."""

    images_seen: int
    images: int  # length of the run
    images_per_second: float  # since this start
    seconds: float  # of training, including earlier starts
    losses: Losses | None  # of the latest step of this start
    test_accuracy: float | None  # of the averaged classifier, in [0, 1]; only at checkpoints, only with a classifier
