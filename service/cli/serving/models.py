"""`mintage models ...`: what the server has loaded, and changing it.

mintage models ls
mintage models load digits ssgan-digits-generator.mar   # an archive of the server's archive folder
mintage models push digits-generator.mar --load digits   # an archive from this machine: service/cli/serving/pushing.py
mintage models scale digits 2
mintage models watch digits                             # how a load goes on that somebody began
"""

from __future__ import annotations

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
    friendly_errors,
    table,
)
from service.cli.json_lines import print_json, print_json_lines, to_dict
from service.cli.serving.loading import follow
from service.cli.serving.pushing import push

if TYPE_CHECKING:
    from mintage.v1.models_pb2 import Model, UnitShape

models = Verbs("models", "List, load, unload and scale models.")

NameArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model, with or without models/.")]


@models.command("ls")
def list_(api: ApiOption = DEFAULT_API, as_json: JsonLinesOption = False) -> None:
    """List the models that should be loaded, ready or not.

    Example: mintage models ls
    """
    with friendly_errors(), connect(api) as client:
        found = client.models()
    if as_json:
        print_json_lines(to_dict(model) for model in found)
    elif found:
        _print_list(found)
    else:
        typer.echo("no model is loaded; `mintage models load NAME ARCHIVE.mar` loads one")


@models.command()
def show(name: NameArgument, api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """Show everything about one model.

    Example: mintage models show digits-generator
    """
    with friendly_errors(), connect(api) as client:
        _print_one(client.model(name), as_json)


@models.command()
def load(
    name: NameArgument,
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE.mar", help="File name in the server's archive folder.")],
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Load an archive; a model of that name is replaced once the new one answers.

    Example: mintage models load digits digits-generator.mar --workers 2
    """
    with friendly_errors(), connect(api) as client:
        client.begin_load(name, archive, workers=workers)
        _print_one(follow(client, name), as_json)


@models.command()
def unload(name: NameArgument, api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """Unload a model.

    Example: mintage models unload digits
    """
    with friendly_errors(), connect(api) as client:
        client.unload_model(name)
    if as_json:
        print_json({"name": f"models/{name.removeprefix('models/')}", "unloaded": True})


@models.command()
def scale(
    name: NameArgument,
    workers: Annotated[int, typer.Argument(min=1, max=64, help="Worker processes, from 1 to 64.")],
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Set the number of worker processes of a model and wait until they are ready.

    Example: mintage models scale digits 2
    """
    with friendly_errors(), connect(api) as client:
        client.begin_scale(name, workers)
        _print_one(follow(client, name), as_json)


@models.command()
def watch(name: NameArgument, api: ApiOption = DEFAULT_API, as_json: JsonOption = False) -> None:
    """Show how the loading or scaling of a model goes on, whoever began it, and wait for its end.

    Example: mintage models watch digits
    """
    with friendly_errors(), connect(api) as client:
        _print_one(follow(client, name), as_json)


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command."""
    models.command()(push)
    app.add_typer(models)


def _print_list(found: list[Model]) -> None:
    rows = [
        (
            model.name.removeprefix("models/"),
            _kind(model),
            _state(model),
            _size(model),
            model.digest[:10],  # so that the longest names of ours fit into 80 columns
            model.workers,
        )
        for model in found
    ]
    columns = ("model", "kind", "state", "size", "digest", "workers")
    console().print(table(columns, rows, right=("workers",)))


def _print_one(model: Model, as_json: bool) -> None:
    if as_json:
        print_json(to_dict(model))
        return
    rows: list[tuple[str, Any]] = [
        ("model", model.name),
        ("kind", _kind(model)),
        ("state", _state(model)),
        ("image size", _size(model)),
        ("classes", ", ".join(model.classes) or "none"),
        ("latent size", model.latent_size),
        ("micro-batch", model.micro_batch),
        ("batch sizes", ", ".join(map(str, model.batch_sizes)) or "whole micro-batches only"),
        ("recipe", model.recipe),
        ("archive", model.archive),
        ("digest", model.digest),
        ("run digest", model.run_digest),
        ("layers", ", ".join(map(_shape, model.layers)) or "none"),
        ("workers", model.workers),
        ("device", model.device_class),
        ("precision", model.precision),
        ("torch", model.torch_version),
        ("numerics", model.numerics),
        ("loaded", f"{model.load_time.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"),
    ]
    console().print(table(("", ""), rows))


def _shape(shape: UnitShape) -> str:
    """Show a layer: maps of one position are the units of a fully connected one."""
    flat = (shape.height, shape.width) == (1, 1)
    return f"{shape.maps}" if flat else f"{shape.maps} x {shape.height} x {shape.width}"


def _kind(model: Model) -> str:
    """Show the kind; nothing as long as its archive has not been read."""
    return type(model).Kind.Name(model.kind).removeprefix("KIND_").lower() if model.kind else ""


def _state(model: Model) -> str:
    state = type(model).State.Name(model.state).removeprefix("STATE_").lower()
    return f"{state}: {model.message}" if model.message else state


def _size(model: Model) -> str:
    """Show the size of images; nothing as long as the archive has not been read."""
    if not model.shape.height:
        return ""
    return f"{model.shape.height}x{model.shape.width}x{model.shape.channels}"
