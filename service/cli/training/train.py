"""`mintage train`: train a recipe on any images, in a run folder.

mintage train                                       # ssgan-digits on the bundled digits, in runs/ssgan-digits
mintage train ssgan-mnist --data mnist/ --seed 3    # the same command again resumes
mintage train RECIPE --data photos/ --size 32       # any images, cropped and resized; see --help for what --data takes
mintage train RECIPE --data photos/ --data more/    # several sources, joined
mintage train encoder --data runs/photos            # an encoder of that run's generator, from which inverting starts
mintage train RECIPE --dry-run                      # what it needs, and how long it takes
torchrun --nproc-per-node 2 -m service -- train ... # the same training by two processes
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import interrupts
from service.cli.console import FAILED, fail
from service.cli.data_options import (
    SOURCES,
    ChannelsOption,
    JpegOption,
    LimitOption,
    MaxDamagedOption,
    SizeOption,
    Splits,
    data_options,
    joined_splits,
    load_splits,
    without_labels_of_others,
)
from service.cli.json_lines import print_json
from service.cli.training.encoder import measured, of_generator, sentence_of
from service.cli.training.reports import Report, both, is_first_process, reporter, tensorboard_reporter

if TYPE_CHECKING:
    from training.config import Loading
    from training.data import Options
    from training.loop.loop import Summary
    from training.recipes import Recipe


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(train)


def train(
    recipe: Annotated[str, typer.Argument(help="Recipe to train; `mintage recipes` lists them.")] = "ssgan-digits",
    *,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help=f"Training images; may be repeated, and all sources are joined: {SOURCES}.",
            show_default="recipe's",
        ),
    ] = None,
    size: SizeOption = None,
    channels: ChannelsOption = None,
    limit: LimitOption = None,
    max_damaged: MaxDamagedOption = None,
    jpeg: JpegOption = None,
    run: Annotated[Path | None, typer.Option(help="Run folder to write or resume.", show_default="runs/RECIPE")] = None,
    labels: Annotated[
        int | None, typer.Option(help="Total number of labelled images.", show_default="recipe's")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random choice.", show_default="recipe's")] = None,
    images: Annotated[
        int | None, typer.Option(help="Length of the run, in real images.", show_default="recipe's")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Limit of this start's time, s.", show_default="recipe's")
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("-o", "--set", metavar="FIELD=VALUE", help="Override a field; may be repeated."),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write event files for TensorBoard, in RUN/tensorboard.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what the training needs: weights, memory, computation and time.")
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option(
            min=0, help="Real steps that --dry-run times, on noise.", show_default="1, if the memory suffices"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Train a recipe. The same command resumes a run; Ctrl-C saves it; a larger --images extends it.

    Example: mintage train
    mintage train dcgan32 --data photos/ --run runs/photos
    mintage train dcgan32 --data photos/ --dry-run
    """
    from training.errors import DivergedError, RecipeError, TrainingError

    flags = {"labels": labels, "seed": seed, "images": images, "max_seconds": max_seconds}
    try:
        chosen = overridden(recipe, flags, fields or [])
        if not (chosen.generates or chosen.detects or chosen.encodes):
            raise RecipeError(f"{chosen.name} is not trained by this verb: {chosen.source}")
        options = data_options(size=size, channels=channels, limit=limit, max_damaged=max_damaged, jpeg=jpeg)
        if dry_run:
            _dry_run(chosen, data or [], options, steps=steps, as_json=as_json)
            return
        if steps is not None:
            raise RecipeError("--steps goes with --dry-run; the length of a run is --images")
        folder = run or Path("runs") / chosen.name
        chosen, loaded = _opened(chosen, data or [], options)
        loading = _loading(data or [], chosen, options)
        with reporter(chosen, as_json=as_json) as printed, tensorboard_reporter(folder, wanted=tensorboard) as written:
            summary, caught = _trained(chosen, folder, loaded, loading, report=both(printed, written))
    except DivergedError as error:
        fail(str(error), FAILED)
    except (TrainingError, OSError) as error:
        fail(str(error))
    if is_first_process():
        _print_end(summary, chosen, loaded, as_json=as_json)
    if summary.ended == "stopped":
        raise typer.Exit(interrupts.status(caught))


def train_with_bar(recipe: Recipe, run: Path) -> Summary:
    """Train a recipe on its own data, with a progress bar or plain lines; an existing run is resumed.

    Raises:
        TrainingError: see `training.loop.loop.train`.
    """
    options = data_options()
    loaded = _loaded([], recipe, options)
    with reporter(recipe, as_json=False) as report:
        summary, _ = _trained(recipe, run, loaded, _loading([], recipe, options), report=report)
    return summary


def overridden(name: str, flags: dict[str, Any], fields: list[str]) -> Recipe:
    """Return the recipe with flags and FIELD=VALUE pairs applied."""
    from training.errors import RecipeError
    from training.recipes import recipe_named

    values = {flag: value for flag, value in flags.items() if value is not None}
    for pair in fields:
        field, equals, value = pair.partition("=")
        if not equals:
            raise RecipeError(f"--set {pair}: expected FIELD=VALUE, such as --set images=100000")
        values[field.strip()] = value.strip()
    return recipe_named(name).overridden(values)


def _loaded(data: list[str], recipe: Recipe, options: Options) -> Splits:
    """Load the images; size and channels default to the recipe's."""
    from training.data import must_have_one_set_of_classes
    from training.data.account import must_have_images_of_every_class
    from training.errors import DataError

    names = data or ([recipe.data] if recipe.data else [])
    if not names:
        raise DataError(f"{recipe.name} needs --data ({recipe.source}); `mintage train --help` says what it may be")
    sources = [load_splits(name, _completed(options, recipe)) for name in names]
    if recipe.needs_labels:
        must_have_one_set_of_classes([source.train for source in sources])
    loaded = joined_splits(sources)
    if not recipe.needs_labels:
        return without_labels_of_others(loaded)
    must_have_images_of_every_class(loaded.train)
    return loaded


def _opened(recipe: Recipe, data: list[str], options: Options) -> tuple[Recipe, Splits]:
    """Open what is trained on: images, or for an encoder a generator, which fills in fields of the recipe."""
    return of_generator(recipe, data, options) if recipe.encodes else (recipe, _loaded(data, recipe, options))


def _print_end(summary: Summary, recipe: Recipe, loaded: Splits, *, as_json: bool) -> None:
    """Print how the training ended, and how good an encoder is."""
    found = measured(summary.run, loaded) if recipe.encodes and summary.images_seen else None
    if as_json:
        guesses = None if found is None else dataclasses.asdict(found)
        print_json({**summary_values(summary), "data": loaded.account(), "guesses": guesses})
        return
    print(sentence(summary), flush=True)
    if found is not None:
        print(sentence_of(found), flush=True)


def _dry_run(recipe: Recipe, data: list[str], options: Options, *, steps: int | None, as_json: bool) -> None:
    """Print what the training needs."""
    from service.cli.training.dry_run import dry_run
    from training.errors import RecipeError

    if recipe.encodes:
        raise RecipeError(f"--dry-run counts what GANs and autoencoders need; {recipe.name} takes {recipe.cost}")
    dry_run(recipe, options, lambda: _loaded(data, recipe, options).train, steps=steps, as_json=as_json)


def _loading(data: list[str], recipe: Recipe, options: Options) -> Loading:
    """Describe how `_loaded` loads the images."""
    from training.config import Loading

    return Loading(sources=tuple(data or [recipe.data or ""]), options=_completed(options, recipe))


def _completed(options: Options, recipe: Recipe) -> Options:
    """Fill in a recipe's size and channels."""
    return dataclasses.replace(options, size=options.size or recipe.size, channels=options.channels or recipe.channels)


def _trained(
    recipe: Recipe, run: Path, loaded: Splits, loading: Loading, *, report: Report
) -> tuple[Summary, list[int]]:
    """Train, and return the signals that came too; torch is imported only after the input was checked."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read by torch: threads that spin cost much on a busy machine
    from training.loop.loop import train as train_run

    with interrupts.collected() as caught:
        summary = train_run(
            recipe,
            loaded.train,
            run,
            loading=loading,
            test=loaded.test,
            report=report,
            should_stop=lambda: bool(caught),
            say=lambda sentence: typer.echo(f"mintage: {sentence}", err=True),
        )
    return summary, caught


def sentence(summary: Summary) -> str:
    """Describe how the training ended and what to do next."""
    accuracy = "" if summary.test_accuracy is None else f", test accuracy {100 * summary.test_accuracy:.2f} %"
    done = f"{summary.images_seen:,} of {summary.images:,} images in {summary.seconds:.0f} s{accuracy}"
    if summary.ended == "finished":
        return f"finished {summary.run}: {done}; look at {summary.run / 'samples' / 'latest.png'}"
    why = "stopped" if summary.ended == "stopped" else "out of time"
    return f"{why} and saved {summary.run}: {done}; the same command resumes it"


def summary_values(summary: Summary) -> dict[str, Any]:
    """Return what `--json` prints at the end."""
    return {**dataclasses.asdict(summary), "run": str(summary.run)}
