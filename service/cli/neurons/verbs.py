"""`mintage neurons ...`: find the neuron of an autoencoder that detects a concept, and show what stimulates it.

mintage neurons find runs/face-neuron --concept face --positives lfw/ --distractors cifar10/
mintage neurons find runs/face-neuron --concept cat --data cifar10/ --class cat
mintage neurons show runs/face-neuron face --data photos/
mintage neurons show runs/face-neuron --stage 2 --unit 198
mintage neurons classify runs/face-neuron --data cifar10/      # service/cli/neurons/classify.py
mintage neurons detect ...                                     # service/cli/neurons/detect.py
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.commands import Verbs
from service.cli.console import JsonOption, console, friendly_errors, table
from service.cli.data_options import SOURCES, JpegOption, LimitOption, MaxDamagedOption, bars, load_split
from service.cli.json_lines import print_json
from service.cli.neurons.runs import DeviceOption, RunArgument, SeedOption, load_on_device, run_options, shown_tasks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress

    from training.data import LabelledImages, Options, Split
    from training.neurons.activations import LoadedRun
    from training.neurons.concepts import Concept
    from training.neurons.examples import Examples
    from training.neurons.pictures import Neuron
    from training.neurons.table import Table

neurons = Verbs("neurons", "Find and show neurons of an autoencoder that detect a concept.")


def _source(what: str) -> Any:
    return typer.Option(metavar="SOURCE", help=what, show_default=False)


@neurons.command()
def find(
    run: RunArgument,
    *,
    concept: Annotated[str, typer.Option(metavar="NAME", help="Concept to search for.", show_default=False)],
    positives: Annotated[str | None, _source(f"Images that show the concept: {SOURCES}.")] = None,
    distractors: Annotated[str | None, _source("Images that do not.")] = None,
    data: Annotated[str | None, _source("Instead of both: labelled images with the concept as a class.")] = None,
    class_name: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="Class that is the concept.", show_default="the concept's name"),
    ] = None,
    second_positives: Annotated[str | None, _source("Positives of a second test set; nothing is chosen on it.")] = None,
    second_distractors: Annotated[str | None, _source("Distractors of the second test set.")] = None,
    match: Annotated[
        bool | None,
        typer.Option(
            "--match/--no-match",
            help="Drop images until positives and distractors match in colour, contrast and blur.",
            show_default="match two sources, but not the classes of one",
        ),
    ] = None,
    share: Annotated[float, typer.Option(help="Share of distractors among the images, as in the paper.")] = 0.648,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]RUN",
            help="Another run whose best neuron is added to the table, such as one without contrast normalisation; "
            "may be repeated.",
        ),
    ] = None,
    filters: Annotated[
        int,
        typer.Option(
            min=0, max=10_000_000, help="Number of random linear filters to compare with, white and smooth each."
        ),
    ] = 100_000,
    training_images: Annotated[
        list[str] | None,
        _source(
            "Images that the run was trained on; adds the paper's filters from the training set to the table, their "
            "principal components and their k-means centres; may be repeated."
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what an earlier search for this concept found in the run.")
    ] = False,
    limit: LimitOption = None,
    max_damaged: MaxDamagedOption = None,
    jpeg: JpegOption = None,
    seed: SeedOption = 1,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Find the neuron that detects a concept, and measure it and the paper's controls.

    Images are converted to the run's size, channels and JPEG quality; the test split is used if there is one. Neuron,
    threshold and sign are chosen on one half of the images, and the accuracy is measured on the other half.

    Example: mintage neurons find runs/face-neuron --concept face --positives lfw/ --distractors cifar10/
    """
    from training.errors import DataError

    with friendly_errors(), bars() as progress:
        from training.neurons.find import Protocol, find_concept

        two = (positives is not None, distractors is not None)
        if two != (data is None, data is None) or (data is None and class_name is not None):
            raise DataError("give --positives and --distractors, or else --data and the --class that is the concept")
        if (second_positives is None) != (second_distractors is None):
            raise DataError("a second test set needs --second-positives and --second-distractors")
        if not replace:
            _must_be_new(run, concept)
        protocol = Protocol(
            name=concept, match=data is None if match is None else match, share=share, filters=filters, seed=seed
        )
        trained = load_on_device(run, device)
        load = _Loading(run_options(trained, limit=limit, max_damaged=max_damaged, jpeg=jpeg), progress)
        if data is not None:
            examples, source = load.of_class(data, class_name or concept)
        else:
            examples, source = load.of_two(positives or "", distractors or "")
        found = find_concept(
            trained,
            examples,
            protocol,
            compared=_compared(compare or [], device),
            second=load.of_two(second_positives, second_distractors or "")[0] if second_positives else None,
            training=load.trained_on(training_images) if training_images else None,
            source=source,
            begin=shown_tasks(progress),
        )
    if as_json:
        print_json({"run": str(run), **found.values(), "data": load.accounts})
    else:
        _print(run, found)


@neurons.command()
def show(
    run: RunArgument,
    concept: Annotated[
        str | None, typer.Argument(metavar="[CONCEPT]", help="A concept found before.", show_default="all, as a list")
    ] = None,
    *,
    stage: Annotated[int | None, typer.Option(help="Stage of a unit to show, from 1.", show_default=False)] = None,
    unit: Annotated[int | None, typer.Option(help="Unit to show, from 0.", show_default=False)] = None,
    data: Annotated[
        str | None, _source(f"Images to search for the strongest responses: {SOURCES}. Without: its optimal stimulus.")
    ] = None,
    limit: LimitOption = None,
    max_damaged: MaxDamagedOption = None,
    jpeg: JpegOption = None,
    seed: SeedOption = 1,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """List the concepts of a run, or draw what stimulates a neuron.

    Pictures are written to RUN/shown/CONCEPT or RUN/shown/stage-S-unit-U; those of `find` are kept.

    Example: mintage neurons show runs/face-neuron
    mintage neurons show runs/face-neuron face --data photos/
    """
    with friendly_errors(), bars() as progress:
        trained = load_on_device(run, device)
        from training.neurons.concepts import read_concepts

        concepts = read_concepts(run)
        neuron = _neuron(trained, concepts, concept, stage, unit)
        if neuron is None:
            files = []
        else:
            options = run_options(trained, limit=limit, max_damaged=max_damaged, jpeg=jpeg)
            images = None if data is None else _Loading(options, progress).loaded(data)[0]
            files = _drawn(trained, neuron, images, seed, progress)
            concepts = tuple(each for each in concepts if each.name == concept)
    if as_json:
        values = [dataclasses.asdict(each) for each in concepts]
        print_json({"run": str(run), "concepts": values, "files": [str(file) for file in files]})
    else:
        _print_concepts(run, concepts, listed=neuron is None)
        for file in files:
            typer.echo(str(file))


def register(app: typer.Typer) -> None:
    """Add the verb with its subcommands."""
    app.add_typer(neurons)
    from service.cli.neurons import classify, detect

    classify.register(neurons)
    detect.register(neurons)


@dataclasses.dataclass(frozen=True, slots=True)
class _Loading:
    """Loads images as a run's input, the test split if there is one."""

    options: Options
    progress: Progress
    accounts: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # of every source, for JSON

    def loaded(self, source: str) -> tuple[LabelledImages, Any]:
        """Return the images of a source, and their split."""
        from training.data import has_split

        split = "test" if has_split(source, "test") else "train"
        return self._load(source, split), split  # type: ignore[arg-type]

    def trained_on(self, sources: list[str]) -> NDArray[np.uint8]:
        """Return the images of the train splits of sources."""
        import numpy as np

        splits = [self._load(each, "train") for each in sources]
        return np.concatenate([split.images for split in splits])

    def _load(self, source: str, split: Split) -> LabelledImages:
        from training.data.account import account

        images = load_split(source, split, self.options, progress=self.progress)
        self.accounts.append(account(images))
        return images

    def of_two(self, positives: str, distractors: str) -> tuple[Examples, str]:
        """Return the images of two sources, and their description."""
        from training.neurons.examples import Examples
        from training.neurons.identities import identities

        (shown, shown_split), (others, others_split) = self.loaded(positives), self.loaded(distractors)
        names = identities(positives, shown_split, shown), identities(distractors, others_split, others)
        said = f"Positives: {positives} ({shown_split}); distractors: {distractors} ({others_split})."
        return Examples.of(shown.images, others.images, identities=names), said

    def of_class(self, source: str, name: str) -> tuple[Examples, str]:
        """Return the images of a class and of all others, and their description."""
        from training.neurons.examples import of_class

        images, split = self.loaded(source)
        return of_class(images, name), f"Class {name} of {source} ({split}) against its other classes."


def _compared(given: list[str], device: str) -> dict[str, LoadedRun]:
    """Load the runs to compare with, by row name."""
    from training.errors import DataError
    from training.neurons.find import name_of

    runs: dict[str, LoadedRun] = {}
    for each in given:
        name, _, path = each.rpartition("=")
        trained = load_on_device(Path(path), device)
        name = name or name_of(trained)
        if name in runs:
            raise DataError(f"two runs to compare are called {name!r}; name them: --compare NAME=RUN")
        runs[name] = trained
    return runs


def _must_be_new(run: Path, name: str) -> None:
    """Refuse to search for a concept again."""
    from training.errors import RunError
    from training.neurons.concepts import read_concepts
    from training.neurons.find import NEURONS_FOLDER

    folder = run / NEURONS_FOLDER / name
    if folder.exists() or any(each.name == name for each in read_concepts(run)):
        raise RunError(
            f"{run} has the concept {name!r} already; --replace searches again, another --concept keeps both"
        )


def _neuron(
    trained: LoadedRun, concepts: tuple[Concept, ...], name: str | None, stage: int | None, unit: int | None
) -> Neuron | None:
    """Return the requested neuron, or None for all."""
    from training.errors import RunError
    from training.neurons.pictures import Neuron

    if name is None and stage is None and unit is None:
        return None
    if (name is None) == (stage is None or unit is None) or (stage is None) != (unit is None):
        raise RunError("name a concept, or else give --stage and --unit")
    if stage is not None and unit is not None:
        trained.must_have(stage, unit)
        return Neuron(f"stage-{stage}-unit-{unit}", stage, unit)
    found = next((each for each in concepts if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in concepts) or "none yet; `mintage neurons find` searches for one"
        raise RunError(f"{trained.run.path} has no concept {name!r}; its concepts are {known}")
    trained.must_have(found.stage, found.unit)
    return Neuron(found.name, found.stage, found.unit, found.sign, found.threshold)


def _drawn(
    trained: LoadedRun, neuron: Neuron, images: LabelledImages | None, seed: int, progress: Progress
) -> list[Path]:
    """Draw the images or the optimal stimulus of a neuron."""
    from training.neurons.pictures import draw, draw_optimal

    folder = trained.run.path / "shown" / neuron.name
    folder.mkdir(parents=True, exist_ok=True)
    if images is None:
        return [draw_optimal(folder, trained, neuron, seed=seed, begin=shown_tasks(progress))]
    return draw(folder, trained, neuron, images=images.images, seed=seed, begin=shown_tasks(progress))


def _print(run: Path, found: Table) -> None:
    from training.neurons.find import NEURONS_FOLDER

    columns, rows = found.cells()
    console().print(table(columns, rows, right=columns[1:-1]))
    for sentence in found.sentences():
        typer.echo(sentence)
    typer.echo(f"table and pictures: {run / NEURONS_FOLDER / found.concept.name}")


def _print_concepts(run: Path, concepts: tuple[Concept, ...], *, listed: bool) -> None:
    if not concepts:
        if listed:
            typer.echo(f"{run} has no concepts yet; `mintage neurons find {run}` searches for one")
        return
    columns = ["concept", "neuron", "threshold", "accuracy", "95 %", "AUROC", "images"]
    rows = [
        (
            each.name,
            f"{each.stage}:{each.unit}",
            f"{'>' if each.sign > 0 else '<'} {each.sign * each.threshold:.4g}",
            f"{100 * each.accuracy:.1f}",
            f"{100 * each.accuracy_low:.1f}-{100 * each.accuracy_high:.1f}",
            f"{each.auroc:.3f}",
            f"{each.positives:,} + {each.distractors:,}",
        )
        for each in concepts
    ]
    console().print(table(columns, rows, right=columns[1:]))
    typer.echo("neuron: stage:unit; accuracy in percent; images: positives and distractors of the test")
