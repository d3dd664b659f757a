"""`mintage runs ...`: several trainings side by side, by what their folders tell.

mintage runs ls                                        # every run below runs/
mintage runs compare runs/a runs/b --picture ab.png    # what differs, where they stand, their curves and samples
mintage runs watch                                     # until none of them trains any more
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import JsonLinesOption, JsonOption, Rows, console, fail, friendly_errors, table
from service.cli.json_lines import print_json, print_json_lines

if TYPE_CHECKING:
    from training.runs.overview import RunOverview

runs = typer.Typer(name="runs", help="See several trainings side by side.", no_args_is_help=True)
FoldersArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FOLDER]...", help="Run folders, or folders with runs below.", show_default="runs"),
]
NUMBERS = ("images", "of", "images/s", "accuracy")  # columns of numbers


@runs.command("ls")
def list_runs(folders: FoldersArgument = None, as_json: JsonLinesOption = False) -> None:
    """List runs: which train, how far they are, and what they measured last.

    Example: mintage runs ls
    """
    with friendly_errors():
        found = _found(folders)
    if as_json:
        print_json_lines(run.values() for run in found)
    elif found:
        console().print(_table(found))
    else:
        typer.echo(f"no runs below {', '.join(map(str, folders or [Path('runs')]))}")


@runs.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.", show_default=False)],
    *,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw their curves and, below, the latest samples of each."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare runs: where they stand, the fields in which they differ, their curves and samples.

    Example: mintage runs compare runs/a runs/b --picture ab.png
    """
    from training.runs.overview import differing_fields

    if picture is not None and picture.suffix.lower() != ".png":
        fail(f"--picture {picture}: must end in .png")
    with friendly_errors():
        found = _found(folders)
        if len(found) < 2:
            fail(f"{len(found)} run there; name two or more to compare")
        if picture is not None:
            _draw(found, picture)
    differing = differing_fields(found)
    if as_json:
        named = {
            name: dict(zip((str(run.run) for run in found), values, strict=True)) for name, values in differing.items()
        }
        print_json({"runs": [run.values() for run in found], "differing_fields": named, "picture": picture})
        return
    console().print(_table(found))
    names = [str(run.run) for run in found]
    if differing:
        rows = [(name, *("-" if value is None else value for value in values)) for name, values in differing.items()]
        console().print(table(("field", *names), rows))
    else:
        typer.echo("all their fields are equal")
    if picture is not None:
        typer.echo(f"curves and samples: {picture}")


@runs.command()
def watch(
    folders: FoldersArgument = None,
    *,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")] = 2.0,
    as_json: JsonLinesOption = False,
) -> None:
    """Watch runs until none of them trains any more. With --json, a line for each run that moved.

    Example: mintage runs watch
    """
    with friendly_errors():
        if as_json or not console().is_terminal:
            _print_changes(folders, every, as_json=as_json)
        else:
            _redraw(folders, every)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(runs)


def _found(folders: list[Path] | None) -> list[RunOverview]:
    """Read the runs of some folders, by default those below runs/."""
    from training.runs.overview import find_runs, overview

    if not folders and not Path("runs").is_dir():
        return []
    return [overview(run) for run in find_runs(folders or [Path("runs")])]


def _table(found: list[RunOverview]) -> Rows:
    columns = ("run", "recipe", "state", *NUMBERS, "losses")
    return table(columns, [_row(run) for run in found], right=NUMBERS)


def _row(run: RunOverview) -> tuple[str, ...]:
    state = f"training ({run.process})" if run.process else run.state
    return (
        str(run.run),
        run.recipe,
        state,
        f"{run.images_seen:,}",
        f"{run.images:,}",
        "" if run.images_per_second is None else f"{run.images_per_second:,.0f}",
        "" if run.test_accuracy is None else f"{100 * run.test_accuracy:.2f} %",
        ", ".join(f"{name} {value:.3f}" for name, value in run.losses.items()),
    )


def _print_changes(folders: list[Path] | None, every: float, *, as_json: bool) -> None:
    """Print a line for each run that moved."""
    before: dict[Path, Any] = {}
    while True:
        found = _found(folders)
        for run in found:
            moved = (run.state, run.images_seen, run.test_accuracy)
            if before.get(run.run) != moved:
                before[run.run] = moved
                if as_json:
                    print_json(run.values())
                else:
                    typer.echo("  ".join(word for word in _row(run) if word))
        if not any(run.state == "training" for run in found):
            return
        time.sleep(every)


def _redraw(folders: list[Path] | None, every: float) -> None:
    """Keep one table on the terminal up to date."""
    from rich.live import Live

    with Live(console=console(), auto_refresh=False) as live:
        while True:
            found = _found(folders)
            live.update(_table(found), refresh=True)
            if not any(run.state == "training" for run in found):
                return
            time.sleep(every)


def _draw(found: list[RunOverview], path: Path) -> None:
    """Write the curves of runs, and below them the latest samples of each, side by side."""
    from PIL import Image, ImageDraw

    from training.runs.curves import curves_of, draw
    from training.runs.samples import LATEST, SAMPLES_FOLDER

    drawn = draw({str(run.run): curves_of(run.lines) for run in found})
    sheets = [(str(run.run), run.run / SAMPLES_FOLDER / LATEST) for run in found]
    grids = [(name, Image.open(sheet).convert("RGB")) for name, sheet in sheets if sheet.exists()]
    if drawn is None and not grids:
        fail("these runs have neither curves nor samples yet")
    top = 0 if drawn is None else drawn.height
    width = sum(grid.width + 12 for _, grid in grids)
    height = max((grid.height + 24 for _, grid in grids), default=0)
    whole = Image.new("RGB", (max(width, 0 if drawn is None else drawn.width), top + height), "white")
    if drawn is not None:
        whole.paste(drawn, (0, 0))
    left, pen = 6, ImageDraw.Draw(whole)
    for name, grid in grids:
        pen.text((left, top + 6), name, fill="black")
        whole.paste(grid, (left, top + 22))
        left += grid.width + 12
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save(path)
