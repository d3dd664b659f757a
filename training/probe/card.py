"""The model card of a probe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from training.config import RunConfig
from training.recipes import ProbeRecipe
from training.runs.checkpoint import WEIGHTS_FILE, Run

if TYPE_CHECKING:
    from training.probe.outcome import ProbeOutcome


def card(
    out: Path, config: RunConfig, recipe: ProbeRecipe, run: Run, outcome: ProbeOutcome, *, weights_sha256: str
) -> str:
    """Return the text of card.md.

    Args:
        out: the probe's run folder.
        config: its configuration.
        recipe: its recipe.
        run: the run that was probed.
        outcome: its results.
        weights_sha256: of the probed run's checkpoint.
    """
    rows = {
        "Source": recipe.source,
        "Images": f"{config.height} x {config.width}, {'grey' if config.channels == 1 else 'colour'}",
        "Classes": ", ".join(config.classes),
        "Data": f"{config.data_name}: {config.data_images} images, sha256 `{config.data_sha256[:16]}`",
        "Features": f"{outcome.features:,} of {run.path}, a {run.config.recipe} after {run.images_seen:,} images; "
        f"its {WEIGHTS_FILE} has sha256 `{weights_sha256[:16]}`",
        "Labels": f"{outcome.labels:,}, {_drawn(outcome)}",
        "Chosen": f"C = {outcome.cost:g}, features {_scaling(outcome)},"
        f" on {outcome.validation_images:,} training images ({100 * outcome.validation_accuracy:.2f} %)",
        "Temperature": f"{outcome.temperature:.3g}; it takes the log loss on those images from "
        f"{outcome.validation_log_loss_uncalibrated:.3f} to {outcome.validation_log_loss:.3f} nats",
        "Test accuracy": _accuracy(outcome),
        "Time": f"{outcome.seconds:.0f} s",
        "torch": config.torch_version,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    limits = "\n".join(f"- {limit}" for limit in recipe.LIMITS)
    return f"""# A probe of {run.config.recipe}

{recipe.DESCRIPTION}

| | |
| --- | --- |
{table}

Made by

```
{_command(out, config, recipe, run)}
```

## Limits

{limits}
"""


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
    parts = ["mintage", "probe", str(run.path), "--data", config.data_name, "--run", str(out)]
    if config.jpeg_quality is not None:
        parts += ["--jpeg", str(config.jpeg_quality)]
    parts += ["--seed", str(recipe.seed)]
    if recipe.labels_per_class:
        parts += ["--labels-per-class", str(recipe.labels_per_class), "--draws", str(recipe.final_draws)]
    return " ".join(parts)
