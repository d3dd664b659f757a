"""The model card of a run: data, accuracy, cost and limits."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

import torch

from training.config import RunConfig
from training.data import names_of
from training.recipes import recipe_named
from training.runs.checkpoint import write_atomically

CARD_FILE = "card.md"
NAMED = {"teacher", "teacher_digest"}  # fields that the verb's own words stand for


def write_card(
    run: Path, config: RunConfig, *, images_seen: int, seconds: float, own_rows: Mapping[str, str], pictures: str
) -> None:
    """Write card.md into a run folder.

    Args:
        run: the run folder.
        config: the run's configuration.
        images_seen: unlabelled images consumed so far.
        seconds: training time, s.
        own_rows: the family's own rows, by name.
        pictures: what the sample grids show, in words.
    """
    settings = config.settings
    steps = images_seen // settings.batch_images
    share = 100 * images_seen / settings.images
    done = "the whole run" if share >= 100 else f"{share:.0f} % of the run"
    rows = {
        "Source": settings.source,
        "Images": f"{config.height} x {config.width}, {'grey' if config.channels == 1 else 'colour'}",
        "Data": _data(config),
        **own_rows,
        "Trained": f"{images_seen:,} images in {steps:,} steps, {done}",
        "Time": f"{seconds:.0f} s",
        "Hardware": _hardware(),
        "torch": config.torch_version,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    limits = "\n".join(f"- {limit}" for limit in settings.LIMITS)
    text = f"""# {config.recipe}

{settings.DESCRIPTION}

| | |
| --- | --- |
{table}

Made by

```
{command(config, run)}
```

`config.json` holds every field; `metrics.jsonl` every measurement; `samples/` {pictures}.

## Limits

{limits}
"""
    write_atomically(run / CARD_FILE, text.encode())


def _data(config: RunConfig) -> str:
    """Describe the training images."""
    quality = config.jpeg_quality
    compressed = "" if quality is None else f", all written as JPEG of quality {quality} and read"
    return f"{config.data_name}: {config.data_images} images{compressed}, sha256 `{config.data_sha256[:16]}`"


def command(config: RunConfig, run: Path) -> str:
    """Return the command that repeats the training, with every field that differs from the published recipe."""
    published = recipe_named(config.recipe).to_dict()
    changed = {
        name: value
        for name, value in config.settings.to_dict().items()
        if value != published[name] and name not in NAMED
    }
    parts = ["mintage", *config.settings.verb, *_data_parts(config), "--run", _shown(run)]
    for name, value in changed.items():
        parts += ["--set", f"{name}={_written(value)}"]
    return " ".join(parts)


def _data_parts(config: RunConfig) -> list[str]:
    """Return the options that load the run's data, without those that are the recipe's defaults."""
    parts = [part for name in names_of(config.data_name) for part in ("--data", name)]
    published, size = recipe_named(config.recipe), (config.height, config.width)
    if published.size not in (None, size):
        parts += ["--size", f"{config.height}x{config.width}"]
    if published.channels not in (None, config.channels):
        parts += ["--channels", str(config.channels)]
    return parts if config.jpeg_quality is None else [*parts, "--jpeg", str(config.jpeg_quality)]


def _shown(run: Path) -> str:
    """Return the run folder relative to the working directory, or as runs/NAME if it lies elsewhere."""
    return (
        str(run.resolve().relative_to(Path.cwd())) if run.resolve().is_relative_to(Path.cwd()) else f"runs/{run.name}"
    )


def _written(value: object) -> str:
    """Write a JSON value the way `--set` reads it."""
    if value is None:
        return "inf"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _hardware() -> str:
    """Name the machine in a few words."""
    processor = platform.processor() or platform.machine()
    return f"{os.cpu_count()} CPU cores ({processor}), {torch.get_num_threads()} threads"
