"""The model card of a probe."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from training.config import RunConfig
from training.recipes import ProbeRecipe
from training.runs.card import data_row, here, shown
from training.runs.checkpoint import Run

if TYPE_CHECKING:
    from training.probe.outcome import ProbeOutcome


def card(
    out: Path, config: RunConfig, recipe: ProbeRecipe, run: Run, outcome: ProbeOutcome, *, probed_digest: str
) -> str:
    """Return the text of card.md.

    Args:
        out: the probe's run folder.
        config: its configuration.
        recipe: its recipe.
        run: the run that was probed.
        outcome: its results.
        probed_digest: the run digest of the probed run.
    """
    rows = {
        "Source": recipe.source,
        "Images": f"{config.height} x {config.width}, {'grey' if config.channels == 1 else 'colour'}",
        "Classes": ", ".join(config.classes),
        "Data": data_row(config),
        "Features": f"{outcome.features:,} of {run.path.resolve().name}, a {run.config.recipe} "
        f"after {run.images_seen:,} images; run digest `{probed_digest[:16]}`{_mirroring(recipe)}",
        "Labels": f"{outcome.labels:,}, {_drawn(outcome)}",
        "Chosen": f"C = {outcome.cost:g}, features {_scaling(outcome)},"
        f" on {outcome.validation_images:,} training images ({100 * outcome.validation_accuracy:.2f} %)",
        "Temperature": f"{outcome.temperature:.3g}; it takes the log loss on those images from "
        f"{outcome.validation_log_loss_uncalibrated:.3f} to {outcome.validation_log_loss:.3f} nats",
        "Test accuracy": _accuracy(outcome),
        "torch": config.torch_version,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    limits = "\n".join(f"- {limit}" for limit in recipe.LIMITS)
    return f"""# A probe of {run.config.recipe}

{recipe.DESCRIPTION}

| | |
| --- | --- |
{table}

## Limits

{limits}

{here(_command(out, config, recipe, run), seconds=outcome.seconds)}"""


def _mirroring(recipe: ProbeRecipe) -> str:
    """Describe what is done with mirror images."""
    return "; means over an image and its mirror image" if recipe.mirror == "yes" else ""


def _scaling(outcome: ProbeOutcome) -> str:
    """Describe the scaling of features."""
    return "each to unit variance" if outcome.standardised else "all by one number"


def _drawn(outcome: ProbeOutcome) -> str:
    """Describe the choice of labelled images."""
    if outcome.draws == 1:
        return "all there are"
    return f"the same number per class in each of {outcome.draws} draws; the first one's classifier is this one"


def _accuracy(outcome: ProbeOutcome) -> str:
    """Write the test accuracy with its spread over draws, as in the paper, and the log loss."""
    if outcome.test_accuracy is None or outcome.served_accuracy is None:
        return "not measured: the data came without test images"
    mean = f"{100 * outcome.test_accuracy:.2f} %"
    if outcome.test_deviation is not None:
        mean += f" ± {196 * outcome.test_deviation:.2f} (1.96 deviations); this classifier: "
        mean += f"{100 * outcome.served_accuracy:.2f} %"
    return f"{mean} of {outcome.test_images:,} test images; log loss {outcome.test_log_loss:.3f} nats"


def _command(out: Path, config: RunConfig, recipe: ProbeRecipe, run: Run) -> str:
    """Return the command that makes such a probe."""
    parts = ["mintage", "probe", shown(run.path), "--data", config.data_name, "--run", shown(out)]
    options = config.loading.options
    numbers = {"--limit": options.limit, "--max-damaged": options.max_damaged, "--jpeg": options.jpeg_quality}
    for name, value in numbers.items():
        parts += [] if value is None else [name, str(value)]
    parts += ["--seed", str(recipe.seed)]
    if recipe.labels_per_class:
        parts += ["--labels-per-class", str(recipe.labels_per_class), "--draws", str(recipe.final_draws)]
    return shlex.join(parts)
