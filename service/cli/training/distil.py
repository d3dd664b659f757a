"""`mintage distil`: a small convolutional student that learns a classifier's labels.

mintage distil runs/ssgan-mnist --data mnist/                         # writes runs/ssgan-mnist-student
mintage distil runs/ssgan-mnist-student --data mnist/ --set views=8   # the student teaches the next one
mintage pack runs/ssgan-mnist-student                                 # the classifier, for serving
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import interrupts
from service.cli.console import friendly_errors
from service.cli.data_options import (
    SOURCES,
    JpegOption,
    LimitOption,
    MaxDamagedOption,
    Splits,
    bars,
    data_options,
    joined_splits,
    load_splits,
)
from service.cli.json_lines import print_json
from service.cli.run_data import as_trained
from service.cli.training.reports import is_first_process, reporter
from service.cli.training.train import overridden, sentence, summary_values

if TYPE_CHECKING:
    from training.data import Options
    from training.loop.loop import Summary
    from training.recipes import StudentRecipe


def distil(
    teacher: Annotated[
        Path, typer.Argument(help="Run folder of a classifier, or an export of one.", show_default=False)
    ],
    *,
    data: Annotated[
        list[str],
        typer.Option(
            metavar="SOURCE",
            help="Images, converted to the teacher's size and channels; labels are not needed, and not used. May be "
            f"repeated, and all sources are joined: {SOURCES}.",
            show_default=False,
        ),
    ],
    limit: LimitOption = None,
    max_damaged: MaxDamagedOption = None,
    jpeg: JpegOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="OUT", help="Run folder to write or resume.", show_default="runs/TEACHER-student"
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random choice.", show_default="1")] = None,
    images: Annotated[int | None, typer.Option(help="Length of the run, in images.", show_default="600000")] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--set",
            metavar="FIELD=VALUE",
            help="Override a field of the recipe `student`; may be repeated. `mintage recipes student` lists them.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Train a small convolutional classifier on another classifier's labels.

    Images are shifted, rotated and scaled; the student may be another one's teacher. The same command resumes a run;
    Ctrl-C saves it.

    Example: mintage distil models/digits-ssgan --data mnist/ --run runs/student --set keep=0.95
    """
    from training.recipes import StudentRecipe

    folder = out or Path("runs") / f"{teacher.resolve().name}-student"
    with friendly_errors():
        recipe = overridden("student", {"seed": seed, "images": images}, fields or [])
        assert isinstance(recipe, StudentRecipe)  # noqa: S101 - by its name
        options = data_options(limit=limit, max_damaged=max_damaged, jpeg=jpeg)
        splits, summary, caught = _distilled(recipe, teacher, folder, data, options, as_json=as_json)
    if is_first_process():
        values = {**summary_values(summary), "data": splits.account()}
        if as_json:
            print_json(values)
        else:
            print(sentence(summary), flush=True)
    if summary.ended == "stopped":
        raise typer.Exit(interrupts.status(caught))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(distil)


def _distilled(
    recipe: StudentRecipe, teacher: Path, folder: Path, sources: list[str], options: Options, *, as_json: bool
) -> tuple[Splits, Summary, list[int]]:
    """Load the images in the teacher's shape, have them labelled, and train; torch is imported after the checks."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read by torch: threads that spin cost much on a busy machine
    from training.runs.checkpoint import load_config

    options = as_trained(options, load_config(teacher))
    splits = _with_known_classes(joined_splits([load_splits(source, options) for source in sources]))
    from training.config import Loading
    from training.distillation import distil as distil_run

    total = recipe.views * len(splits.train)
    with interrupts.collected() as caught, bars() as progress:
        if progress.disable and is_first_process():
            typer.echo(f"labelling: {total:,} views", err=True)
        task = progress.add_task("labelling", total=total)
        with reporter(recipe, as_json=as_json) as report:
            summary = distil_run(
                recipe,
                teacher,
                splits.train,
                folder,
                test=splits.test,
                loading=Loading(sources=tuple(sources), options=dataclasses.replace(options, size=None, channels=None)),
                report=report,
                should_stop=lambda: bool(caught),
                say=lambda text: typer.echo(f"mintage: {text}", err=True),
                labelled=lambda more: progress.advance(task, more),
            )
    return splits, summary, caught


def _with_known_classes(splits: Splits) -> Splits:
    """Leave out test images without labels, which no accuracy could be measured on."""
    return splits if splits.test is not None and splits.test.classes else Splits(splits.train, None)
