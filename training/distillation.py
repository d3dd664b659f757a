"""Distillation: a student learns from the labels that a trained classifier gives to images.

The student minimises T^2 times the cross-entropy between the teacher's probabilities and its own, both at temperature T
(Hinton et al. 2015, arXiv:1503.02531). The teacher may label several distorted views of an image and take the mean of
its probabilities. A student may be the next one's teacher: rounds of self-training with distorted images and dropout,
as in Xie et al. 2020 (arXiv:1911.04252).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.batches import to_tensor
from training.compute.threads import resolved
from training.config import Loading
from training.data import LabelledImages, TaughtImages
from training.distortions import distorted
from training.errors import DataError, RunError
from training.families import family_of
from training.loop.loop import Summary, train
from training.loop.opening import Say, begun
from training.loop.progress import Progress
from training.randomness import stream
from training.recipes import StudentRecipe
from training.runs.checkpoint import Run, load_run, run_digest, served_weights

BATCH = 500  # images per forward pass of the teacher


def distil(
    recipe: StudentRecipe,
    teacher: Path,
    data: LabelledImages,
    run: Path,
    *,
    test: LabelledImages | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    say: Say = lambda _: None,
    loading: Loading | None = None,
    labelled: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Let a teacher label images, and train a student on them in a run folder, or resume it there.

    Labels are given anew at every start, as a function of the teacher, the images and the recipe. Sets the process's
    number of torch threads to the run's.

    Args:
        recipe: of the student; its teacher is filled in.
        teacher: the run folder of a classifier, or an export of it.
        data: the training images; their own labels, if any, are not used.
        run: the run folder, created if missing.
        test: images that the accuracy is measured on; they are not trained on.
        report: as in `training.loop.loop.train`.
        should_stop: as there.
        say: as there.
        loading: as there.
        labelled: called with the number of views that the teacher has labelled since the last call.

    Raises:
        DataError: if the images are not of the teacher's shape.
        RunError: if the teacher's run is damaged, or `run` holds another training.
        TrainingError: as `training.loop.loop.train` does; RecipeError if the teacher is no classifier.
    """
    opened = load_run(teacher)
    recipe = recipe.overridden({"teacher": teacher.resolve().name, "teacher_digest": run_digest(opened)})
    recipe = resolved(recipe, begun(run))
    torch.set_num_threads(int(recipe.threads))
    targets = _probabilities(_network(opened), _must_fit(data, opened).images, recipe, labelled)
    taught = TaughtImages(
        images=data.images,
        labels=targets.argmax(axis=1),
        classes=opened.config.classes,
        name=data.name,
        damaged=data.damaged,
        jpeg_quality=data.jpeg_quality,
        targets=targets,
    )
    return train(recipe, taught, run, test=test, report=report, should_stop=should_stop, say=say, loading=loading)


def _network(teacher: Run) -> nn.Module:
    """Return the classifier of a run in eval mode."""
    network = family_of(teacher.config).classifier()
    try:
        network.load_state_dict(served_weights(teacher, "classifier"))
    except RuntimeError as error:
        raise RunError(f"{teacher.path}: the weights do not fit the network: {' '.join(str(error).split())}") from None
    return network.eval()


def _must_fit(data: LabelledImages, teacher: Run) -> LabelledImages:
    """Refuse images that are not of the teacher's shape."""
    config, (height, width, channels) = teacher.config, data.shape
    if (channels, height, width) != config.image_shape:
        raise DataError(
            f"{data.name} has images of {list(data.shape)} (H, W, C), but {teacher.path} classifies "
            f"{[config.height, config.width, config.channels]}; load them with its size and channels"
        )
    return data


@torch.inference_mode()
def _probabilities(
    network: nn.Module, images: NDArray[np.uint8], recipe: StudentRecipe, labelled: Callable[[int], None]
) -> NDArray[np.float32]:
    """Return the teacher's mean probabilities [N, K] over the views of each image, at the recipe's temperature."""
    parts = []
    for start in range(0, len(images), BATCH):
        plain = to_tensor(images[start : start + BATCH])
        noise = stream(recipe.seed, "views", images_seen=start)
        total = torch.zeros(())
        for view in range(recipe.views):
            seen = plain if view == 0 else _distorted(plain, noise, recipe)
            total = total + (network(seen).float() / recipe.temperature).softmax(dim=1)
            labelled(len(plain))
        parts.append((total / recipe.views).numpy())
    return np.concatenate(parts)


def _distorted(images: torch.Tensor, noise: torch.Generator, recipe: StudentRecipe) -> torch.Tensor:
    return distorted(images, noise, shift=recipe.shift, rotation=recipe.rotation, scale=recipe.scale)
