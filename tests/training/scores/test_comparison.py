"""All scores of one set of images are those that each function gives."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.scores.points import reference_pair, uniform_points
from training.errors import ScoreError
from training.scores.classifier_score import classifier_score
from training.scores.comparison import compare
from training.scores.conditions import Conditions
from training.scores.frechet import Moments, frechet_distance
from training.scores.kernel_distance import kernel_distance
from training.scores.precision_recall import precision_recall


def test_each_part_is_the_score_of_its_function() -> None:
    real, generated = (points[:40] for points in reference_pair())
    probabilities = uniform_points(3, 40, 4)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    conditions = Conditions(extractor="ab" * 32)

    found = compare(real, generated, probabilities, seed=3, neighbours=4, conditions=conditions)

    assert found.classifier == classifier_score(probabilities)
    assert found.frechet == frechet_distance(Moments.of(real), Moments.of(generated), conditions=conditions)
    assert found.kernel == kernel_distance(real, generated, subset_size=40, seed=3, conditions=conditions)
    assert found.shares == precision_recall(real, generated, neighbours=4, conditions=conditions)


def test_too_few_images_are_refused_before_anything_is_computed() -> None:
    real, generated = reference_pair()

    with pytest.raises(ScoreError, match="8 images are too few for 8 features"):
        compare(real, generated[:8], np.full((8, 2), 0.5))
