"""The model card of a run: what it learned from, how well, at what cost, and what it is not for."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from training.checkpoint import RunConfig, write_atomically
from training.recipes import recipe_named

NAME = "card.md"


def write_card(
    run: Path, config: RunConfig, *, images_seen: int, seconds: float, test_accuracy: float | None, test_images: int
) -> None:
    """Write card.md into a run folder.

    Args:
        run: the run folder.
        config: the run's configuration.
        images_seen: unlabelled images consumed.
        seconds: of training.
        test_accuracy: of the averaged classifier, in [0, 1], or None where there are no test images.
        test_images: how many the accuracy was measured on.
    """
    settings = config.settings
    measured = (
        "not measured: the data came without test images"
        if test_accuracy is None
        else f"{100 * test_accuracy:.2f} % of {test_images} test images, with averaged weights"
    )
    steps = images_seen // settings.unlabelled_batch
    each = settings.labels // len(config.classes)
    done = (
        "the whole run" if images_seen >= settings.images else f"{100 * images_seen / settings.images:.0f} % of the run"
    )
    text = f"""# {config.recipe}

A K+1 semi-supervised GAN: a generator of {config.height} x {config.width} images and a classifier of \
{len(config.classes)} classes, trained together.

| | |
| --- | --- |
| Source | {settings.source} |
| Data | {config.data_name}: {config.data_images} images, sha256 `{config.data_sha256[:16]}` |
| Labels | {settings.labels}, {each} a class, chosen by seed {settings.seed}; the rest unlabelled |
| Classes | {", ".join(config.classes)} |
| Test accuracy | {measured} |
| Trained | {images_seen:,} images in {steps:,} steps, {done} |
| Time | {seconds:.0f} s |
| Hardware | {_hardware()} |
| torch | {config.torch_version} |

Made by

```
{command(config, run)}
```

`config.json` holds every field; `metrics.jsonl` every measurement; `samples/` pictures from fixed latents.

## Limits

- One run with one draw of labels. Other seeds give other accuracies; with few labels they differ by percents.
- Feature matching trains a good classifier, not the best pictures: samples look smoother and rougher than the data.
- The classifier gives every image one of its {len(config.classes)} classes, also one unlike all its data, and its
  probabilities are not calibrated.
"""
    write_atomically(run / NAME, text.encode())


def command(config: RunConfig, run: Path) -> str:
    """Return the command that trains such a run, with every field that differs from the recipe."""
    published = recipe_named(config.recipe).to_dict()
    changed = {name: value for name, value in config.settings.to_dict().items() if value != published[name]}
    parts = ["mintage", "train", config.recipe, "--data", config.data_name, "--run", str(run)]
    for name, value in changed.items():
        parts += ["--set", f"{name}={_written(value)}"]
    return " ".join(parts)


def _written(value: object) -> str:
    """Write a JSON value the way `--set` reads it."""
    if value is None:
        return "inf"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _hardware() -> str:
    """Name the machine in a few words."""
    processor = platform.processor() or platform.machine()
    return f"{os.cpu_count()} CPU cores ({processor}), {torch.get_num_threads()} threads"
