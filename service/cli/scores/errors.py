"""`mintage score --errors`: the errors of a run's classifier on labelled images.

They measure semi-supervised training (Salimans et al. 2016, table 1). The classifier is the averaged one, as packed and
served; the run needs no generator.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from service.cli.console import console, table

if TYPE_CHECKING:
    from training.config import RunConfig
    from training.data import LabelledImages, Split
    from training.scores.error_rate import ErrorRate

WORST = 10  # classes shown
CONFUSIONS = 3  # most frequent predictions shown per class


@dataclass(frozen=True, slots=True)
class ClassifierErrors:
    """The errors of a run's classifier, and the images they were made on."""

    run: Path
    config: RunConfig
    images: LabelledImages
    split: Split
    errors: ErrorRate

    @property
    def reference(self) -> str:
        """The name of the images: data and split."""
        return f"{self.images.name} {self.split}"


def count_errors(run: Path, config: RunConfig, images: LabelledImages, *, split: Split) -> ClassifierErrors:
    """Classify labelled images with a run's classifier, and count its errors.

    Args:
        run: the run folder.
        config: of the run.
        images: of the run's shape.
        split: of the images.

    Raises:
        RecipeError: if the run has no classifier.
        RunError: if the run folder is damaged.
        ScoreError: if the images have no labels, or other classes than the classifier.
    """
    from training.batches import predicted
    from training.errors import RunError
    from training.families import family_of
    from training.runs.checkpoint import load_run, served_weights
    from training.scores.conditions import Conditions
    from training.scores.error_rate import error_rate

    network = family_of(config).classifier()
    reference = f"{images.name} {split}"
    _check_classes(config, images, reference)
    try:
        network.load_state_dict(served_weights(load_run(run), "classifier"))
    except RuntimeError as error:
        raise RunError(f"{run}: the weights do not fit the network: {' '.join(str(error).split())}") from None
    found = predicted(network.eval(), images.images)
    conditions = Conditions(reference=reference)
    seed = config.settings.seed
    return ClassifierErrors(
        run,
        config,
        images,
        split,
        error_rate(found, images.labels, classes=len(config.classes), seed=seed, conditions=conditions),
    )


def values(judged: ClassifierErrors) -> dict[str, Any]:
    """Return what `--json` prints."""
    from training.data.account import account

    errors, names = judged.errors, judged.config.classes
    by_class = zip(names, errors.images_by_class, errors.errors_by_class, errors.rates_by_class, strict=True)
    return {
        "run": str(judged.run),
        "recipe": judged.config.recipe,
        "training": {"data": judged.config.data_name, "labels": _labels(judged.config), "seed": errors.seed},
        "reference": {"name": judged.reference, "images": errors.images},
        "data": {split: account(judged.images) if split == judged.split else None for split in ("train", "test")},
        "errors": errors.errors,
        "rate": errors.rate,
        "interval_95": list(errors.interval),
        "classes": [
            {"name": name, "images": images, "errors": wrong, "rate": rate} for name, images, wrong, rate in by_class
        ],
        "mistakes": [
            {"label": names[each.label], "predicted": names[each.predicted], "count": each.count}
            for each in errors.mistakes
        ],
    }


def show(judged: ClassifierErrors) -> None:
    """Print the total errors, and the worst classes with their most frequent predictions."""
    errors, config = judged.errors, judged.config
    low, high = errors.interval
    typer.echo(
        f"{errors.errors:,} errors of {errors.images:,} images of {judged.reference}: {errors.rate:.2%}, 95 % interval "
        f"{low:.2%} to {high:.2%}"
    )
    typer.echo(f"{judged.run}: {config.recipe}, trained on {config.data_name}, {_taught(config)}, seed {errors.seed}")
    worst = sorted(range(len(config.classes)), key=lambda k: -(errors.rates_by_class[k] or 0.0))
    rows = [_row(judged, label) for label in worst[:WORST] if errors.errors_by_class[label]]
    if rows:
        columns = ["class", "errors", "images", "rate", "mostly taken for"]
        console().print(table(columns, rows, right=columns[1:4]))


def _row(judged: ClassifierErrors, label: int) -> tuple[str, ...]:
    """Describe the errors of one class."""
    errors, names = judged.errors, judged.config.classes
    taken = [each for each in errors.mistakes if each.label == label][:CONFUSIONS]
    return (
        names[label],
        f"{errors.errors_by_class[label]:,}",
        f"{errors.images_by_class[label]:,}",
        f"{errors.rates_by_class[label]:.2%}",
        ", ".join(f"{names[each.predicted]} ({each.count:,})" for each in taken),
    )


def _taught(config: RunConfig) -> str:
    """Say what labels the classifier was trained with."""
    teacher = dataclasses.asdict(config.settings).get("teacher")
    if teacher:
        return f"labels by {teacher}"
    return "all labels" if _labels(config) is None else f"{_labels(config):,} labels"


def _labels(config: RunConfig) -> int | None:
    """Return the number of labels that the classifier was trained with, None if unknown."""
    labels = dataclasses.asdict(config.settings).get("labels")
    return labels if isinstance(labels, int) else None


def _check_classes(config: RunConfig, images: LabelledImages, reference: str) -> None:
    """Refuse images whose classes are not the classifier's."""
    from training.errors import ScoreError

    if not images.classes:
        raise ScoreError(f"{reference} has no labels; give labelled images")
    if images.classes != config.classes[: len(images.classes)]:
        raise ScoreError(
            f"{reference} has the classes {_shortened(images.classes)}, but the classifier knows "
            f"{_shortened(config.classes)}; give images of the same classes"
        )


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")
