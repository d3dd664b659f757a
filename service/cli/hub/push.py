"""`mintage push FOLDER hf:OWNER/NAME`: bring a run, or what a sample job wrote, to the Hugging Face hub.

mintage push models/faces-dcgan hf:anna/faces-dcgan --license mit     # private, unless --public
mintage push out/jobs/20261128-abc hf:anna/faces                      # a sample job becomes a data set
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import JsonOption, fail, friendly_errors
from service.cli.json_lines import print_json

if TYPE_CHECKING:
    from service.cli.hub.contents import Contents
    from service.cli.hub.repository import Remote, Repository

NAME = re.compile(r"(?:hf:)([\w][\w.-]*/[\w][\w.-]*)", re.ASCII)


def push(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A run, as it was trained, exported or shipped; or the folder of a sample job, as `mintage jobs "
            "download` brings it.",
            show_default=False,
        ),
    ],
    repository: Annotated[
        str,
        typer.Argument(metavar="hf:OWNER/NAME", help="Its name on the hub; made if missing.", show_default=False),
    ],
    *,
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository visible to everybody. Default: to its owner alone.")
    ] = False,
    license_id: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="ID",
            help="Licence, in the hub's words, such as mit. Default: what the repository names already, else unknown.",
            show_default=False,
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Push into a repository with files that Mintage did not push.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a run to the Hugging Face hub as a model, or the images of a sample job as a data set.

    A model has the weights as safetensors, the configuration, samples, and a card with the metadata that the hub
    indexes; a run that can still be trained goes there as `mintage export` copies it, without local paths. A push is
    one commit of what is new or different, or none; other files in the repository stay.

    The token comes from HF_TOKEN or `hf auth login`, the hub's address from HF_ENDPOINT if it is set.

    Example: mintage push runs/faces hf:anna/faces-dcgan --license mit
    mintage push models/faces-dcgan hf:anna/faces-dcgan --public
    """
    from service.cli.hub.contents import contents_of
    from service.cli.hub.repository import Repository

    name = NAME.fullmatch(repository)
    if name is None:
        fail(f"{repository} is not a name on the hub; expected hf:OWNER/NAME")
    with friendly_errors(), tempfile.TemporaryDirectory(prefix="mintage-push-") as scratch:
        contents = contents_of(folder, name[1], Path(scratch))
        target = Repository(name[1], contents.kind, progress=not as_json)
        before = target.found()
        _refuse_strange(target, before, replace)
        contents = _with_license(contents, license_id or (before.license_id if before else None))
        if before is None:
            target.create(private=not public)
        if not as_json:
            typer.echo(
                f"comparing {contents.size_bytes / 1e6:.1f} MB with {target.url}, and sending what differs", err=True
            )
        size, parent = contents.size_bytes, before.commit if before else None
        commit = target.commit(contents, message=f"Push {folder.resolve().name}", parent=parent)
    private = not public if before is None else before.private
    if as_json:
        print_json(
            {
                "repository": target.name,
                "type": target.kind,
                "url": target.url,
                "private": private,
                "created": before is None,
                "changed": before is None or commit != before.commit,
                "commit": commit,
                "files": len(contents.files) + 1,
                "bytes": size,
            }
        )
        return
    if before is not None and commit == before.commit:
        typer.echo(f"{target.url} has all of it already; nothing was pushed")
    else:
        typer.echo(f"{target.url}  commit {commit[:12]}")
    seen = f"its owner alone sees it; {target.url}/settings changes that" if private else "everybody sees it"
    typer.echo(f"{len(contents.files) + 1} files, {size / 1e6:.1f} MB; {seen}")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(push)


def _refuse_strange(target: Repository, before: Remote | None, replace: bool) -> None:
    """Leave a repository alone that was made for something else."""
    if before is not None and not before.is_ours and not replace:
        fail(
            f"the name {target.name} is taken: {target.url} holds files that Mintage did not push; choose another "
            "name, or push into it with --replace"
        )


def _with_license(contents: Contents, license_id: str | None) -> Contents:
    """Name a licence in the card, if one is known."""
    from training.runs.hub_card import licensed

    if license_id is None:
        return contents
    if not re.fullmatch(r"[\w.-]+", license_id, re.ASCII):
        fail(f"--license takes a name such as mit or cc-by-4.0, not {license_id!r}")
    return dataclasses.replace(contents, card=licensed(contents.card, license_id))
