"""`mintage train RECIPE --dry-run`: weights, memory and computation of a training, and the time of a few real steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from service.cli.console import console, table
from service.cli.json_lines import print_json

if TYPE_CHECKING:
    from training.data import LabelledImages, Options
    from training.families.needs import Needs
    from training.loop.dry_run import StepTiming
    from training.recipes import Recipe

PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")
DAY_S = 86_400.0


def dry_run(
    recipe: Recipe, options: Options, load: Callable[[], LabelledImages], *, steps: int | None, as_json: bool
) -> None:
    """Print what a training needs.

    Args:
        recipe: of the training.
        options: of the images, as given.
        load: loads the images; called only if their size is unknown.
        steps: number of real steps to time; None for one if the memory suffices.
        as_json: whether to print JSON.

    Raises:
        TrainingError: if the networks do not fit the images, or their size is unknown and there are none.
    """
    from training.config import RunConfig
    from training.families import family_of
    from training.loop.dry_run import free_bytes, noise, time_steps

    size, channels = options.size or recipe.size, options.channels or recipe.channels or 3
    data = noise(recipe, (*size, channels)) if size else load()
    config = RunConfig.of(recipe, data)
    counted, free = family_of(config).needs(), free_bytes(recipe)
    fits = free is None or counted.total_bytes <= free
    wanted = int(fits) if steps is None else steps
    known = counted.flop_per_image is not None
    taken = time_steps(config, data, steps=wanted, counted=known) if wanted else None
    if as_json:
        print_json(_values(recipe, config.image_shape, counted, taken, free))
    else:
        _show(recipe, config.image_shape, counted, taken)
        if steps is None and not fits:
            typer.echo(_too_large(counted, free or 0))


def _too_large(counted: Needs, free: int) -> str:
    """Explain why no step was taken, and what to do."""
    return (
        f"no step was taken: {amount(counted.total_bytes, 'B')} are needed and {amount(free, 'B')} free; use fewer "
        "maps, smaller fields, larger strides or a smaller batch, or sharding=yes with several processes; --steps 1 "
        "tries anyway"
    )


def _values(
    recipe: Recipe, shape: tuple[int, int, int], counted: Needs, taken: StepTiming | None, free: int | None
) -> dict[str, Any]:
    """Return what is printed as JSON."""
    values = {
        "recipe": recipe.name,
        "image_shape": shape,
        "batch": recipe.batch_images,
        "images": recipe.images,
        **dataclasses.asdict(counted),
        "total_bytes": counted.total_bytes,
        "free_bytes": free,
        "measured": None if taken is None else dataclasses.asdict(taken),
    }
    flop = _flop(counted, taken)
    values["flop_per_image"] = flop
    values["flop"] = None if flop is None else flop * recipe.images
    values["seconds"] = None if taken is None else _run_seconds(recipe, taken)
    return values


def _show(recipe: Recipe, shape: tuple[int, int, int], counted: Needs, taken: StepTiming | None) -> None:
    """Print parts and totals as tables."""
    typer.echo(
        f"{recipe.name}: images of {'x'.join(map(str, shape))} (C, H, W), {recipe.batch_images:,} per step, "
        f"{recipe.images:,} in total"
    )
    columns = ("part", "units", "weights")
    parts = [(part.name, f"{part.units:,}", f"{part.weights:,}") for part in counted.parts]
    console().print(table(columns, [*parts, ("all", "", f"{counted.weights:,}")], right=columns[1:]))
    console().print(table(("needed", "amount"), _rows(recipe, counted, taken), right=("amount",)))


def _rows(recipe: Recipe, counted: Needs, taken: StepTiming | None) -> list[tuple[str, str]]:
    rows = [
        ("memory of weights", amount(counted.weight_bytes, "B")),
        ("of gradients", amount(counted.gradient_bytes, "B")),
        ("of the optimiser's moments", amount(counted.moment_bytes, "B")),
    ]
    if counted.average_bytes:
        rows.append(("of averaged weights", amount(counted.average_bytes, "B")))
    if counted.activation_bytes is not None:
        rows.append(("of a batch's activations", amount(counted.activation_bytes, "B")))
    rows.append(("together", amount(counted.total_bytes, "B")))
    flop = _flop(counted, taken)
    if flop is not None:
        rows.append(("computation of an image", amount(flop, "FLOP")))
        rows.append(("of the run", amount(flop * recipe.images, "FLOP")))
    if taken is not None:
        rows.append((f"time of a step, {taken.steps} measured", f"{taken.seconds_per_step:.3g} s"))
        rows.append(("of the run, at that speed", duration(_run_seconds(recipe, taken))))
        rows.append(("peak memory of the process", amount(taken.peak_bytes, "B")))
    return rows


def _flop(counted: Needs, taken: StepTiming | None) -> float | None:
    return counted.flop_per_image if taken is None or taken.flop_per_image is None else taken.flop_per_image


def _run_seconds(recipe: Recipe, taken: StepTiming) -> float:
    return taken.seconds_per_step * recipe.images / recipe.batch_images


def amount(number: float, unit: str) -> str:
    """Write a number with three digits and a decimal prefix."""
    power = 0
    while number >= 999.5 and power < len(PREFIXES) - 1:
        number, power = number / 1000, power + 1
    return f"{number:.3g} {PREFIXES[power]}{unit}"


def duration(seconds: float) -> str:
    """Write a time in a suitable unit."""
    for name, length_s in (("years", 365 * DAY_S), ("days", DAY_S), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:,.3g} {name}"
    return f"{seconds:.3g} s"
