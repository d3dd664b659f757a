"""Probes a DCGAN's run, and writes the classifier as a run folder to pack and serve.

runs/dcgan32-probe/
├── config.json               the recipe `probe` with the form of the discriminator, image shape, classes
├── metrics.jsonl             one line: what was chosen, and the accuracies
├── checkpoint.safetensors    discriminator_average.*: the discriminator with frozen statistics, and the linear layer
└── card.md                   the model card
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from training.config import Loading, RunConfig
from training.data import LabelledImages
from training.errors import DataError, RunError
from training.families import family_of
from training.networks.dcgan import Discriminator
from training.probe.card import card
from training.probe.features import freeze_statistics, pooled_features
from training.probe.fitting import FewLabels, LabelledFeatures, Probe, fit_probe, hold_out, log_loss, max_fits
from training.probe.outcome import ProbeOutcome
from training.progress import BeginTask
from training.recipes import DcganRecipe, ProbeRecipe
from training.runs import metrics
from training.runs.card import CARD_FILE
from training.runs.checkpoint import WEIGHTS_FILE, Run, load_run, run_digest, save_config, served_weights
from training.runs.files import write_atomically


def probe_run(
    run: Path,
    data: LabelledImages,
    out: Path,
    *,
    recipe: ProbeRecipe,
    loading: Loading | None = None,
    test: LabelledImages | None = None,
    device: torch.device | str = "cpu",
    begin: BeginTask = lambda name, total: lambda more: None,
) -> ProbeOutcome:
    """Fit a classifier to the features of a run's discriminator, measure it, and write it.

    Args:
        run: folder of an unconditional DCGAN's run.
        data: labelled training images, of the run's shape.
        out: folder to create.
        recipe: how to fit; the run's fields replace those of the discriminator.
        loading: how they were loaded, for the card.
        test: images that the accuracy is measured on; nothing is chosen on them.
        device: to compute on; the features of all images must fit in its memory.
        begin: called as each task starts; see `training.progress`.

    Raises:
        RunError: if the run has no such discriminator, or `out` is not empty.
        DataError: if images do not fit the run, have no labels, or some class has too few.
    """
    started_s = time.monotonic()
    if out.exists() and any(out.iterdir()):
        raise RunError(f"{out} exists and is not empty; name another folder")
    opened = load_run(run)
    discriminator = _discriminator(opened)
    for images in (data, test):
        _must_fit(images, data, opened)
    settings = _described(recipe, opened, data)
    mirror = settings.mirror == "yes"
    classes = len(data.classes)
    fitted, held = hold_out(data.labels, classes=classes, share=recipe.validation_share, seed=recipe.seed)
    few = None
    if recipe.labels_per_class:
        few = FewLabels(recipe.labels_per_class, choosing=recipe.choosing_draws, final=recipe.final_draws)
        _must_suffice(data.labels[fitted], few, data)

    discriminator.to(device)
    order = np.concatenate([fitted, held])
    freeze_statistics(discriminator, data.images, order=order, report=begin("statistics", len(data)))
    features = pooled_features(
        discriminator, data.images, mirror=mirror, order=order, report=begin("features", len(data))
    )
    probe = fit_probe(
        LabelledFeatures(features, torch.from_numpy(data.labels[order]).to(device)),
        classes=classes,
        validation=len(held),
        few=few,
        seed=recipe.seed,
        report=begin("machines", max_fits(few)),
    )
    del features
    tested = None
    if test is not None:
        seen = pooled_features(discriminator, test.images, mirror=mirror, report=begin("test features", len(test)))
        tested = LabelledFeatures(seen, torch.from_numpy(test.labels).to(device))
    outcome = ProbeOutcome(
        images_seen=opened.images_seen,
        seconds=time.monotonic() - started_s,
        features=probe.machines[0].weights.shape[1],
        labels=few.per_class * classes if few else len(data),
        draws=len(probe.machines),
        validation_images=len(held),
        standardised=probe.chosen.standardised,
        cost=probe.chosen.cost,
        temperature=probe.temperature,
        validation_accuracy=probe.chosen.accuracy,
        validation_log_loss=probe.log_losses[1],
        validation_log_loss_uncalibrated=probe.log_losses[0],
        **_tested(probe, tested),
    )
    config = RunConfig.of(settings, data, loading)
    text = card(out, config, settings, opened, outcome, probed_digest=run_digest(opened))
    _write(out, config, text, outcome, probe.classifier(discriminator).cpu().state_dict())
    return outcome


def _discriminator(run: Run) -> Discriminator:
    """Return the averaged discriminator of a run; RunError if it cannot be probed."""
    recipe = run.config.settings
    if not isinstance(recipe, DcganRecipe):
        raise RunError(f"{run.path} is a run of {run.config.recipe}; a probe reads the convolutions of a DCGAN's run")
    if recipe.conditional == "yes":
        raise RunError(f"{run.path} is conditional: its discriminator takes the class that a probe should predict")
    discriminator = cast(Discriminator, family_of(run.config).discriminator())
    try:
        discriminator.load_state_dict(served_weights(run, "classifier"))
    except RuntimeError as error:
        raise RunError(f"{run.path / WEIGHTS_FILE} does not fit the network: {' '.join(str(error).split())}") from None
    return discriminator.requires_grad_(False)


def _must_fit(images: LabelledImages | None, data: LabelledImages, run: Run) -> None:
    """Refuse images that are not of the run's shape, and test images with other classes."""
    if images is None:
        return
    height, width, channels = images.shape
    config = run.config
    if (channels, height, width) != config.image_shape:
        raise DataError(
            f"{images.name} has images of {list(images.shape)} (H, W, C), but {run.path} was trained on "
            f"{[config.height, config.width, config.channels]}; load them with its size and channels"
        )
    if images.classes != data.classes:
        raise DataError(f"{images.name}: the test images have other classes than the training images")


def _must_suffice(labels: NDArray[np.int64], few: FewLabels, data: LabelledImages) -> None:
    """Refuse more labels per class than some class has, before the long work starts."""
    counts = np.bincount(labels, minlength=len(data.classes))
    least = int(counts.argmin())
    if counts[least] < few.per_class:
        raise DataError(
            f"labels_per_class={few.per_class}, but class {data.classes[least]} has {counts[least]} training images "
            f"beside its validation part; ask for that many at most"
        )


def _tested(probe: Probe, tested: LabelledFeatures | None) -> dict[str, Any]:
    """Return the fields of an outcome that concern test images."""
    names = ("test_accuracy", "test_deviation", "served_accuracy", "test_log_loss", "test_log_loss_uncalibrated")
    if tested is None:
        return {"test_images": 0, **dict.fromkeys(names)}
    accuracies = [tested.accuracy(machine) for machine in probe.machines]
    scores = probe.machines[0].scores(tested.features)
    values = (
        float(np.mean(accuracies)),
        float(np.std(accuracies)) if len(accuracies) > 1 else None,
        accuracies[0],
        log_loss(scores / probe.temperature, tested.labels),
        log_loss(scores, tested.labels),
    )
    return {"test_images": len(tested.labels), **dict(zip(names, values, strict=True))}


def _described(recipe: ProbeRecipe, run: Run, data: LabelledImages) -> ProbeRecipe:
    """Return the recipe with the run's discriminator fields."""
    probed = cast(DcganRecipe, run.config.settings)
    names = ("discriminator_width", "kernel", "layers", "discriminator_activation", "mirror")
    return recipe.overridden({"images": len(data), **{name: getattr(probed, name) for name in names}})


def _write(out: Path, config: RunConfig, text: str, outcome: ProbeOutcome, weights: dict[str, Tensor]) -> None:
    """Write the run folder with its card, its weights last."""
    save_config(out, config)
    metrics.append(out, dataclasses.asdict(outcome))
    write_atomically(out / CARD_FILE, text.encode())
    header = {"recipe": config.recipe, "images_seen": str(outcome.images_seen), "seconds": repr(outcome.seconds)}
    named = {f"discriminator_average.{name}": tensor.contiguous() for name, tensor in weights.items()}
    write_atomically(out / WEIGHTS_FILE, save(named, header))
