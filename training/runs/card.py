"""The model card of a run: data, accuracy, cost and limits."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path

import torch

from training.config import RunConfig
from training.recipes import recipe_named
from training.runs.files import write_atomically

CARD_FILE = "card.md"
NAMED = {"teacher", "teacher_digest"}  # fields that the verb's own words stand for
HERE = "## Where it was made"  # heads the part that names local paths and times, which stays with the run folder


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
        "Data": data_row(config),
        **own_rows,
        "Trained": f"{images_seen:,} images in {steps:,} steps, {done}",
        "torch": config.torch_version,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    limits = "\n".join(f"- {limit}" for limit in settings.LIMITS)
    text = f"""# {config.recipe}

{settings.DESCRIPTION}

| | |
| --- | --- |
{table}

`config.json` holds every field; `metrics.jsonl` every measurement; `samples/` {pictures}.

## Limits

{limits}

{here(command(config, run), seconds=seconds)}"""
    write_atomically(run / CARD_FILE, text.encode())


def here(command: str, *, seconds: float) -> str:
    """Return the last part of a card: what holds for the machine that made the run."""
    return f"""{HERE}

In {seconds:.0f} s on {_hardware()}, by

```
{command}
```
"""


def portable_card(text: str) -> str:
    """Return a card without its part about the machine that made the run."""
    before, _, after = text.partition(HERE)
    _, heading, rest = after.partition("\n## ")
    return before.rstrip() + ("\n\n## " + rest if heading else "\n")


def data_row(config: RunConfig) -> str:
    """Describe the training images, and how they were treated; without their folder, which is in the command."""
    portable, options = config.portable(), config.loading.options
    parts = [f"{portable.data_name}: {config.data_images} images"]
    if options.size is not None:
        parts.append(f"cropped at the centre and resized to {options.size[0]} x {options.size[1]} where they differed")
    if options.jpeg_quality is not None:
        parts.append(f"all written as JPEG of quality {options.jpeg_quality} and read")
    return ", ".join([*parts, f"sha256 `{config.data_sha256[:16]}`"])


def command(config: RunConfig, run: Path) -> str:
    """Return the command that makes the run again, for a shell in the present folder.

    It has every field and option that differs from the published recipe, but for the time limit of a start.
    """
    published = recipe_named(config.recipe).to_dict()
    changed = {
        name: value
        for name, value in config.settings.to_dict().items()
        if value != published[name] and name not in {*NAMED, "max_seconds"}
    }
    parts = ["mintage", *config.settings.verb, *data_arguments(config), "--run", shown(run)]
    for name, value in changed.items():
        parts += ["--set", f"{name}={_written(value)}"]
    return shlex.join(parts)


def data_arguments(config: RunConfig) -> list[str]:
    """Return the arguments that load the run's data, without those that are the recipe's defaults."""
    options, published = config.loading.options, recipe_named(config.recipe)
    parts = [part for name in config.loading.sources for part in ("--data", name)]
    if options.size not in (None, published.size):
        parts += ["--size", f"{options.size[0]}x{options.size[1]}"]
    if options.channels not in (None, published.channels):
        parts += ["--channels", str(options.channels)]
    numbers = {"--limit": options.limit, "--max-damaged": options.max_damaged, "--jpeg": options.jpeg_quality}
    return [*parts, *(part for name, value in numbers.items() if value is not None for part in (name, str(value)))]


def shown(run: Path) -> str:
    """Return a run folder relative to the working directory, or whole if it lies elsewhere."""
    whole = run.resolve()
    return str(whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole)


def _written(value: object) -> str:
    """Write a JSON value the way `--set` reads it."""
    if value is None:
        return "inf"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _hardware() -> str:
    """Name the machine in a few words."""
    processor = platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{os.cpu_count()} CPU cores ({processor}), {threads} thread{'' if threads == 1 else 's'}"
