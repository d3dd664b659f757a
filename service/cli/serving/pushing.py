"""Archives and the server: `mintage models push`, `mintage archives ls`, and what `mintage pack --load` does with both.

mintage pack runs/photos --name photos --load            # pack, push, and load as photos-generator and so on
mintage models push photos-generator.mar --load photos   # the same in two steps, for one archive
mintage archives ls
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.commands import Verbs
from service.cli.console import (
    DEFAULT_API,
    ApiOption,
    JsonLinesOption,
    JsonOption,
    connect,
    console,
    errors_console,
    fail,
    friendly_errors,
    table,
)
from service.cli.json_lines import print_json, print_json_lines, to_dict
from service.cli.serving.loading import follow
from service.validation import ARCHIVE, ARCHIVE_RULE, MODEL_NAME, MODEL_RULE

if TYPE_CHECKING:
    from mintage.client import Client
    from mintage.v1.models_pb2 import Archive, Model

archives = Verbs("archives", "List the archives that the server can load.")


@archives.command("ls")
def list_(api: ApiOption = DEFAULT_API, as_json: JsonLinesOption = False) -> None:
    """List the archives in the server's archive folder.

    Example: mintage archives ls
    """
    with friendly_errors(), connect(api) as client:
        found = client.archives()
    if as_json:
        print_json_lines(found)
    elif found:
        rows = [(one.name, f"{one.size_bytes:,}", one.digest[:12], _written(one)) for one in found]
        console().print(table(("archive", "bytes", "digest", "written, UTC"), rows, right=("bytes",)))
    else:
        typer.echo("the archive folder is empty; `mintage pack RUN --load` packs a run and brings it there")


def push(
    file: Annotated[Path, typer.Argument(metavar="FILE.mar", help="An archive that `mintage pack` wrote.")],
    *,
    name: Annotated[
        str, typer.Option(metavar="NAME.mar", help="File name for it on the server.", show_default="the file's own")
    ] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace another archive of that name.")] = False,
    load: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Load it under this name once it is there.", show_default=False)
    ] = None,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Send an archive to the server's archive folder, which need not be on this machine.

    It appears there whole, once its digest is right and it is an archive that the server would load. What is there
    already is not sent twice.

    Example: mintage models push photos-generator.mar
    mintage models push photos-generator.mar --load photos
    """
    _check_names(file, name, load)
    with friendly_errors(), connect(api) as client:
        archive = pushed(client, file, name=name, replace=replace)
        model = None if load is None else loaded(client, load, archive)
    if as_json:
        print_json({"archive": to_dict(archive), "model": None if model is None else to_dict(model)})
        return
    typer.echo(f"{archive.name}  {archive.size_bytes:,} bytes  sha256 {archive.digest}")
    if model is not None:
        typer.echo(f"loaded as {model.name}")


def pushed(client: Client, file: Path, *, name: str = "", replace: bool = False) -> Archive:
    """Send an archive, with a spinner on a terminal."""
    with errors_console().status(f"sending {file.name}"):
        return client.push_archive(file, name=name, replace=replace)


def loaded(client: Client, name: str, archive: Archive) -> Model:
    """Load an archive, and show how that goes on until it answers."""
    client.begin_load(name, archive.name)
    return follow(client, name)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(archives)


def _check_names(file: Path, name: str, load: str | None) -> None:
    """Fail before anything is sent if the server would take a name for neither file nor model."""
    if name and not ARCHIVE.fullmatch(name):
        fail(f"--name must be {ARCHIVE_RULE}, not {name!r}")
    if not name and not ARCHIVE.fullmatch(file.name) and file.is_file():
        fail(f"{file.name!r} cannot be its name on the server; choose one by --name NAME.mar: {ARCHIVE_RULE}")
    if load is not None and not MODEL_NAME.fullmatch(f"models/{load}"):
        fail(f"--load must be {MODEL_RULE}, not {load!r}")


def _written(archive: Archive) -> str:
    return f"{archive.update_time.ToDatetime():%Y-%m-%d %H:%M:%S}"
