"""`mintage pack RUN`: pack a run into archives that the server can load."""

from __future__ import annotations

import re
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import DEFAULT_API, ApiOption, JsonLinesOption, connect, fail, friendly_errors
from service.cli.json_lines import print_json_lines

if TYPE_CHECKING:
    from handlers.compute.precision import PrecisionChoice
    from training.recipes import Kind


class KindChoice(StrEnum):
    """Which network of a run to pack."""

    generator = "generator"
    classifier = "classifier"
    neurons = "neurons"
    discriminator = "discriminator"
    all = "all"


class PrecisionOption(StrEnum):
    """In what the model's products are computed."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


_KINDS: dict[KindChoice, Kind] = {
    KindChoice.generator: "generator",
    KindChoice.classifier: "classifier",
    KindChoice.neurons: "neurons",
    KindChoice.discriminator: "discriminator",
}


def pack(
    run: Annotated[Path, typer.Argument(help="A run folder, as written by `mintage train`.", show_default=False)],
    *,
    kind: Annotated[
        KindChoice, typer.Option(help="Which network of the run; all: every trained one.")
    ] = KindChoice.all,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder of this machine to write to. Default: the archive folder of the settings, from which a stack "
            "here with the same settings loads. Only --load brings archives to the running server, wherever it is.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="NAME of {NAME}-generator.mar, -discriminator.mar and so on. Default: the run folder's name."
        ),
    ] = None,
    micro_batch: Annotated[
        int, typer.Option(min=1, max=1024, help="Images per forward pass; part of the model's identity.")
    ] = 64,
    precision: Annotated[
        PrecisionOption,
        typer.Option(
            help="Of its products; part of the model's identity. auto: bfloat16 where the device that serves it has "
            "units for it, else float32."
        ),
    ] = PrecisionOption.auto,
    encoder: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="An encoder of this run's generator (`mintage train encoder`), packed beside the discriminator: "
            "inverting starts from its guess.",
            show_default=False,
        ),
    ] = None,
    load: Annotated[
        bool,
        typer.Option(
            "--load",
            help="Send the archives to the running server as well, and load each as a model of its name, without .mar.",
        ),
    ] = False,
    api: ApiOption = DEFAULT_API,
    as_json: JsonLinesOption = False,
) -> None:
    """Pack a run into archives. Equal runs give equal bytes, so an archive's sha256 is the model's identity.

    `mintage pack runs/ssgan-digits --name digits` writes digits-generator.mar and digits-classifier.mar on this
    machine; with --load they are sent to the running server too, and loaded.

    Example: mintage pack runs/ssgan-digits --name digits
    mintage pack runs/ssgan-digits --name digits --load
    """
    stem = name or _name_of(run)
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,50}[a-z0-9])?", stem):
        fail(f"--name must be 1 to 52 of a-z, 0-9 and - (not at its ends), not {stem!r}")
    with friendly_errors():
        if name is None and stem != run.resolve().name:
            typer.echo(f"mintage: the archives are called {stem}-*.mar; --name chooses another name", err=True)
        packed = _packed(run, kind, output, stem, encoder, micro_batch=micro_batch, precision=precision.value)
        if load:
            _load(packed, api)
    if as_json:
        print_json_lines(packed)
        return
    for archive in packed:
        typer.echo(f"{archive['path']}  {archive['bytes']:,} bytes  sha256 {archive['digest']}")
        if load:
            typer.echo(f"loaded as {archive['model']}")
    if not load:
        typer.echo(_how_to_load([Path(str(archive["path"])) for archive in packed]), err=True)


def _packed(
    run: Path,
    kind: KindChoice,
    output: Path | None,
    stem: str,
    encoder: Path | None,
    *,
    micro_batch: int,
    precision: PrecisionChoice,
) -> list[dict[str, object]]:
    """Pack the requested kinds, and describe each archive."""
    from handlers.archive import pack as pack_archive
    from handlers.errors import HandlerError
    from service.settings import settings

    folder = output or settings().archives
    try:
        kinds = _kinds(kind, run)
        if encoder is not None and "discriminator" not in kinds:
            fail(
                f"--encoder goes with a discriminator, which {run} does not have among {', '.join(kinds) or 'nothing'}"
            )
        if not kinds:
            fail(f"{run} holds no network to serve alone; an encoder is packed by `mintage pack RUN --encoder {run}`")
        archives = [
            pack_archive(
                run,
                each,
                folder / f"{stem}-{each}.mar",
                micro_batch=micro_batch,
                precision=precision,
                encoder=encoder if each == "discriminator" else None,
            )
            for each in kinds
        ]
    except HandlerError as error:
        fail(str(error))
    return [{"path": str(a.path), "digest": a.digest, "bytes": a.path.stat().st_size, "model": None} for a in archives]


def _how_to_load(archives: list[Path]) -> str:
    """Say what to do with archives of one folder, whichever folders the running stack has."""
    loads = " and ".join(f"`mintage models load {archive.stem} {archive.name}`" for archive in archives)
    pushes = " and ".join(
        f"`mintage models push {shlex.quote(str(archive))} --load {archive.stem}`" for archive in archives
    )
    it = "it" if len(archives) == 1 else "them"
    return f"mintage: a stack whose archive folder is {archives[0].parent} loads {it} by {loads}; any other by {pushes}"


def _load(packed: list[dict[str, object]], api: str) -> None:
    """Bring archives to the running server, and load each under its own name."""
    from service.cli.serving.pushing import loaded, pushed

    with connect(api) as client:
        for archive in packed:
            path = Path(str(archive["path"]))
            archive["model"] = loaded(client, path.stem, pushed(client, path, replace=True)).name


def _kinds(kind: KindChoice, run: Path) -> list[Kind]:
    """Return the requested kinds; all means those that the run's recipe trains and whose weights the folder has."""
    from training.runs.checkpoint import holds, load_run

    if kind is not KindChoice.all:
        return [_KINDS[kind]]
    loaded = load_run(run)
    return [each for each in loaded.config.settings.kinds if holds(loaded, each)]


def _name_of(run: Path) -> str:
    """Derive the archives' name from the run folder's."""
    return re.sub(r"[^a-z0-9]+", "-", run.resolve().name.lower()).strip("-")[:52].strip("-")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(pack)
