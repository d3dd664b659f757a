"""`mintage explore directions MODEL ...`: a generator's saved directions, and finding some that nobody labelled."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.commands import Verbs
from service.cli.console import (
    DEFAULT_API,
    ApiOption,
    JsonLinesOption,
    JsonOption,
    connect,
    console,
    fail,
    friendly_errors,
    table,
)
from service.cli.explore.again import again
from service.cli.explore.drawing import check_picture, drawn
from service.cli.explore.options import GeneratorArgument, ReplaceOption, SeedOption, SheetOption, class_note
from service.cli.explore.turning import ApplyOption, StrengthsOption, read_set, read_strengths, turned, turned_panel
from service.cli.formula_options import ClassOption
from service.cli.json_lines import print_json, print_json_lines, to_dict

if TYPE_CHECKING:
    from mintage.client import Client
    from mintage.v1.latents_pb2 import Direction, Latent

directions = Verbs("directions", "A generator's directions: saved ones, and such that nobody labelled.")
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A saved direction.", show_default=False)]


@directions.callback()
def of_model(context: typer.Context, model: GeneratorArgument) -> None:
    """A generator's directions: saved ones, and such that nobody labelled.

    Example: mintage explore directions faces find --weights -o directions.png
    """
    context.obj = model


@directions.command("ls")
def list_saved(context: typer.Context, *, api: ApiOption = DEFAULT_API, as_json: JsonLinesOption = False) -> None:
    """List the saved directions of the generator's present archive.

    Example: mintage explore directions faces ls
    """
    with friendly_errors(), connect(api) as client:
        found = client.list_directions(context.obj)
    if as_json:
        print_json_lines(to_dict(each) for each in found)
    elif not found:
        typer.echo(f"{context.obj} has no saved directions; `mintage explore turn` and `... directions` find some")
    else:
        columns = ["name", "accuracy", "strength", "saved", "description"]
        rows = [
            (each.name, *_measures(each), f"{_saved_at(each):%Y-%m-%d %H:%M}", each.description or "") for each in found
        ]
        console().print(table(columns, rows, right=["accuracy", "strength"]))


@directions.command()
def show(
    context: typer.Context,
    name: NameArgument,
    *,
    apply: ApplyOption = "#20:#23",
    strengths: StrengthsOption = "-3:3:7",
    seed: SeedOption = 0,
    class_index: ClassOption = None,
    output: SheetOption = Path("direction.png"),
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Apply a saved direction to samples at a row of strengths.

    Example: mintage explore directions faces show turn --apply '#5,#9' --strengths -2:2:9 -o turn.png
    """
    check_picture(output, [".png"])
    with friendly_errors(), connect(api) as client:
        found = _named(client, context.obj, name)
        picture = _Picture(context, class_index, read_set(apply, seed=seed), read_strengths(strengths), output)
        picture.write(client, [found], f"The direction {name} of {context.obj}", seed)
    if as_json:
        print_json({"file": str(output), "direction": to_dict(found), "command": picture.command})
    else:
        typer.echo(f"{name}: {found.description or 'saved without a description'}; {output}\n{picture.command}")


@directions.command()
def rm(
    context: typer.Context,
    name: NameArgument,
    *,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Delete a saved direction. Jobs that were accepted before keep their copy.

    Example: mintage explore directions faces rm turn
    """
    with friendly_errors(), connect(api) as client:
        client.delete_direction(context.obj, name)
    if as_json:
        print_json({"model": context.obj, "name": name, "deleted": True})
    else:
        typer.echo(f"{name} of {context.obj} is deleted")


@directions.command()
def export(
    context: typer.Context,
    name: NameArgument,
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .json file.", show_default="printed instead")
    ] = None,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Write a saved direction as JSON: its numbers, and the archive that they belong to.

    Example: mintage explore directions faces export turn -o turn.json
    """
    with friendly_errors(), connect(api) as client:
        found = to_dict(_named(client, context.obj, name))
    if output is None:
        print_json(found)
        return
    with friendly_errors():
        output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json({"model": context.obj, "name": name, "file": str(output)})
    else:
        typer.echo(f"{name} of {context.obj} in {output}")


@directions.command()
def find(
    context: typer.Context,
    *,
    weights: Annotated[
        bool, typer.Option("--weights", help="Directions that change the first layer's outputs most.")
    ] = False,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=64, help="How many of them.")] = 8,
    classifier: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A loaded classifier whose answers are fitted.", show_default=False),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="The class whose probability is fitted.", show_default=False),
    ] = None,
    neurons: Annotated[
        str, typer.Option(metavar="MODEL", help="A loaded autoencoder whose neuron is fitted.")
    ] = "face-neuron",
    concept: Annotated[
        str | None, typer.Option(metavar="NAME", help="The concept whose neuron it is.", show_default=False)
    ] = None,
    samples: Annotated[
        int, typer.Option(min=64, max=16384, help="Samples to fit to; a fifth more measure the accuracy.")
    ] = 1024,
    save: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Save it; several are NAME-1, NAME-2 ...", show_default="not saved"),
    ] = None,
    replace: ReplaceOption = False,
    apply: ApplyOption = "#20:#22",
    strengths: StrengthsOption = "-3:3:7",
    seed: SeedOption = 0,
    output: SheetOption = Path("directions.png"),
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Find directions from the weights, or towards what a classifier or a neuron answers, and apply each to samples.

    Strength 1 is one standard deviation of the generator's latents.

    Example: mintage explore directions faces find --concept face --save face-like -o face-like.png
    """
    check_picture(output, [".png"])
    if weights + (class_name is not None) + (concept is not None) != 1 or (class_name is None) != (classifier is None):
        fail("say where directions come from: --weights, --classifier MODEL --class NAME, or --concept NAME")
    picture = _Picture(context, None, read_set(apply, seed=seed), read_strengths(strengths), output)
    with friendly_errors(), connect(api) as client:
        if weights:
            found = client.directions_of_weights(context.obj, count=count)
        else:
            answering = {"class_name": class_name, "concept": concept, "samples": samples, "seed": seed}
            other = classifier or neurons
            found = [client.direction_towards(context.obj, other, **answering)]  # type: ignore[arg-type]
        if save is not None:
            names = [save] if len(found) == 1 else [f"{save}-{number}" for number in range(1, len(found) + 1)]
            pairs = zip(names, found, strict=True)
            found = [client.save_direction(context.obj, name, each, replace=replace) for name, each in pairs]
        picture.write(client, found, f"Directions of {context.obj}", seed)
    if as_json:
        print_json({"file": str(output), "directions": [to_dict(each) for each in found], "command": picture.command})
        return
    for each in found:
        typer.echo(_heading(each))
    typer.echo(f"{output}\n{picture.command}")


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(directions)


class _Picture:
    """A sheet of directions, each applied to the same latents at the same strengths."""

    def __init__(
        self,
        context: typer.Context,
        class_index: int | None,
        applied: Sequence[Latent],
        strengths: Sequence[float],
        output: Path,
    ) -> None:
        # The command's path names the group's argument as its help does.
        self.command = again(context).replace(" '{MODEL}' ", f" {context.obj} ", 1)
        self._model: str = context.obj
        self._class_index = class_index
        self._applied = applied
        self._strengths = strengths
        self._output = output

    def write(self, client: Client, found: Sequence[Direction], title: str, seed: int) -> None:
        """Draw and write it."""
        from mintage.v1 import latents_pb2
        from mintage.v1.latents_pb2 import Latent

        from service.images.sheets import Sheet, write_sheet

        vectors = [Latent(values=latents_pb2.LatentValues(values=each.values)) for each in found]
        wanted = [latent for vector in vectors for latent in turned(self._applied, vector, self._strengths)]
        images = drawn(client, self._model, wanted, self._class_index)
        size = len(self._applied) * len(self._strengths)
        bands = [
            [turned_panel(_heading(each), images[at * size : (at + 1) * size], self._applied, self._strengths)]
            for at, each in enumerate(found)
        ]
        told = f"added to samples, times the number below; seed {seed}{class_note(self._class_index)}"
        write_sheet(Sheet(title, told, bands, self.command), self._output)


def _named(client: Client, model: str, name: str) -> Direction:
    """Return a saved direction; exits with 2 if there is none of that name."""
    found = {each.name: each for each in client.list_directions(model)}
    if name not in found:
        fail(f"{model} has no direction {name}; it has {', '.join(found) or 'none'}")
    return found[name]


def _heading(direction: Direction) -> str:
    """What is known of a direction, in one line."""
    strength = f", strength {direction.strength:.2f}" if direction.HasField("strength") else ""
    name = f"{direction.name}: " if direction.name else ""
    return f"{name}{direction.description or 'a direction'}{strength}"


def _measures(direction: Direction) -> tuple[str, str]:
    accuracy = f"{direction.accuracy:.3f}" if direction.HasField("accuracy") else ""
    strength = f"{direction.strength:.2f}" if direction.HasField("strength") else ""
    return accuracy, strength


def _saved_at(direction: Direction) -> Any:
    return direction.create_time.ToDatetime(datetime.UTC).astimezone()
