"""Images with the labels that a teacher gave them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.labelled import LabelledImages


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtImages(LabelledImages):
    """Images whose `labels` are a teacher's most probable classes; true labels are not kept.

    Attributes:
        targets: float32 [N, K], the teacher's probabilities at the temperature of the training; rows sum to 1.
    """

    targets: NDArray[np.float32]
