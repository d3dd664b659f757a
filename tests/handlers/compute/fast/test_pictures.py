"""Pictures in bfloat16 are those in float32 to the eye."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from handlers.compute.model import from_run
from handlers.operations.direct import generate
from handlers.protocol.requests import Generate
from service.cli.stack.shipped import MODELS, shipped

GENERATORS = [run for _, run, kind in shipped() if kind == "generator"]
# Measured over 10,000 samples: 0.16 grey levels for digits and 0.13 for faces. Rounding to whole levels alone makes
# equal shares differ by one where the numbers differ by as much, so a half is a network with a fault, not more noise.
LARGEST_MEAN = 0.5
# Where a stroke begins, a digit's logits are steep: there single pixels differed by up to 28 levels of 255.
LARGEST_SHARE = 0.01  # of pixels that differ by more than four levels


@pytest.mark.parametrize("run", GENERATORS)
def test_a_shipped_generator_makes_the_same_pictures_in_both_precisions(run: str) -> None:
    pictures = []
    for precision in ("float32", "bfloat16"):
        model = from_run(MODELS / run, "generator", torch.device("cpu"), precision=precision)
        [images] = generate(model, [Generate(seed=11, first_index=0, count=128)])
        assert isinstance(images, np.ndarray)
        pictures.append(images.astype(np.int16))
    difference = np.abs(pictures[0] - pictures[1])
    assert 0 < difference.mean() < LARGEST_MEAN
    assert (difference > 4).mean() < LARGEST_SHARE
